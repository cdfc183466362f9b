"""March tests on the simulated chip: what is handed to its controller, and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hdl.config import Config
from hdl.csr import BistCause
from mbist.microcode import MicrocodeError, Run, assemble
from mbist.notation import March
from mbist.repair_map import Address


class SelfTestStopped(RuntimeError):
    """The controller refused a test or ended it early."""


@dataclass(frozen=True)
class MarchResult:
    """What a March test gave.

    Attributes
    ----------
    passed : bool
    cycles : int
        Of the controller.
    fails : int
        Reads that failed, in whatever macros.
    log : tuple of (Address, int)
        Those in the fail log: where, and the lowest-numbered macro that failed. All, if the run has ``hold_full``.
    """

    passed: bool
    cycles: int
    fails: int
    log: tuple[tuple[Address, int], ...]


def orders(config: Config, tests: Sequence[tuple[March, Run]]) -> list[dict[str, Any]]:
    """Per test its microcode, its registers and the cycles that it will take.

    Raises
    ------
    MicrocodeError
        If the controller cannot execute a test, or a run is of another configuration.
    """
    for march, run in tests:
        if run.config != config:
            raise MicrocodeError(f"the run of {march.name} must be of {config.name}, not of {run.config.name}")
    return [{"code": assemble(march).words, "registers": run.registers(), "cycles": run.cycles(march)}
            for march, run in tests]


def results(tests: Sequence[tuple[March, Run]], answers: list[dict[str, Any]]) -> list[MarchResult]:
    """From what the registers hold after each test.

    Raises
    ------
    SelfTestStopped
        If a test was not completed.
    """
    found = []
    for (march, _), answer in zip(tests, answers, strict=True):
        status = answer["status"]
        if not status["done"]:
            raise SelfTestStopped(f"{march.name} was not completed: cause {BistCause(status['cause']).name} at "
                                  f"microcode word {status['step']}")
        found.append(MarchResult(not status["failed"], answer["cycles"], answer["fails"],
                                 tuple((Address(**address), macro) for address, macro in answer["log"])))
    return found
