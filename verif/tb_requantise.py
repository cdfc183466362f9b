"""Requantise: every result against numpy, one per cycle, over random and corner operands."""

from dataclasses import dataclass
from fractions import Fraction

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hdl.ipu.requantise import Requantise
from hdl.isa import RESIDUAL_EXPONENT_END
from sim.golden.post import requantise, scale_residual

from .coverage import Coverage, report
from .start import start

VECTORS = 60_000 if cocotb.SIM_NAME.lower().startswith("verilator") else 4_000

#: Results per setting of zero point and limits, which are held while the pipeline is full.
BATCH = 2_000

_OPERANDS = Coverage("requantise", {
    "sum": ["zero", "exact", "rounded", "tie", "33 bits"],
    "multiplier": ["zero", "subnormal", "tiny", "normal", "one", "huge"],
    "negative": [False, True],
    "product": ["zero", "below half", "half", "tie", "near a tie", "whole", "saturated", "infinite"],
    "result": ["low", "between", "high"],
    "residual": ["none", "zero", "subnormal", "below product", "about product", "above product"],
    "sum_of_terms": ["cancels to zero", "cancels in part", "exact", "rounded", "tie"],
    "distance": range(-30, 31),
}, crosses={"signed_product": ("negative", "product")},
    impossible={"signed_product": [(True, "zero")]})


