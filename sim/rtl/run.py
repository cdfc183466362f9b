"""Runs cocotb tests on a build."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from hdl.config import Config

from .build import Build, worker
from .paths import build_root

#: Seed of a run that names none.
DEFAULT_SEED = 1

#: Environment variable that carries the configuration into the simulator.
CONFIG_VARIABLE = "CIMPLE_CONFIG"

_KEEP_SECONDS = 24 * 3600


class SimulationFailed(RuntimeError):
    """Tests failed, or the simulator ended without results; the message names them and the log.

    Attributes
    ----------
    results : Results
    """

    def __init__(self, message: str, results: "Results"):
        super().__init__(message)
        self.results = results


@dataclass(frozen=True)
class Results:
    """What a run did.

    Attributes
    ----------
    passed, failed : tuple of str
        Names of the tests.
    directory : Path
        The simulator's current directory: whatever a test writes without a path is here.
    log : Path
    waves : Path or None
    """

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    directory: Path
    log: Path
    waves: Path | None


def test_config() -> Config:
    """In a cocotb test: the configuration that the design under test was built for."""
    return Config(**json.loads(os.environ[CONFIG_VARIABLE]))


test_config.__test__ = False  # type: ignore[attr-defined]  # pytest takes the name for a test


def run(build: Build, test_module: str, *, testcase: str | Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None, seed: int | None = None, waves: bool = False,
        plusargs: Sequence[str] = (), directory: Path | None = None, timeout: float | None = None,
        random_start: bool = True) -> Results:
    """Runs the cocotb tests of a module in a directory of their own.

    Parameters
    ----------
    testcase : str or list of str
        Only these tests.
    environment : dict
        Variables that the tests see; :func:`test_config` gives them the configuration.
    seed : int
        ``cocotb.RANDOM_SEED`` and Verilator's random start values; 1 by default.
    waves : bool
        Writes waves; the build must be able to.
    plusargs : list of str
        For ``$value$plusargs``.
    directory : Path
        By default a new one, removed a day later.
    timeout : float
        Seconds after which the simulator is ended.
    random_start : bool
        Verilator: registers and memories without an initial value start at random, else at zero. Icarus: at X always.

    Raises
    ------
    SimulationFailed
        If a test failed, none ran, or the simulator stopped before its end.
    """
    if waves and not build.waves:
        raise ValueError("waves must be asked for when building, this build was made with waves=False")
    seed = DEFAULT_SEED if seed is None else seed
    if directory is None:
        directory = new_directory(build.name)
    directory.mkdir(parents=True, exist_ok=True)
    log, results_file = directory / "run.log", directory / "results.xml"
    waves_file = directory / f"{build.design.name}.{build.waves}" if waves else None
    test_args: list[str] = []
    plusargs = list(plusargs)
    if build.simulator == "verilator":
        plusargs += [f"+verilator+seed+{seed % (2**31 - 1) + 1}", f"+verilator+rand+reset+{2 if random_start else 0}"]
        test_args += ["--trace-file", str(waves_file)] if waves else []
    elif waves:
        plusargs.append(f"+dumpfile_path={waves_file}")
    variables = {CONFIG_VARIABLE: json.dumps(asdict(build.config))} | dict(environment or {})
    arguments: dict[str, object] = {
        "test_module": test_module, "hdl_toplevel": build.design.name, "hdl_toplevel_lang": "verilog",
        "testcase": testcase if testcase is None or isinstance(testcase, str) else list(testcase), "seed": seed,
        "plusargs": plusargs, "test_args": test_args, "extra_env": {}, "waves": waves,
        "build_dir": str(build.directory), "test_dir": str(directory), "results_xml": str(results_file),
    }
    ended = ""
    try:
        worker("test", build.simulator, arguments, log, variables, timeout)
    except subprocess.TimeoutExpired:
        ended = f"it took longer than {timeout} s"
    passed, failed = _read_results(results_file)
    results = Results(passed, failed, directory, log, waves_file)
    if not ended and not results_file.is_file():
        ended = "the simulator stopped before the tests had ended"
    elif not ended and not passed and not failed:
        ended = "it has no test of that name" if testcase else "it has no tests"
    if ended or failed:
        raise SimulationFailed(f"{test_module} on {build.name} (seed {seed}): "
                               f"{ended or 'failed: ' + ', '.join(failed)}; see {log}", results)
    return results


def _read_results(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the tests that passed and that failed."""
    passed, failed = [], []
    if file.is_file():
        for case in ElementTree.parse(file).getroot().iter("testcase"):
            name = case.get("name", "?")
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            elif case.find("skipped") is None:
                passed.append(name)
    return tuple(passed), tuple(failed)


def new_directory(prefix: str) -> Path:
    """A new directory; those of this kind that are more than a day old are removed."""
    parent = build_root() / "runs"
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{prefix}.*"):
        try:
            if time.time() - old.stat().st_mtime > _KEEP_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
        except FileNotFoundError:
            continue
    return Path(tempfile.mkdtemp(prefix=f"{prefix}.", dir=parent))
