"""From bus words to blocks of bytes, whatever byte a row begins with."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, Config, clog2


def byte_row_layout(config: Config) -> data.StructLayout:
    """A row of bytes: the byte of its first bus word with which it begins, how many it has, at least one, and whether
    its blocks are of ``post_lanes`` int32 instead of bytes."""
    return data.StructLayout({"offset": clog2(config.bus_bytes), "bytes": clog2(ACC_BITS // 8 * config.out_cols + 1),
                              "wide": 1})


class Gearbox(wiring.Component):
    """Cuts rows of bytes, each of which comes as bus words of its own, into blocks of ``post_lanes`` bytes, or of four
    times as many if the row is ``wide``; the last block of a row may have fewer. What lies above them is noise.

    A block leaves as soon as its words are there, through a register: latency 1 cycle, throughput one block per cycle,
    of up to a bus word. A row whose first block needs two words costs one cycle more.

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
            "o_blocks": Out(stream.Signature(ACC_BITS * config.post_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        bus, lanes = self.config.bus_bytes, self.config.post_lanes
        row = self.i_rows.payload
        word = self.i_words.payload
        active = Signal()
        at = Signal(clog2(bus))
        left = Signal.like(row.bytes)
        wide = Signal()
        held, split = Signal.like(word), Signal()  # the word before, and whether the block begins in it
        block = Signal(range(4 * lanes + 1))
        row_end, straddles, fills, next_straddles = Signal(), Signal(), Signal(), Signal()
        hold, cut, take = Signal(), Signal(), Signal()
        next_at = Signal(clog2(bus))  # in the word in which the block ends, or in the one after
        m.d.comb += [
            block.eq(Mux(wide, 4 * lanes, lanes)),
            row_end.eq(left <= block),
            straddles.eq(at + Mux(row_end, left, block) > bus),
            fills.eq(at + block == bus),
            next_at.eq(at + block),
            next_straddles.eq(next_at + Mux(left <= 2 * block, left - block, block) > bus),
            hold.eq(active & self.i_words.valid & straddles & ~split),
            cut.eq(active & self.i_words.valid & (~straddles | split) & (~self.o_blocks.valid | self.o_blocks.ready)),
            take.eq(hold | cut & (row_end | fills | next_straddles)),
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
                left.eq(left - block),
                split.eq(next_straddles),
            ]
        with m.If(self.i_rows.ready):
            m.d.sync += [active.eq(self.i_rows.valid), at.eq(row.offset), left.eq(row.bytes), wide.eq(row.wide),
                         split.eq(0)]
        return m
