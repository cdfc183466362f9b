"""Executes a program's memory image: the queues, their tokens, and why a program stops."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode, Queue, illegal_fields, opcodes, queues

from .core import Core, StepIssue, Stop


@dataclass(frozen=True)
class Execution:
    """What a program leaves behind.

    Attributes
    ----------
    memory : uint8 [bytes]
    overflow : bool
        As in STATUS.
    cause, address
        As in CAUSE and ERROR_ADDRESS; ``Cause.NONE`` and 0 if the program completed. After another cause the hardware
        may have executed more or less than the model had.
    steps : tuple of StepIssue
        Every step that the array worked on, in order.
    weight_beats, read_beats, write_beats : int
        As the counters of the same names. ``read_beats`` includes the program's own bus words.
    """

    memory: np.ndarray
    overflow: bool
    cause: Cause
    address: int
    steps: tuple[StepIssue, ...]
    weight_beats: int
    read_beats: int
    write_beats: int

    @property
    def array_busy(self) -> int:
        """Cycles in which the array multiplied a plane, as the counter ARRAY_BUSY."""
        return sum(step.cycles for step in self.steps)


def execute(config: Config, memory: np.ndarray, entry: int, count: int, *, seed: int = 0) -> Execution:
    """Runs ``count`` instructions from address ``entry``.

    The queues run by tokens alone: among those that can move, ``seed`` chooses. A program is well synchronised if every
    seed leaves the same memory. All instructions are decoded before the first one runs, queues have room for all of
    them, and weights wait for their GEMM without a limit: what goes wrong in hardware because a queue or buffer is full
    does not show here. Windows, bus errors and token overflow are not modelled.

    Parameters
    ----------
    memory : uint8 [bytes]
        From address 0; not changed.
    seed : int
        Draws the contents of storage at power-up too, so that what was never written does not read as zero.

    Raises
    ------
    ValueError
        If ``entry`` is no multiple of 64 or the program, or a transfer of it, does not lie in the memory.
    """
    machine = Machine(config, memory, entry, count, np.random.default_rng(seed))
    while machine.advance():
        pass
    return machine.execution()


class Machine:
    """The queues of one chip that executes a program.

    Parameters
    ----------
    config, memory, entry, count
        As for :func:`execute`.
    rng : numpy Generator
    send : function of an Instruction, optional
        Carries out a SEND, and may raise :class:`~sim.golden.core.Stop`. Without it no link ever comes up.

    Attributes
    ----------
    core : Core
    semaphores : Counter
    """

    def __init__(self, config: Config, memory: np.ndarray, entry: int, count: int, rng: np.random.Generator,
                 send: Callable[[Instruction], None] | None = None):
        if entry < 0 or entry % INSTRUCTION_BYTES:
            raise ValueError(f"entry must be a multiple of {INSTRUCTION_BYTES}, not {entry!r}")
        if count < 0 or entry + count * INSTRUCTION_BYTES > len(memory):
            raise ValueError(f"count must be such that the program ends in the memory's {len(memory)} bytes, "
                             f"not {count!r}")
        self.config = config
        self.core = Core(config, np.array(memory, np.uint8), rng)
        self.semaphores: Counter[int] = Counter()
        self._rng = rng
        self._send = send
        self._last = entry + (count - 1) * INSTRUCTION_BYTES
        self._tokens: Counter[tuple[Queue, Queue]] = Counter()
        self._queues: dict[Queue, deque[tuple[int, Instruction]]] = {queue: deque() for queue in queues(config)}
        self._stop: Stop | None = None
        self.core.read_beats += -(-8 * INSTRUCTION_BYTES * count // config.bus_bits)
        try:
            for index, instruction in enumerate(_decode(config, self.core.memory, entry, count)):
                self._queues[instruction.queue].append((index, instruction))
        except Stop as stop:
            self._stop = stop

    @property
    def done(self) -> bool:
        """It has come to its end, or was stopped."""
        return self._stop is not None or not any(self._queues.values())

    @property
    def stopped(self) -> bool:
        return self._stop is not None

    def advance(self) -> bool:
        """Executes one instruction that can start; False if there is none."""
        movable = [] if self.done else [q for q in self._queues if self._queues[q] and not self._lacks(q)]
        if not movable:
            return False
        queue = movable[int(self._rng.integers(len(movable)))]
        index, instruction = self._queues[queue].popleft()
        for source in instruction.wait:
            self._tokens[source, queue] -= 1
        try:
            self._execute(index, instruction)
        except Stop as stop:
            self._stop = stop
            return True
        for target in (*instruction.signal, *(q for q in self._queues if instruction.release >> q & 1)):
            self._tokens[queue, target] += 1
        return True

    def waiting(self) -> list[str]:
        """What the instruction at the head of each queue waits for."""
        return [f"{head.opcode.name} (instruction {index}) for {' and '.join(self._lacks(queue))}"
                for queue in self._queues if self._queues[queue] for index, head in [self._queues[queue][0]]]

    def execution(self) -> Execution:
        """What it leaves behind; if it is not done, by cause ``WATCHDOG``."""
        core = self.core
        stop = self._stop or (Stop(Cause.NONE, 0) if self.done else Stop(Cause.WATCHDOG, self._last))
        return Execution(core.memory, core.overflow, stop.cause, stop.address, tuple(core.issues), core.weight_beats,
                         core.read_beats, core.write_beats)

    def _lacks(self, queue: Queue) -> list[str]:
        """What the head of a queue waits for; nothing if it can start."""
        _, head = self._queues[queue][0]
        lacking = [f"a token from {source.name}" for source in head.wait if not self._tokens[source, queue]]
        if head.opcode == Opcode.GEMM and len(self.core.weights) < head["steps"]:
            lacking.append(f"{head['steps']} steps of weights, of which there are {len(self.core.weights)}")
        if head.opcode == Opcode.SEND and self._send is None:
            lacking.append(f"link {head['port']} to come up")
        if head.opcode == Opcode.RECV and self.semaphores[head["semaphore"]] < head["count"]:
            lacking.append(f"semaphore {head['semaphore']} to be {head['count']}, "
                           f"which is {self.semaphores[head['semaphore']]}")
        return lacking

    def _execute(self, index: int, instruction: Instruction):
        if instruction.opcode == Opcode.SEND:
            assert self._send is not None
            self._send(instruction)
        elif instruction.opcode == Opcode.RECV:
            self.semaphores[instruction["semaphore"]] -= instruction["count"]
        else:
            self.core.execute(index, instruction)


def _decode(config: Config, memory: np.ndarray, entry: int, count: int) -> list[Instruction]:
    """The instructions. Raises :class:`Stop` at the first illegal one."""
    instructions = []
    for address in range(entry, entry + count * INSTRUCTION_BYTES, INSTRUCTION_BYTES):
        record = memory[address:address + INSTRUCTION_BYTES].tobytes()
        if record[0] not in opcodes(config):
            raise Stop(Cause.ILLEGAL_OPCODE, address)
        try:
            instruction = Instruction.decode(record, queues(config))
        except ValueError:
            raise Stop(Cause.ILLEGAL_FIELD, address) from None
        if illegal_fields(config, instruction):
            raise Stop(Cause.ILLEGAL_FIELD, address)
        instructions.append(instruction)
    return instructions
