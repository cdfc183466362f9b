"""The binary that a chip executes: instructions and constants in memory, and where inputs and outputs lie.

A file is ``CIMPLE01``, the length of a JSON header (8 bytes, little-endian), the header, then the memory segments one
after another. It carries the name and hash of its configuration; a chip with another hash does not run it.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .config import INSTRUCTION_BYTES, Config
from .isa import Instruction

MAGIC = b"CIMPLE01"


class ProgramError(ValueError):
    """A file that is no program, or a program that this chip cannot run."""


@dataclass(frozen=True)
class Tensor:
    """An array in memory: ``shape[0]`` rows, ``stride`` bytes apart, whose elements follow one another, the last axis
    first."""
    address: int
    shape: tuple[int, ...]
    dtype: str
    stride: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        """First byte after the last row."""
        return self.address + (self.shape[0] - 1) * self.stride + self.row_bytes

    def _rows(self, memory: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(
            memory[self.address:self.end], (self.shape[0], self.row_bytes), (self.stride, 1))

    def write(self, memory: np.ndarray, values: np.ndarray):
        """Puts values into a memory image (uint8). Raises :class:`ProgramError` on another shape or type."""
        values = np.asarray(values)
        if values.shape != self.shape or values.dtype != np.dtype(self.dtype):
            raise ProgramError(f"the tensor must be {self.dtype} {list(self.shape)}, "
                               f"not {values.dtype} {list(values.shape)}")
        self._rows(memory)[:] = np.ascontiguousarray(values).view(np.uint8).reshape(self.shape[0], -1)

    def read(self, memory: np.ndarray) -> np.ndarray:
        """The values that a memory image (uint8) holds."""
        return np.ascontiguousarray(self._rows(memory)).view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Program:
    """A program with its constants.

    Attributes
    ----------
    config_name, config_hash
        What it was made for.
    entry : int
        Address of the first instruction.
    count : int
        Number of instructions.
    segments : tuple of (address, bytes)
        Memory to load before it starts, instructions included.
    memory_bytes : int
        Size of the memory it needs, from address 0.
    inputs, outputs : dict of Tensor
    writable : (int, int)
        First byte and first byte after what it writes.
    remote : (int, int)
        First byte and first byte after what other chips of its card write, a part of ``writable``; equal if nothing.
    counters : int or None
        Address at which it stores the counters at its end, 64 bits each in the order of :func:`hdl.csr.counters`.
    """

    config_name: str
    config_hash: int
    entry: int
    count: int
    segments: tuple[tuple[int, bytes], ...]
    memory_bytes: int
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    writable: tuple[int, int] = (0, 0)
    remote: tuple[int, int] = (0, 0)
    counters: int | None = None

    @classmethod
    def assemble(cls, config: Config, instructions: Iterable[Instruction], *, entry: int,
                 segments: Iterable[tuple[int, bytes]] = (), memory_bytes: int, **fields) -> "Program":
        """A program for ``config`` with its instructions encoded at ``entry``."""
        records = [instruction.encode() for instruction in instructions]
        return cls(config.name, config.hash, entry, len(records), ((entry, b"".join(records)), *segments),
                   memory_bytes, **fields)

    def check(self, config: Config):
        """Raises :class:`ProgramError` if the program was made for another configuration."""
        if self.config_hash != config.hash:
            raise ProgramError(
                f"the program was made for configuration {self.config_name!r} ({self.config_hash:016x}), this chip is "
                f"{config.name!r} ({config.hash:016x}); compile it again for {config.name!r}")

    @property
    def instructions(self) -> list[Instruction]:
        code = dict(self.segments)[self.entry]
        return [Instruction.decode(code[i:i + INSTRUCTION_BYTES]) for i in range(0, len(code), INSTRUCTION_BYTES)]

    def image(self, inputs: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The memory before START, uint8 [memory_bytes]; every input must be given.

        Raises
        ------
        ProgramError
            If an input is missing, unknown, or not of its shape and type.
        """
        inputs = inputs or {}
        if set(inputs) != set(self.inputs):
            raise ProgramError(f"the inputs must be {sorted(self.inputs)}, not {sorted(inputs)}")
        memory = np.zeros(self.memory_bytes, np.uint8)
        for address, content in self.segments:
            memory[address:address + len(content)] = np.frombuffer(content, np.uint8)
        for name, values in inputs.items():
            self.inputs[name].write(memory, values)
        return memory

    def results(self, memory: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs that a memory image holds."""
        return {name: tensor.read(memory) for name, tensor in self.outputs.items()}

    def save(self, path: Path | str):
        """Writes the file; an existing one is replaced only once the new one is complete."""
        header = asdict(self) | {"segments": [(address, len(content)) for address, content in self.segments],
                                 "inputs": {k: asdict(t) for k, t in self.inputs.items()},
                                 "outputs": {k: asdict(t) for k, t in self.outputs.items()}}
        payload = b"".join(content for _, content in self.segments)
        header["sha256"] = hashlib.sha256(payload).hexdigest()
        text = json.dumps(header).encode()
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(MAGIC + len(text).to_bytes(8, "little") + text + payload)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> "Program":
        """Reads a file.

        Raises
        ------
        ProgramError
            If it does not exist, is no program, or is damaged.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ProgramError(f"the program {str(path)!r} cannot be read: {error.strerror}") from None
        if content[:8] != MAGIC:
            raise ProgramError(f"{str(path)!r} is not a cimple program: it does not begin with {MAGIC.decode()}")
        start = 16 + int.from_bytes(content[8:16], "little")
        try:
            header = json.loads(content[16:start])
            payload = content[start:]
            if hashlib.sha256(payload).hexdigest() != header.pop("sha256"):
                raise ValueError
            segments, at = [], 0
            for address, length in header["segments"]:
                segments.append((address, payload[at:at + length]))
                at += length
            for kind in ("inputs", "outputs"):
                header[kind] = {name: Tensor(t["address"], tuple(t["shape"]), t["dtype"], t["stride"])
                                for name, t in header[kind].items()}
            header["segments"] = tuple(segments)
            for area in ("writable", "remote"):
                header[area] = tuple(header[area])
            return cls(**header)
        except (ValueError, KeyError, TypeError):
            raise ProgramError(f"{str(path)!r} is a damaged cimple program; compile it again") from None
