"""The parameter memory: bias and multiplier per output channel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..isa import parameter_entries
from ..layouts import parameter_layout


class ParameterMemory(wiring.Component):
    """Two tiles of parameters: written by bus word, ``post_lanes`` entries read at a time.

    Read latency 1 cycle.

    Members
    -------
    write : In(1), write_beat : In, write_word : In(bus_bits)
    read : In(1), read_block : In
        Entries are read from ``read_block x post_lanes`` on.
    parameters : Out(ArrayLayout)
    """

    def __init__(self, config: Config):
        self.config = config
        entries = parameter_entries(config)
        self.per_beat = config.bus_bits // parameter_layout().size
        super().__init__({
            "write": In(1),
            "write_beat": In(clog2(entries // self.per_beat)),
            "write_word": In(config.bus_bits),
            "read": In(1),
            "read_block": In(clog2(entries // config.post_lanes)),
            "parameters": Out(data.ArrayLayout(parameter_layout(), config.post_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = max(config.bus_bits, config.post_lanes * parameter_layout().size)
        rows = parameter_entries(config) * parameter_layout().size // width
        memory = Memory(shape=width, depth=rows, init=[])
        m.submodules.memory = memory
        write, read = memory.write_port(granularity=config.bus_bits), memory.read_port()
        beats = width // config.bus_bits
        blocks = width // len(self.parameters.as_value())
        block = Signal(clog2(blocks))
        m.d.comb += [
            write.addr.eq(self.write_beat >> clog2(beats)),
            write.data.eq(self.write_word.replicate(beats)),
            write.en.eq(self.write << self.write_beat[:clog2(beats)]),
            read.addr.eq(self.read_block >> clog2(blocks)),
            read.en.eq(self.read),
            self.parameters.eq(read.data.word_select(block, len(self.parameters.as_value()))),
        ]
        with m.If(self.read):
            m.d.sync += block.eq(self.read_block[:clog2(blocks)])
        return m
