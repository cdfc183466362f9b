"""Runs compiled programs: on the golden model, or on the RTL in a simulator, with the same call."""

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hdl.config import FORMAT_VERSION, Config
from hdl.csr import ID_VALUE, Cause, register_map
from hdl.program import Program
from mbist.compute_test import TestStep, column_program
from mbist.microcode import Run
from mbist.notation import March
from mbist.signature_file import Expected

from . import compute_self_test
from .compute_self_test import ComputeResult
from .golden.executor import Execution, execute
from .rtl.build import Build, build
from .rtl.chip_memory import ChipMemory
from .rtl.design import Source, generated
from .rtl.harness import AXI_MEMORY, harness
from .rtl.run import new_directory, run
from .rtl.stalls import Stalls
from .rtl.tools import require_simulator
from .self_test import MarchResult, orders, results

BACKENDS = ("golden", "verilator", "icarus")

#: Memory of the system under Verilator, so that one build serves many programs; larger programs get the next power of
#: two. Icarus stores four-state words and gets what the program needs.
VERILATOR_MEMORY_BYTES = 1 << 26


class ProgramStopped(RuntimeError):
    """The chip stopped a program.

    Attributes
    ----------
    cause : Cause
    address : int
        What it is depends on the cause, see :class:`hdl.csr.Cause`.
    chip : int or None
        Its number, if it is one of a card's.
    """

    def __init__(self, cause: Cause, address: int, chip: int | None = None):
        whose = "" if chip is None else f" of chip {chip}"
        super().__init__(f"the program{whose} was stopped with cause {cause.name} ({cause.value}) at {address:#x}")
        self.cause = cause
        self.address = address
        self.chip = chip


class ProgramTimeout(RuntimeError):
    """A program had not ended after the cycles that it was given."""


class ChipMismatch(RuntimeError):
    """The simulated chip is not the one that the session was made for."""


@dataclass(frozen=True)
class Result:
    """What a program gave.

    Attributes
    ----------
    outputs : dict of ndarray
        By the names of the program's outputs.
    cycles : int or None
        From START to the end; None on the golden model, which has no clock.
    counters : dict of int
        The chip's counters by name; the golden model has those that do not depend on time.
    overflow : bool
        Whether an accumulator or a scaled partial sum wrapped around.
    seconds : float
        Wall time from START to the end.
    """

    outputs: dict[str, np.ndarray]
    cycles: int | None
    counters: dict[str, int]
    overflow: bool
    seconds: float

    @property
    def cycles_per_second(self) -> float | None:
        """Simulated cycles per second of wall time."""
        return None if self.cycles is None else self.cycles / self.seconds


def chip(config: Config):
    """The chip of a configuration."""
    from hdl.chip import Chip
    return Chip(config)


