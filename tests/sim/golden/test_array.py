"""The grid, the K reduction and the accumulators against loops with Python integers."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.layouts import Step
from sim.golden import array

VECTORS = 3
SMALL = [CONFIGS["tiny"], CONFIGS["small"], CONFIGS["small"].with_(rows=32, grid_k=4, grid_n=3, planes=11)]


def wrapped_sum(values):
    """Sum with wrap-around after each addition, and whether any addition wrapped."""
    total, overflow = values[0], False
    for value in values[1:]:
        exact = total + value
        total = (exact + 2 ** 31) % 2 ** 32 - 2 ** 31
        overflow |= total != exact
    return total, overflow


def random_step(rng, config):
    """Random masks, scales and signs; every fifth column is empty."""
    shape = (config.columns, config.rows)
    magnitude = rng.integers(0, 1 << config.planes, shape) & rng.integers(0, 1 << config.planes, (config.columns, 1))
    magnitude[::5] = 0
    return Step(magnitude.astype(np.uint16), rng.random(shape) < 0.5,
                rng.integers(0, 8, config.columns).astype(np.uint8),
                rng.integers(0, 6, config.columns).astype(np.uint8))


@pytest.mark.parametrize("config", SMALL, ids=["tiny", "small", "grid_4x3"])
@pytest.mark.parametrize(("act_signed", "zero_point"), [(True, -3), (False, 200)])
def test_scaled_psums_equal_loops(config, act_signed, zero_point):
    rng = np.random.default_rng(5)
    step = random_step(rng, config)
    lines = rng.integers(0, 256, (VECTORS, config.line_bytes), dtype=np.uint8)
    scaled, overflow = array.scaled_psums(config, step, array.grid_lanes(config, lines, act_signed, zero_point))
    assert scaled.shape == (config.grid_k, VECTORS, config.out_cols)
    assert not overflow.any()
    for k in range(config.grid_k):
        for n in range(config.grid_n):
            for c in range(config.cols):
                index = (k * config.grid_n + n) * config.cols + c
                weights = [int(w) for w in step.weights[index]]
                factor = (8 + int(step.m[index])) * 2 ** int(step.e[index])
                for v in range(VECTORS):
                    total = 0
                    for r in range(config.rows):
                        content = int(lines[v, k * config.rows + r])
                        value = content - 256 if act_signed and content > 127 else content
                        total += weights[r] * (value - zero_point)
                    assert scaled[k, v, n * config.cols + c] == factor * total // 8


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_scaled_psums_equal_products_on_every_configuration(config):
    rng = np.random.default_rng(6)
    step = random_step(rng, config)
    lines = rng.integers(0, 256, (VECTORS, config.line_bytes), dtype=np.uint8)
    scaled, _ = array.scaled_psums(config, step, array.grid_lanes(config, lines, True, 0))
    weights = step.weights.reshape(config.grid_k, config.out_cols, config.rows)
    act = lines.view(np.int8).reshape(VECTORS, config.grid_k, config.rows).astype(np.int64)
    exact = np.einsum("kor,vkr->kvo", weights, act)
    factor = ((8 + step.m.astype(np.int64)) << step.e.astype(np.int64)).reshape(config.grid_k, 1, config.out_cols)
    assert (scaled == np.floor_divide(exact * factor, 8)).all()


@pytest.mark.parametrize("initialise", [True, False])
@pytest.mark.parametrize("magnitude", [1 << 10, 1 << 31])
def test_accumulate_equals_loops(initialise, magnitude):
    rng = np.random.default_rng(7)
    acc = rng.integers(-magnitude, magnitude, (VECTORS, 5), dtype=np.int64).astype(np.int32)
    scaled = rng.integers(-magnitude, magnitude, (4, VECTORS, 5), dtype=np.int64).astype(np.int32)
    result, overflow = array.accumulate(None if initialise else acc, scaled)
    expected = [[wrapped_sum([*([] if initialise else [int(acc[v, c])]), *map(int, scaled[:, v, c])])
                 for c in range(5)] for v in range(VECTORS)]
    assert result.tolist() == [[value for value, _ in row] for row in expected]
    assert overflow == any(flag for row in expected for _, flag in row)
    assert overflow == (magnitude == 1 << 31)


@pytest.mark.parametrize("initialise", [True, False])
@pytest.mark.parametrize("magnitude", [1 << 10, 1 << 31])
def test_maximum_equals_loops(initialise, magnitude):
    """The sum wraps by itself, before it is compared."""
    rng = np.random.default_rng(9)
    acc = rng.integers(-magnitude, magnitude, (VECTORS, 5), dtype=np.int64).astype(np.int32)
    scaled = rng.integers(-magnitude, magnitude, (4, VECTORS, 5), dtype=np.int64).astype(np.int32)
    result, overflow = array.accumulate(None if initialise else acc, scaled, maximum=True)
    sums = [[wrapped_sum([*map(int, scaled[:, v, c])]) for c in range(5)] for v in range(VECTORS)]
    assert result.tolist() == [[value if initialise else max(value, int(acc[v, c])) for c, (value, _) in enumerate(row)]
                               for v, row in enumerate(sums)]
    assert overflow == any(flag for row in sums for _, flag in row)


def test_accumulate_flags_a_wrap_that_a_later_addend_undoes():
    scaled = np.array([2 ** 31 - 1, 1, -1], np.int32).reshape(3, 1, 1)
    acc, overflow = array.accumulate(None, scaled)
    assert (acc.item(), overflow) == (2 ** 31 - 1, True)


def test_accumulate_keeps_the_flag_of_an_earlier_addend():
    acc, overflow = array.accumulate(None, np.array([2 ** 31 - 1, 1, 0], np.int32).reshape(3, 1, 1))
    assert (acc.item(), overflow) == (-2 ** 31, True)


def test_accumulate_in_another_order_would_not_wrap():
    scaled = np.array([2 ** 31 - 1, -1, 1], np.int32).reshape(3, 1, 1)
    acc, overflow = array.accumulate(None, scaled)
    assert (acc.item(), overflow) == (2 ** 31 - 1, False)


def test_accumulate_leaves_its_inputs_alone():
    acc, scaled = np.ones((1, 1), np.int32), np.ones((2, 1, 1), np.int32)
    assert array.accumulate(acc, scaled)[0].item() == 3
    assert array.accumulate(None, scaled)[0].item() == 2
    assert acc.item() == 1
    assert (scaled == 1).all()


def test_accumulate_refuses_no_macro_rows():
    with pytest.raises(ValueError, match=r"^scaled must have at least one macro row, not 0$"):
        array.accumulate(None, np.zeros((0, 1, 1), np.int32))
