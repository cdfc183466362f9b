"""The column's stages against loops over rows and bits with Python integers."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from sim.golden import column

VECTORS, COLUMNS = 3, 4


def naive_plane_sum(plane, sign, act):
    return sum((~int(a) if s else int(a)) for p, s, a in zip(plane, sign, act, strict=True) if p)


def naive_scale(partial, m, e):
    """Floor division and wrap-around without shifts."""
    exact = (8 + int(m)) * int(partial) * 2 ** int(e) // 8
    wrapped = (exact + 2 ** 31) % 2 ** 32 - 2 ** 31
    return wrapped, wrapped != exact


def random_groups(rng, rows, planes, columns=COLUMNS):
    """Magnitudes with random masks, the first column empty, and signs."""
    magnitude = rng.integers(0, 1 << planes, (columns, rows)) & rng.integers(0, 1 << planes, (columns, 1))
    magnitude[0] = 0
    return magnitude.astype(np.uint16), rng.random((columns, rows)) < 0.5


def random_lanes(rng, rows):
    """Lanes that include both ends of their range."""
    act = rng.integers(-256, 256, (VECTORS, rows)).astype(np.int16)
    act[0], act[1] = -256, 255
    return act


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_stages_equal_loops(config):
    rng = np.random.default_rng(config.planes)
    magnitude, sign = random_groups(rng, config.rows, config.planes)
    act = random_lanes(rng, config.rows)
    plane = column.planes(magnitude, config.planes)

    sums = column.plane_sum(plane, sign, act)
    constant = column.negation_constant(plane, sign)
    psum = column.psum(plane, sign, act)
    for c in range(COLUMNS):
        for b in range(config.planes):
            bits = [(int(value) >> b) & 1 for value in magnitude[c]]
            assert plane[c, b].tolist() == [bool(bit) for bit in bits]
            for v in range(VECTORS):
                assert sums[v, c, b] == naive_plane_sum(bits, sign[c], act[v])
        assert constant[c] == sum(int(w) for w, s in zip(magnitude[c], sign[c], strict=True) if s)
        for v in range(VECTORS):
            weights = [-int(w) if s else int(w) for w, s in zip(magnitude[c], sign[c], strict=True)]
            assert psum[v, c] == sum(w * int(a) for w, a in zip(weights, act[v], strict=True))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_extremes_fit_the_widths(config):
    """All weights and lanes at their largest magnitude, in every combination of signs."""
    largest = (1 << config.planes) - 1
    magnitude = np.full((2, config.rows), largest, np.uint16)
    sign = np.repeat([[False], [True]], config.rows, axis=1)
    act = np.array([[-256] * config.rows, [255] * config.rows], np.int16)
    plane = column.planes(magnitude, config.planes)
    assert column.psum(plane, sign, act).tolist() == [
        [-256 * largest * config.rows, 256 * largest * config.rows],
        [255 * largest * config.rows, -255 * largest * config.rows]]
    assert np.abs(column.plane_sum(plane, sign, act)).max() <= 1 << config.sum_bits - 1
    assert column.negation_constant(plane, sign).max() < 1 << config.constant_bits
    assert np.abs(column.psum(plane, sign, act)).max() < 1 << config.psum_bits - 1


def test_minus_128_is_magnitude_128():
    plane = column.planes(np.array([[128] * 8]), 8)
    act = np.array([[-128] * 8], np.int16)
    assert column.psum(plane, np.ones((1, 8), bool), act).tolist() == [[8 * 128 * 128]]


def test_negative_zero_is_zero():
    plane = column.planes(np.zeros((1, 8), np.uint16), 8)
    sign = np.ones((1, 8), bool)
    assert column.negation_constant(plane, sign).tolist() == [0]
    assert column.psum(plane, sign, np.full((1, 8), 255, np.int16)).tolist() == [[0]]


def test_leading_axes_are_independent():
    rng = np.random.default_rng(1)
    groups = [random_groups(rng, 16, 8) for _ in range(3)]
    acts = np.stack([random_lanes(rng, 16) for _ in range(3)])
    planes = np.stack([column.planes(magnitude, 8) for magnitude, _ in groups])
    signs = np.stack([sign for _, sign in groups])
    together = column.psum(planes, signs, acts)
    for i in range(3):
        assert (together[i] == column.psum(planes[i], signs[i], acts[i])).all()


@pytest.mark.parametrize("m", range(8))
def test_scale_equals_integer_arithmetic(m):
    partial = np.array([[0, 1, -1, 7, -7, 4177920, -4177920, 2 ** 26, -2 ** 26]])
    for e in range(32):
        columns = partial.shape[1]
        scaled, overflow = column.scale(partial, np.full(columns, m, np.uint8), np.full(columns, e, np.uint8))
        expected = [naive_scale(value, m, e) for value in partial[0]]
        assert list(zip(scaled[0].tolist(), overflow[0].tolist(), strict=True)) == expected


def test_scale_rounds_down():
    scaled, overflow = column.scale(np.array([[-1, 1]]), np.array([1, 1], np.uint8), np.array([0, 0], np.uint8))
    assert scaled.tolist() == [[-2, 1]]
    assert not overflow.any()


@pytest.mark.parametrize(("partial", "m", "e", "scaled", "overflow"), [
    (2 ** 26, 0, 4, 2 ** 30, False),
    (2 ** 27 - 1, 0, 4, 2 ** 31 - 16, False),
    (2 ** 27, 0, 4, -2 ** 31, True),
    (-2 ** 27, 0, 4, -2 ** 31, False),
    (-2 ** 27 - 1, 0, 4, 2 ** 31 - 16, True),
    (2 ** 27, 0, 5, 0, True),
])
def test_scale_wraps_at_32_bits(partial, m, e, scaled, overflow):
    result, flag = column.scale(np.array([[partial]]), np.array([m], np.uint8), np.array([e], np.uint8))
    assert (result.item(), flag.item()) == (scaled, overflow)


@pytest.mark.parametrize(("act_signed", "zero_point"), [(True, 0), (True, 127), (True, -128), (False, 0), (False, 255)])
def test_lanes_subtract_the_zero_point(act_signed, zero_point):
    content = np.arange(256, dtype=np.uint8)
    expected = [(value - 256 if act_signed and value > 127 else value) - zero_point for value in range(256)]
    assert column.lanes(content, act_signed, zero_point).tolist() == expected


@pytest.mark.parametrize(("act_signed", "zero_point", "text"), [
    (True, 128, "zero_point must be from -128 to 127, not 128"),
    (False, -1, "zero_point must be from 0 to 255, not -1"),
])
def test_lanes_refuse_a_zero_point_of_another_type(act_signed, zero_point, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        column.lanes(np.zeros(1, np.uint8), act_signed, zero_point)


def test_plane_sum_refuses_lanes_of_ten_bits():
    plane, sign = np.ones((1, 1, 1), bool), np.zeros((1, 1), bool)
    with pytest.raises(ValueError, match=r"^act must be from -256 to 255, not 256 to 256$"):
        column.plane_sum(plane, sign, np.array([[256]], np.int16))
