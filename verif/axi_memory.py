"""A memory on the chip's AXI4 master port, made of the channel agents of cocotbext-axi, which know nothing of ours."""

import itertools
import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from cocotb.triggers import Event, RisingEdge
from cocotbext.axi import AxiBus, AxiResp
from cocotbext.axi.axi_slave import AxiSlaveRead, AxiSlaveWrite

CHANNELS = ("ar", "r", "aw", "w", "b")


def stalls(rng: random.Random, probability: float, longest: int) -> Iterator[bool]:
    """Pauses for an agent: idle stretches of up to ``longest`` cycles, about ``probability`` of the time."""
    while True:
        pause = rng.random() < probability
        yield from itertools.repeat(pause, rng.randint(1, longest))


class _Read(AxiSlaveRead):
    """Answers the bursts of one ID in order; bursts of different IDs overtake one another and mix their beats."""

    def __init__(self, memory: "AxiMemory", *arguments: Any):
        self.memory = memory
        super().__init__(*arguments, target=memory)

    async def _process_read(self):
        pending: dict[int, deque[tuple[int, bool]]] = {}
        current = 0
        while True:
            while not pending or not self.ar_channel.empty():
                burst = await self.ar_channel.recv()
                beats = pending.setdefault(int(burst.arid), deque())
                last = int(burst.arlen)
                beats.extend((int(burst.araddr) + n * self.byte_lanes, n == last) for n in range(last + 1))
            if current not in pending or self.memory.rng.random() < self.memory.mixing:
                current = self.memory.rng.choice(sorted(pending))
            address, last = pending[current].popleft()
            if not pending[current]:
                del pending[current]
            await self.memory.answering.wait()
            response = self.memory.answer(address, self.memory.read_errors)
            beat = self.r_channel._transaction_obj()
            beat.rid, beat.rlast, beat.rresp = current, last, response
            # What comes with an error means nothing.
            data = self.memory.word(address) if response == AxiResp.OKAY else self.memory.rng.randbytes(self.byte_lanes)
            beat.rdata = int.from_bytes(data, "little")
            await self.r_channel.send(beat)


class _Write(AxiSlaveWrite):
    """The agent of cocotbext-axi, which asserts WLAST and the 4 KiB rule; only its error response can be chosen."""

    def __init__(self, memory: "AxiMemory", *arguments: Any):
        self.memory = memory
        self._error = AxiResp.OKAY
        super().__init__(*arguments, target=memory)
        send = self.b_channel.send

        async def answer(b):
            await memory.answering.wait()
            if b.bresp != AxiResp.OKAY:
                b.bresp = self._error
            await send(b)

        self.b_channel.send = answer

    async def _write(self, address: int, data: bytes):
        word = address // self.byte_lanes * self.byte_lanes
        response = self.memory.answer(word, self.memory.write_errors)
        if response != AxiResp.OKAY:
            self._error = response
            raise ValueError
        self.memory.put(address, data)


class AxiMemory:
    """The bytes ``content`` at address ``base``; what lies outside answers DECERR.

    Attributes
    ----------
    content : uint8
        As it is now.
    read_errors, write_errors : dict of int to AxiResp
        Responses by address of a bus word.
    mixing : float
        How often the next read beat is that of another ID.
    answering : Event
        While it is not set no read or write is answered.
    """

    def __init__(self, dut: Any, content: np.ndarray | None = None, base: int = 0, *, seed: int = 0):
        self.rng = random.Random(seed)
        self.content = np.zeros(0, np.uint8) if content is None else content.copy()
        self.base = base
        self.read_errors: dict[int, AxiResp] = {}
        self.write_errors: dict[int, AxiResp] = {}
        self.mixing = 0.0
        self.answering = Event()
        self.answering.set()
        bus = AxiBus.from_prefix(dut, "m_axi")
        self._reads = _Read(self, bus.read, dut.clk, dut.rst)
        self._writes = _Write(self, bus.write, dut.clk, dut.rst)
        self.word_bytes = self._reads.byte_lanes
        self.channels = {"ar": self._reads.ar_channel, "r": self._reads.r_channel, "aw": self._writes.aw_channel,
                         "w": self._writes.w_channel, "b": self._writes.b_channel}
        self._clock = dut.clk

    def load(self, content: np.ndarray, base: int = 0):
        self.content, self.base = content.copy(), base

    def answer(self, address: int, errors: dict[int, AxiResp]) -> AxiResp:
        if not 0 <= address - self.base <= len(self.content) - self.word_bytes:
            return AxiResp.DECERR
        return errors.get(address, AxiResp.OKAY)

    def word(self, address: int) -> bytes:
        return self.content[address - self.base:address - self.base + self.word_bytes].tobytes()

    def put(self, address: int, data: bytes):
        self.content[address - self.base:address - self.base + len(data)] = np.frombuffer(data, np.uint8)

    def stall(self, probability: float, longest: int = 6, channels: tuple[str, ...] = CHANNELS):
        """Random pauses on every channel, none if ``probability`` is 0."""
        for name in channels:
            agent = self.channels[name]
            if probability:
                agent.set_pause_generator(stalls(random.Random(self.rng.random()), probability, longest))
            else:
                agent.clear_pause_generator()
                agent.pause = False

    async def hang(self, *channels: str):
        """Takes nothing more on these channels, from the next cycle on."""
        for name in channels:
            self.channels[name].pause = True
        await RisingEdge(self._clock)

    def resume(self):
        for channel in self.channels.values():
            channel.pause = False
