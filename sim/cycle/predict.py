"""From a program to its counters."""

import time
from dataclasses import dataclass, field

import numpy as np

from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.config import INSTRUCTION_BYTES, Config
from hdl.csr import COUNTERS
from hdl.ipu.residual import Residual
from hdl.isa import Queue
from hdl.program import Program

from ..rtl.stalls import Stalls
from . import events, machine
from .decode import PredictionError
from .machine import FINISHED, TOKEN_OVERFLOW, UNKNOWN
from .plan import fetch_depth, plan
from .state import reset

#: Cycles from the last word of a burst to its answer, as ``axi_memory`` has them by default.
WRITE_LATENCY = 10

#: No part of a program that does not hang pauses for as many cycles, but for the memory's latency.
LONGEST_PAUSE = 10_000


@dataclass(frozen=True)
class Prediction:
    """What a run will show.

    Attributes
    ----------
    cycles : int
        From START to the end.
    counters : dict of int
        By the names of :data:`hdl.csr.COUNTERS`.
    seconds, running_seconds : float
        Wall time that the prediction took, and without reading the program; not compared.
    """

    cycles: int
    counters: dict[str, int]
    seconds: float = field(compare=False)
    running_seconds: float = field(compare=False)


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
        Go from event to event where the memory is never late. The result is the same without.

    Raises
    ------
    PredictionError
        If the program does not run to its end.
    """
    begin = time.perf_counter()
    if isinstance(program, Program):
        program.check(config)
        memory, entry, count = _image(program), program.entry, program.count
    else:
        memory, entry, count = program
    stalls = stalls or Stalls()
    made = plan(config, memory, entry, count)
    constants, table = made.flat(
        count=count, bus_bytes=config.bus_bytes, post_lanes=config.post_lanes,
        record_beats=INSTRUCTION_BYTES // config.bus_bytes, header_beats=config.header_beats,
        outstanding=config.outstanding_reads, array_latency=Array.latency(config),
        hold_cycles=Column.sum_latency(config) + 1,
        fetch_depth=fetch_depth(config), weights_depth=config.prefetch_beats, residual_depth=Residual.DEPTH,
        read_latency=read_latency, write_latency=WRITE_LATENCY, stall_seed=stalls.seed, stall_chance=stalls.chance,
        stall_longest=stalls.longest, watchdog=watchdog, transfer_arrival=len(made.burst_beats))
    read = time.perf_counter()
    state, end = reset(), UNKNOWN
    if forward and stalls.chance == 0 and watchdog > read_latency + LONGEST_PAUSE:
        arrival = np.zeros(len(made.burst_beats) + len(made.transfer_words), np.int64)
        end = events.run(state, state.view(np.int64).reshape(len(state), -1), constants[0], table, arrival)
    if end == UNKNOWN:
        state = reset()
        end = machine.run(state, constants[0], table)
    if end == TOKEN_OVERFLOW:
        pair = int(state[0]["tokens"]["overflow"]) - 1
        source, target = Queue(pair // 8), Queue(pair % 8)
        raise PredictionError(f"the tokens from queue {source.name} to queue {target.name} overflow")
    if end != FINISHED:
        cycle = int(state[0]["control"]["cycle"] - state[0]["control"]["idle_cycles"])
        raise PredictionError(f"the program hangs: after cycle {cycle} nothing moves any more")
    counters = {name: int(value) for name, value in zip(COUNTERS, state[0]["counters"])}
    ended = time.perf_counter()
    return Prediction(counters["CYCLES"], counters, ended - begin, ended - read)


def _image(program: Program) -> np.ndarray:
    """The memory before START, with inputs of zeros: timing does not depend on them."""
    memory = np.zeros(program.memory_bytes, np.uint8)
    for address, content in program.segments:
        memory[address:address + len(content)] = np.frombuffer(content, np.uint8)
    return memory
