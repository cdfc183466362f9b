"""Errors that a user can cause: the command line answers them with their one sentence and exit code 2."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hdl.config import ConfigError
from hdl.program import ProgramError
from sim.rtl import BuildFailed, MissingTool, SimulationFailed
from sim.session import ChipMismatch, ProgramStopped, ProgramTimeout

KNOWN = (ConfigError, ProgramError, MissingTool, BuildFailed, SimulationFailed, ChipMismatch, ProgramStopped,
         ProgramTimeout, OSError, ValueError)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turns a known error into ``error: <sentence>`` on standard error and exit code 2."""
    try:
        yield
    except KNOWN as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
