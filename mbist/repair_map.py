"""From failing reads of the macros to their repair registers and fuses.

A March address of a macro is a physical column, a bank and a word (:func:`hdl.cim.interfaces.bist_words` of them). Its
defect map has a column per physical column, and a row per bank and word: the plane rows. A macro offers spare columns
only; they replace a column in both banks.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hdl.cim.interfaces import bist_words
from hdl.config import Config, clog2

from .redundancy import Repair, Spares


class Address(NamedTuple):
    """What a March test of a macro visits."""

    column: int
    bank: int
    word: int


class RepairError(ValueError):
    """A repair that a macro cannot do, or a repair map of another chip."""


def spares(config: Config) -> Spares:
    """What a macro offers."""
    return Spares(columns=config.spare_cols, rows=0)


def defect_map(config: Config, failing: Iterable[Address]) -> np.ndarray:
    """Plane rows x physical columns of one macro: where a read failed. Row ``bank x words + word``."""
    words = bist_words(config)
    defects = np.zeros((2 * words, config.physical_cols), bool)
    for column, bank, word in failing:
        defects[bank * words + word, column] = True
    return defects


def column_map(config: Config, columns: Iterable[int]) -> np.ndarray:
    """The same of physical columns that store right but compute wrong: all of such a column is defective. Its union
    with what March tests find goes to the analysis."""
    defects = np.zeros((2 * bist_words(config), config.physical_cols), bool)
    defects[:, list(columns)] = True
    return defects


def repair_points(config: Config, repair: Repair) -> tuple[int, ...]:
    """A macro's repair registers, which leave the given physical columns unused: as ``repair`` of
    :class:`hdl.cim.macro.Macro`, ascending.

    Raises
    ------
    RepairError
        If there are fewer spares.
    """
    if repair.rows:
        raise RepairError(f"rows must be empty, not {repair.rows!r}: a macro has no spare rows")
    if len(repair.columns) > config.spare_cols:
        raise RepairError(f"columns must be at most spare_cols = {config.spare_cols}, not {repair.columns!r}")
    # Each point moves the columns behind it up by one, so the next unused one lies one logical column earlier.
    points = [min(column - passed, config.cols) for passed, column in enumerate(sorted(repair.columns))]
    return (*points, *[config.cols] * (config.spare_cols - len(points)))


def physical_columns(config: Config, points: Sequence[int]) -> list[int]:
    """The physical column of each logical one under a macro's repair registers."""
    return [column + sum(point <= column for point in points) for column in range(config.cols)]


def repair_registers(config: Config, repairs: Sequence[Repair]) -> dict[str, int]:
    """The repair map of a core: values of the registers of all macros by name.

    Raises
    ------
    RepairError
        If there are not as many repairs as macros, or a macro has fewer spares.
    """
    if len(repairs) != config.macros:
        raise RepairError(f"repairs must be one for each of {config.macros} macros, not {len(repairs)}")
    return {f"REPAIR{macro}_{spare}": point for macro, repair in enumerate(repairs)
            for spare, point in enumerate(repair_points(config, repair))}


def is_repaired(config: Config, points: Sequence[int], failing: Iterable[Address]) -> bool:
    """Whether a macro is good after repair, from the failing reads of the test that was run again: the test reaches
    every physical column, so those that are unused may fail."""
    used = physical_columns(config, points)
    return not defect_map(config, failing)[:, used].any()


# Fuses


def export_fuses(config: Config, registers: Mapping[str, int]) -> str:
    """A repair map as JSON, for whoever programs the fuses and for the driver that writes it back after reset.

    ``fuses`` is the same in bits, as a hexadecimal number: the fields of all registers one behind the other, the first
    register lowest, each as wide as a register's valid values need.
    """
    width = clog2(config.cols + 1)
    fuses = sum(value << width * i for i, value in enumerate(registers.values()))
    bits = width * len(registers)
    return json.dumps({"config": config.name, "hash": f"{config.hash:016x}", "registers": dict(registers),
                       "fuse_bits": bits, "fuses": f"{fuses:0{-(-bits // 4)}x}"}, indent=2)


def read_fuses(config: Config, text: str) -> dict[str, int]:
    """The registers of an exported repair map.

    Raises
    ------
    RepairError
        If it was made for another configuration, or its fuses and registers differ.
    """
    entry = json.loads(text)
    if entry["hash"] != f"{config.hash:016x}":
        raise RepairError(f"hash must be {config.hash:016x}, of configuration {config.name}, not {entry['hash']}")
    width = clog2(config.cols + 1)
    fuses = int(entry["fuses"] or "0", 16)
    blown = {name: fuses >> width * i & (1 << width) - 1 for i, name in enumerate(entry["registers"])}
    if blown != entry["registers"]:
        raise RepairError(f"fuses must hold the registers {entry['registers']}, not {blown}")
    return blown
