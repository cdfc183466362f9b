"""What a compute self-test has to give, as a file for whoever runs it: table, signatures and cycles, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from hdl.config import Config

from .compute_test import STEP_BITS, TestStep, check


class SignatureFileError(ValueError):
    """A signature file of another chip, or one that the engine cannot use."""


@dataclass(frozen=True)
class Expected:
    """Signature registers of a fault-free macro after a run.

    Attributes
    ----------
    moved : bool
        Steps that move no column move all, and the opposite: the run that tests the spares.
    cycles : int
        Of the table.
    columns : tuple of int
        By logical column; one for all of them, if they are driven alike.
    words : int
        Of the words that the test port reads.
    """
    moved: bool
    cycles: int
    columns: tuple[int, ...]
    words: int

    def failing(self, config: Config, seen: Sequence[int]) -> tuple[int, ...]:
        """Physical columns whose signatures are wrong, of a program that moves no column by itself.

        Parameters
        ----------
        seen : sequence of int
            Signature of each logical column.
        """
        right = self.columns * config.cols if len(self.columns) == 1 else self.columns
        shift = config.spare_cols if self.moved else 0
        return tuple(column + shift for column, (mine, other) in enumerate(zip(right, seen, strict=True))
                     if mine != other)


def export_signatures(config: Config, program: Sequence[TestStep], runs: Sequence[Expected]) -> str:
    """A program and what its runs give, as JSON; rows of the table and signatures are hexadecimal."""
    check(program)
    return json.dumps({
        "config": config.name, "hash": f"{config.hash:016x}",
        "table": [f"{step.row:0{-(-STEP_BITS // 4)}x}" for step in program],
        "runs": [asdict(run) | {"columns": [f"{value:08x}" for value in run.columns], "words": f"{run.words:08x}"}
                 for run in runs]}, indent=2)


def read_signatures(config: Config, text: str) -> tuple[tuple[TestStep, ...], tuple[Expected, ...]]:
    """Program and runs of a file.

    Raises
    ------
    SignatureFileError
        If it was made for another configuration, its table does not fit the engine, or a run has signatures of neither
        one nor every column.
    """
    entry = json.loads(text)
    if entry["hash"] != f"{config.hash:016x}":
        raise SignatureFileError(f"hash must be {config.hash:016x}, of configuration {config.name}, not "
                                 f"{entry['hash']}, of {entry['config']}")
    try:
        program = tuple(TestStep.of_row(int(row, 16)) for row in entry["table"])
        check(program)
    except ValueError as error:
        raise SignatureFileError(f"table must fit the engine: {error}") from error
    runs = tuple(Expected(run["moved"], run["cycles"], tuple(int(value, 16) for value in run["columns"]),
                          int(run["words"], 16)) for run in entry["runs"])
    for run in runs:
        if len(run.columns) not in (1, config.cols):
            raise SignatureFileError(f"columns must be 1 signature or {config.cols}, not {len(run.columns)}")
    return program, runs
