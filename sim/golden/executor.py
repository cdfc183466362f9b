"""Executes a program's memory image: the queues, their tokens, and why a program stops."""

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.csr import Cause
from hdl.isa import QUEUES, Instruction, Opcode, Queue, illegal_fields, opcodes, queues

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
    if entry < 0 or entry % INSTRUCTION_BYTES:
        raise ValueError(f"entry must be a multiple of {INSTRUCTION_BYTES}, not {entry!r}")
    if count < 0 or entry + count * INSTRUCTION_BYTES > len(memory):
        raise ValueError(f"count must be such that the program ends in the memory's {len(memory)} bytes, not {count!r}")
    rng = np.random.default_rng(seed)
    core = Core(config, np.array(memory, np.uint8), rng)
    program_bits = 8 * INSTRUCTION_BYTES * count
    core.read_beats += -(-program_bits // config.bus_bits)
    cause, address = Cause.NONE, 0
    try:
        _run(core, _decode(config, core.memory, entry, count), entry, rng)
    except Stop as stop:
        cause, address = stop.cause, stop.address
    return Execution(core.memory, core.overflow, cause, address, tuple(core.issues), core.weight_beats,
                     core.read_beats, core.write_beats)


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


def _run(core: Core, instructions: list[Instruction], entry: int, rng: np.random.Generator):
    """Empties the queues. Raises :class:`Stop` if an instruction stops the program or none can start any more."""
    queues: dict[Queue, deque[tuple[int, Instruction]]] = {queue: deque() for queue in QUEUES}
    for index, instruction in enumerate(instructions):
        queues[instruction.queue].append((index, instruction))
    tokens: Counter[tuple[Queue, Queue]] = Counter()

    def ready(queue: Queue) -> bool:
        if not queues[queue]:
            return False
        _, head = queues[queue][0]
        return (all(tokens[source, queue] for source in head.wait)
                and (head.opcode != Opcode.GEMM or len(core.weights) >= head["steps"]))

    while any(queues.values()):
        movable = [queue for queue in QUEUES if ready(queue)]
        if not movable:
            raise Stop(Cause.WATCHDOG, entry + (len(instructions) - 1) * INSTRUCTION_BYTES)
        queue = movable[int(rng.integers(len(movable)))]
        index, instruction = queues[queue].popleft()
        for source in instruction.wait:
            tokens[source, queue] -= 1
        core.execute(index, instruction)
        for target in (*instruction.signal, *(q for q in QUEUES if instruction.release >> q & 1)):
            tokens[queue, target] += 1
