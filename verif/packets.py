"""Packets of the transport as ``docs/transport.md`` cuts them, and what a partner makes of them."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from hdl.config import BURST_BOUNDARY, Config
from hdl.csr import Cause
from hdl.isa import Instruction
from hdl.transport.packet import MAX_BEATS, Kind, answer_layout, header_layout


def beats(config: Config, address: int, count: int) -> int:
    """Bus words that hold some bytes."""
    return -(-(address % config.bus_bytes + count) // config.bus_bytes)


@dataclass(frozen=True)
class Packet:
    """A WRITE of ``data`` at ``address``; or, without data, the END of a SEND, which posts ``post`` unless None."""
    address: int = 0
    data: bytes = b""
    post: int | None = None

    def encode(self, config: Config, rng: np.random.Generator) -> list[int]:
        """Its beats, with noise where they mean nothing."""
        layout = header_layout()
        if not self.data:
            return [layout.const({"kind": Kind.END, "post": self.post is not None,
                                  "semaphore": self.post or 0}).as_bits()]
        bus, offset = config.bus_bytes, self.address % config.bus_bytes
        words = bytearray(rng.bytes(bus * beats(config, self.address, len(self.data))))
        words[offset:offset + len(self.data)] = self.data
        header = layout.const({"kind": Kind.WRITE, "last_byte": len(self.data) - 1, "address": self.address})
        return [header.as_bits(), *(int.from_bytes(words[i:i + bus], "little") for i in range(0, len(words), bus))]


def cut(config: Config, address: int, count: int) -> Iterator[tuple[int, int]]:
    """First byte and bytes of the packets of a row of the partner's memory."""
    end = address + count
    while address < end:
        word = address // config.bus_bytes * config.bus_bytes
        until = min(end, word + MAX_BEATS * config.bus_bytes, (address // BURST_BOUNDARY + 1) * BURST_BOUNDARY)
        yield address, until - address
        address = until


def packets(config: Config, f: Instruction, memory: Callable[[int, int], bytes]) -> list[Packet]:
    """The packets of a SEND; ``memory`` gives the bytes from an address on."""
    found = []
    for row in range(f["rows"]):
        local, remote = f["address"] + row * f["stride"], f["remote_address"] + row * f["remote_stride"]
        found += [Packet(at, memory(local + at - remote, count)) for at, count in cut(config, remote, f["row_bytes"])]
    return [*found, Packet(post=f["semaphore"] if f["post"] else None)]


@dataclass
class Reader:
    """Beats to packets. Raises ``AssertionError`` where they are none."""
    config: Config
    packets: list[Packet] = field(default_factory=list)
    _left: int = 0
    _words: bytearray = field(default_factory=bytearray)

    @property
    def between(self) -> bool:
        """No packet is incomplete."""
        return not self._left

    def take(self, beat: int) -> Packet | None:
        """The packet that the beat completes."""
        if self._left:
            self._words += beat.to_bytes(self.config.bus_bytes, "little")
            self._left -= 1
            if self._left:
                return None
            start = self._header.address % self.config.bus_bytes
            packet = Packet(self._header.address, bytes(self._words[start:start + self._header.last_byte + 1]))
        else:
            layout = header_layout()
            assert beat >> layout.size == 0, f"{beat:#x} must be zero above a header"
            self._header = header = layout.from_bits(beat)
            if header.kind == Kind.WRITE:
                assert (header.post, header.semaphore) == (0, 0)
                self._left, self._words = beats(self.config, header.address, header.last_byte + 1), bytearray()
                assert self._left <= MAX_BEATS
                assert header.address // BURST_BOUNDARY == (header.address + header.last_byte) // BURST_BOUNDARY
                return None
            assert header.kind == Kind.END, f"{beat:#x} is no header"
            assert (header.last_byte, header.address) == (0, 0)
            packet = Packet(post=header.semaphore if header.post else None)
        self.packets.append(packet)
        return packet


def answer(cause: Cause = Cause.NONE, address: int = 0) -> int:
    """The beat of an answer."""
    return answer_layout().const({"cause": cause, "address": address}).as_bits()


@dataclass
class Receiver:
    """What a chip does with packets.

    Attributes
    ----------
    content : uint8
        Its memory, from address ``base`` on.
    windows : list of (first byte, first byte after it)
        That partners may write.
    errors : set of int
        Bus words whose writes memory answers with an error; it does not make them.
    """
    config: Config
    content: np.ndarray
    base: int
    windows: list[tuple[int, int]]
    errors: set[int] = field(default_factory=set)
    semaphores: list[int] = field(default_factory=lambda: [0] * 16)
    answers: deque[tuple[Cause, int]] = field(default_factory=deque)
    refused: int = 0
    _failure: tuple[Cause, int] = (Cause.NONE, 0)

    def take(self, packet: Packet):
        """Executes one packet."""
        if packet.data:
            failure = self._write(packet.address, packet.data)
            if self._failure[0] == Cause.NONE:
                self._failure = failure
            return
        if packet.post is not None and self._failure[0] == Cause.NONE:
            if self.semaphores[packet.post] == 0xFFFF:
                self._failure = Cause.REMOTE_SEMAPHORE, packet.post
            else:
                self.semaphores[packet.post] += 1
        self.answers.append(self._failure)
        self._failure = Cause.NONE, 0

    def _write(self, address: int, data: bytes) -> tuple[Cause, int]:
        end, bus = address + len(data), self.config.bus_bytes
        if not any(first <= address and end <= limit for first, limit in self.windows):
            self.refused += 1
            return Cause.REMOTE_WINDOW, address
        failed = False
        for word in range(address // bus * bus, end, bus):
            first, last = max(word, address), min(word + bus, end)
            if word in self.errors:
                failed = True
            else:
                at = first - self.base
                self.content[at:at + last - first] = np.frombuffer(data[first - address:last - address], np.uint8)
        return (Cause.REMOTE_ERROR, address) if failed else (Cause.NONE, 0)
