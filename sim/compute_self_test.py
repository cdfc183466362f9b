"""The compute self-test on the simulated chip: what is handed to its engine, and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hdl.config import Config
from hdl.csr import BistCause
from mbist.compute_test import Repair, TestStep, check
from mbist.netlist import column_netlist
from mbist.redundancy import repair_most
from mbist.repair_map import RepairError, column_map, repair_registers, spares
from mbist.signature_file import Expected

from .golden.compute_test import expected_runs
from .self_test import SelfTestStopped

if TYPE_CHECKING:
    from mbist.diagnosis import Diagnosis


class WrongSignature(NamedTuple):
    """Of a physical column, in the run with columns moved or in the other one."""

    moved: bool
    macro: int
    column: int
    value: int


@dataclass(frozen=True)
class ComputeResult:
    """What a compute self-test gave.

    Attributes
    ----------
    config : Config
    columns : tuple of (int, int)
        Macro and physical column of those that compute wrong, ascending.
    words : tuple of int
        Macros whose test port has read wrong words.
    cycles : int
        Of all runs together.
    program : tuple of TestStep
        Table of the runs.
    signatures : tuple of WrongSignature
        Of those columns, in the order of the runs.
    """

    config: Config
    columns: tuple[tuple[int, int], ...]
    words: tuple[int, ...]
    cycles: int
    program: tuple[TestStep, ...] = ()
    signatures: tuple[WrongSignature, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.columns and not self.words

    def repair(self) -> dict[str, int]:
        """Repair registers that leave the wrong columns unused.

        Raises
        ------
        RepairError
            If a macro has fewer spares.
        """
        repairs = []
        for macro in range(self.config.macros):
            wrong = [column for number, column in self.columns if number == macro]
            repair = repair_most(column_map(self.config, wrong), spares(self.config))
            if repair is None:
                raise RepairError(f"macro {macro} must have at most {self.config.spare_cols} columns that compute "
                                  f"wrong, not {len(wrong)}")
            repairs.append(repair)
        return repair_registers(self.config, repairs)

    def diagnose(self) -> dict[tuple[int, int], "Diagnosis"]:
        """What is wrong in each of the columns, by macro and physical column, from the first of its wrong signatures.

        A dictionary is made for each physical column: seconds on ``tiny``, minutes on ``edge``.

        Raises
        ------
        SynthesisFailed
            If Yosys, of the extra 'formal', is missing.
        """
        from mbist.diagnosis import Dictionary  # its compiler takes as long to import as all else
        if not self.signatures:
            return {}
        netlist = column_netlist(self.config)

        @cache
        def dictionary(moved: bool, column: int) -> Dictionary:
            return Dictionary.of_run(self.config, netlist, self.program, column, moved=moved)

        found: dict[tuple[int, int], Diagnosis] = {}
        for moved, macro, column, value in self.signatures:
            if (macro, column) not in found:
                found[macro, column] = dictionary(moved, column).diagnose(value)
        return found


def orders(config: Config, program: Sequence[TestStep], runs: Sequence[Expected] | None, vote: bool,
           macro: int | None) -> list[dict[str, Any]]:
    """Per run the table, and the registers that belong to it.

    Raises
    ------
    ValueError
        If the engine cannot hold the program, its columns have signatures of their own, or there is no such macro.
    """
    check(program)
    if any(step.spread or step.repair is not Repair.NONE for step in program):
        raise ValueError("program must drive all columns alike: no step may have spread or repair")
    if macro is not None and not 0 <= macro < config.macros:
        raise ValueError(f"macro must be from 0 to {config.macros - 1}, not {macro!r}")
    return [{"table": [step.row for step in program],
             "mode": {"moved": run.moved, "vote": vote, "single": macro is not None, "macro": macro or 0},
             "expected": run.columns[0], "words": run.words, "cycles": run.cycles,
             "macros": config.macros, "cols": config.cols}
            for run in (expected_runs(config, program) if runs is None else runs)]


def result(config: Config, program: Sequence[TestStep], runs: list[dict[str, Any]],
           answers: list[dict[str, Any]]) -> ComputeResult:
    """From what the registers hold after each run.

    Raises
    ------
    SelfTestStopped
        If a run was not completed.
    """
    signatures: list[WrongSignature] = []
    words: set[int] = set()
    for run, answer in zip(runs, answers, strict=True):
        status = answer["status"]
        if not status["done"]:
            raise SelfTestStopped(f"the compute self-test was not completed: cause {BistCause(status['cause']).name} "
                                  f"at row {status['step']}")
        moved = run["mode"]["moved"]
        shift = config.spare_cols if moved else 0
        wrong = np.array([[int(bits) >> column & 1 for column in range(config.cols + 1)] for bits in answer["wrong"]])
        signatures += [WrongSignature(moved, int(macro), int(column) + shift, answer["signatures"][macro][column])
                       for macro, column in np.argwhere(wrong[:, :config.cols])]
        words |= {int(macro) for macro in np.flatnonzero(wrong[:, config.cols])}
    return ComputeResult(config, tuple(sorted({(wrong.macro, wrong.column) for wrong in signatures})),
                         tuple(sorted(words)), sum(answer["cycles"] for answer in answers), tuple(program),
                         tuple(signatures))