class Session:
    """One chip on one backend; programs run on it one after another, each from reset.

    Parameters
    ----------
    config : Config
    backend : str
        ``golden``, ``verilator`` or ``icarus``.
    view : str
        Of the leaves: ``simulation``, the quicker, or ``generic``.
    design : Generated, or function from Config to Component
        What to simulate instead of :class:`hdl.chip.Chip`; it has the chip's ports.
    waves : bool
        Keep waves of every run; see :attr:`directory`.
    public_all : bool
        As for :func:`sim.rtl.build`.
    threads : int
        Threads of Verilator's simulation.
    read_latency : int
        Cycles from a read address to its first data.
    stalls : Stalls
        How late the memory is; never, by default.
    field_test : (sequence of TestStep, Expected)
        Table and signatures of the compute self-test, written before each program, for its TEST instructions.
    repair : dict of int
        Repair registers by name, written before each program; see :mod:`mbist.repair_map`. The golden model has no
        columns to repair.

    Raises
    ------
    ValueError
        If there is no such backend, or no such repair register or column.
    """

    def __init__(self, config: Config, backend: str = "golden", *, view: str = "simulation", design: Source = chip,
                 waves: bool = False, public_all: bool = False, threads: int = 1, read_latency: int = 40,
                 stalls: Stalls | None = None, repair: Mapping[str, int] | None = None,
                 field_test: tuple[Sequence[TestStep], Expected] | None = None):
        if backend not in BACKENDS:
            raise ValueError(f"the backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
        for name, column in (repair or {}).items():
            if not name.startswith("REPAIR") or name not in register_map(config):
                raise ValueError(f"repair must name the repair registers of {config.name}, not {name!r}")
            if not 0 <= column <= config.cols:
                raise ValueError(f"repair must give {name} a column from 0 to {config.cols}, not {column!r}")
        self.config = config
        self.backend = backend
        self.view = view
        self.design = design
        self.waves = waves
        self.public_all = public_all
        self.threads = threads
        self.read_latency = read_latency
        self.stalls = stalls or Stalls()
        self.repair = dict(repair or {})
        self.field_test = field_test
        #: Folder of the last run; it is kept if the run failed or wrote waves.
        self.directory: Path | None = None

    def prepare(self, memory_bytes: int = 0) -> Build | None:
        """Builds the simulation for programs of up to ``memory_bytes``, so that :meth:`run` finds it ready."""
        if self.backend == "golden":
            return None
        require_simulator(self.backend)
        top = harness(generated(self.design, self.config, name="chip", view=self.view), self.config,
                      memory_bytes=memory_size(self.backend, memory_bytes), read_latency=self.read_latency)
        return build(top, self.config, simulator=self.backend, waves=self.waves, public_all=self.public_all,
                     threads=self.threads, extra_sources=[AXI_MEMORY])

    def run(self, program: Program, inputs: Mapping[str, np.ndarray] | None = None, *, progress: bool = False,
            max_cycles: int | None = None, watchdog: int = 100_000) -> Result:
        """Runs a program from reset.

        Parameters
        ----------
        inputs : dict of ndarray
            By the names of the program's inputs.
        progress : bool
            Show a bar of simulated cycles. Its length is what the golden model's counts make likely.
        max_cycles : int
            Give up after so many.
        watchdog : int
            Cycles without progress after which the chip stops the program itself; 0: never.

        Raises
        ------
        ProgramError
            If the program was made for another configuration, or the inputs do not fit it.
        ProgramStopped
            If the chip stopped it.
        ProgramTimeout
            If ``max_cycles`` have passed.
        ChipMismatch
            If the chip's registers do not name this configuration.
        """
        program.check(self.config)
        memory = program.image(inputs)
        if self.backend == "golden":
            return self._run_golden(program, memory)
        return self._run_rtl(program, memory, progress, max_cycles, watchdog)

    def self_test(self, tests: Sequence[tuple[March, Run]]) -> list[MarchResult]:
        """Runs March tests from reset, one after another, each over the addresses and with the background of its run.

        Raises
        ------
        ValueError
            On the golden model, which has no cells.
        MicrocodeError
            If the controller cannot execute a test, or a run is of another configuration.
        SelfTestStopped
            If the controller did not complete a test.
        ChipMismatch
            If the chip's registers do not name this configuration.
        """
        if self.backend == "golden":
            raise ValueError("the backend of a self-test must be verilator or icarus, not 'golden'")
        job = {"runs": orders(self.config, tests)}
        made = self.prepare()
        assert made is not None
        directory = new_directory(made.name)
        answer = self._simulate(made, "sim.rtl.self_test_tb", job, directory)
        self._clean(directory)
        return results(tests, answer["runs"])

    def compute_self_test(self, program: Sequence[TestStep] | None = None, runs: Sequence[Expected] | None = None, *,
                          vote: bool = False, macro: int | None = None) -> ComputeResult:
        """Runs the compute self-test from reset: every physical column, spares too.

        Parameters
        ----------
        program : sequence of TestStep
            Table, by default the column program.
        runs : sequence of Expected
            What its runs must give, as :func:`mbist.signature_file.read_signatures` reads it; by default the golden
            model is asked.
        vote : bool
            Signatures are compared with what most of them are, and not with ``runs``.
        macro : int
            The only one that is tested; by default all are, at once.

        Raises
        ------
        ValueError
            On the golden model, which has no gates; if the engine cannot hold the program, its columns have signatures
            of their own, or there is no such macro.
        SelfTestStopped
            If the engine did not complete a run.
        ChipMismatch
            If the chip's registers do not name this configuration.
        """
        if self.backend == "golden":
            raise ValueError("the backend of a self-test must be verilator or icarus, not 'golden'")
        program = column_program(self.config) if program is None else program
        job = compute_self_test.orders(self.config, program, runs, vote, macro)
        made = self.prepare()
        assert made is not None
        directory = new_directory(made.name)
        answer = self._simulate(made, "sim.rtl.compute_self_test_tb", {"runs": job}, directory)
        self._clean(directory)
        return compute_self_test.result(self.config, program, job, answer["runs"])

    def _run_golden(self, program: Program, memory: np.ndarray) -> Result:
        begin = time.perf_counter()
        execution = execute(self.config, memory, program.entry, program.count)
        seconds = time.perf_counter() - begin
        if execution.cause != Cause.NONE:
            raise ProgramStopped(execution.cause, execution.address)
        return golden_result(program, execution, seconds)

    def _run_rtl(self, program: Program, memory: np.ndarray, progress: bool, max_cycles: int | None,
                 watchdog: int) -> Result:
        made = self.prepare(program.memory_bytes)
        assert made is not None
        directory = new_directory(made.name)
        placed = ChipMemory(self.config, program, memory, directory, repair=self.repair)
        placed.write()
        table = self.field_test and compute_self_test.orders(self.config, self.field_test[0], [self.field_test[1]],
                                                             False, None)[0]
        job = {"order": placed.order(watchdog), "max_cycles": max_cycles, "field_test": table}
        with progress_bar(directory / "progress", expected_cycles(
                execute(self.config, memory, program.entry, program.count))) if progress else nullcontext():
            answer = self._simulate(made, "sim.rtl.session_tb", job, directory,
                                    [*placed.plusargs, *self.stalls.plusargs])
        _check(answer, max_cycles)
        outputs = placed.collect()
        self._clean(directory)
        return Result(outputs, answer["counters"]["CYCLES"], answer["counters"], bool(answer["status"]["overflow"]),
                      answer["seconds"])

    def _simulate(self, made: Build, module: str, job: dict, directory: Path, plusargs: Sequence[str] = ()) -> dict:
        """Runs the cocotb module on a job in :attr:`directory`, and returns its result if the chip is the right one."""
        self.directory = directory
        answer = simulate(made, module, job, directory, plusargs, self.waves)
        check_identity(self.config, answer)
        return answer

    def _clean(self, directory: Path):
        """After a run that went well only its waves are of interest."""
        if not self.waves:
            shutil.rmtree(directory)


def memory_size(simulator: str, least: int) -> int:
    """Bytes of the simulated memory for a program that needs ``least``."""
    return 1 << (max(least, VERILATOR_MEMORY_BYTES if simulator == "verilator" else 4096) - 1).bit_length()


def golden_result(program: Program, execution: Execution, seconds: float) -> Result:
    """The result of a program that the golden model has executed to its end."""
    counters = {"ARRAY_BUSY": execution.array_busy, "WEIGHT_BEATS": execution.weight_beats,
                "READ_BEATS": execution.read_beats, "WRITE_BEATS": execution.write_beats}
    return Result(program.results(execution.memory), None, counters, execution.overflow, seconds)


def expected_identity(config: Config) -> dict[str, int]:
    """What the registers of a configuration's chip say."""
    return {"id": ID_VALUE, "format_version": FORMAT_VERSION, "config_hash": config.hash}


def check_identity(config: Config, found: Mapping[str, int]):
    """Raises :class:`ChipMismatch` unless the chip is one of this configuration."""
    for name, value in expected_identity(config).items():
        if found[name] != value:
            raise ChipMismatch(f"the simulated chip's register {name.upper()} must be {value:#x}, not "
                               f"{found[name]:#x}; build it from the same configuration and sources")


def simulate(made: Build, module: str, job: dict, directory: Path, plusargs: Sequence[str], waves: bool) -> dict:
    """Runs the cocotb module on a job in a directory, and returns its result."""
    (directory / "job.json").write_text(json.dumps(job | {"expected": expected_identity(made.config)}))
    run(made, module, plusargs=plusargs, directory=directory, waves=waves)
    return json.loads((directory / "result.json").read_text())


def _check(answer: dict, max_cycles: int | None):
    """Raises what a run that did not complete deserves."""
    if not answer["ended"]:
        raise ProgramTimeout(f"the program has not ended after max_cycles = {max_cycles} cycles")
    if answer["status"]["error"]:
        raise ProgramStopped(Cause(answer["cause"]), answer["error_address"])


def expected_cycles(execution: Execution) -> int:
    """About how long the chip will take: the array or the bus, whichever has more to do."""
    return max(1, execution.array_busy, execution.read_beats + execution.write_beats)


@contextmanager
def progress_bar(file: Path, total: int | None) -> Iterator[None]:
    """A progress bar of the cycles that the simulation notes in ``file``, of ``total`` if that is known."""
    ended = threading.Event()
    bar = tqdm(total=total, unit=" cycles", unit_scale=True, desc="simulating")

    def follow():
        while not ended.wait(0.2):
            lines = file.read_text().split() if file.is_file() else []
            if lines:
                bar.update(min(int(lines[-1]), total or int(lines[-1])) - bar.n)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
        ended.set()
        thread.join()
        bar.update((total or bar.n) - bar.n)
    finally:
        ended.set()
        thread.join()
        bar.close()
