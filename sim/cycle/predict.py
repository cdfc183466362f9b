"""From a program to its counters."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.config import INSTRUCTION_BYTES, Config
from hdl.csr import COUNTERS
from hdl.ipu.residual import Residual
from hdl.program import Program

from ..rtl.stalls import Stalls
from .machine import FINISHED, TOKEN_OVERFLOW, run
from .plan import PredictionError, plan
from .state import reset

#: Cycles from the last word of a burst to its answer, as ``axi_memory`` has them by default.
WRITE_LATENCY = 10


class Parameters(NamedTuple):
    """Numbers that stay the same while a program runs: of the configuration, of the memory, of the run."""
    count: int
    bus_bytes: int
    post_lanes: int
    record_beats: int
    header_beats: int
    outstanding: int
    array_latency: int
    hold_cycles: int
    depth: tuple[int, int, int, int]
    read_latency: int
    write_latency: int
    stall_seed: int
    stall_chance: int
    stall_longest: int
    watchdog: int
    forward: bool


@dataclass(frozen=True)
class Prediction:
    """What a run will show.

    Attributes
    ----------
    cycles : int
        From START to the end.
    counters : dict of int
        By the names of :data:`hdl.csr.COUNTERS`.
    """

    cycles: int
    counters: dict[str, int]


def predict(config: Config, program: Program | tuple[np.ndarray, int, int], *, read_latency: int = 40,
            stalls: Stalls | None = None, watchdog: int = 100_000, forward: bool = True) -> Prediction:
    """The counters of a program that runs after a reset of chip and memory.

    Weights are those that the memory holds before START. When START is written, the memory has been idle for as long
    as its first transfer may be late.

    Parameters
    ----------
    program : Program, or (uint8 [bytes], entry, count)
        Or a memory image from address 0, the address of the first instruction, and how many there are.
    read_latency, stalls
        Of the memory, as in :class:`sim.session.Session`.
    watchdog : int
        Cycles without progress after which the chip stops a program.
    forward : bool
        Leave out cycles in which everything repeats. The result is the same without.

    Raises
    ------
    PredictionError
        If the program does not run to its end.
    """
    if isinstance(program, Program):
        program.check(config)
        memory, entry, count = _image(program), program.entry, program.count
    else:
        memory, entry, count = program
    stalls = stalls or Stalls()
    parameters = Parameters(
        count=count, bus_bytes=config.bus_bytes, post_lanes=config.post_lanes,
        record_beats=INSTRUCTION_BYTES // config.bus_bytes, header_beats=config.header_beats,
        outstanding=config.outstanding_reads, array_latency=Array.latency(config),
        hold_cycles=Column.sum_latency(config) + 1,
        depth=(max(16, 2 * INSTRUCTION_BYTES // config.bus_bytes), config.prefetch_beats, 0, Residual.DEPTH),
        read_latency=read_latency, write_latency=WRITE_LATENCY, stall_seed=stalls.seed, stall_chance=stalls.chance,
        stall_longest=stalls.longest, watchdog=watchdog, forward=forward)
    state = reset()
    end = run(state, parameters, plan(config, memory, entry, count))
    if end == TOKEN_OVERFLOW:
        pair = int(state.tokens[0]["overflow"]) - 1
        raise PredictionError(f"the tokens from queue {pair // 8} to queue {pair % 8} overflow")
    if end != FINISHED:
        raise PredictionError(f"the program hangs: after cycle {int(state.control[0]['cycle'])} nothing moves any more")
    counters = {name: int(value) for name, value in zip(COUNTERS, state.counters)}
    return Prediction(counters["CYCLES"], counters)


def _image(program: Program) -> np.ndarray:
    """The memory before START, with inputs of zeros: timing does not depend on them."""
    memory = np.zeros(program.memory_bytes, np.uint8)
    for address, content in program.segments:
        memory[address:address + len(content)] = np.frombuffer(content, np.uint8)
    return memory
