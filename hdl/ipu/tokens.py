"""Dependency tokens between queues."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import Config
from ..csr import Cause
from ..isa import queues
from .fault import fault_layout, raise_fault

#: Width of a token counter.
COUNTER_BITS = 8


def token_signature(config: Config) -> wiring.Signature:
    """How a queue asks for tokens and gives them, as seen from the queue.

    ``wait`` names the queues to take one token each from; ``granted`` rises combinationally if all are there; ``take``
    takes them. ``signal`` and ``release`` give one token each to each queue named, in that cycle. ``granted`` does not
    depend on ``take``.
    """
    return wiring.Signature({
        "wait": Out(len(queues(config))),
        "take": Out(1),
        "granted": In(1),
        "signal": Out(len(queues(config))),
        "release": Out(len(queues(config))),
    })


class Tokens(wiring.Component):
    """A counter for each ordered pair of queues.

    A counter that would pass 255 raises ``fault`` with address ``8 x from + to``.

    Members
    -------
    queues : In(token_signature), an array in the order of :func:`hdl.isa.queues`
    fault : Out(fault_layout)
    """

    def __init__(self, config: Config):
        super().__init__({
            "queues": In(token_signature(config)).array(len(queues(config))),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        for to, taker in enumerate(self.queues):
            available = []
            for source, giver in enumerate(self.queues):
                count = Signal(COUNTER_BITS, name=f"tokens_{source}_to_{to}")
                total = Signal(COUNTER_BITS + 1, name=f"total_{source}_to_{to}")
                available.append((count != 0) | ~taker.wait[source])
                m.d.comb += total.eq(count + giver.signal[to] + giver.release[to] - (taker.take & taker.wait[source]))
                m.d.sync += count.eq(total)
                with m.If(total[COUNTER_BITS]):
                    raise_fault(m, self.fault, Cause.TOKEN_OVERFLOW, 8 * source + to)
            m.d.comb += taker.granted.eq(Cat(available).all())
        return m
