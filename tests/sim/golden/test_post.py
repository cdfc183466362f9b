"""Requantisation against exact rationals and against numpy, element by element."""

from fractions import Fraction

import numpy as np
import pytest

from sim.golden import post

INT32 = (-(1 << 31), (1 << 31) - 1)


def exact_residual(residual, zero_point, multiplier) -> Fraction:
    found = to_binary32((int(residual) - zero_point) * Fraction(float(multiplier)))
    assert found is not None
    return found


def to_binary32(value: Fraction) -> Fraction | None:
    """The nearest binary32, ties to even, subnormals included; None beyond the range."""
    if value == 0:
        return Fraction(0)
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    quantum = Fraction(2) ** (max(exponent, -126) - 23)
    rounded = round(magnitude / quantum) * quantum
    if rounded >= 2 ** 128:
        return None
    return rounded if value > 0 else -rounded


def exact_requantise(acc, bias, multiplier, zero_point, low, high):
    biased = to_binary32(Fraction(int(acc) + int(bias)))
    assert biased is not None
    product = biased * Fraction(float(multiplier))
    rounded = to_binary32(product)
    if rounded is None:
        return high if product > 0 else low
    return min(max(round(rounded) + zero_point, low), high)


def numpy_requantise(acc, bias, multiplier, zero_point, low, high):
    biased = np.float32(int(acc) + int(bias))
    with np.errstate(over="ignore"):
        rounded = np.rint(biased * np.float32(multiplier))
    if np.isinf(rounded):
        return high if rounded > 0 else low
    return min(max(int(rounded) + zero_point, low), high)


def requantise(acc, multiplier, zero_point=0, low=-128, high=127):
    """The stage, from lists and without bias."""
    multiplier = np.asarray(multiplier, np.float32)
    return post.requantise(np.asarray(acc, np.int32), np.zeros(len(multiplier), np.int32), multiplier, zero_point, low,
                           high)


def check(acc, bias, multiplier, zero_point=0, low=-128, high=127):
    acc, bias = np.asarray(acc, np.int32), np.asarray(bias, np.int32)
    multiplier = np.asarray(multiplier, np.float32)
    result = post.requantise(acc, bias, multiplier, zero_point, low, high)
    arguments = list(zip(acc, bias, multiplier, strict=True))
    assert result.tolist() == [exact_requantise(*a, zero_point, low, high) for a in arguments]
    assert result.tolist() == [numpy_requantise(*a, zero_point, low, high) for a in arguments]


@pytest.mark.parametrize(("zero_point", "low", "high"), [(0, -128, 127), (-17, -128, 127), (131, 0, 255), (3, 3, 130),
                                                         (-32768, -128, 127), (32767, 0, 255)])
def test_random_channels(zero_point, low, high):
    rng = np.random.default_rng(8)
    count = 2000
    acc = (rng.integers(*INT32, count, dtype=np.int64) >> rng.integers(0, 31, count)).astype(np.int32)
    bias = (rng.integers(*INT32, count, dtype=np.int64) >> rng.integers(0, 31, count)).astype(np.int32)
    spread = np.maximum(np.abs(acc.astype(np.float64) + bias), 1)
    multiplier = (rng.uniform(-300, 300, count) / spread).astype(np.float32)
    check(acc, bias, multiplier, zero_point, low, high)


def test_any_finite_multiplier():
    rng = np.random.default_rng(9)
    multiplier = rng.integers(0, 1 << 32, 4000, dtype=np.uint32).view(np.float32)
    multiplier = multiplier[np.isfinite(multiplier)]
    acc = rng.integers(*INT32, len(multiplier), dtype=np.int32)
    check(acc, np.zeros_like(acc), multiplier)


def test_ties_go_to_even():
    acc = np.arange(-9, 10)
    check(acc, np.zeros(19), np.full(19, 0.5))
    result = requantise(acc, np.full(19, 0.5))
    assert result.tolist() == [-4, -4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4]


def test_rounding_comes_before_the_zero_point():
    result = requantise([1, 3], [0.5, 0.5], zero_point=1)
    assert result.tolist() == [1, 3]


def test_sum_has_33_bits():
    check([INT32[1], INT32[0], INT32[1], INT32[0]], [INT32[1], INT32[0], INT32[0], INT32[1]],
          [2.0 ** -26, 2.0 ** -26, 100, 100])


