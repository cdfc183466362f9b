"""Signature files: what goes in comes out, and what is refused; and from wrong signatures to repair."""

import json

import pytest

from hdl.config import configuration
from mbist.compute_test import STEP_BITS, TABLE_STEPS, Port, TestStep, column_program
from mbist.redundancy import repair_most
from mbist.repair_map import Address, column_map, defect_map, repair_registers, spares
from mbist.signature_file import Expected, SignatureFileError, export_signatures, read_signatures

TINY = configuration("tiny")
RUNS = (Expected(False, 900, (0x12345678,), 0x9ABCDEF0), Expected(True, 901, (1, 2, 3, 4), 5))


def changed(**entries) -> str:
    return json.dumps(json.loads(export_signatures(TINY, column_program(TINY), RUNS)) | entries)


def test_a_file_holds_program_and_runs():
    program, runs = read_signatures(TINY, export_signatures(TINY, column_program(TINY), RUNS))
    assert program == column_program(TINY)
    assert runs == RUNS
    assert isinstance(program[0].port, Port)
    assert isinstance(program[0].keep, bool)


def test_a_file_of_another_configuration_is_refused():
    small = configuration("small")
    with pytest.raises(SignatureFileError) as error:
        read_signatures(small, export_signatures(TINY, column_program(TINY), RUNS))
    assert str(error.value) == (f"hash must be {small.hash:016x}, of configuration small, not {TINY.hash:016x}, "
                                "of tiny")


@pytest.mark.parametrize(("entries", "sentence"), [
    ({"table": [f"{TestStep().row:016x}"] * (TABLE_STEPS + 1)},
     f"table must fit the engine: the program must have from 1 to {TABLE_STEPS} steps, not {TABLE_STEPS + 1}"),
    ({"table": []}, f"table must fit the engine: the program must have from 1 to {TABLE_STEPS} steps, not 0"),
    ({"table": [f"{1 << STEP_BITS:x}"]},
     f"table must fit the engine: a row must have {STEP_BITS} bits, not {STEP_BITS + 1}"),
    ({"table": ["0"]}, "table must fit the engine: vectors must be from 1 to 511, not 0"),
    ({"runs": [{"moved": False, "cycles": 1, "columns": ["1", "2"], "words": "3"}]},
     "columns must be 1 signature or 4, not 2"),
])
def test_a_file_that_does_not_fit_is_refused(entries, sentence):
    with pytest.raises(SignatureFileError) as error:
        read_signatures(TINY, changed(**entries))
    assert str(error.value) == sentence


def test_a_program_that_is_too_long_is_not_written():
    with pytest.raises(ValueError, match="the program must have"):
        export_signatures(TINY, (TestStep(),) * (TABLE_STEPS + 1), RUNS)


@pytest.mark.parametrize(("run", "seen", "physical"), [
    (RUNS[0], (0x12345678,) * 4, ()), (RUNS[0], (0x12345678, 0, 0x12345678, 1), (1, 3)), (RUNS[1], (1, 2, 0, 4), (3,))])
def test_wrong_signatures_name_physical_columns(run, seen, physical):
    assert run.failing(TINY, seen) == physical


def test_a_column_that_computes_wrong_is_repaired():
    """One is, beside the same column's failing words; two are more than there are spares."""
    failing = RUNS[0].failing(TINY, (0x12345678, 0x12345678, 7, 0x12345678))
    defects = column_map(TINY, failing) | defect_map(TINY, [Address(2, 1, 3)])
    repair = repair_most(defects, spares(TINY))
    assert repair is not None
    assert repair.columns == (2,)
    assert repair_registers(TINY, [repair]) == {"REPAIR0_0": 2}
    assert repair_most(column_map(TINY, (0, 2)), spares(TINY)) is None
