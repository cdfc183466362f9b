"""The activation buffer."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2


class ActivationBuffer(wiring.Component):
    """``act_bytes`` bytes: written by bus word, read by line of ``grid_k x rows`` bytes.

    One memory per macro row. Read latency 1 cycle; one write and one read per cycle.

    Members
    -------
    write : In(1), write_beat : In, write_word : In(bus_bits)
        Bus words are numbered from the start of the buffer.
    read : In(1), read_line : In, line : Out
        ``line`` holds until the next read.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "write": In(1),
            "write_beat": In(clog2(config.act_bytes // config.bus_bytes)),
            "write_word": In(config.bus_bits),
            "read": In(1),
            "read_line": In(clog2(config.act_lines)),
            "line": Out(8 * config.line_bytes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        words_per_row = config.rows // config.bus_bytes
        within, macro_row = clog2(words_per_row), clog2(config.grid_k)
        lines = []
        for k in range(config.grid_k):
            memory = Memory(shape=8 * config.rows, depth=config.act_lines, init=[])
            m.submodules[f"macro_row_{k}"] = memory
            write, read = memory.write_port(granularity=config.bus_bits), memory.read_port()
            here = self.write & (self.write_beat[within:within + macro_row] == k)
            m.d.comb += [
                write.addr.eq(self.write_beat[within + macro_row:]),
                write.data.eq(self.write_word.replicate(words_per_row)),
                write.en.eq(here << self.write_beat[:within]),
                read.addr.eq(self.read_line),
                read.en.eq(self.read),
            ]
            lines.append(read.data)
        m.d.comb += self.line.eq(Cat(lines))
        return m
