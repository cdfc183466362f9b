"""Shares the write channels of a master port among several writers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect

from ..config import Config, clog2
from . import axi4
from .arbiter import RoundRobin


class WriteArbiter(wiring.Component):
    """Passes on whole bursts, fairly. Nothing is delayed while only one writer writes.

    AXI4 has no IDs on ``w``: data come in the order in which addresses were first shown, which is kept in a FIFO of
    :attr:`BURSTS`, and from the cycle after that on. A writer may show an address only when all the data follow by
    themselves. Its AXI ID is its number, by which it gets its responses.

    Members
    -------
    i_aw, i_w : In(stream).array(count), o_b : Out(stream).array(count)
        Of the writers.
    aw, w : Out(stream), b : In(stream)
    """

    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    #: Bursts whose address has been shown and whose data have not all been taken.
    BURSTS = 16

    def __init__(self, config: Config, count: int):
        self.config = config
        self.count = count
        address, word = stream.Signature(axi4.address_layout(config)), stream.Signature(axi4.write_layout(config))
        response = stream.Signature(axi4.response_layout(config))
        super().__init__({
            "i_aw": In(address).array(count), "i_w": In(word).array(count), "o_b": Out(response).array(count),
            "aw": Out(address), "w": Out(word), "b": In(response),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobin(axi4.address_layout(self.config), self.count)
        m.submodules.order = order = SyncFIFO(width=clog2(self.count), depth=self.BURSTS)
        shown, room = Signal(), Signal()  # an address stays until it is taken
        for mine, source in zip(self.i_aw, arbiter.i_sources):
            connect(m, mine=wiring.flipped(mine), source=source)
        m.d.comb += [
            room.eq(shown | order.w_rdy),
            self.aw.valid.eq(arbiter.o_chosen.valid & room),
            self.aw.payload.eq(arbiter.o_chosen.payload),
            arbiter.o_chosen.ready.eq(self.aw.ready & room),
            order.w_en.eq(self.aw.valid & ~shown),
            order.w_data.eq(self.aw.payload.id),
        ]
        m.d.sync += shown.eq(self.aw.valid & ~self.aw.ready)
        for number, (word, response) in enumerate(zip(self.i_w, self.o_b)):
            with m.If(order.r_rdy & (order.r_data == number)):
                m.d.comb += [self.w.valid.eq(word.valid), self.w.payload.eq(word.payload), word.ready.eq(self.w.ready)]
            m.d.comb += [response.valid.eq(self.b.valid & (self.b.payload.id == number)),
                         response.payload.eq(self.b.payload)]
        m.d.comb += [
            order.r_en.eq(self.w.valid & self.w.ready & self.w.payload.last),
            self.b.ready.eq(1),
        ]
        return m
