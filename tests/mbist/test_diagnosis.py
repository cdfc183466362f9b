"""Diagnosis of columns of `tiny` from their signatures; Yosys is of the extra 'formal'."""

from dataclasses import replace

import numpy as np
import pytest

from hdl.config import ACT_BITS, configuration
from mbist.compute_pins import column_pins, expand
from mbist.compute_test import Mask, TestStep
from mbist.diagnosis import Diagnosis, Dictionary, column_lanes
from mbist.gate_simulation import respond, simulate
from mbist.netlist import Netlist, column_netlist

TINY = configuration("tiny")
PROGRAM = (TestStep(vectors=24, mask=Mask.BIT, m=5, e_step=9, repeat=4), TestStep())
COLUMN = 2


@pytest.fixture(scope="module")
def column() -> Netlist:
    return column_netlist(TINY)


@pytest.fixture(scope="module")
def dictionary(column) -> Dictionary:
    return Dictionary.of_run(TINY, column, PROGRAM, COLUMN)


@pytest.mark.formal
def test_lanes_are_what_depends_on_one_lane_only(column):
    """At the gates: each lane's inputs are changed, and the nets that then differ at any time are those of that lane,
    and what follows from several."""
    cycles, rng = 2000, np.random.default_rng(4)
    pins = {name: rng.integers(0, 2, (cycles, len(nets))).astype(bool) for name, nets in column.inputs.items()}
    own = [dict(pins) for _ in range(TINY.rows)]
    for lane, changed in enumerate(own):
        for name in ("lanes", "sign", *(f"act__{bit}" for bit in range(ACT_BITS))):
            mine = np.arange(len(column.inputs[name])) % TINY.rows == lane
            changed[name] = np.where(mine, rng.integers(0, 2, pins[name].shape), pins[name]).astype(bool)
    nets = replace(column, outputs={"net": np.arange(column.nets)})
    plain, *others = (seen["net"] for seen in respond(nets, [pins, *own], observe=("net",), cycles=cycles))
    depends = np.array([(seen != plain).any(axis=0) for seen in others])
    only = np.where(depends.sum(axis=0) == 1, depends.argmax(axis=0), -1)
    assert np.array_equal(column_lanes(TINY, column), only)
    assert [(only == lane).sum() > 100 for lane in range(TINY.rows)] == [True] * TINY.rows


@pytest.mark.formal
def test_a_signature_is_explained_by_its_faults(column, dictionary):
    """Random faults, from a state at power-up that the dictionary does not know: block, and lane or none."""
    drive, faults = expand(TINY, PROGRAM), dictionary.faults
    tried = np.random.default_rng(8).choice(len(faults), 400, replace=False)
    run = simulate(column, column_pins(drive, COLUMN), faults, tried, observe=("scaled",), listen=drive.listen, seed=3)
    explained = lanes = 0
    for number, signature in zip(tried[run.signed], run.registers[run.signed, 0].tolist()):
        found = dictionary.diagnose(signature)
        if faults.name(column, int(number)) in found.faults:
            explained += 1
            lane = int(dictionary.lanes[number])
            assert dictionary.blocks[number] in found.blocks
            assert found.lane in (None, lane)
            lanes += lane >= 0 and found.lane == lane
    assert explained > 0.97 * run.signed.sum() > 200
    assert lanes > 0.9 * np.isin(tried[run.signed], np.flatnonzero(dictionary.lanes >= 0)).sum() > 20


@pytest.mark.formal
def test_what_no_single_fault_gives(column, dictionary):
    drive = expand(TINY, PROGRAM)
    right = simulate(column, column_pins(drive, COLUMN), dictionary.faults, np.arange(0), observe=("scaled",),
                     listen=drive.listen).signatures[0]
    unknown = next(value for value in range(100) if value not in dictionary.suspects)
    for signature in (right, unknown):
        assert dictionary.diagnose(signature) == Diagnosis(blocks=(), lane=None, faults=())


@pytest.mark.formal
def test_lanes_named(dictionary):
    """Nearly all: the others are input pins of the first adders, whose faults are also those of the adder's output."""
    named, wrong = dictionary.lanes_named()
    assert 0.9 * wrong < named < wrong
    for signature, suspects in dictionary.suspects.items():
        if dictionary.diagnose(signature).lane is None:
            assert set(dictionary.blocks[suspects[dictionary.lanes[suspects] >= 0]]) <= {"adder tree"}


@pytest.mark.formal
def test_another_column_has_another_dictionary(column, dictionary):
    """It is loaded in other cycles."""
    other = Dictionary.of_run(TINY, column, PROGRAM, 0)
    assert set(other.suspects) != set(dictionary.suspects)
