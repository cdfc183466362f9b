"""Bursts of bus words to memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..axi import axi4
from ..config import Config, clog2
from .burst import burst_layout
from .windows import DMA_ADDR_BITS


def word_layout(config: Config) -> data.StructLayout:
    """A bus word and which of its bytes to write."""
    return data.StructLayout({"data": config.bus_bits, "strb": config.bus_bytes})


def burst_answer_layout(tag_bits: int) -> data.StructLayout:
    """What memory says about a burst: its address and tag, and whether it is written."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "tag": tag_bits, "good": 1})


class BurstWriter(wiring.Component):
    """Writes bursts whose bus words come in order on ``i_words``.

    A burst has up to :attr:`MAX_BEATS` words and begins when all of them have come, into a FIFO of :attr:`WORDS` words;
    they follow as soon as its address is shown, whether that has been taken or not. Up to :attr:`OUTSTANDING` bursts
    await their response. While ``halt`` is high no new burst begins.

    Parameters
    ----------
    channel : int
        AXI ID.
    tag_bits : int
        Width of what the user wants to know again with the answer.

    Members
    -------
    halt : In(1)
    i_bursts : In(stream), i_words : In(stream)
        A burst is taken when its address has been taken.
    aw, w : Out(stream), b : In(stream)
        ``b`` shows only this channel's responses, and is always ready.
    taken : Out(1)
        A word leaves the FIFO.
    answer : Out(burst_answer_layout), answered : Out(1)
        A response, in the cycle in which it comes.
    busy : Out(1)
        Some burst that has begun is not answered.
    """

    i_bursts: stream.Interface
    i_words: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    OUTSTANDING = 16
    MAX_BEATS = 32
    WORDS = 64

    def __init__(self, config: Config, *, channel: int, tag_bits: int = 0):
        self.config = config
        self.channel = channel
        self.tag_bits = tag_bits
        super().__init__({
            "halt": In(1),
            "i_bursts": In(stream.Signature(burst_layout(self.MAX_BEATS, tag_bits))),
            "i_words": In(stream.Signature(word_layout(config))),
            "aw": Out(stream.Signature(axi4.address_layout(config))),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout(config))),
            "taken": Out(1),
            "answer": Out(burst_answer_layout(tag_bits)),
            "answered": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        begin = Signal()
        words, enough = self._buffer(m, begin)
        lengths, begun = self._request(m, begin, enough)
        self._send(m, words, lengths)
        self._answer(m, begun)
        return m

    def _buffer(self, m, begin):
        """The words that have come, and whether those that belong to no burst yet are enough for the next one."""
        m.submodules.words = words = SyncFIFOBuffered(width=word_layout(self.config).size, depth=self.WORDS)
        unclaimed = Signal(range(self.WORDS + 1))
        m.d.comb += [
            words.w_en.eq(self.i_words.valid),
            words.w_data.eq(self.i_words.payload),
            self.i_words.ready.eq(words.w_rdy),
            self.taken.eq(words.r_rdy & words.r_en),
        ]
        beats = self.i_bursts.payload.beats
        m.d.sync += unclaimed.eq(unclaimed + (words.w_en & words.w_rdy) - Mux(begin, beats, 0))
        return words, unclaimed >= beats

    def _request(self, m, begin, enough):
        burst = self.i_bursts.payload
        m.submodules.lengths = lengths = SyncFIFO(width=len(burst.beats), depth=self.OUTSTANDING)
        m.submodules.begun = begun = SyncFIFO(width=DMA_ADDR_BITS + self.tag_bits, depth=self.OUTSTANDING)
        waiting, asked = Signal(), Signal()
        show = waiting | begin
        m.d.comb += [
            begin.eq(self.i_bursts.valid & enough & ~waiting & ~self.halt & lengths.w_rdy & begun.w_rdy),
            self.aw.valid.eq(show),
            self.aw.payload.id.eq(self.channel),
            self.aw.payload.addr.eq(burst.address),
            self.aw.payload.len.eq(burst.beats - 1),
            asked.eq(show & self.aw.ready),
            self.i_bursts.ready.eq(asked),
            lengths.w_en.eq(begin),
            lengths.w_data.eq(burst.beats),
            begun.w_en.eq(begin),
            begun.w_data.eq(Cat(burst.address, burst.tag)),
        ]
        m.d.sync += waiting.eq(show & ~self.aw.ready)
        return lengths, begun

    def _send(self, m, words, lengths):
        beat = Signal(clog2(self.MAX_BEATS))
        word = data.View(word_layout(self.config), words.r_data)
        m.d.comb += [
            self.w.valid.eq(words.r_rdy & lengths.r_rdy),
            words.r_en.eq(self.w.ready & lengths.r_rdy),
            self.w.payload.data.eq(word.data),
            self.w.payload.strb.eq(word.strb),
            self.w.payload.last.eq(beat == lengths.r_data - 1),
            lengths.r_en.eq(self.w.valid & self.w.ready & self.w.payload.last),
        ]
        with m.If(self.w.valid & self.w.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(self.w.payload.last):
                m.d.sync += beat.eq(0)

    def _answer(self, m, begun):
        m.d.comb += [
            self.b.ready.eq(1),
            begun.r_en.eq(self.b.valid),
            self.busy.eq(begun.r_rdy),
            self.answered.eq(self.b.valid),
            Cat(self.answer.address, self.answer.tag).eq(begun.r_data),
            self.answer.good.eq(self.b.payload.resp == axi4.OKAY),
        ]
