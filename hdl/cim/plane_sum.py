"""The arithmetic of a column: one plane times all lanes, added up."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACT_BITS, Config


class PlaneSum(wiring.Component):
    """``sum over r of plane[r] * (sign[r] ? ~act[r] : act[r])``, exact.

    ``~a = -a - 1``: negation leaves an error of one per negative lane, which the negation constant puts right, so that
    no lane needs an adder of its own.

    Latency ``log2(rows)`` cycles, one register per level of the adder tree; throughput one plane per cycle. Nothing is
    reset: what goes in while nobody listens comes out while nobody listens.

    Members
    -------
    act : In(rows).array(9)
        Activations bit-sliced: bit ``r`` of word ``b`` is bit ``b`` of the 9-bit signed activation of row ``r``.
    plane, sign : In(rows)
    sum : Out(signed)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "act": In(config.rows).array(ACT_BITS),
            "plane": In(config.rows),
            "sign": In(config.rows),
            "sum": Out(signed(config.sum_bits)),
        })

    module_name = "plane_sum"

    @property
    def latency(self) -> int:
        """Cycles from the inputs to :attr:`sum`."""
        return self.config.row_bits

    def elaborate(self, platform):
        m = Module()
        level = []
        for r in range(self.config.rows):
            product = Signal(signed(ACT_BITS), name=f"product_{r}")
            m.d.comb += product.eq(Cat((word[r] ^ self.sign[r]) & self.plane[r] for word in self.act))
            level.append(product)
        for depth in range(self.config.row_bits):
            sums = [Signal(signed(ACT_BITS + depth + 1), name=f"sum_{depth}_{i}", reset_less=True)
                    for i in range(len(level) // 2)]
            m.d.sync += [total.eq(a + b) for total, a, b in zip(sums, level[::2], level[1::2])]
            level = sums
        m.d.comb += self.sum.eq(level[0])
        return m
