"""The self-test's table, its expansion, and what the RTL does with it."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from hdl.cim.interfaces import bist_layout
from hdl.cim.macro import Macro
from hdl.config import CONFIGS, configuration
from mbist.compute_pins import column_pins, driven_alike, expand, generator, lanes, macro_pins
from mbist.compute_test import STEP_BITS, TABLE_STEPS, Lanes, Mask, Port, Repair, TestStep, check, column_program
from mbist.compute_test import Value as Activations
from mbist.signature import stages, update
from mbist.signature_file import read_signatures
from sim.golden.compute_test import column_outputs, signature, signature_file

TINY = configuration("tiny")

#: A little of everything.
SHORT = (
    TestStep(vectors=10, mask=Mask.BIT, m=3, e=7, repeat=2),
    TestStep(vectors=3, length=4, mask=Mask.ALL, value=Activations.EQUAL, e=20, m_step=3),
    TestStep(vectors=2, length=8, wild=True, keep=True, repeat=4),
    TestStep(port=Port.ALL, keep=True),
    TestStep(port=Port.WRITE, vectors=2, length=4, mask=Mask.ALL, repeat=3),
    TestStep(port=Port.RECORD),
    TestStep(vectors=9, reset=True, partial=True),
    TestStep(vectors=8, spread=True, e=9),
    TestStep(vectors=6, spread=True, repair=Repair.SWEEP, mask=Mask.RANDOM, length=2),
    TestStep(vectors=6, repair=Repair.ALL, planes=Lanes.DENSE),
    TestStep(port=Port.WRITE, vectors=2, length=4, spread=True, repeat=2),
    TestStep(port=Port.ALL),
)


@pytest.mark.parametrize(("field", "value", "rule"), [
    ("e", 32, "e must be from 0 to 31, not 32"), ("m", -1, "m must be from 0 to 7, not -1"),
    ("vectors", 0, "vectors must be from 1 to 511, not 0"), ("repeat", 128, "repeat must be from 1 to 127, not 128"),
    ("length", 16, "length must be from 1 to 15, not 16")])
def test_a_step_fits_its_row(field, value, rule):
    with pytest.raises(ValueError) as error:
        TestStep(**{field: value})
    assert str(error.value) == rule


@pytest.mark.parametrize("steps", [0, TABLE_STEPS + 1])
def test_a_program_fits_the_table(steps):
    with pytest.raises(ValueError) as error:
        expand(TINY, (TestStep(),) * steps)
    assert str(error.value) == f"the program must have from 1 to {TABLE_STEPS} steps, not {steps}"


@pytest.mark.parametrize("config", CONFIGS.values(), ids=lambda config: config.name)
def test_the_column_program_fits_the_engine(config):
    check(column_program(config))
    assert len(column_program(config)) * STEP_BITS <= 2048


def test_the_column_program_is_short_enough():
    assert expand(configuration("edge"), column_program(configuration("edge")), (0,)).cycles <= 4000


def test_sources_of_lanes():
    word = next(generator())
    small = configuration("small")
    assert lanes(small, Lanes.STRIPE, 2, 0, word, 0).tolist() == [r >> 1 & 1 == 1 for r in range(16)]
    assert lanes(small, Lanes.STRIPE, 3, 0, word, 0).tolist() == [r >> 1 & 1 == 0 for r in range(16)]
    assert [lanes(small, Lanes.POWER, p, 0, word, 0).sum() for p in range(9)] == [1, 2, 4, 8, 16, 16, 16, 16, 1]
    assert [lanes(small, Lanes.PAIR, 2, slot, word, 0).sum() for slot in range(2)] == [1, 4]
    assert lanes(small, Lanes.PAIR, 2, 0, word, 0)[15]


def test_loads_and_planes_never_meet():
    """What the macro asserts."""
    drive = expand(TINY, (*SHORT, *column_program(TINY)))
    issued, bank = drive.issue[:, 0], drive.issue[:, 4]
    valid, read, write = drive.bist[:, :3].T
    assert not (issued & drive.valid.any(axis=1) & (drive.bank == bank)).any()
    assert not (issued & valid & read).any()
    assert not (drive.valid.any(axis=1) & valid & write).any()


SMALL = configuration("small")


@pytest.mark.parametrize("moved", [False, True])
def test_columns_are_driven_alike(moved):
    """With and without spares."""
    drive = expand(SMALL, (*SHORT[:6], TestStep()), moved=moved)
    columns = range(SMALL.spare_cols * moved, SMALL.cols + SMALL.spare_cols * moved)
    assert all(driven_alike(drive, columns[0], column) for column in columns)
    other = SMALL.cols if not moved else 0
    assert not driven_alike(drive, columns[0], other)


def test_columns_with_words_of_their_own_are_not_driven_alike():
    drive = expand(SMALL, (TestStep(spread=True, repeat=2), TestStep()))
    assert not driven_alike(drive, 0, 1)


@pytest.mark.parametrize("name", ["opposed", "member", "bist"])
def test_columns_that_one_wire_tells_apart_are_not_driven_alike(name):
    """A class that offers the complement; a member that is never loaded; reads of other banks."""
    drive = expand(SMALL, (TestStep(), TestStep(port=Port.RECORD), TestStep()))
    wrong = getattr(drive, name).copy()
    if name == "opposed":
        wrong[:, 1] = True
    elif name == "member":
        wrong[wrong == 1] = 0
    else:
        port = bist_layout(SMALL)
        column = port["column"]
        bits = wrong[:, column.offset:column.offset + column.width]
        wrong[:, port["read_bank"].offset] ^= bits @ (1 << np.arange(column.width)) == 5
    assert not driven_alike(replace(drive, **{name: wrong}), 0, 5)


def test_signature_is_a_crc():
    """Of one bit per cycle: CRC-32 without reflection, start and final inversion."""
    state = 0
    for bit in [int(b) for byte in b"123456789" for b in f"{byte:08b}"] + [0] * 32:
        state = update(state, bit)
    assert state == 0x89A1897F
    assert stages(64).tolist()[30:34] == [30, 31, 5, 6]


def run(component, pins, outputs):
    """A component in Amaranth's simulator: its outputs in each cycle, before the clock's edge."""
    seen = {name: [] for name in outputs}
    ports = {"__".join(map(str, path)): Value.cast(signal) for path, _, signal in
             component.signature.flatten(component)}

    async def bench(ctx):
        for cycle in range(len(pins["rst"])):
            for name, bits in pins.items():
                if name != "rst" and len(ports.get(name, ())):
                    ctx.set(ports[name], sum(1 << int(i) for i in np.flatnonzero(bits[cycle])))
            for name in outputs:
                seen[name].append(ctx.get(ports[name]))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return {name: np.array(values, object) for name, values in seen.items()}


def test_rtl_of_the_macro_answers_as_the_golden_model():
    """Every column, at the macro's own pins, under every repair setting that occurs; resets are left out, since the
    simulator drives its own."""
    drive = expand(TINY, [step for step in SHORT if not step.reset])
    seen = run(Macro(TINY), macro_pins(drive), ["word", *(f"scaled__{c}" for c in range(TINY.cols))])
    physical = [column_outputs(TINY, column_pins(drive, column)) for column in range(TINY.physical_cols)]
    listen = drive.listen
    for logical in range(TINY.cols):
        here, moved = physical[logical]["scaled"], physical[logical + 1]["scaled"]
        expected = np.where(logical < drive.repair, here, moved)
        if logical < TINY.cols - 1:  # a spare that was never loaded holds what it held at power-up
            assert np.array_equal(seen[f"scaled__{logical}"][listen], expected[listen])
        assert len(set(expected[listen])) > 10
    words = np.bitwise_or.reduce([column["word"] for column in physical])
    assert np.array_equal(seen["word"][1:][listen[1:]], words[:-1][listen[1:]])


def test_signatures_differ_when_an_output_does():
    drive = expand(TINY, SHORT)
    values = column_outputs(TINY, column_pins(drive, 1))["scaled"]
    right = signature(values, drive.listen)
    for cycle in np.flatnonzero(drive.listen)[::17]:
        wrong = values.copy()
        wrong[cycle] ^= 1 << 32
        assert signature(wrong, drive.listen) != right


def test_the_signature_file_is_what_its_runs_give():
    """Of two steps; the columns are driven alike, so one signature stands for all."""
    steps = (TestStep(vectors=9, e=12), TestStep(port=Port.RECORD))
    program, (here, moved) = read_signatures(TINY, signature_file(TINY, steps))
    drive = expand(TINY, steps)
    assert program == steps
    assert (here.moved, moved.moved, here.cycles) == (False, True, drive.cycles)
    for column in range(TINY.cols):
        values = column_outputs(TINY, column_pins(drive, column))["scaled"]
        assert here.columns == (signature(values, drive.listen),)
    assert here.words not in (0, moved.words)
