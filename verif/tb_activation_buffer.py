"""Activation buffer: words and lines at every byte address, at once, against an array of bytes."""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.ipu.activation_buffer import ActivationBuffer
from sim.rtl import test_config

from .coverage import Coverage, report
from .start import start

CONFIG = test_config()
FAST = cocotb.SIM_NAME.lower().startswith("verilator")
PAIR = 2 * CONFIG.line_bytes

ACCESSES = Coverage("activation_buffer", {
    "write": range(PAIR), "read": range(PAIR), "write_wraps": [False, True], "read_wraps": [False, True],
    "mask": ["none", "from the first", "to the last", "inside", "all", "scattered"],
    "meet": ["apart", "touch"], "together": ["write", "read", "both", "neither"],
})


class BufferBench:
    """Drives a write and a read in a cycle, and compares the line after it."""

    @classmethod
    async def start(cls, dut) -> "BufferBench":
        await start(dut, ActivationBuffer(CONFIG))
        bench = cls(dut)
        for address in range(0, CONFIG.act_bytes, CONFIG.bus_bytes):
            await bench.cycle(write=(address, bench.word(), -1))
        return bench

    def __init__(self, dut):
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.content = np.zeros(CONFIG.act_bytes, np.uint8)
        self.line: bytes | None = None

    def word(self) -> bytes:
        return self.random.randbytes(CONFIG.bus_bytes)

    def address(self) -> int:
        """Any address, often about a line's end or the buffer's."""
        if self.random.random() < 0.5:
            return self.random.randrange(CONFIG.act_bytes)
        line = self.random.choice([0, self.random.randrange(CONFIG.act_lines)])
        return (line * CONFIG.line_bytes + self.random.randint(-2, 2)) % CONFIG.act_bytes

    def mask(self) -> tuple[str, int]:
        bus = CONFIG.bus_bytes
        every = (1 << bus) - 1
        a, b = sorted(self.random.sample(range(1, bus), 2))
        return self.random.choice([
            ("none", 0), ("from the first", every >> a), ("to the last", every << a & every),
            ("inside", (1 << b) - (1 << a)), ("all", every), ("scattered", self.random.getrandbits(bus))])

    async def cycle(self, *, write: tuple[int, bytes, int] | None = None, read: int | None = None):
        """One cycle, and a look at the line of the one before; what is not used carries noise. A byte is read as it was
        before the write."""
        dut, bus = self.dut, CONFIG.bus_bytes
        await FallingEdge(dut.clk)
        if self.line is not None:
            assert int(dut.line.value).to_bytes(CONFIG.line_bytes, "little") == self.line
        dut.write.value, dut.read.value = int(write is not None), int(read is not None)
        address, word, mask = write or (self.address(), self.word(), self.random.getrandbits(bus))
        dut.write_address.value = address
        dut.write_word.value = int.from_bytes(word, "little")
        dut.write_mask.value = mask & (1 << bus) - 1
        dut.read_address.value = self.address() if read is None else read
        await RisingEdge(dut.clk)
        if read is not None:
            self.line = self.content[(read + np.arange(CONFIG.line_bytes)) % CONFIG.act_bytes].tobytes()
        if write is not None:
            for i in range(bus):
                if mask >> i & 1:
                    self.content[(address + i) % CONFIG.act_bytes] = word[i]

    async def random_cycle(self):
        together = self.random.choice(["write", "read", "both", "both", "neither"])
        name, mask = self.mask()
        at, to = self.address(), self.address()
        write = (to, self.word(), mask) if together in ("write", "both") else None
        read = at if together in ("read", "both") else None
        await self.cycle(write=write, read=read)
        seen = {}
        if write:
            seen |= {"write": to % PAIR, "write_wraps": to + CONFIG.bus_bytes > CONFIG.act_bytes, "mask": name}
        if read is not None:
            seen |= {"read": at % PAIR, "read_wraps": at + CONFIG.line_bytes > CONFIG.act_bytes}
        if together == "both":
            touched = {(to + i) % CONFIG.act_bytes for i in range(CONFIG.bus_bytes) if mask >> i & 1}
            lines = {(at + i) % CONFIG.act_bytes for i in range(CONFIG.line_bytes)}
            seen["meet"] = "touch" if touched & lines else "apart"
        ACCESSES.sample(together=together, **seen)


@cocotb.test()
async def test_words_and_lines_at_every_address(dut):
    """Bytes that the mask names and no others; the line of the last read, as it was before a write at the same time."""
    bench = await BufferBench.start(dut)
    for _ in range(8_000 if FAST else 1_500):
        await bench.random_cycle()
    await bench.cycle()
    report()


@cocotb.test()
async def test_every_address_is_read(dut):
    bench = await BufferBench.start(dut)
    addresses = range(CONFIG.act_bytes) if CONFIG.act_bytes <= 4096 else bench.random.sample(
        range(CONFIG.act_bytes), 4096)
    for address in addresses if FAST else bench.random.sample(addresses, min(len(addresses), 500)):
        await bench.cycle(read=address)
    await bench.cycle()
    report()
