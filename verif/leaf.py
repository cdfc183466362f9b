"""A leaf as a design under test."""

from amaranth.hdl import Module
from amaranth.lib import wiring

from hdl.verilog import once


class Leaf(wiring.Component):
    """A component with the ports of ``inner``, which it instantiates: only what is instantiated has views."""

    def __init__(self, inner: wiring.Component):
        self.inner = inner
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = once(self.inner, platform)
        theirs = self.inner.signature.flatten(self.inner)
        for (_, member, mine), (_, _, inner) in zip(self.signature.flatten(self), theirs):
            m.d.comb += inner.eq(mine) if member.flow == wiring.In else mine.eq(inner)
        return m
