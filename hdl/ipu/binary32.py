"""IEEE binary32 arithmetic, in a format with a wider exponent."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

#: Explicit bits of a binary32 significand, the hidden one included.
SIGNIFICAND = 24

#: Exponent that a zero counts with in :class:`Adder`: below that of every other number.
ZERO_EXPONENT = -256


def float_layout() -> data.StructLayout:
    """``(-1)^negative x significand x 2^(exponent - 23)``, normalised; the significand of zero is zero."""
    return data.StructLayout({"negative": 1, "exponent": signed(10), "significand": SIGNIFICAND})


def normalise(m, value, name: str):
    """A value shifted up until its highest bit is set, and the number of that bit; zero stays zero, with number 0."""
    width = len(value)
    normal, top = Signal(width, name=f"{name}_normal"), Signal(range(width), name=f"{name}_top")
    for bit in range(width):  # the highest one wins
        with m.If(value[bit]):
            m.d.comb += [normal.eq(value << (width - 1 - bit)), top.eq(bit)]
    return normal, top


def round_significand(m, normal, name: str):
    """The upper 24 bits of a normalised value, rounded half to even, and whether that carried into the next power."""
    significand, rest = normal[-SIGNIFICAND:], normal[:-SIGNIFICAND]
    half, sticky = rest[-1], rest[:-1].any()
    rounded = Signal(SIGNIFICAND + 1, name=f"{name}_rounded")
    m.d.comb += rounded.eq(significand + (half & (sticky | significand[0])))
    carry = rounded[-1]
    return Mux(carry, rounded >> 1, rounded)[:SIGNIFICAND], carry


class Adder(wiring.Component):
    """``a + b``, exact and then rounded to 24 bits, half to even.

    Exponents of the operands are from -254 to 254. Latency :attr:`LATENCY` cycles, throughput one sum per cycle.

    Members
    -------
    a, b : In(float_layout), total : Out(float_layout)
    """

    LATENCY = 4

    #: Bits below the significand: guard, round and sticky. They are enough to round any sum of two numbers.
    EXTRA = 3

    def __init__(self):
        super().__init__({"a": In(float_layout()), "b": In(float_layout()), "total": Out(float_layout())})

    def elaborate(self, platform):
        m = Module()
        self._order(m)
        self._add(m)
        self._normalise(m)
        self._round(m)
        return m

    def _order(self, m):
        """Stage 1: which operand is larger, and by how many powers of two."""
        def exponent(operand):
            return Mux(operand.significand[-1], operand.exponent, ZERO_EXPONENT)

        def size(operand):
            return Cat(operand.significand, (exponent(operand) - ZERO_EXPONENT)[:10])

        swap = Signal()
        larger, smaller = Signal(float_layout()), Signal(float_layout())
        distance = Signal(10)
        self.larger = Signal(float_layout(), reset_less=True)
        self.small_significand = Signal(SIGNIFICAND, reset_less=True)
        self.distance = Signal(range(SIGNIFICAND + self.EXTRA + 1), reset_less=True)
        self.subtract = Signal(reset_less=True)
        m.d.comb += [
            swap.eq(size(self.b) > size(self.a)),
            larger.eq(Mux(swap, self.b.as_value(), self.a.as_value())),
            smaller.eq(Mux(swap, self.a.as_value(), self.b.as_value())),
            distance.eq(exponent(larger) - exponent(smaller)),
        ]
        furthest = SIGNIFICAND + self.EXTRA  # nothing but the sticky bit is left
        m.d.sync += [
            self.larger.eq(larger),
            self.small_significand.eq(smaller.significand),
            self.distance.eq(Mux(distance > furthest, furthest, distance)),
            self.subtract.eq(larger.negative ^ smaller.negative),
        ]

    def _add(self, m):
        """Stage 2: the smaller one aligned, with a sticky bit for what is shifted out, and added or subtracted."""
        width = SIGNIFICAND + self.EXTRA
        shifted = Signal(2 * width)
        aligned = Signal(width)
        self.sum = Signal(width + 1, reset_less=True)
        self.sum_negative = Signal(reset_less=True)
        self.sum_exponent = Signal(signed(10), reset_less=True)
        m.d.comb += [
            shifted.eq(self.small_significand << width + self.EXTRA >> self.distance),
            aligned.eq(shifted[width:] | shifted[:width].any()),
        ]
        large = self.larger.significand << self.EXTRA
        m.d.sync += [
            self.sum.eq(Mux(self.subtract, large - aligned, large + aligned)),
            self.sum_negative.eq(self.larger.negative),
            self.sum_exponent.eq(self.larger.exponent),
        ]

    def _normalise(self, m):
        """Stage 3."""
        normal, top = normalise(m, self.sum, "sum")
        self.normal = Signal.like(normal, reset_less=True)
        self.normal_negative = Signal(reset_less=True)
        self.normal_exponent = Signal(signed(10), reset_less=True)
        m.d.sync += [
            self.normal.eq(normal),
            self.normal_negative.eq(self.sum_negative),
            self.normal_exponent.eq(self.sum_exponent + top - (SIGNIFICAND - 1 + self.EXTRA)),
        ]

    def _round(self, m):
        """Stage 4."""
        significand, carry = round_significand(m, self.normal, "total")
        m.d.sync += [
            self.total.negative.eq(self.normal_negative),
            self.total.significand.eq(significand),
            self.total.exponent.eq(self.normal_exponent + carry),
        ]
