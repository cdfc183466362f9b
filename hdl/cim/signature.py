"""Signatures: a register takes in an output every cycle and holds 32 bits at the end."""

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Bits of a signature register.
WIDTH = 32

#: CRC-32 of IEEE 802.3 without its highest term:
#: ``x^32 + x^26 + x^23 + x^22 + x^16 + x^12 + x^11 + x^10 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1``.
TAPS = 0x04C11DB7

#: Inputs beyond the register's width begin this many stages further on at each round, so that two bits of an output
#: that always fail together, 32 apart, do not meet.
_ROUND = 5


def stage(bit: int) -> int:
    """Stage into which a bit of an output is added."""
    return (bit + _ROUND * (bit // WIDTH)) % WIDTH


class Signature(wiring.Component):
    """A multiple-input shift register in Galois form, which is also a link of a chain of 32 bits' width.

    The polynomial is primitive: the chance that a wrong stream ends with the right signature is close to 2^-32
    (Bardell, McAnney, Savir, "Built-in test for VLSI", 1987).

    Members
    -------
    clear : In(1), listen : In(1), shift : In(1)
        Becomes zero; takes in ``value``; takes over ``i_signature``. The first one that is set counts.
    value : In(width)
    i_signature : In(32), o_signature : Out(32)
    """

    def __init__(self, width: int):
        self.module_name = f"signature_{width}"
        super().__init__({"clear": In(1), "listen": In(1), "shift": In(1), "value": In(width),
                          "i_signature": In(WIDTH), "o_signature": Out(WIDTH)})

    def elaborate(self, platform):
        m = Module()
        held = self.o_signature
        added: list = [Const(0)] * WIDTH
        for bit in range(len(self.value)):
            added[stage(bit)] = added[stage(bit)] ^ self.value[bit]
        with m.If(self.clear | self.listen | self.shift):
            m.d.sync += held.eq(Mux(self.clear, 0, Mux(
                self.listen, Cat(0, held[:-1]) ^ Mux(held[-1], TAPS, 0) ^ Cat(added), self.i_signature)))
        return m
