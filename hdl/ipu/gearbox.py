"""From bus words to blocks of bytes, whatever byte a row begins with."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2


def byte_row_layout(config: Config) -> data.StructLayout:
    """A row of bytes: the byte of its first bus word with which it begins, and how many it has, at least one."""
    return data.StructLayout({"offset": clog2(config.bus_bytes), "bytes": clog2(config.out_cols + 1)})


class Gearbox(wiring.Component):
    """Cuts rows of bytes, each of which comes as bus words of its own, into blocks of ``post_lanes`` bytes; the last
    block of a row may have fewer, and noise above them.

    A block leaves as soon as its words are there, through a register: latency 1 cycle, throughput one block per cycle.
    A row whose first block needs two words costs one cycle more.

    Members
    -------
    i_rows : In(stream), i_words : In(stream)
    o_blocks : Out(stream)
    """

    i_rows: stream.Interface
    i_words: stream.Interface
    o_blocks: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_rows": In(stream.Signature(byte_row_layout(config))),
            "i_words": In(stream.Signature(config.bus_bits)),
            "o_blocks": Out(stream.Signature(8 * config.post_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        bus, lanes = self.config.bus_bytes, self.config.post_lanes
        row = self.i_rows.payload
        word = self.i_words.payload
        active = Signal()
        at = Signal(clog2(bus))
        left = Signal.like(row.bytes)
        held, split = Signal.like(word), Signal()  # the word before, and whether the block begins in it
        row_end, straddles, next_straddles = Signal(), Signal(), Signal()
        hold, cut, take = Signal(), Signal(), Signal()
        next_at = Signal(range(bus + lanes))
        m.d.comb += [
            row_end.eq(left <= lanes),
            straddles.eq(at + Mux(row_end, left, lanes) > bus),
            next_at.eq(at + lanes),
            next_straddles.eq(next_at + Mux(left <= 2 * lanes, left - lanes, lanes) > bus),
            hold.eq(active & self.i_words.valid & straddles & ~split),
            cut.eq(active & self.i_words.valid & (~straddles | split) & (~self.o_blocks.valid | self.o_blocks.ready)),
            take.eq(hold | cut & (row_end | ~split & next_straddles)),
            self.i_words.ready.eq(take),
            self.i_rows.ready.eq(~active | cut & row_end),
        ]
        with m.If(self.o_blocks.ready):
            m.d.sync += self.o_blocks.valid.eq(0)
        with m.If(take):
            m.d.sync += held.eq(word)
        with m.If(hold):
            m.d.sync += split.eq(1)
        with m.If(cut):
            m.d.sync += [
                self.o_blocks.valid.eq(1),
                self.o_blocks.payload.eq(Cat(Mux(split, held, word), word) >> (at << 3)),
                at.eq(next_at),
                left.eq(left - lanes),
                split.eq(~split & next_straddles & (next_at != bus)),
            ]
        with m.If(self.i_rows.ready):
            m.d.sync += [active.eq(self.i_rows.valid), at.eq(row.offset), left.eq(row.bytes), split.eq(0)]
        return m
