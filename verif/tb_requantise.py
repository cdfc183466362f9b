"""Requantise: every result against numpy, one per cycle, over random and corner operands."""

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hdl.ipu.requantise import Requantise
from sim.golden.post import requantise

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


async def feed(dut, acc, bias, multiplier, zero_point: int, low: int, high: int) -> np.ndarray:
    """Gives one operand per cycle and returns the low bytes of their results."""
    dut.zero_point.value, dut.low.value, dut.high.value = zero_point, low, high
    parameters = (multiplier.view(np.uint32).astype(object) * (1 << 32) + bias.view(np.uint32)).tolist()
    results = []
    for a, parameter in zip(acc.tolist() + [0] * (Requantise.LATENCY + 1), parameters + [0] * (Requantise.LATENCY + 1)):
        dut.acc.value, dut.parameters.value = a, parameter
        await RisingEdge(dut.clk)
        results.append(dut.result.value)
    return np.array([int(r) for r in results[Requantise.LATENCY:-1]], np.uint8)


@cocotb.test()
async def test_results_equal_numpy(dut):
    await start(dut, Requantise())
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    for _ in range(VECTORS // BATCH):
        acc, bias = corner_sums(rng, BATCH)
        total = acc.astype(np.int64) + bias
        multiplier = corner_multipliers(rng, total)
        least, most = ((-128, 127), (0, 255))[rng.integers(2)]
        low, high = sorted(int(x) for x in rng.integers(least, most + 1, 2)) if rng.random() < 0.3 else (least, most)
        zero_point = int(rng.choice([0, 3, -128, 255, -1 << 15, (1 << 15) - 1, rng.integers(-300, 300)]))
        expected = requantise(acc, bias, multiplier, zero_point, low, high)
        results = await feed(dut, acc, bias, multiplier, zero_point, low, high)
        wrong = np.flatnonzero(results != expected.astype(np.uint8))
        for i in wrong[:1]:
            raise AssertionError(f"{acc[i]} + {bias[i]} times {multiplier[i]!r} plus {zero_point} in {low}..{high} "
                                 f"must be {expected[i]}, not {results[i]}")
        for i in range(0, BATCH, 4):
            sample(int(total[i]), multiplier[i], int(expected[i]), low, high)
    report()


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
