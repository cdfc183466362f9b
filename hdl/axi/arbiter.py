"""Shares a stream among several sources."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class RoundRobin(wiring.Component):
    """Passes on one of several streams at a time; combinational, fair, and steady once shown.

    Members
    -------
    i_sources : In(stream).array(count)
    o_chosen : Out(stream)
    """

    o_chosen: stream.Interface

    def __init__(self, shape, count: int):
        self.count = count
        super().__init__({
            "i_sources": In(stream.Signature(shape)).array(count),
            "o_chosen": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        last = Signal(range(self.count))
        choice = Signal(range(self.count))
        waiting = Signal()
        with m.If(waiting):
            m.d.comb += choice.eq(last)
        with m.Else():
            m.d.comb += choice.eq(last)
            with m.Switch(last):
                for before in range(self.count):
                    with m.Case(before):
                        for distance in reversed(range(1, self.count + 1)):  # the nearest one wins
                            source = (before + distance) % self.count
                            with m.If(self.i_sources[source].valid):
                                m.d.comb += choice.eq(source)
        with m.Switch(choice):
            for number, source in enumerate(self.i_sources):
                with m.Case(number):
                    m.d.comb += [
                        self.o_chosen.valid.eq(source.valid),
                        self.o_chosen.payload.eq(source.payload),
                        source.ready.eq(self.o_chosen.ready),
                    ]
        m.d.sync += waiting.eq(self.o_chosen.valid & ~self.o_chosen.ready)
        with m.If(self.o_chosen.valid):
            m.d.sync += last.eq(choice)
        return m
