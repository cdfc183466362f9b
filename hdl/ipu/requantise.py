"""Requantisation of one result: int32 to int8 or uint8, through IEEE binary32."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS
from ..layouts import parameter_layout
from .binary32 import SIGNIFICAND, Adder, float_layout, normalise, round_significand

#: Integers up to this magnitude are told apart at the end; what is larger saturates any 8-bit format, whatever 16-bit
#: zero point is added.
INTEGER_BITS = 17

#: Magnitude of a residual less its zero point.
RESIDUAL_BITS = 8


class Requantise(wiring.Component):
    """``clamp(round_half_even(float32(acc + bias) x multiplier + residual term) + zero_point, low, high)``, where the
    residual term is ``float32(residual - residual_zero_point) x residual_multiplier``; every operation but the first
    sum, which is exact (33 bits), rounds to binary32, half to even.

    Equal bit for bit to numpy float32 for every finite multiplier and every residual multiplier below 2^64, though
    there is no infinity, and subnormal multipliers count as zero. The term of a subnormal multiplier is below 2^-93
    (2^33 x 2^-126): beside another term of at least 2^-60 the sum rounds to that term, and beside a smaller one to the
    integer zero. All other terms are 0 or at least 2^-126, and their subnormal sums are exact. A product beyond
    binary32 stays beyond 2^127 with any residual term, as that is below 2^72, and saturates as infinity does. A
    residual multiplier of zero means no residual.

    ``bad`` says that the multiplier is infinite or not a number. Latency :attr:`LATENCY` cycles, throughput one result
    per cycle.

    Members
    -------
    acc : In(signed(32)), parameters : In(parameter_layout)
    residual, residual_zero_point : In(8), residual_signed : In(1), residual_multiplier : In(32)
        With ``acc``; both bytes are int8 if ``residual_signed``, else uint8.
    zero_point, low, high : In(signed(16))
        In the cycle before that of the ``result``: :attr:`LATENCY` - 1 cycles after ``acc``.
    result : Out(8)
    bad : Out(1)
        Combinational from ``parameters``.
    """

    module_name = "requantise"

    #: Cycles from ``acc`` to ``result``.
    LATENCY = 6 + Adder.LATENCY

    def __init__(self):
        super().__init__({
            "acc": In(signed(ACC_BITS)),
            "parameters": In(parameter_layout()),
            "residual": In(8),
            "residual_signed": In(1),
            "residual_zero_point": In(8),
            "residual_multiplier": In(32),
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
        residual = self._scale_residual(m)
        m.submodules.adder = adder = Adder()
        m.d.comb += [adder.a.eq(product), adder.b.eq(residual)]
        integer = self._to_integer(m, adder.total)
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
        normal, top = normalise(m, magnitude, "biased")
        value = Signal(float_layout(), reset_less=True)
        significand, carry = round_significand(m, normal, "biased")
        m.d.sync += [value.negative.eq(negative), value.significand.eq(significand), value.exponent.eq(top + carry)]
        return value

    def _multiply(self, m, value):
        """Stages 3 and 4: the exact product, then rounded to a binary32."""
        significand, exponent, sign = _binary32(self._delayed(m, self.parameters.multiplier, 2, "multiplier"))
        m.d.comb += self.bad.eq(self.parameters.multiplier[23:31].all())
        exact = Signal(2 * SIGNIFICAND, reset_less=True)
        exact_exponent = Signal(signed(10), reset_less=True)
        negative = Signal(reset_less=True)
        m.d.sync += [
            exact.eq(value.significand * significand),
            exact_exponent.eq(value.exponent + exponent),
            negative.eq(value.negative ^ sign),
        ]
        normal = Signal(2 * SIGNIFICAND)
        m.d.comb += normal.eq(Mux(exact[-1], exact, exact << 1))
        product = Signal(float_layout(), reset_less=True)
        significand, carry = round_significand(m, normal, "product")
        m.d.sync += [
            product.negative.eq(negative),
            product.significand.eq(significand),
            product.exponent.eq(exact_exponent + exact[-1] + carry),
        ]
        return product

    def _scale_residual(self, m):
        """The residual term, beside stages 1 to 4: difference, exact product, rounded to a binary32, one to wait."""
        difference = Signal(signed(RESIDUAL_BITS + 2))
        magnitude = Signal(RESIDUAL_BITS, reset_less=True)
        negative = Signal(reset_less=True)
        m.d.comb += difference.eq(Mux(
            self.residual_signed, self.residual.as_signed() - self.residual_zero_point.as_signed(),
            self.residual - self.residual_zero_point))
        m.d.sync += [magnitude.eq(Mux(difference < 0, -difference, difference)), negative.eq(difference < 0)]

        significand, exponent, sign = _binary32(self._delayed(m, self.residual_multiplier, 1, "residual_multiplier"))
        exact = Signal(RESIDUAL_BITS + SIGNIFICAND, reset_less=True)
        exact_exponent = Signal(signed(10), reset_less=True)
        exact_negative = Signal(reset_less=True)
        m.d.sync += [exact.eq(magnitude * significand), exact_exponent.eq(exponent), exact_negative.eq(negative ^ sign)]

        normal, top = normalise(m, exact, "residual")
        term = Signal(float_layout(), reset_less=True)
        significand, carry = round_significand(m, normal, "residual")
        m.d.sync += [
            term.negative.eq(exact_negative),
            term.significand.eq(significand),
            term.exponent.eq(exact_exponent + top - (SIGNIFICAND - 1) + carry),
        ]
        return self._delayed(m, term, 1, "residual_term")

    def _to_integer(self, m, total):
        """Last stage but one: round half to even to an integer, saturated to +-2^17."""
        # Below 1/2 everything rounds to zero. The significand of zero is zero, whatever its exponent.
        shifted = Signal(INTEGER_BITS + 1 + SIGNIFICAND)
        small, large = Signal(), Signal()
        left = Signal(range(INTEGER_BITS + 2))
        m.d.comb += [
            small.eq(total.exponent < -1),
            large.eq((total.exponent >= INTEGER_BITS) & total.significand[-1]),
            left.eq(total.exponent + 1),
            shifted.eq(Mux(small, 0, total.significand << left)),
        ]
        whole = shifted[SIGNIFICAND:]
        half, sticky = shifted[SIGNIFICAND - 1], shifted[:SIGNIFICAND - 1].any()
        magnitude = Signal(INTEGER_BITS + 1)
        m.d.comb += magnitude.eq(Mux(large, 1 << INTEGER_BITS, whole + (half & (sticky | whole[0]))))
        integer = Signal(signed(INTEGER_BITS + 2), reset_less=True)
        m.d.sync += integer.eq(Mux(total.negative, -magnitude, magnitude))
        return integer

    def _clamp(self, m, integer):
        """Last stage: zero point and limits."""
        shifted = Signal(signed(INTEGER_BITS + 3))
        m.d.comb += shifted.eq(integer + self.zero_point)
        with m.If(shifted < self.low):
            m.d.sync += self.result.eq(self.low)
        with m.Elif(shifted > self.high):
            m.d.sync += self.result.eq(self.high)
        with m.Else():
            m.d.sync += self.result.eq(shifted)


def _binary32(bits):
    """Significand, exponent and sign of a binary32, a subnormal taken as zero."""
    fraction, exponent, sign = bits[:23], bits[23:31], bits[31]
    return Mux(exponent == 0, 0, Cat(fraction, 1)), exponent - 127, sign
