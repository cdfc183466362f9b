"""Repair registers and fuses: every set of columns that the spares can replace, and what is refused."""

import json
from itertools import combinations

import pytest

from hdl.cim.interfaces import bist_words
from hdl.config import CONFIGS
from mbist.faults import Cell, CellFault
from mbist.library import LIBRARY
from mbist.memory import fail_log
from mbist.primitives import parse_primitive
from mbist.redundancy import Repair, repair_most
from mbist.repair_map import (
    Address,
    RepairError,
    defect_map,
    export_fuses,
    is_repaired,
    physical_columns,
    read_fuses,
    repair_points,
    repair_registers,
    spares,
)

TINY = CONFIGS["tiny"].with_(spare_cols=2)
SMALL = CONFIGS["small"]


def test_unused_columns_are_unused():
    """Spares too may be unused."""
    for count in range(TINY.spare_cols + 1):
        for unused in combinations(range(TINY.physical_cols), count):
            points = repair_points(TINY, Repair(columns=unused))
            used = physical_columns(TINY, points)
            assert len(points) == TINY.spare_cols
            assert list(points) == sorted(points)
            assert used == sorted(set(used))
            assert len(used) == TINY.cols
            assert not set(used) & set(unused)
            assert max(used) < TINY.physical_cols


@pytest.mark.parametrize(("unused", "points"), [((), (4, 4)), ((0,), (0, 4)), ((1, 2), (1, 1)), ((1, 5), (1, 4)),
                                                ((4, 5), (4, 4))])
def test_points(unused, points):
    assert repair_points(TINY, Repair(columns=unused)) == points


def test_from_failing_reads_to_registers():
    """A March test on a macro's words with one cell that cannot hold 1, its log, the analysis, and the test again."""
    words = bist_words(SMALL)
    addresses = [Address(column, bank, word) for column in range(SMALL.physical_cols) for bank in (0, 1)
                 for word in range(words)]
    broken = Address(5, 1, 3)
    fault = CellFault((parse_primitive("<1/0/->"),), Cell(addresses.index(broken), 2))
    log = fail_log(LIBRARY["March C-"], len(addresses), SMALL.rows, fault)
    failing = [addresses[failure.address] for failure in log]
    defects = defect_map(SMALL, failing)
    assert defects.shape == (2 * words, SMALL.physical_cols)
    assert defects.sum() == 1
    assert defects[words + 3, 5]
    repair = repair_most(defects, spares(SMALL))
    registers = repair_registers(SMALL, [repair, Repair(), Repair(), Repair()])
    assert registers == {"REPAIR0_0": 5, "REPAIR1_0": 8, "REPAIR2_0": 8, "REPAIR3_0": 8}
    assert is_repaired(SMALL, [registers["REPAIR0_0"]], failing)
    assert not is_repaired(SMALL, [registers["REPAIR1_0"]], failing)


def test_fuses_come_back():
    registers = repair_registers(SMALL, [Repair(columns=(column,)) for column in (0, 7, 8, 3)])
    text = export_fuses(SMALL, registers)
    assert json.loads(text)["fuses"] == f"{0 | 7 << 4 | 8 << 8 | 3 << 12:04x}"
    assert json.loads(text)["fuse_bits"] == 16
    assert read_fuses(SMALL, text) == registers


def test_fuses_of_a_macro_without_spares():
    config = SMALL.with_(spare_cols=0)
    text = export_fuses(config, repair_registers(config, [Repair()] * 4))
    assert read_fuses(config, text) == {}


def test_refused_repairs():
    for repair, sentence in (
            (Repair(columns=(1, 2)), "columns must be at most spare_cols = 1, not (1, 2)"),
            (Repair(rows=(3,)), "rows must be empty, not (3,): a macro has no spare rows")):
        with pytest.raises(RepairError) as raised:
            repair_points(SMALL, repair)
        assert str(raised.value) == sentence
    with pytest.raises(RepairError) as raised:
        repair_registers(SMALL, [Repair()])
    assert str(raised.value) == "repairs must be one for each of 4 macros, not 1"


def test_refused_fuses():
    text = export_fuses(SMALL, repair_registers(SMALL, [Repair()] * 4))
    with pytest.raises(RepairError) as raised:
        read_fuses(TINY, text)
    assert str(raised.value) == (f"hash must be {TINY.hash:016x}, of configuration custom, not {SMALL.hash:016x}")
    with pytest.raises(RepairError, match=r"^fuses must hold the registers"):
        read_fuses(SMALL, text.replace("8888", "8887"))
