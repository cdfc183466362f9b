"""Compute self-test: pins, signatures and verdict as the golden model's; refusals, and ends before the end.

The plan is ``verif/plans/cbist.md``.
"""

from random import Random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.bist.compute import ComputeTest
from hdl.bist.compute_steps import settled
from hdl.bist.compute_table import FIELD_BITS, TABLE_STEPS, step_layout
from hdl.cim.macro import Macro
from hdl.csr import BistCause, register_map
from mbist.compute_pins import expand, macro_pins
from mbist.compute_test import Lanes, Mask, Port, Repair, TestStep, Value, column_program
from sim.golden.compute_test import macro_signatures
from sim.rtl import test_config

from .compute_self_test import ComputeSelfTest
from .coverage import Coverage, report
from .start import inputs_of, reset, start

CONFIG = test_config()
MAP = register_map(CONFIG)

#: Nothing but what is needed for a run.
BRIEF = (TestStep(vectors=4), TestStep(vectors=3, value=Value.EQUAL, mask=Mask.BIT, repeat=2))

_FLAGS = ("constant", "partial", "keep", "spread", "wild", "reset")

_ROWS = Coverage("cbist.row", {
    "planes": list(Lanes), "sign": list(Lanes), "select": list(Lanes), "value": list(Value), "mask": list(Mask),
    "port": list(Port), "repair": list(Repair), **{name: [False, True] for name in _FLAGS},
    "moved": [False, True]})


