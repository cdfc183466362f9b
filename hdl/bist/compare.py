"""Compares what all macros read with what they must read."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from .addresses import address_layout
from .microcode import STEP_BITS


def expectation_layout(config: Config) -> data.StructLayout:
    """A read on its way: at ``address``, by microcode word ``step``."""
    return data.StructLayout({
        "valid": 1, "address": address_layout(config), "step": STEP_BITS, "expected": config.rows})


def failure_layout(config: Config) -> data.StructLayout:
    """A read that failed: what the lowest-numbered failing ``macro`` has shown, and whether ``others`` failed too."""
    return data.StructLayout({
        "address": address_layout(config),
        "step": STEP_BITS,
        "macro": max(1, clog2(config.macros)),
        "others": 1,
        "expected": config.rows,
        "seen": config.rows,
    })


class Compare(wiring.Component):
    """Takes a read with the cycle in which the macros see it; reports :attr:`LATENCY` cycles later. One per cycle.

    Members
    -------
    read : In(expectation_layout)
    words : In(ArrayLayout)
        Of the macros, two cycles later.
    select : In(macros)
        Macros that count.
    flush : In(1)
        Forgets what is on its way.
    failed : Out(macros)
        Macros that failed in a read.
    failure : Out(failure_layout)
        With any of them.
    """

    #: Cycles from ``read`` to ``failed``.
    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "read": In(expectation_layout(config)),
            "words": In(data.ArrayLayout(config.rows, config.macros)),
            "select": In(config.macros),
            "flush": In(1),
            "failed": Out(config.macros),
            "failure": Out(failure_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        waiting = self.read
        for cycle in range(3):
            later = Signal.like(self.read, name=f"read_{cycle + 1}")
            m.d.sync += later.eq(waiting)
            with m.If(self.flush):
                m.d.sync += later.valid.eq(0)
            waiting, before = later, waiting
        words = Signal.like(self.words, reset_less=True)
        differs = Signal(config.macros)
        m.d.sync += [
            words.eq(self.words),
            differs.eq(Cat(before.valid & (self.words[macro] != before.expected)
                           for macro in range(config.macros)) & self.select),
        ]
        lowest, seen = Signal.like(self.failure.macro), Signal(config.rows)
        for macro in reversed(range(config.macros)):
            with m.If(differs[macro]):
                m.d.comb += [lowest.eq(macro), seen.eq(words[macro])]
        m.d.sync += [
            self.failed.eq(Mux(waiting.valid & ~self.flush, differs, 0)),
            self.failure.address.eq(waiting.address),
            self.failure.step.eq(waiting.step),
            self.failure.macro.eq(lowest),
            self.failure.others.eq((differs & (differs - 1)) != 0),
            self.failure.expected.eq(waiting.expected),
            self.failure.seen.eq(seen),
        ]
        return m
