"""Packs results into bus words."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, Config, clog2
from .writer import word_layout


class Pack(wiring.Component):
    """``post_lanes`` results per cycle, as 32 or 8 bits each, into bus words; a row starts a new word. Bytes that are
    not written are zero.

    There is no back-pressure: ``o_words`` must be ready. Latency 1 cycle.

    Members
    -------
    valid : In(1)
    wide : In(1)
        Results are 32 bits, else their lowest 8.
    results : In(ArrayLayout)
    lanes : In(post_lanes)
        Which results exist; ascending.
    row_end : In(1)
    fills : Out(1)
        With ``valid``: these results complete a word. Combinational.
    o_words : Out(stream)
    """

    o_words: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "valid": In(1),
            "wide": In(1),
            "results": In(data.ArrayLayout(signed(ACC_BITS), config.post_lanes)),
            "lanes": In(config.post_lanes),
            "row_end": In(1),
            "fills": Out(1),
            "o_words": Out(stream.Signature(word_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word = Signal(word_layout(config))
        chunk = Signal(clog2(config.bus_bytes // config.post_lanes))
        next_word = Signal.like(word)

        def placed(bits: int):
            """Where this chunk goes in the word, and whether it is the last that fits."""
            chunks = config.bus_bits // (bits * config.post_lanes)
            values = Cat(Mux(lane, result[:bits], 0) for lane, result in zip(self.lanes, self.results))
            strobes = Cat(lane.replicate(bits // 8) for lane in self.lanes)
            where = chunk[:clog2(chunks)]
            return ((values << where * (bits * config.post_lanes))[:config.bus_bits],
                    (strobes << where * (bits // 8 * config.post_lanes))[:config.bus_bytes], where == chunks - 1)

        (wide_data, wide_strb, wide_full), (narrow_data, narrow_strb, narrow_full) = placed(ACC_BITS), placed(8)
        m.d.comb += [
            next_word.data.eq(word.data | Mux(self.wide, wide_data, narrow_data)),
            next_word.strb.eq(word.strb | Mux(self.wide, wide_strb, narrow_strb)),
            self.fills.eq(Mux(self.wide, wide_full, narrow_full) | self.row_end),
        ]
        m.d.sync += self.o_words.valid.eq(self.valid & self.fills)
        with m.If(self.valid):
            m.d.sync += [word.eq(next_word), chunk.eq(chunk + 1)]
            with m.If(self.fills):
                m.d.sync += [word.eq(0), chunk.eq(0), self.o_words.payload.eq(next_word)]
        return m
