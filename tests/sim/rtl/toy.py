"""A small component for tests of the runner: a registered adder."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Toy(wiring.Component):
    """``o_total`` is the sum of all ``i_value`` so far, one cycle later."""

    def __init__(self, width: int = 8):
        self.width = width
        super().__init__({"i_value": In(width), "o_total": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o_total.eq(self.o_total + self.i_value)
        return m
