"""Runs compiled programs on the chips of a card together: on the golden model, or on the RTL in a simulator."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from hdl.config import Config
from hdl.csr import Cause
from hdl.link.link import LinkState
from hdl.program import Program
from hdl.topology import check_card, partner, ports

from .golden.card import execute_card
from .rtl.build import Build, build
from .rtl.chip_memory import ChipMemory
from .rtl.design import Source, generated
from .rtl.harness import AXI_MEMORY, End, card
from .rtl.run import new_directory
from .rtl.stalls import Stalls
from .rtl.tools import require_simulator
from .session import (
    BACKENDS,
    ProgramStopped,
    ProgramTimeout,
    Result,
    check_identity,
    chip,
    golden_result,
    memory_size,
    progress_bar,
    simulate,
)


class LinksDown(RuntimeError):
    """Links of a card have not come up; the message names them."""


def cables(chips: int) -> list[tuple[End, End]]:
    """The cables of a card, see :mod:`hdl.topology`."""
    ends = [(End(number, port), End(*partner(chips, number, port))) for number in range(chips) for port in ports(chips)]
    return [(a, b) for a, b in ends if a < b]


class Card:
    """The chips of a card on one backend; sets of programs run on it one after another, each from reset.

    Parameters
    ----------
    config : Config
        Of every chip.
    chips : int
        1, 2 or 4.
    backend : str
        ``golden``, ``verilator`` or ``icarus``.
    view, design, waves, threads, read_latency, stalls
        As for :class:`~sim.session.Session`; the stalls of all memories are the same.

    Raises
    ------
    ConfigError
        If there is no card of so many chips, or they have too few links.
    ValueError
        If there is no such backend.
    """

    def __init__(self, config: Config, chips: int, backend: str = "golden", *, view: str = "simulation",
                 design: Source = chip, waves: bool = False, threads: int = 1, read_latency: int = 40,
                 stalls: Stalls | None = None):
        if backend not in BACKENDS:
            raise ValueError(f"the backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
        check_card(chips, config.links)
        self.config = config
        self.chips = chips
        self.backend = backend
        self.view = view
        self.design = design
        self.waves = waves
        self.threads = threads
        self.read_latency = read_latency
        self.stalls = stalls or Stalls()
        #: Folder of the last run; it is kept if the run failed or wrote waves.
        self.directory: Path | None = None

    def prepare(self, memory_bytes: int = 0) -> Build | None:
        """Builds the simulation for programs of up to ``memory_bytes``, so that :meth:`run` finds it ready."""
        if self.backend == "golden":
            return None
        require_simulator(self.backend)
        top = card([generated(self.design, self.config, name="chip", view=self.view)] * self.chips, self.config,
                   cables(self.chips), memory_bytes=memory_size(self.backend, memory_bytes),
                   read_latency=self.read_latency)
        return build(top, self.config, simulator=self.backend, waves=self.waves, threads=self.threads,
                     extra_sources=[AXI_MEMORY], hierarchical=not self.waves)

    def run(self, programs: Sequence[Program], inputs: Sequence[Mapping[str, np.ndarray]] | None = None, *,
            progress: bool = False, max_cycles: int | None = None, watchdog: int = 100_000) -> list[Result]:
        """Runs a program on each chip from reset: all links are up and all memories loaded when the chips START, all in
        the same cycle. Returns the chips' results; the largest ``cycles`` are those of the card.

        Parameters
        ----------
        programs : Program of each chip
        inputs : dict of ndarray for each chip
            By the names of its program's inputs.
        progress : bool
            Show a bar of simulated cycles.
        max_cycles : int
            Give up after so many.
        watchdog : int
            Cycles without progress after which a chip stops its program itself; 0: never.

        Raises
        ------
        ValueError
            If there are not as many programs, or inputs, as chips.
        ProgramError
            If a program was made for another configuration, or the inputs do not fit it.
        ProgramStopped
            If a chip has stopped its program; ``chip`` is the number of the first one.
        ProgramTimeout
            If ``max_cycles`` have passed.
        LinksDown
            If a link does not come up.
        ChipMismatch
            If the chips' registers do not name this configuration.
        Deadlock
            If the programs wait for one another, on the golden model.
        """
        given = [{} for _ in programs] if inputs is None else inputs
        for name, values in (("programs", programs), ("inputs", given)):
            if len(values) != self.chips:
                raise ValueError(f"{name} must be one for each of the {self.chips} chips, not {len(values)}")
        for program in programs:
            program.check(self.config)
        memories = [program.image(values) for program, values in zip(programs, given)]
        if self.backend == "golden":
            return self._run_golden(programs, memories)
        return self._run_rtl(programs, memories, progress, max_cycles, watchdog)

    def _run_golden(self, programs: Sequence[Program], memories: list[np.ndarray]) -> list[Result]:
        begin = time.perf_counter()
        executions = execute_card(self.config, programs, memories)
        seconds = time.perf_counter() - begin
        _check([(execution.cause, execution.address) for execution in executions])
        return [golden_result(program, execution, seconds) for program, execution in zip(programs, executions)]

    def _run_rtl(self, programs: Sequence[Program], memories: list[np.ndarray], progress: bool,
                 max_cycles: int | None, watchdog: int) -> list[Result]:
        made = self.prepare(max(program.memory_bytes for program in programs))
        assert made is not None
        self.directory = directory = new_directory(made.name)
        placed = [ChipMemory(self.config, program, memory, directory, str(number))
                  for number, (program, memory) in enumerate(zip(programs, memories))]
        for memory in placed:
            memory.write()
        ends = [end for cable in cables(self.chips) for end in cable]
        job = {"orders": [memory.order(watchdog) for memory in placed], "ends": ends, "max_cycles": max_cycles}
        plusargs = [plusarg for memory in placed for plusarg in memory.plusargs] + self.stalls.plusargs
        with progress_bar(directory / "progress", None) if progress else nullcontext():
            answer = simulate(made, "sim.rtl.card_tb", job, directory, plusargs, self.waves)
        for found in answer["identities"]:
            check_identity(self.config, found)
        check_links(ends, answer["links"])
        if not answer["ended"]:
            raise ProgramTimeout(f"the programs have not ended after max_cycles = {max_cycles} cycles")
        _check([(Cause(found["cause"]), found["error_address"]) for found in answer["chips"]])
        results = [Result(memory.collect(), found["counters"]["CYCLES"], found["counters"],
                          bool(found["status"]["overflow"]), answer["seconds"])
                   for memory, found in zip(placed, answer["chips"])]
        if not self.waves:
            shutil.rmtree(directory)
        return results


def _check(ends: Sequence[tuple[Cause, int]]):
    """Raises what a chip that has stopped its program deserves. One whose watchdog has ended its wait for another chip
    is not the reason."""
    stopped = [(number, *end) for number, end in enumerate(ends) if end[0] != Cause.NONE]
    for number, cause, address in sorted(stopped, key=lambda stop: stop[1] == Cause.WATCHDOG):
        raise ProgramStopped(cause, address, number)


def check_links(ends: Sequence[End], states: Sequence[int]):
    """Raises :class:`LinksDown` unless all ends are up."""
    down = [f"port {end.port} of chip {end.chip} is {LinkState(state).name}" for end, state in zip(ends, states)
            if state != LinkState.UP]
    if down:
        raise LinksDown(f"the links of the card must be up before programs start, {', '.join(down)}")
