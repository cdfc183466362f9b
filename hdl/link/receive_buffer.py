"""Received payload until it is read."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out


class ReceiveBuffer(wiring.Component):
    """A queue of beats. One that comes shows in the next cycle, or when those before it have been read, without a gap.

    The memory of a ``SyncFIFOBuffered`` alone would take a cycle more; a beat that is the only one goes past it.

    Parameters
    ----------
    width : int
    depth : int
        Beats that it holds at least.

    Members
    -------
    beat : In(width), beat_valid : In(1)
        Nothing looks whether there is room: whoever sends has credit.
    o_payload : Out(stream)
    level : Out
        Beats that it holds.
    """

    o_payload: stream.Interface

    def __init__(self, width: int, depth: int):
        self.width, self.depth = width, depth
        super().__init__({
            "beat": In(width), "beat_valid": In(1),
            "o_payload": Out(stream.Signature(width)),
            "level": Out(range(depth + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=self.width, depth=self.depth)
        first = Signal(self.width, reset_less=True)  # older than what is in the queue
        first_valid = Signal()
        out = self.o_payload
        passes = Signal()  # a beat that comes now is the next to be shown
        m.d.comb += [
            passes.eq(self.level == (out.valid & out.ready)),
            queue.w_data.eq(self.beat), queue.w_en.eq(self.beat_valid & ~passes),
            out.valid.eq(first_valid | queue.r_rdy), out.payload.eq(Mux(first_valid, first, queue.r_data)),
            queue.r_en.eq(out.ready & ~first_valid),
            self.level.eq(queue.level + first_valid),
        ]
        with m.If(passes):
            m.d.sync += first_valid.eq(self.beat_valid)
        with m.Elif(out.ready):
            m.d.sync += first_valid.eq(0)
        with m.If(passes & self.beat_valid):
            m.d.sync += first.eq(self.beat)
        return m
