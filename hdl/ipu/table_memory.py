"""The lookup tables of the post-processing."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..isa import TABLE_ENTRIES, TABLES


class TableMemory(wiring.Component):
    """Two tables of 256 bytes: written by bus word, read at ``post_lanes`` places at a time, each from a copy of its
    own.

    Read latency 1 cycle.

    Members
    -------
    write : In(1), write_beat : In, write_word : In(bus_bits)
        Bus words are counted over both tables.
    read : In(1), read_table : In(1), indices : In(ArrayLayout)
        ``read_table`` 0 is table 1 of :mod:`hdl.isa`.
    values : Out(ArrayLayout)
    """

    def __init__(self, config: Config):
        self.config = config
        lanes = data.ArrayLayout(8, config.post_lanes)
        super().__init__({
            "write": In(1),
            "write_beat": In(clog2(TABLES * TABLE_ENTRIES // config.bus_bytes)),
            "write_word": In(config.bus_bits),
            "read": In(1),
            "read_table": In(clog2(TABLES)),
            "indices": In(lanes),
            "values": Out(lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        within = clog2(config.bus_bytes)
        for lane, (index, value) in enumerate(zip(self.indices, self.values)):
            memory = Memory(shape=config.bus_bits, depth=TABLES * TABLE_ENTRIES // config.bus_bytes, init=[])
            m.submodules[f"memory_{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            byte = Signal(within, name=f"byte_{lane}")
            m.d.comb += [
                write.en.eq(self.write),
                write.addr.eq(self.write_beat),
                write.data.eq(self.write_word),
                read.en.eq(self.read),
                read.addr.eq(index[within:] | self.read_table << 8 - within),
                value.eq(read.data.word_select(byte, 8)),
            ]
            with m.If(self.read):
                m.d.sync += byte.eq(index[:within])
        return m