def corner_sums(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Accumulators and biases whose sums are random of every size, near powers of two, ties of binary32, or extreme."""
    total = rng.integers(-1 << 32, 1 << 32, count) >> rng.integers(0, 33, count)
    near = (1 << rng.integers(0, 33, count)) + rng.integers(-3, 4, count)
    # 25 bits with the lowest set, shifted up: half way between two binary32 numbers
    tie = (rng.integers(1 << 24, 1 << 25, count) | 1) << rng.integers(0, 8, count)
    kind = rng.integers(0, 8, count)
    total = np.select([kind < 4, kind == 4, kind == 5, kind == 6], [total, near, tie, np.zeros(count, np.int64)],
                      rng.choice([(1 << 31) - 1, -1 << 31, (1 << 32) - 2, -1 << 32], count))
    total = np.clip(total * rng.choice([-1, 1], count), -1 << 32, (1 << 32) - 2)
    low, high = np.maximum(-1 << 31, total - (1 << 31) + 1), np.minimum((1 << 31) - 1, total + (1 << 31))
    acc = rng.integers(low, high + 1)
    return acc.astype(np.int32), (total - acc).astype(np.int32)


def corner_multipliers(rng: np.random.Generator, total: np.ndarray) -> np.ndarray:
    """Finite binary32 multipliers of every exponent, and such that the product is at or beside an integer or a half."""
    count = len(total)
    bits = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    bits = np.where((bits >> 23 & 0xFF) == 0xFF, bits ^ np.uint32(1 << 30), bits).astype(np.uint32)
    special = np.array([0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 3.4028235e38, -3.4028235e38, 1.0, -1.0,
                        0.5, 2.0, 0.25], np.float32)
    with np.errstate(all="ignore"):
        target = (rng.integers(-300, 300, count) + rng.choice([0.0, 0.5], count)).astype(np.float32)
        aimed = (target / np.where(total == 0, 1, total).astype(np.float32)).astype(np.float32)
        beside = np.nextafter(aimed, rng.choice(np.array([-np.inf, np.inf, 0], np.float32), count))
        scaled = np.ldexp(rng.uniform(1, 2, count), rng.integers(-40, 8, count)).astype(np.float32)
    kind = rng.integers(0, 8, count)
    result = np.select([kind == 0, kind == 1, kind < 4, kind < 6], [bits.view(np.float32), rng.choice(special, count),
                                                                   aimed, beside.astype(np.float32)], scaled)
    return np.where(np.isfinite(result), result, np.float32(1)).astype(np.float32)


def sample(total: int, multiplier: np.float32, result: int, low: int, high: int):
    """Notes what one result exercised."""
    rounded = int(np.float32(total))
    as_float = np.float32(total)
    with np.errstate(all="ignore"):
        product = as_float * multiplier
    size = abs(float(product))
    power = abs(total).bit_length()
    tie = power > 24 and abs(total) & ((1 << power - 24) - 1) == 1 << power - 25
    if np.isinf(product):
        kind = "infinite"
    elif size == 0:
        kind = "zero"
    elif size < 0.5:
        kind = "below half"
    elif size == 0.5:
        kind = "half"
    elif size >= 1 << 17:
        kind = "saturated"
    elif size % 1 == 0.5:
        kind = "tie"
    elif size == int(size):
        kind = "whole"
    else:
        kind = "near a tie" if abs(size % 1 - 0.5) < size * 2e-7 else None
    magnitude = abs(float(multiplier))
    _OPERANDS.sample(
        sum="zero" if not total else "tie" if tie else "33 bits" if not -1 << 31 <= total < 1 << 31
        else "exact" if rounded == total else "rounded",
        multiplier="zero" if not magnitude else "subnormal" if magnitude < 1.17549435e-38 else "one" if magnitude == 1
        else "tiny" if magnitude < 1e-6 else "huge" if magnitude > 1e6 else "normal",
        negative=bool(product < 0), product=kind,
        result="low" if result == low else "high" if result == high else "between")


@dataclass
class Residuals:
    """Bytes uint8 [count] of a type, and what they are scaled with."""
    values: np.ndarray
    signed: bool
    zero_point: int
    multiplier: np.float32

    @property
    def differences(self) -> np.ndarray:
        return self._typed.astype(np.int64) - self.zero_point

    @property
    def terms(self) -> np.ndarray:
        return scale_residual(self._typed, self.zero_point, self.multiplier)

    @property
    def _typed(self) -> np.ndarray:
        return self.values.view(np.int8 if self.signed else np.uint8)


def residual_multipliers(rng: np.random.Generator) -> np.float32:
    """Of every exponent below the one that is refused, of about 1 most often, and zero and subnormal ones."""
    end = RESIDUAL_EXPONENT_END
    exponent = int(rng.choice([0, 0, rng.integers(end), rng.integers(90, 140), rng.integers(120, 130)]))
    bits = int(rng.integers(2)) << 31 | exponent << 23 | int(rng.integers(1 << 23)) * int(rng.integers(2))
    return np.uint32(bits).view(np.float32)


def draw_residuals(rng: np.random.Generator, count: int) -> Residuals:
    signed = bool(rng.integers(2))
    zero_point = int(rng.integers(-128, 128) if signed else rng.integers(0, 256)) * int(rng.integers(2))
    multiplier = residual_multipliers(rng) if rng.random() < 0.85 else np.float32(0)
    return Residuals(rng.integers(0, 256, count, dtype=np.uint8), signed, zero_point, multiplier)


def against_residuals(rng: np.random.Generator, total: np.ndarray, multiplier: np.ndarray, terms: np.ndarray
                      ) -> np.ndarray:
    """Some multipliers changed so that product and residual term cancel, nearly cancel, leave a half, or lie up to 30
    powers of two apart."""
    count = len(total)
    with np.errstate(all="ignore"):
        left = rng.choice([0.0, 0.5, -0.5, 1.5, 2.5, 127.5], count).astype(np.float32)
        wanted = np.select([rng.random(count) < 0.5], [left - terms],
                           np.ldexp(terms, rng.integers(-30, 31, count)) * rng.choice([-1, 1], count))
        aimed = (wanted / np.where(total == 0, 1, total)).astype(np.float32)
        aimed = np.where(rng.random(count) < 0.3, np.nextafter(aimed, np.float32(0)), aimed)
    chosen = (rng.random(count) < 0.5) & np.isfinite(aimed)
    return np.where(chosen, aimed, multiplier).astype(np.float32)


def sample_terms(total: int, multiplier: np.float32, residuals: Residuals, i: int):
    """Notes how product and residual term met."""
    term = residuals.terms[i]
    size = abs(float(residuals.multiplier))
    if not size:
        _OPERANDS.sample(residual="none")
        return
    with np.errstate(all="ignore"):
        product = np.float32(total) * multiplier
        sum_of_terms = product + term
    if not product or not np.abs(sum_of_terms) < 1e38:
        return
    exact = Fraction(float(product)) + Fraction(float(term))
    lost = abs(exact - Fraction(float(sum_of_terms)))
    half_ulp = Fraction(float(np.spacing(np.abs(sum_of_terms)))) / 2
    distance = int(np.frexp(product)[1] - np.frexp(term)[1]) if term else None
    _OPERANDS.sample(
        residual="subnormal" if size < 1.17549435e-38 else "zero" if not term else "about product" if abs(distance) < 2
        else "below product" if distance > 0 else "above product", distance=distance,
        sum_of_terms="cancels to zero" if not exact and term else "tie" if lost == half_ulp else "rounded" if lost
        else "cancels in part" if term and abs(exact) < abs(Fraction(float(term))) / 4 else "exact")


async def feed(dut, acc, bias, multiplier, residuals: Residuals, zero_point: int, low: int, high: int) -> np.ndarray:
    """Gives one operand per cycle and returns the low bytes of their results."""
    dut.zero_point.value, dut.low.value, dut.high.value = zero_point, low, high
    dut.residual_signed.value = int(residuals.signed)
    dut.residual_zero_point.value = residuals.zero_point & 0xFF
    dut.residual_multiplier.value = int(residuals.multiplier.view(np.uint32))
    parameters = (multiplier.view(np.uint32).astype(object) * (1 << 32) + bias.view(np.uint32)).tolist()
    drain = [0] * (Requantise.LATENCY + 1)
    results = []
    for a, parameter, residual in zip(acc.tolist() + drain, parameters + drain, residuals.values.tolist() + drain):
        dut.acc.value, dut.parameters.value, dut.residual.value = a, parameter, residual
        await RisingEdge(dut.clk)
        results.append(dut.result.value)
    return np.array([int(r) for r in results[Requantise.LATENCY:-1]], np.uint8)


async def compare(dut, acc, bias, multiplier, residuals: Residuals, zero_point: int, low: int, high: int) -> np.ndarray:
    """Results against the golden model; returns them."""
    terms = residuals.terms if residuals.multiplier else None
    expected = requantise(acc, bias, multiplier, zero_point, low, high, terms)
    results = await feed(dut, acc, bias, multiplier, residuals, zero_point, low, high)
    wrong = np.flatnonzero(results != expected.astype(np.uint8))
    for i in wrong[:1]:
        raise AssertionError(
            f"{acc[i]} + {bias[i]} times {multiplier[i]!r} plus {residuals.differences[i]} times "
            f"{residuals.multiplier!r} plus {zero_point} in {low}..{high} must be {expected[i]}, not {results[i]}")
    return expected


def draw_limits(rng: np.random.Generator) -> tuple[int, int, int]:
    """Zero point, low and high."""
    least, most = ((-128, 127), (0, 255))[rng.integers(2)]
    low, high = sorted(int(x) for x in rng.integers(least, most + 1, 2)) if rng.random() < 0.3 else (least, most)
    return int(rng.choice([0, 3, -128, 255, -1 << 15, (1 << 15) - 1, rng.integers(-300, 300)])), low, high


@cocotb.test()
async def test_results_equal_numpy(dut):
    await start(dut, Requantise())
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    none = Residuals(np.zeros(BATCH, np.uint8), False, 0, np.float32(0))
    for _ in range(VECTORS // BATCH):
        acc, bias = corner_sums(rng, BATCH)
        total = acc.astype(np.int64) + bias
        multiplier = corner_multipliers(rng, total)
        zero_point, low, high = draw_limits(rng)
        expected = await compare(dut, acc, bias, multiplier, none, zero_point, low, high)
        for i in range(0, BATCH, 4):
            sample(int(total[i]), multiplier[i], int(expected[i]), low, high)
    report()


@cocotb.test()
async def test_residuals_are_added_as_numpy_does(dut):
    """Products of every size beside residual terms of every size; cancellation, ties, sums at and beside halves."""
    await start(dut, Requantise())
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    batch = BATCH // 8
    for _ in range(VECTORS // batch):
        acc, bias = corner_sums(rng, batch)
        if rng.random() < 0.5:  # small sums, so that products can be aimed at every float
            acc, bias = rng.integers(-300, 300, batch).astype(np.int32), np.zeros(batch, np.int32)
        total = acc.astype(np.int64) + bias
        residuals = draw_residuals(rng, batch)
        multiplier = against_residuals(rng, total, corner_multipliers(rng, total), residuals.terms)
        zero_point, low, high = draw_limits(rng)
        await compare(dut, acc, bias, multiplier, residuals, zero_point, low, high)
        for i in range(0, batch, 4):
            sample_terms(int(total[i]), multiplier[i], residuals, i)
    report()


@cocotb.test()
async def test_sums_of_two_terms_at_the_edges(dut):
    """Directed: everything zero; +-1 cancelled exactly, to a half, and beside it; the largest terms; a product beyond
    binary32 against the largest residual; a term too small to matter beside a tie."""
    await start(dut, Requantise())
    above, below = np.nextafter(np.float32(0.5), np.float32(1)), np.nextafter(np.float32(0.5), np.float32(0))
    largest = np.float32(np.ldexp(1.9999999, 63))
    cases = [  # accumulator, multiplier, residual (uint8), residual multiplier
        (0, 0.0, 0, 1.0), (0, 3e38, 0, largest), (5, 0.0, 7, 0.5), (0, -1e38, 255, -0.5),
        (1, 1.0, 1, -1.0), (-3, 0.5, 3, 0.5), (255, 1.0, 255, -above), (255, -1.0, 255, below), (3, 0.5, 1, 1.0),
        (7, 0.5, 1, 1e-30), (7, 0.5, 1, -1e-30), (5, 0.5, 255, 1e-45), (7, 1e-45, 1, 2.5), (7, -1e-38, 3, 0.5),
        ((1 << 31) - 1, 3.4e38, 255, -largest), (-1 << 31, 3.4e38, 255, largest), (1 << 24, 1.0, 255, -largest),
        (1, float(largest), 1, -largest), (1, float(np.nextafter(largest, np.float32(0))), 1, -largest),
        ((1 << 24) + 1, 2.0**-24, 1, -0.5), ((1 << 25) + 3, 2.0**-25, 1, -0.5),
    ]
    acc, multiplier, values, residual_multipliers = (np.array(column) for column in zip(*cases))
    for i in range(len(cases)):
        residuals = Residuals(values[i:i + 1].astype(np.uint8), False, 0, np.float32(residual_multipliers[i]))
        await compare(dut, acc[i:i + 1].astype(np.int32), np.zeros(1, np.int32),
                      multiplier[i:i + 1].astype(np.float32), residuals, 0, -128, 127)


@cocotb.test()
async def test_multipliers_that_are_no_number_are_bad(dut):
    """At once, for every pattern whose exponent is all ones, and for no other."""
    await start(dut, Requantise())
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    exponents = np.concatenate([np.arange(256), np.full(100, 255), np.full(100, 254)]).astype(np.uint32)
    fractions = rng.integers(0, 1 << 23, len(exponents), dtype=np.uint32) * rng.integers(0, 2, len(exponents),
                                                                                       dtype=np.uint32)
    for bits in (exponents << 23 | fractions | rng.integers(0, 2, len(exponents), dtype=np.uint32) << 31).tolist():
        dut.parameters.value = bits << 32
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        finite = bool(np.isfinite(np.uint32(bits).view(np.float32)))
        assert int(dut.bad.value) == (not finite), f"bad must be {not finite} for {bits:#010x}"
