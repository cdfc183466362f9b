"""The DMA write channel."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..axi import axi4
from ..config import Config, clog2
from ..csr import Cause
from ..isa import queues
from .burst import BurstSplitter, run_layout
from .fault import fault_layout, raise_fault
from .windows import DMA_ADDR_BITS, windows_layout


def word_layout(config: Config) -> data.StructLayout:
    """A bus word and which of its bytes to write."""
    return data.StructLayout({"data": config.bus_bits, "strb": config.bus_bytes})


def write_run_layout(config: Config) -> data.StructLayout:
    """A run of bus words, and the queues to give a token to when all of it is written and answered."""
    return data.StructLayout({**run_layout().members, "signal": len(queues(config))})


def answer_layout(config: Config) -> data.StructLayout:
    """What the response of a burst is about: its address, and what it signals if it is good."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "signal": len(queues(config))})


class Writer(wiring.Component):
    """Writes runs of bus words that come in order on ``i_words``.

    A burst has up to :attr:`MAX_BEATS` words and begins when all of them have come, into a FIFO of :attr:`WORDS` words;
    they follow as soon as its address is shown, whether that has been taken or not. Up to :attr:`OUTSTANDING` bursts
    await their response. A window violation and an error response raise ``fault``; no burst begins and no run is
    signalled after that. While ``halt`` is high no new burst begins.

    Members
    -------
    windows : In(ArrayLayout), halt : In(1)
    i_runs : In(stream), i_words : In(stream)
    aw, w : Out(stream), b : In(stream)
    taken : Out(1)
        A word leaves the FIFO.
    signal : Out
        Of a run, for one cycle: the one after its last response.
    busy : Out(1)
        A run is not yet completely written, answered and signalled, or never will be.
    fault : Out(fault_layout)
    """

    i_runs: stream.Interface
    i_words: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    OUTSTANDING = 16
    MAX_BEATS = 32
    WORDS = 64

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_runs": In(stream.Signature(write_run_layout(config))),
            "i_words": In(stream.Signature(word_layout(config))),
            "aw": Out(stream.Signature(axi4.address_layout())),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout())),
            "taken": Out(1),
            "signal": Out(len(queues(config))),
            "busy": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        bursts = self._split(m)
        begin = Signal()
        words, enough = self._buffer(m, bursts, begin)
        lengths, answers = self._request(m, bursts, begin, enough)
        self._send(m, words, lengths)
        self._complete(m, answers)
        return m

    def _split(self, m):
        """Bursts, of which the last one of a run bears what the run signals."""
        m.submodules.splitter = self.splitter = splitter = BurstSplitter(
            self.config, permission="write", max_beats=self.MAX_BEATS, tag_bits=len(queues(self.config)))
        m.d.comb += [
            splitter.windows.eq(self.windows),
            splitter.i_runs.valid.eq(self.i_runs.valid),
            splitter.i_runs.payload.address.eq(self.i_runs.payload.address),
            splitter.i_runs.payload.beats.eq(self.i_runs.payload.beats),
            splitter.i_runs.payload.tag.eq(self.i_runs.payload.signal),
            self.i_runs.ready.eq(splitter.i_runs.ready),
        ]
        with m.If(splitter.refused):
            raise_fault(m, self.fault, Cause.WRITE_WINDOW, splitter.refused_address)
        return splitter.o_bursts

    def _buffer(self, m, bursts, begin):
        """The words that have come, and whether those that belong to no burst yet are enough for the next one."""
        m.submodules.words = words = SyncFIFOBuffered(width=word_layout(self.config).size, depth=self.WORDS)
        unclaimed = Signal(range(self.WORDS + 1))
        m.d.comb += [
            words.w_en.eq(self.i_words.valid),
            words.w_data.eq(self.i_words.payload),
            self.i_words.ready.eq(words.w_rdy),
            self.taken.eq(words.r_rdy & words.r_en),
        ]
        m.d.sync += unclaimed.eq(unclaimed + (words.w_en & words.w_rdy) - Mux(begin, bursts.payload.beats, 0))
        return words, unclaimed >= bursts.payload.beats

    def _request(self, m, bursts, begin, enough):
        m.submodules.lengths = lengths = SyncFIFO(width=len(bursts.payload.beats), depth=self.OUTSTANDING)
        m.submodules.answers = answers = SyncFIFO(width=answer_layout(self.config).size, depth=self.OUTSTANDING)
        answer = data.View(answer_layout(self.config), answers.w_data)
        waiting, asked = Signal(), Signal()
        show = waiting | begin
        m.d.comb += [
            begin.eq(bursts.valid & enough & ~waiting & ~self.halt & ~self.fault.valid & lengths.w_rdy & answers.w_rdy),
            self.aw.valid.eq(show),
            self.aw.payload.addr.eq(bursts.payload.address),
            self.aw.payload.len.eq(bursts.payload.beats - 1),
            asked.eq(show & self.aw.ready),
            bursts.ready.eq(asked),
            lengths.w_en.eq(begin),
            lengths.w_data.eq(bursts.payload.beats),
            answers.w_en.eq(begin),
            answer.address.eq(bursts.payload.address),
            answer.signal.eq(bursts.payload.tag),
        ]
        m.d.sync += waiting.eq(show & ~self.aw.ready)
        return lengths, answers

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

    def _complete(self, m, answers):
        answer = data.View(answer_layout(self.config), answers.r_data)
        m.d.comb += [
            self.b.ready.eq(1),
            answers.r_en.eq(self.b.valid),
            self.busy.eq(~self.splitter.idle | answers.r_rdy | self.signal.any() | self.fault.valid),
        ]
        m.d.sync += self.signal.eq(0)
        with m.If(self.b.valid):
            with m.If(self.b.payload.resp != axi4.OKAY):
                raise_fault(m, self.fault, Cause.WRITE_ERROR, answer.address)
            with m.Elif(~self.fault.valid):
                m.d.sync += self.signal.eq(answer.signal)
