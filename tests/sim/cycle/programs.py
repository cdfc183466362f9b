"""Programs for the tests of the cycle model."""

from collections.abc import Iterator

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.isa import Instruction
from sim.rtl.stalls import Stalls
from verif.programs import Image, RandomProgram


def images(config: Config, count: int, seed: int) -> Iterator[Image]:
    """Random programs of up to a dozen GEMMs."""
    rng = np.random.default_rng(seed)
    size = 1 << 20 if config.bus_bits > 64 else 1 << 17
    for _ in range(count):
        yield RandomProgram(config, rng, gemms=int(rng.integers(1, 12)), memory_bytes=size).finish()


def memory_of(image: Image) -> tuple[np.ndarray, int, int]:
    """Memory from address 0, entry and count, as :func:`sim.cycle.predict` takes them."""
    return image.relocatable, image.entry - image.base, image.count


def memories(rng: np.random.Generator) -> tuple[Stalls, int]:
    """A memory that is late or not, and its latency."""
    stalls = Stalls(int(rng.integers(1 << 30)), int(rng.choice([0, 0, 3, 40, 200])), int(rng.choice([1, 8, 30, 300])))
    return stalls, int(rng.choice([2, 10, 40, 200]))


def program(*instructions: Instruction, size: int = 4096) -> tuple[np.ndarray, int, int]:
    """Instructions at the end of an otherwise empty memory."""
    code = b"".join(instruction.encode() for instruction in instructions)
    memory = np.zeros(size, np.uint8)
    entry = size - INSTRUCTION_BYTES * len(instructions)
    memory[entry:] = np.frombuffer(code, np.uint8)
    return memory, entry, len(instructions)
