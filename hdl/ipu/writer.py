"""The DMA write channel."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import MAX_BURST_BEATS, Config, clog2
from ..csr import Cause
from .burst import BurstSplitter, run_layout
from .fault import fault_layout, raise_fault
from .windows import DMA_ADDR_BITS, windows_layout


def word_layout(config: Config) -> data.StructLayout:
    """A bus word and which of its bytes to write."""
    return data.StructLayout({"data": config.bus_bits, "strb": config.bus_bytes})


class Writer(wiring.Component):
    """Writes runs of bus words that come in order on ``i_words``.

    A burst's words follow as soon as its address is shown, whether that has been taken or not; up to
    :attr:`OUTSTANDING` bursts await their response. A window violation and an error response raise ``fault``. While
    ``halt`` is high no new burst begins, but words of those that have begun must go on coming.

    Members
    -------
    windows : In(ArrayLayout), halt : In(1)
    i_runs : In(stream), i_words : In(stream)
    aw, w : Out(stream), b : In(stream)
    busy : Out(1)
        A run is not yet completely written and answered.
    fault : Out(fault_layout)
    """

    i_runs: stream.Interface
    i_words: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    OUTSTANDING = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_runs": In(stream.Signature(run_layout())),
            "i_words": In(stream.Signature(word_layout(config))),
            "aw": Out(stream.Signature(axi4.address_layout())),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout())),
            "busy": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.splitter = splitter = BurstSplitter(self.config, permission="write", max_beats=MAX_BURST_BEATS)
        connect(m, runs=flipped(self.i_runs), splitter=splitter.i_runs)
        m.d.comb += splitter.windows.eq(self.windows)
        bursts = splitter.o_bursts
        m.submodules.lengths = lengths = SyncFIFO(width=len(bursts.payload.beats), depth=self.OUTSTANDING)
        m.submodules.addresses = addresses = SyncFIFO(width=DMA_ADDR_BITS, depth=self.OUTSTANDING)

        waiting, begin, asked = Signal(), Signal(), Signal()
        show = waiting | begin
        m.d.comb += [
            begin.eq(bursts.valid & ~waiting & ~self.halt & ~self.fault.valid & lengths.w_rdy & addresses.w_rdy),
            self.aw.valid.eq(show),
            self.aw.payload.addr.eq(bursts.payload.address),
            self.aw.payload.len.eq(bursts.payload.beats - 1),
            asked.eq(show & self.aw.ready),
            bursts.ready.eq(asked),
            lengths.w_en.eq(begin),
            lengths.w_data.eq(bursts.payload.beats),
            addresses.w_en.eq(begin),
            addresses.w_data.eq(bursts.payload.address),
            self.busy.eq(~splitter.idle | addresses.r_rdy),
        ]
        m.d.sync += waiting.eq(show & ~self.aw.ready)

        beat = Signal(clog2(MAX_BURST_BEATS))
        m.d.comb += [
            self.w.valid.eq(self.i_words.valid & lengths.r_rdy),
            self.i_words.ready.eq(self.w.ready & lengths.r_rdy),
            self.w.payload.data.eq(self.i_words.payload.data),
            self.w.payload.strb.eq(self.i_words.payload.strb),
            self.w.payload.last.eq(beat == lengths.r_data - 1),
            lengths.r_en.eq(self.w.valid & self.w.ready & self.w.payload.last),
        ]
        with m.If(self.w.valid & self.w.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(self.w.payload.last):
                m.d.sync += beat.eq(0)

        m.d.comb += [self.b.ready.eq(1), addresses.r_en.eq(self.b.valid)]
        with m.If(self.b.valid & (self.b.payload.resp != axi4.OKAY)):
            raise_fault(m, self.fault, Cause.WRITE_ERROR, addresses.r_data)
        with m.If(splitter.refused):
            raise_fault(m, self.fault, Cause.WRITE_WINDOW, splitter.refused_address)
        return m
