"""Packs results into bus words."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, Config, clog2
from .burst_writer import word_layout


class Pack(wiring.Component):
    """``post_lanes`` results per cycle, as 32 or 8 bits each, into bus words, at any byte. Bytes that are not written
    are zero.

    Results that reach beyond the end of a word fill it and begin the next one; a row whose last results do so must be
    ended in a later cycle, by no results at all. After the end of a row the next results start a new word.

    There is no back-pressure: ``o_words`` must be ready. Latency 2 cycles, one to shift and one to merge.

    Members
    -------
    valid : In(1)
    wide : In(1)
        Results are 32 bits, else their lowest 8.
    results : In(ArrayLayout)
    lanes : In(post_lanes)
        Which results exist; ascending.
    offset : In
        Byte of the word that the first result begins with.
    row_end : In(1)
    fills : Out(1)
        With ``valid``: a word is complete. Combinational.
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
            "offset": In(clog2(config.bus_bytes)),
            "row_end": In(1),
            "fills": Out(1),
            "o_words": Out(stream.Signature(word_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        self._merge(m, *self._shift(m))
        return m

    def _shift(self, m):
        """Stage 1: where the results belong in this word and the next."""
        config = self.config
        bus = config.bus_bytes
        strb = Signal(2 * bus)
        m.d.comb += [
            strb.eq(Mux(self.wide, Cat(lane.replicate(ACC_BITS // 8) for lane in self.lanes), self.lanes)
                    << self.offset),
            self.fills.eq(strb[bus - 1] | self.row_end),
        ]
        existing = [Mux(lane, result, 0) for lane, result in zip(self.lanes, self.results)]
        narrow = Cat(result[:8] for result in existing)
        shifted = Signal(data.ArrayLayout(word_layout(config), 2), reset_less=True)
        given, complete = Signal(), Signal()
        m.d.sync += [
            Cat(word.data for word in shifted).eq(Mux(self.wide, Cat(existing), narrow) << (self.offset << 3)),
            Cat(word.strb for word in shifted).eq(strb),
            given.eq(self.valid),
            complete.eq(self.fills),
        ]
        return shifted, given, complete

    def _merge(self, m, shifted, given, complete):
        """Stage 2: into the word that has begun."""
        begun, merged = Signal(word_layout(self.config)), Signal(word_layout(self.config))
        m.d.comb += merged.eq(begun.as_value() | shifted[0].as_value())
        m.d.sync += self.o_words.valid.eq(given & complete)
        with m.If(given):
            m.d.sync += begun.eq(merged)
            with m.If(complete):
                m.d.sync += [begun.eq(shifted[1]), self.o_words.payload.eq(merged)]
