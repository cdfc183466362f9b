"""Instruction fetch: runs ahead of decoding."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ADDR_BITS, INSTRUCTION_BYTES, Config, clog2
from .fault import fault_layout
from .reader import Reader
from .windows import windows_layout


def record_layout() -> data.StructLayout:
    """An instruction as it lies in memory, and where."""
    return data.StructLayout({"address": ADDR_BITS, "bits": 8 * INSTRUCTION_BYTES})


class Fetch(wiring.Component):
    """Reads the instructions of a program in order.

    Members
    -------
    start : In(1)
        Begins with ``count`` instructions at ``address``, a multiple of 64.
    windows, halt, ar, r, fault
        As in :class:`~hdl.ipu.reader.Reader`.
    o_records : Out(stream)
    done : Out(1)
        Every instruction has been taken.
    """

    o_records: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "start": In(1),
            "address": In(ADDR_BITS),
            "count": In(32),
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "o_records": Out(stream.Signature(record_layout())),
            "done": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        beats = INSTRUCTION_BYTES // self.config.bus_bytes
        m.submodules.reader = reader = Reader(self.config, channel=self.channel, depth=max(16, 2 * beats))
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        m.d.comb += [reader.windows.eq(self.windows), reader.halt.eq(self.halt), self.fault.eq(reader.fault)]

        left = Signal(32)
        request = Signal()
        address = Signal(ADDR_BITS)
        words = Signal(8 * INSTRUCTION_BYTES)
        word = Signal(range(beats + 1))
        m.d.comb += [
            reader.i_runs.valid.eq(request),
            reader.i_runs.payload.address.eq(self.address),
            reader.i_runs.payload.beats.eq(self.count << clog2(beats)),
            reader.o_words.ready.eq(word != beats),
            self.o_records.valid.eq(word == beats),
            self.o_records.payload.bits.eq(words),
            self.o_records.payload.address.eq(address),
            self.done.eq((left == 0) & ~self.start),
        ]
        with m.If(reader.i_runs.ready):
            m.d.sync += request.eq(0)
        with m.If(self.start):
            m.d.sync += [request.eq(self.count != 0), left.eq(self.count), address.eq(self.address)]
        with m.If(reader.o_words.valid & reader.o_words.ready):
            m.d.sync += [words.eq(Cat(words, reader.o_words.payload)[self.config.bus_bits:]), word.eq(word + 1)]
        with m.If(self.o_records.valid & self.o_records.ready):
            m.d.sync += [word.eq(0), left.eq(left - 1), address.eq(address + INSTRUCTION_BYTES)]
        return m
