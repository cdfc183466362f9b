"""A DMA read channel."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import MAX_BURST_BEATS, Config, clog2
from ..csr import Cause
from .burst import BurstSplitter, run_layout
from .fault import fault_layout, raise_fault
from .windows import DMA_ADDR_BITS, windows_layout


class Reader(wiring.Component):
    """Reads runs of bus words, several bursts ahead, and delivers them in order.

    With ``depth`` bus words of FIFO, a burst is asked for only when the FIFO has room for all of it, so the bus is
    never held up. With ``depth`` 0 there is no FIFO: ``o_words.ready`` must be high whenever a run is under way.

    A window violation and an error response raise ``fault``; words after an error response are not delivered. While
    ``halt`` is high no new burst is asked for.

    Parameters
    ----------
    channel : int
        AXI ID.
    depth : int
        Zero, or a power of two.

    Members
    -------
    windows : In(ArrayLayout), halt : In(1)
    i_runs : In(stream)
    ar : Out(stream), r : In(stream)
        ``r`` shows only this channel's beats, and is always ready.
    o_words : Out(stream)
    level : Out
        Bus words in the FIFO.
    busy : Out(1)
        A run has bursts that are not yet answered.
    fault : Out(fault_layout)
    """

    i_runs: stream.Interface
    o_words: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    def __init__(self, config: Config, *, channel: int, depth: int):
        self.config = config
        self.channel = channel
        self.depth = depth
        self.max_beats = min(MAX_BURST_BEATS, depth or MAX_BURST_BEATS)
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_runs": In(stream.Signature(run_layout())),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "o_words": Out(stream.Signature(config.bus_bits)),
            "level": Out(range(depth + 1)),
            "busy": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        bursts = self._split(m)
        room, taken = self._buffer(m)
        self._request(m, bursts, room, taken)
        return m

    def _split(self, m):
        m.submodules.splitter = self.splitter = splitter = BurstSplitter(
            self.config, permission="read", max_beats=self.max_beats)
        connect(m, runs=flipped(self.i_runs), splitter=splitter.i_runs)
        m.d.comb += splitter.windows.eq(self.windows)
        return splitter.o_bursts

    def _buffer(self, m):
        """Delivers beats; returns the bus words that may still be asked for, and whether one has just been taken."""
        poisoned = self.fault.valid
        m.d.comb += self.r.ready.eq(1)
        good = self.r.valid & (self.r.payload.resp == axi4.OKAY) & ~poisoned
        if not self.depth:
            m.d.comb += [self.o_words.valid.eq(good), self.o_words.payload.eq(self.r.payload.data)]
            return None, None
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self.config.bus_bits, depth=self.depth)
        room = Signal(range(self.depth + 1), init=self.depth)
        m.d.comb += [
            fifo.w_en.eq(good),
            fifo.w_data.eq(self.r.payload.data),
            self.o_words.valid.eq(fifo.r_rdy),
            self.o_words.payload.eq(fifo.r_data),
            fifo.r_en.eq(self.o_words.ready),
            self.level.eq(fifo.level),
        ]
        return room, fifo.r_rdy & fifo.r_en

    def _request(self, m, bursts, room, taken):
        """Asks for bursts and follows the answers' addresses, so that an error names the word that it hit."""
        config = self.config
        asked, ended = Signal(), Signal()
        in_flight = Signal(range(config.outstanding_reads + 1))
        permitted = ~self.halt & ~self.fault.valid & (in_flight != config.outstanding_reads)
        if room is not None:
            permitted = permitted & (room >= bursts.payload.beats)
            m.d.sync += room.eq(room + taken - Mux(asked, bursts.payload.beats, 0))
        waiting = Signal()  # an address that was shown must stay until it is taken, halt or not
        show = waiting | (bursts.valid & permitted)
        m.d.comb += [
            self.ar.valid.eq(show),
            self.ar.payload.id.eq(self.channel),
            self.ar.payload.addr.eq(bursts.payload.address),
            self.ar.payload.len.eq(bursts.payload.beats - 1),
            asked.eq(show & self.ar.ready),
            bursts.ready.eq(asked),
            ended.eq(self.r.valid & self.r.payload.last),
            self.busy.eq((in_flight != 0) | ~self.splitter.idle),
        ]
        m.d.sync += [waiting.eq(show & ~self.ar.ready), in_flight.eq(in_flight + asked - ended)]

        m.submodules.addresses = addresses = SyncFIFO(width=DMA_ADDR_BITS, depth=config.outstanding_reads)
        offset = Signal(clog2(self.max_beats))
        m.d.comb += [addresses.w_en.eq(asked), addresses.w_data.eq(bursts.payload.address), addresses.r_en.eq(ended)]
        with m.If(self.r.valid):
            m.d.sync += offset.eq(offset + 1)
            with m.If(self.r.payload.last):
                m.d.sync += offset.eq(0)
            with m.If(self.r.payload.resp != axi4.OKAY):
                raise_fault(m, self.fault, Cause.READ_ERROR,
                            addresses.r_data + (offset << clog2(config.bus_bytes)))
        with m.If(self.splitter.refused):
            raise_fault(m, self.fault, Cause.READ_WINDOW, self.splitter.refused_address)