class ComputeBench:
    """The self-test by its registers."""

    @classmethod
    async def start(cls, dut, component=ComputeSelfTest) -> "ComputeBench":
        await start(dut, component(CONFIG))
        return cls(dut)

    def __init__(self, dut):
        self.dut = dut
        self.random = Random(cocotb.RANDOM_SEED)

    async def cycle(self, count: int = 1):
        for _ in range(count):
            await FallingEdge(self.dut.clk)

    async def command(self, **fields: int):
        """Writes CBIST_CONTROL."""
        self.dut.cbist_control_set.value = packed("CBIST_CONTROL", fields)
        await self.cycle()
        self.dut.cbist_control_set.value = 0

    def fields(self, name: str) -> dict[str, int]:
        """A register's fields."""
        value = int(getattr(self.dut, name.lower()).value)
        return {field: value >> low & (1 << width) - 1 for field, (low, width, _) in MAP[name].fields.items()}

    async def load(self, rows):
        """Fills the table with rows as numbers."""
        await self.command(clear=1)
        for row in rows:
            self.dut.cbist_row.value = row & 0xFFFF_FFFF
            self.dut.cbist_row_high_set.value = row >> 32
            await self.cycle()
        self.dut.cbist_row_high_set.value = 0

    async def begin(self, program, *, moved: bool = False, vote: bool = False, macro: int | None = None,
                    expected: tuple[int, int] = (0, 0)):
        """Loads a program and starts it."""
        await self.load([step.row for step in program])
        self.dut.cbist_expected.value, self.dut.cbist_expected_words.value = expected
        self.dut.cbist_mode.value = packed("CBIST_MODE", {
            "moved": moved, "vote": vote, "single": macro is not None, "macro": macro or 0})
        await self.command(start=1)

    async def ended(self):
        """Waits until the run has ended."""
        if self.dut.busy.value == 1:
            while self.dut.stopped.value != 1:
                await RisingEdge(self.dut.stopped)
                await FallingEdge(self.dut.clk)  # an edge before the signals have settled is none
            await self.cycle()
        assert self.dut.busy.value == 0

    def verdict(self) -> dict[str, int]:
        return {name: self.fields("CBIST_STATUS")[name] for name in ("done", "failed", "error", "cause")}

    async def wrong(self) -> set[tuple[int, int]]:
        """Macro and column of every signature that is wrong; column ``cols`` are the words read."""
        found = set()
        for macro in range(CONFIG.macros):
            self.dut.cbist_select.value = macro
            await self.cycle()
            bits = sum(int(getattr(self.dut, f"cbist_columns{n}").value) << 32 * n
                       for n in range(-(-(CONFIG.cols + 1) // 32)))
            found |= {(macro, column) for column in range(CONFIG.cols + 1) if bits >> column & 1}
        assert int(self.dut.cbist_fails.value) == len(found)
        failed = sum(int(getattr(self.dut, f"cbist_failed{n}").value) << 32 * n for n in range(-(-CONFIG.macros // 32)))
        assert failed == sum(1 << macro for macro in {macro for macro, _ in found})
        if found:
            macro, column = min(found)
            assert self.fields("CBIST_FIRST") == {"macro": macro, "column": column}
        return found

    async def signatures(self) -> list[list[int]]:
        """All of them, by macro; the chain stands as before."""
        found = []
        for _ in range(CONFIG.macros):
            found.append([])
            for _ in range(CONFIG.cols + 1):
                found[-1].append(int(self.dut.cbist_signature.value))
                await self.command(next=1)
        return found


def packed(register: str, fields: dict[str, int]) -> int:
    return sum(int(value) << MAP[register].fields[name][0] for name, value in fields.items())


def run_cycles(program, *, moved: bool = False, vote: bool = False) -> int:
    """Cycles of a run, from the one after START."""
    turns = CONFIG.macros * (CONFIG.cols + 1) * (1 + vote)
    return expand(CONFIG, program, moved=moved).cycles + ComputeTest.DRAIN + turns


def pins_of(drive) -> list[int]:
    """What macro 0's inputs must be in each cycle, as port ``pins`` shows them."""
    macro = Macro(CONFIG)
    ports = inputs_of(macro)
    pins = macro_pins(drive)
    bits = np.concatenate([*(pins[name] for name in ports), pins["rst"]], axis=1)
    return [int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little") for row in bits]


def draw_step(random: Random) -> TestStep:
    """Any row, as short as possible."""
    return TestStep(
        **{name: random.choice(list(kind)) for name, kind in (
            ("planes", Lanes), ("sign", Lanes), ("select", Lanes), ("value", Value), ("mask", Mask),
            ("repair", Repair))},
        port=random.choice([Port.NONE] * 6 + list(Port)), m=random.randrange(8), e=random.randrange(32),
        m_step=random.randrange(8), e_step=random.randrange(32), vectors=random.randrange(1, 12),
        length=random.randrange(1, 5), repeat=random.randrange(1, 6),
        **{name: random.random() < 0.3 for name in ("partial", "keep", "spread", "wild", "reset")},
        constant=random.random() < 0.7)


async def follow(bench: ComputeBench, program, *, moved: bool):
    """Starts a program and compares macro 0's pins in every cycle."""
    wanted = pins_of(expand(CONFIG, program, moved=moved))
    await bench.begin(program, moved=moved)
    await bench.cycle()
    for cycle, pins in enumerate(wanted):
        seen = int(bench.dut.pins.value)
        assert seen == pins, f"pins in cycle {cycle} of {len(wanted)} differ in {seen ^ pins:#x} with {program}"
        await bench.cycle()


@cocotb.test()
async def test_pins(dut):
    """Random tables, moved and not: every input of the macro in every cycle is what the golden model says."""
    bench = await ComputeBench.start(dut)
    for _ in range(8):
        program = [draw_step(bench.random) for _ in range(bench.random.randrange(1, 5))]
        moved = bench.random.random() < 0.5
        for step in program:
            _ROWS.sample(**{name: getattr(step, name) for name in (
                "planes", "sign", "select", "value", "mask", "port", "repair", *_FLAGS)}, moved=moved)
        await follow(bench, program, moved=moved)
        await bench.ended()
    report()


@cocotb.test()
async def test_pins_of_the_column_program(dut):
    bench = await ComputeBench.start(dut)
    await follow(bench, column_program(CONFIG)[::5], moved=False)


@cocotb.test()
@cocotb.parametrize(moved=[False, True])
async def test_signatures(dut, moved):
    """The column program: every column's signature and every macro's of its words, all as expected; cycles."""
    bench = await ComputeBench.start(dut)
    program = column_program(CONFIG)[::3]
    golden = macro_signatures(CONFIG, program, moved=moved)
    expected = (golden.columns[0], golden.words)
    await bench.begin(program, moved=moved, expected=expected)
    await bench.ended()
    assert bench.verdict() == {"done": 1, "failed": 0, "error": 0, "cause": 0}
    assert await bench.wrong() == set()
    assert await bench.signatures() == [[golden.columns[0]] * CONFIG.cols + [golden.words]] * CONFIG.macros
    assert int(dut.cbist_cycles.value) == run_cycles(program, moved=moved)
    await bench.begin(program, moved=moved, vote=True)
    await bench.ended()
    assert bench.verdict() == {"done": 1, "failed": 0, "error": 0, "cause": 0}
    assert int(dut.cbist_cycles.value) == run_cycles(program, moved=moved, vote=True)


@cocotb.test()
async def test_signatures_of_own_words(dut):
    """With spread each column has its own signature; all are the golden model's."""
    bench = await ComputeBench.start(dut)
    program = (TestStep(vectors=8, spread=True, e=9), TestStep(vectors=6, spread=True, repair=Repair.SWEEP, length=2),
               TestStep(vectors=6, repair=Repair.ALL, planes=Lanes.DENSE, port=Port.WRITE), TestStep(port=Port.ALL))
    golden = macro_signatures(CONFIG, program)
    await bench.begin(program)
    await bench.ended()
    assert await bench.signatures() == [[*golden.columns, golden.words]] * CONFIG.macros
    assert len(set(golden.columns)) > 1
    assert await bench.wrong() == {(macro, column) for macro in range(CONFIG.macros)
                                   for column in range(CONFIG.cols + 1)}


@cocotb.test()
async def test_wrong_expectations(dut):
    """Whatever is expected wrongly fails, and only that; words and columns apart."""
    bench = await ComputeBench.start(dut)
    golden = macro_signatures(CONFIG, BRIEF)
    everywhere = {(macro, column) for macro in range(CONFIG.macros) for column in range(CONFIG.cols)}
    words = {(macro, CONFIG.cols) for macro in range(CONFIG.macros)}
    for bit in (None, *bench.random.sample(range(32), 3)):
        for wrong_words in (False, True):
            wrong = 0 if bit is None else 1 << bit
            await bench.begin(BRIEF, expected=(golden.columns[0] ^ wrong * (not wrong_words),
                                               golden.words ^ wrong * wrong_words))
            await bench.ended()
            assert await bench.wrong() == (set() if bit is None else words if wrong_words else everywhere)
            assert bench.verdict()["failed"] == (bit is not None)


@cocotb.test()
async def test_one_macro(dut):
    """Only the chosen macro is isolated and judged."""
    bench = await ComputeBench.start(dut)
    for macro in range(CONFIG.macros):
        await bench.begin(BRIEF, macro=macro, expected=(1, 2))
        assert int(dut.isolated.value) == 1 << macro
        await bench.ended()
        assert int(dut.isolated.value) == 0
        assert await bench.wrong() == {(macro, column) for column in range(CONFIG.cols + 1)}
        signatures = await bench.signatures()
        assert all(not any(signatures[other]) for other in range(CONFIG.macros) if other != macro)


@cocotb.test()
async def test_refusals(dut):
    """Every cause, and that nothing is isolated; the fullest table runs."""
    bench = await ComputeBench.start(dut)

    async def refused(cause: BistCause):
        assert (dut.busy.value, int(dut.isolated.value)) == (0, 0)
        assert bench.verdict() == {"done": 0, "failed": 0, "error": 1, "cause": cause}

    await bench.begin(())
    await refused(BistCause.EMPTY_TABLE)
    await bench.begin(BRIEF[:1] * (TABLE_STEPS + 1))
    await refused(BistCause.CODE_TOO_LONG)
    assert int(dut.cbist_length.value) == TABLE_STEPS + 1
    for name, cause in (("blocked", BistCause.PROGRAM_RUNNING), ("marching", BistCause.MARCH_RUNNING)):
        getattr(dut, name).value = 1
        await bench.begin(BRIEF)
        await refused(cause)
        getattr(dut, name).value = 0
    await bench.begin(BRIEF, macro=CONFIG.macros)
    await refused(BistCause.RANGE)
    await bench.begin(BRIEF[:1] * TABLE_STEPS)
    assert dut.busy.value == 1
    await bench.ended()
    assert bench.verdict()["done"] == 1


@cocotb.test()
async def test_rows_that_mean_nothing(dut):
    """Each field beyond its values ends the run when the row would be loaded."""
    bench = await ComputeBench.start(dut)
    for name, value in (("planes", 7), ("sign", 7), ("select", 7), ("mask", 6), ("value", 5), ("repair", 3),
                        ("vectors", 0), ("length", 0), ("repeat", 0)):
        values = {field: int(getattr(BRIEF[0], field)) for field in FIELD_BITS}
        bad = step_layout().const(values | {name: value}).as_bits()
        at = bench.random.randrange(3)
        rows = [BRIEF[0].row] * 3
        rows[at] = bad
        await bench.load(rows)
        dut.cbist_mode.value = 0
        await bench.command(start=1)
        await bench.ended()
        assert bench.verdict() == {"done": 0, "failed": 0, "error": 1, "cause": BistCause.ILLEGAL_ROW}, name
        assert bench.fields("CBIST_STATUS")["step"] == at


@cocotb.test()
async def test_ended_at_any_moment(dut):
    """Abort, discard or a hard reset in any cycle: nothing is isolated after it, and the next run is as any."""
    bench = await ComputeBench.start(dut)
    golden = macro_signatures(CONFIG, BRIEF)
    for how in ["abort", "discard", "reset"] * 3:
        await bench.begin(BRIEF)
        await bench.cycle(bench.random.randrange(run_cycles(BRIEF) - 2))
        assert bench.dut.busy.value == 1
        if how == "abort":
            await bench.command(abort=1)
        elif how == "discard":
            dut.discard.value = 1
            await bench.cycle()
            dut.discard.value = 0
        else:
            await reset(dut)
        assert (dut.busy.value, int(dut.isolated.value)) == (0, 0)
        assert bench.verdict() == {"done": 0, "failed": 0, "error": int(how != "reset"),
                                   "cause": BistCause.NONE if how == "reset" else BistCause.ABORTED}
        await bench.cycle(bench.random.randrange(4))
        await bench.begin(BRIEF, expected=(golden.columns[0], golden.words))
        await bench.ended()
        assert bench.verdict() == {"done": 1, "failed": 0, "error": 0, "cause": 0}


@cocotb.test()
async def test_commands_during_a_run(dut):
    """Start, clear, next and rows are ignored."""
    bench = await ComputeBench.start(dut)
    golden = macro_signatures(CONFIG, BRIEF)
    await bench.begin(BRIEF, expected=(golden.columns[0], golden.words))
    for _ in range(2 * settled(CONFIG)):
        dut.cbist_row_high_set.value = BRIEF[0].row >> 32
        await bench.command(start=bench.random.random() < 0.5, clear=1, next=bench.random.random() < 0.5)
    dut.cbist_row_high_set.value = 0
    await bench.ended()
    assert bench.verdict() == {"done": 1, "failed": 0, "error": 0, "cause": 0}
    assert int(dut.cbist_length.value) == len(BRIEF)
    assert int(dut.cbist_cycles.value) == run_cycles(BRIEF)
