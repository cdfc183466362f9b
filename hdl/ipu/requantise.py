"""Requantisation of one result: int32 to int8 or uint8, through IEEE binary32."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS
from ..layouts import parameter_layout

#: Explicit bits of a binary32 significand, the hidden one included.
SIGNIFICAND = 24

#: Integers up to this magnitude are told apart after the multiplication; what is larger saturates any 8-bit format,
#: whatever 16-bit zero point is added.
INTEGER_BITS = 17


def float_layout() -> data.StructLayout:
    """``(-1)^negative x significand x 2^(exponent - 23)``; the significand of zero is zero."""
    return data.StructLayout({"negative": 1, "exponent": signed(10), "significand": SIGNIFICAND})


class Requantise(wiring.Component):
    """``clamp(round_half_even(float32(acc + bias) x multiplier) + zero_point, low, high)``.

    ``acc + bias`` is exact (33 bits) and is rounded to binary32 half to even; so is the product. Equal bit for bit to
    numpy float32 for every finite multiplier. Subnormal multipliers count as zero, which changes no result: the product
    rounds to zero either way. ``bad`` says that the multiplier is infinite or not a number.

    Latency :attr:`LATENCY` cycles, throughput one result per cycle. ``zero_point``, ``low`` and ``high`` must be held.

    Members
    -------
    acc : In(signed(32)), parameters : In(parameter_layout)
    zero_point, low, high : In(signed(16))
    result : Out(8)
    bad : Out(1)
        Combinational from ``parameters``.
    """

    module_name = "requantise"

    #: Cycles from ``acc`` to ``result``.
    LATENCY = 6

    def __init__(self):
        super().__init__({
            "acc": In(signed(ACC_BITS)),
            "parameters": In(parameter_layout()),
            "zero_point": In(signed(16)),
            "low": In(signed(16)),
            "high": In(signed(16)),
            "result": Out(8),
            "bad": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        magnitude, negative = self._add_bias(m)
        value = self._to_float(m, magnitude, negative)
        product = self._multiply(m, value)
        integer = self._to_integer(m, product)
        self._clamp(m, integer)
        return m

    def _delayed(self, m, value, cycles, name):
        for cycle in range(cycles):
            register = Signal.like(value, name=f"{name}_{cycle + 1}", reset_less=True)
            m.d.sync += register.eq(value)
            value = register
        return value

    def _add_bias(self, m):
        """Stage 1: sign and magnitude of the exact sum."""
        total = Signal(signed(ACC_BITS + 1))
        magnitude = Signal(ACC_BITS + 1, reset_less=True)
        negative = Signal(reset_less=True)
        m.d.comb += total.eq(self.acc + self.parameters.bias.as_signed())
        m.d.sync += [magnitude.eq(Mux(total < 0, -total, total)), negative.eq(total < 0)]
        return magnitude, negative

    def _to_float(self, m, magnitude, negative):
        """Stage 2: normalise and round to a binary32."""
        width = len(magnitude)
        normal = Signal(width)
        top = Signal(range(width))
        for bit in range(width):  # the highest one wins
            with m.If(magnitude[bit]):
                m.d.comb += [normal.eq(magnitude << (width - 1 - bit)), top.eq(bit)]
        value = Signal(float_layout(), reset_less=True)
        significand, carry = _round(m, normal, "sum")
        m.d.sync += [value.negative.eq(negative), value.significand.eq(significand), value.exponent.eq(top + carry)]
        return value

    def _multiply(self, m, value):
        """Stages 3 and 4: the exact product, then rounded to a binary32."""
        multiplier = self._delayed(m, self.parameters.multiplier, 2, "multiplier")
        fraction, exponent, sign = multiplier[:23], multiplier[23:31], multiplier[31]
        m.d.comb += self.bad.eq(self.parameters.multiplier[23:31].all())
        exact = Signal(2 * SIGNIFICAND, reset_less=True)
        exact_exponent = Signal(signed(10), reset_less=True)
        negative = Signal(reset_less=True)
        m.d.sync += [
            exact.eq(value.significand * Mux(exponent == 0, 0, Cat(fraction, 1))),
            exact_exponent.eq(value.exponent + exponent - 127),
            negative.eq(value.negative ^ sign),
        ]
        normal = Signal(2 * SIGNIFICAND)
        m.d.comb += normal.eq(Mux(exact[-1], exact, exact << 1))
        product = Signal(float_layout(), reset_less=True)
        significand, carry = _round(m, normal, "product")
        m.d.sync += [
            product.negative.eq(negative),
            product.significand.eq(significand),
            product.exponent.eq(exact_exponent + exact[-1] + carry),
        ]
        return product

    def _to_integer(self, m, product):
        """Stage 5: round half to even to an integer, saturated to +-2^17."""
        # Below 1/2 everything rounds to zero. The significand of zero is zero, whatever its exponent.
        shifted = Signal(INTEGER_BITS + 1 + SIGNIFICAND)
        small, large = Signal(), Signal()
        left = Signal(range(INTEGER_BITS + 2))
        m.d.comb += [
            small.eq(product.exponent < -1),
            large.eq((product.exponent >= INTEGER_BITS) & product.significand[-1]),
            left.eq(product.exponent + 1),
            shifted.eq(Mux(small, 0, product.significand << left)),
        ]
        whole = shifted[SIGNIFICAND:]
        half, sticky = shifted[SIGNIFICAND - 1], shifted[:SIGNIFICAND - 1].any()
        magnitude = Signal(INTEGER_BITS + 1)
        m.d.comb += magnitude.eq(Mux(large, 1 << INTEGER_BITS, whole + (half & (sticky | whole[0]))))
        integer = Signal(signed(INTEGER_BITS + 2), reset_less=True)
        m.d.sync += integer.eq(Mux(product.negative, -magnitude, magnitude))
        return integer

    def _clamp(self, m, integer):
        """Stage 6: zero point and limits."""
        shifted = Signal(signed(INTEGER_BITS + 3))
        m.d.comb += shifted.eq(integer + self.zero_point)
        with m.If(shifted < self.low):
            m.d.sync += self.result.eq(self.low)
        with m.Elif(shifted > self.high):
            m.d.sync += self.result.eq(self.high)
        with m.Else():
            m.d.sync += self.result.eq(shifted)


def _round(m, normal, name):
    """The upper 24 bits of a normalised value, rounded half to even, and whether that carried into the next power."""
    significand, rest = normal[-SIGNIFICAND:], normal[:-SIGNIFICAND]
    half, sticky = rest[-1], rest[:-1].any()
    rounded = Signal(SIGNIFICAND + 1, name=f"{name}_rounded")
    m.d.comb += rounded.eq(significand + (half & (sticky | significand[0])))
    carry = rounded[-1]
    return Mux(carry, rounded >> 1, rounded)[:SIGNIFICAND], carry
