"""The compute self-test on the simulated chip, by itself and while a program runs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bench.in_field import defective, layers
from hdl.bist.compute import ComputeTest
from hdl.config import CONFIGS
from hdl.csr import BistCause, Cause
from hdl.ipu.field_test import MACRO_STRIDE
from hdl.isa import Instruction, Opcode
from hdl.program import Program
from mbist.compute_test import Repair, TestStep, column_program
from mbist.repair_map import RepairError
from mbist.signature_file import Expected
from sim.compute_self_test import ComputeResult
from sim.golden.compute_test import expected_runs
from sim.rtl import generated
from sim.self_test import SelfTestStopped
from sim.session import ProgramStopped, Session, chip

TINY = CONFIGS["tiny"]
PROGRAM = column_program(TINY)[::4]

#: The physical column that is defective, and the lane.
COLUMN, LANE = 2, 6

#: Two macros beside each other, and a short table.
PAIR = replace(TINY, name="pair", rows=16, grid_n=2)
SHORT = column_program(PAIR)[:2]


@pytest.fixture(scope="module")
def runs():
    return expected_runs(TINY, PROGRAM)


@pytest.fixture(scope="module")
def broken():
    """Bit 2 of the activations is stuck at 0 in one lane of one column."""
    good = generated(chip, TINY, name="chip", view="simulation")
    stuck = f"(c == {COLUMN} ? {TINY.rows}'d{1 << LANE} : {TINY.rows}'d0)"
    text, places = re.subn(r"\(held_2 \^ sign\)", f"((held_2 & ~{stuck}) ^ sign)", good.text)
    assert places == 1
    return replace(good, text=text)


@pytest.fixture(scope="module")
def pair():
    """Of two macros the second one has a column whose results have bit 0 stuck at 1."""
    return defective(generated(chip, PAIR, name="chip", view="simulation"), PAIR, 1, COLUMN)


def test_a_chip_passes(runs):
    session = Session(TINY, "verilator")
    cycles = sum(run.cycles + ComputeTest.DRAIN for run in runs)
    signatures = len(runs) * (TINY.cols + 1)
    for how, turns in (({}, 1), ({"vote": True}, 2), ({"macro": 0}, 1)):
        result = session.compute_self_test(PROGRAM, runs, **how)
        assert (result.passed, result.columns, result.words) == (True, (), ())
        assert result.cycles == cycles + turns * signatures
        assert result.repair() == {"REPAIR0_0": TINY.cols}
    assert not session.directory.exists()


def test_a_defective_column_is_named(runs, broken):
    """In its place and when columns are moved, by expectation and by vote."""
    for vote in (False, True):
        result = Session(TINY, "verilator", design=broken).compute_self_test(PROGRAM, runs, vote=vote)
        assert (result.passed, result.columns, result.words) == (False, ((0, COLUMN),), ())
        assert result.repair() == {"REPAIR0_0": COLUMN}


@pytest.mark.formal
@pytest.mark.parametrize("vote", [False, True])
def test_a_defective_lane_is_named(runs, broken, vote):
    result = Session(TINY, "verilator", design=broken).compute_self_test(PROGRAM, runs, vote=vote)
    found = result.diagnose()
    assert list(found) == [(0, COLUMN)]
    assert found[0, COLUMN].lane == LANE
    assert found[0, COLUMN].blocks == ("adder tree", "inputs")
    assert f"plane_sum.act__2[{LANE}], port, stuck at 0" in found[0, COLUMN].faults


@pytest.mark.formal
def test_a_defect_behind_the_lanes_names_none(pair):
    """The short table has one scale only, with which bit 0 of a psum is that of the result."""
    result = Session(PAIR, "verilator", design=pair).compute_self_test(SHORT)
    diagnosis = result.diagnose()[1, COLUMN]
    assert "scale" in diagnosis.blocks
    assert diagnosis.lane is None
    assert "scaled.value[0], flip-flop scaled.value[0].q, stuck at 1" in diagnosis.faults


def test_what_passes_needs_no_diagnosis():
    assert ComputeResult(TINY, (), (), 0).diagnose() == {}


def test_of_two_macros_one_is_tested(pair):
    """Alone, the good one passes and the other one does not, by expectation and by vote; so do both together."""
    session, runs = Session(PAIR, "verilator", design=pair), expected_runs(PAIR, SHORT)
    for vote in (False, True):
        for macro, columns in ((0, ()), (1, ((1, COLUMN),)), (None, ((1, COLUMN),))):
            result = session.compute_self_test(SHORT, runs, vote=vote, macro=macro)
            assert (result.columns, result.words) == (columns, ())
            assert result.repair() == {"REPAIR0_0": PAIR.cols, "REPAIR1_0": COLUMN if columns else PAIR.cols}


def test_the_program_is_the_column_program(pair):
    """By vote, for which nothing need be known."""
    session = Session(PAIR, "verilator", design=pair)
    result = session.compute_self_test(runs=[Expected(False, 4000, (0,), 0)], vote=True)
    assert result.columns == ((1, COLUMN),)
    assert result.program == column_program(PAIR)


def test_more_wrong_columns_than_spares():
    result = ComputeResult(TINY, ((0, 1), (0, 3)), (), 0)
    with pytest.raises(RepairError, match=r"^macro 0 must have at most 1 columns that compute wrong, not 2$"):
        result.repair()


def test_what_cannot_be_run(runs):
    with pytest.raises(ValueError, match=r"^the backend of a self-test must be verilator or icarus, not 'golden'$"):
        Session(TINY).compute_self_test()
    session = Session(TINY, "verilator")
    with pytest.raises(ValueError, match=r"^macro must be from 0 to 0, not 1$"):
        session.compute_self_test(PROGRAM, runs, macro=1)
    for step in (TestStep(spread=True), TestStep(repair=Repair.ALL)):
        with pytest.raises(ValueError,
                           match=r"^program must drive all columns alike: no step may have spread or repair$"):
            session.compute_self_test((step,), runs)
    with pytest.raises(ValueError, match=r"^the program must have from 1 to 32 steps, not 0$"):
        session.compute_self_test((), runs)


def test_a_run_that_is_not_completed(runs, monkeypatch):
    monkeypatch.setattr(TestStep, "row", property(lambda step: 7))  # no source of planes, and never repeated
    with pytest.raises(SelfTestStopped,
                       match=r"^the compute self-test was not completed: cause EMPTY_TABLE at row 0$"):
        Session(TINY, "verilator").compute_self_test(PROGRAM, runs)


def stopped(session: Session, *instructions: Instruction) -> tuple[Cause, int]:
    program = Program.assemble(session.config, instructions, entry=0, memory_bytes=0x1000)
    with pytest.raises(ProgramStopped) as error:
        session.run(program)
    return error.value.cause, error.value.address


def test_a_program_runs_on_after_a_test(runs):
    """As a pause, and beside layers; results are those without it."""
    session = Session(TINY, "verilator", field_test=(PROGRAM, runs[0]))
    plain = layers(TINY, 0, TINY.out_cols, None, beside=False)
    x = {"x": np.random.default_rng(1).integers(-128, 128, plain.inputs["x"].shape).astype(np.int8)}
    without = session.run(plain, x)
    paused = session.run(layers(TINY, 0, TINY.out_cols, 0, beside=False), x)
    assert np.array_equal(paused.outputs["y"], without.outputs["y"])
    assert np.array_equal(paused.outputs["y"], Session(TINY).run(plain, x).outputs["y"])
    assert without.cycles + runs[0].cycles < paused.cycles < without.cycles + runs[0].cycles + 300


def test_a_defect_stops_the_program(runs, broken):
    session = Session(TINY, "verilator", design=broken, field_test=(PROGRAM, runs[0]))
    test = Instruction(Opcode.TEST, {"begin": 1, "end": 1})
    assert stopped(session, test) == (Cause.SELF_TEST, COLUMN)


def test_a_macro_under_test_counts_as_zero(pair):
    """Four layers add up, the third one while the first macro is tested: its channels lack that one, the other macro's
    are those without a test."""
    session = Session(PAIR, "verilator", design=pair, field_test=(SHORT, expected_runs(PAIR, SHORT)[0]))
    plain = layers(PAIR, 0, PAIR.out_cols, None, beside=True)
    x = {"x": np.random.default_rng(1).integers(-128, 128, plain.inputs["x"].shape).astype(np.int8)}
    whole = session.run(plain, x).outputs["y"]
    tested = session.run(layers(PAIR, 0, PAIR.out_cols, 0, beside=True), x).outputs["y"]
    assert np.array_equal(tested[:, PAIR.cols:], whole[:, PAIR.cols:])
    assert np.array_equal(4 * tested[:, :PAIR.cols], 3 * whole[:, :PAIR.cols])
    assert whole[:, :PAIR.cols].any()


def test_the_defective_macro_is_named(pair):
    session = Session(PAIR, "verilator", design=pair, field_test=(SHORT, expected_runs(PAIR, SHORT)[0]))
    good, bad = (Instruction(Opcode.TEST, {"macro": macro, "begin": 1, "end": 1}) for macro in range(2))
    assert stopped(session, good, bad) == (Cause.SELF_TEST, MACRO_STRIDE + COLUMN)


def test_tests_that_are_refused(runs):
    begin, end = (Instruction(Opcode.TEST, {name: 1}) for name in ("begin", "end"))
    assert stopped(Session(TINY, "verilator"), begin) == (Cause.SELF_TEST_REFUSED, BistCause.EMPTY_TABLE)
    session = Session(TINY, "verilator", field_test=(PROGRAM, runs[0]))
    assert stopped(session, end) == (Cause.SELF_TEST_REFUSED, BistCause.NOT_HELD)
    assert stopped(session, begin, begin) == (Cause.SELF_TEST_REFUSED, BistCause.COMPUTE_RUNNING)
    assert stopped(session, begin, end, end) == (Cause.SELF_TEST_REFUSED, BistCause.NOT_HELD)
