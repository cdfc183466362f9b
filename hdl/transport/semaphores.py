"""Semaphores: what partners have posted and programs have not yet taken off."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..csr import SEMAPHORE_BITS, SEMAPHORES
from .interface import semaphore_signature


class Semaphores(wiring.Component):
    """Counters that every port adds one to, one port per cycle, and that RECV waits for and takes from.

    A post to a counter that is at its largest value changes nothing.

    Members
    -------
    i_posts : In(stream).array(links)
        Which semaphore; taken at once, but for ports with a lower number that post in the same cycle.
    full : Out(links)
        The port's post, in the cycle in which it is taken, finds the counter at its largest value.
    engine : In(semaphore_signature)
    clear : In(16)
        Semaphores that become zero; a post in the same cycle is lost.
    values : Out(ArrayLayout)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_posts": In(stream.Signature(clog2(SEMAPHORES))).array(config.links),
            "full": Out(config.links),
            "engine": In(semaphore_signature()),
            "clear": In(SEMAPHORES),
            "values": Out(data.ArrayLayout(SEMAPHORE_BITS, SEMAPHORES)),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        values = Array(self.values[number] for number in range(SEMAPHORES))
        post, posted, full = Signal(), Signal(clog2(SEMAPHORES)), Signal()
        m.d.comb += [
            engine.enough.eq(values[engine.semaphore] >= engine.count),
            full.eq(values[posted] == (1 << SEMAPHORE_BITS) - 1),
        ]
        for number, source in reversed(list(enumerate(self.i_posts))):
            earlier = [other.valid for other in list(self.i_posts)[:number]]
            m.d.comb += [source.ready.eq(~Cat(earlier).any()), self.full[number].eq(full)]
            with m.If(source.valid):  # the lowest one wins
                m.d.comb += [post.eq(1), posted.eq(source.payload)]
        for number in range(SEMAPHORES):
            value = self.values[number]
            more = post & ~full & (posted == number)
            less = Mux(engine.take & (engine.semaphore == number), engine.count, 0)
            m.d.sync += value.eq(Mux(self.clear[number], 0, value + more - less))
        return m