@pytest.mark.parametrize(("acc", "multiplier", "result"), [
    (2 ** 24 + 1, 2.5 * 2 ** -24, 2),  # the sum becomes 2^24, and 2.5 goes to even
    (2 ** 24 + 2, 2.5 * 2 ** -24, 3),
    (2 ** 24 + 3, 2.5 / (2 ** 24 + 4), 2),  # the sum becomes 2^24 + 4
    (-2 ** 24 - 1, 2.5 * 2 ** -24, -2),
    (3, 0.5 / 3, 0),  # the multiplier is above 1/6, the product becomes 1/2
    (3, 1.5 / 3, 2),
])
def test_sum_and_product_are_rounded_to_binary32(acc, multiplier, result):
    check([acc], [0], [multiplier])
    assert requantise([acc], [multiplier]).item() == result


def test_products_close_to_ties():
    """Where rounding to binary32, of the sum and of the product, decides: binary64 gives other results."""
    rng = np.random.default_rng(14)
    count = 4000
    acc = (rng.integers(*INT32, count, dtype=np.int64) >> rng.integers(0, 28, count)) | 1
    target = rng.integers(-120, 120, count) + 0.5
    multiplier = (target / acc).astype(np.float32)
    multiplier[::3] = np.nextafter(multiplier[::3], np.float32(np.inf))
    check(acc, np.zeros(count), multiplier)
    binary64 = np.rint(acc * multiplier.astype(np.float64))
    single = requantise(acc, multiplier)
    assert np.count_nonzero(binary64 != single) > count // 20


def test_zero_negative_subnormal_and_huge_multipliers():
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    acc = [INT32[1], INT32[0], 5, 0, INT32[1], INT32[0], 1, -1, 0]
    check(acc, [0] * 9, [tiny, tiny, 0.0, -0.0, huge, huge, huge, -huge, huge], zero_point=4)


def test_saturates_at_low_and_high():
    result = requantise([[-1000, -3, 0, 3, 1000]], [1] * 5, low=-2, high=2)
    assert result.tolist() == [[-2, -2, 0, 2, 2]]


@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int8, -128), (np.int8, 5), (np.uint8, 0), (np.uint8, 200)])
def test_residual_is_added_to_the_product(dtype, zero_point):
    """Product, residual and their sum each rounded to binary32; also where they all but cancel."""
    rng = np.random.default_rng(15)
    count = 3000
    acc = rng.integers(-1 << 20, 1 << 20, count).astype(np.int32)
    multiplier = rng.uniform(-1e-3, 1e-3, count).astype(np.float32)
    values = rng.integers(0, 256, count, dtype=np.uint8).view(dtype)
    for scale in np.array([0.3, -1.7, 1e-40, 0, 2e19, 0.5], np.float32):
        residual = post.scale_residual(values, zero_point, scale)
        assert residual.dtype == np.float32
        if scale == np.float32(0.3):
            multiplier[:99] = -residual[:99] / np.where(acc[:99] == 0, 1, acc[:99])
        result = post.requantise(acc, np.zeros(count, np.int32), multiplier, 3, -128, 127, residual)
        for a, m, value, got in zip(acc, multiplier, values, result, strict=True):
            product = to_binary32(Fraction(int(a)) * Fraction(float(m)))
            total = to_binary32(product + exact_residual(value, zero_point, scale))
            assert got == min(max(round(total) + 3, -128), 127)


@pytest.mark.parametrize(("acc", "residual", "total", "wraps"), [
    (2 ** 31 - 1, 0, 2 ** 31 - 1, False), (2 ** 31 - 2, 1, 2 ** 31 - 1, False), (2 ** 31 - 1, 1, -2 ** 31, True),
    (-2 ** 31, -1, 2 ** 31 - 1, True), (1 - 2 ** 31, -1, -2 ** 31, False), (-2 ** 31, -2 ** 31, 0, True),
    (-2 ** 31, 2 ** 31 - 1, -1, False), (-5, 3, -2, False)])
def test_an_int32_residual_wraps_around(acc, residual, total, wraps):
    found, wrapped = post.add_residual(np.array([1, acc], np.int32), np.array([2, residual], np.int32))
    assert (found.tolist(), found.dtype, wrapped) == ([3, total], np.int32, wraps)


def test_a_residual_does_not_bring_back_what_saturates():
    residual = np.full(2, np.float32(-2 ** 64), np.float32)
    result = post.requantise(np.array([INT32[1], 0], np.int32), np.zeros(2, np.int32),
                             np.full(2, np.finfo(np.float32).max), 0, -128, 127, residual)
    assert result.tolist() == [127, -128]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_refuses_a_multiplier_that_is_not_finite(value):
    multiplier = np.array([1, value, value], np.float32)
    assert post.bad_multiplier(multiplier) == 1
    with pytest.raises(ValueError, match=f"^multiplier must be finite, not {value} in channel 1$"):
        post.requantise(np.zeros(3, np.int32), np.zeros(3, np.int32), multiplier, 0, -128, 127)


def test_finite_multipliers_are_good():
    assert post.bad_multiplier(np.array([0, -1, 1e-45], np.float32)) is None
