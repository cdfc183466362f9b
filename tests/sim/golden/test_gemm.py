"""Whole layers: the fast path against products, against the hardware's order of additions, and against the executor."""

import re

import numpy as np
import pytest

from hdl.config import CONFIGS
from sim.golden.gemm import gemm

from .programs import Layer, LayerProgram

EDGE = CONFIGS["edge"]
SMALL = CONFIGS["small"]


def naive_gemm(config, weights, activations, zero_point, m, e):
    """Output by output, group by group, row by row, with Python integers."""
    outputs, inputs = weights.shape
    acc = np.zeros((len(activations), outputs), np.int64)
    overflow = False
    for v, vector in enumerate(activations.tolist()):
        for o, row in enumerate(weights.tolist()):
            total = None
            for g in range(-(-inputs // config.rows)):
                rows = range(g * config.rows, min((g + 1) * config.rows, inputs))
                psum = sum(row[r] * (vector[r] - zero_point) for r in rows)
                exact = (8 + int(m[o, g])) * psum * 2 ** int(e[o, g]) // 8
                scaled = (exact + 2 ** 31) % 2 ** 32 - 2 ** 31
                overflow |= scaled != exact
                if total is None:
                    total = scaled
                else:
                    exact = total + scaled
                    total = (exact + 2 ** 31) % 2 ** 32 - 2 ** 31
                    overflow |= total != exact
            acc[v, o] = total
    return acc, overflow


@pytest.mark.parametrize("largest_e", [0, 5, 31])
@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("int8", -128), ("uint8", 0), ("uint8", 255)])
def test_gemm_equals_loops(largest_e, dtype, zero_point):
    rng = np.random.default_rng(largest_e)
    layer = Layer.random(rng, SMALL, 10, 37, largest_e=largest_e)
    activations = rng.integers(0, 256, (3, 37), dtype=np.uint8).view(dtype)
    acc, overflow = gemm(SMALL, layer.weights, activations, zero_point=zero_point, m=layer.m, e=layer.e)
    expected, expected_overflow = naive_gemm(SMALL, layer.weights, activations, zero_point, layer.m, layer.e)
    assert acc.dtype == np.int32
    assert acc.tolist() == expected.tolist()
    assert overflow == expected_overflow
    assert overflow == (largest_e == 31)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_extreme_weights_and_activations(config):
    largest = (1 << config.planes) - 1
    weights = np.full((4, 2 * config.rows), largest)
    weights[1] *= -1
    weights[2, ::2] *= -1
    weights[3] = 0
    activations = np.full((2, 2 * config.rows), 255, np.uint8)
    activations[1] = 0
    lanes = activations.astype(np.int64)
    for zero_point in (0, 255):
        acc, overflow = gemm(config, weights, activations, zero_point=zero_point)
        assert (acc == (lanes - zero_point) @ weights.T).all()
        assert not overflow


def test_minus_128_times_minus_128():
    acc, _ = gemm(EDGE, np.full((3, 128), -128), np.full((2, 128), -128, np.int8))
    assert (acc == 128 ** 3).all()


def test_whole_layer_of_edge():
    """384 inputs, 1536 outputs, 16 vectors: plain INT8, against a product of matrices."""
    rng = np.random.default_rng(10)
    weights = rng.integers(-128, 128, (1536, 384))
    activations = rng.integers(-128, 128, (16, 384), dtype=np.int8)
    acc, overflow = gemm(EDGE, weights, activations)
    assert (acc == activations.astype(np.int64) @ weights.T).all()
    assert not overflow


def test_whole_layer_of_edge_with_scales_equals_the_program():
    rng = np.random.default_rng(11)
    layer = Layer.random(rng, EDGE, 1536, 384)
    x = rng.integers(-128, 128, (16, 384), dtype=np.int8)
    acc, overflow = gemm(EDGE, layer.weights, x, m=layer.m, e=layer.e)
    execution, y = LayerProgram(EDGE, layer, 16).run(x)
    assert (y == acc).all()
    assert execution.overflow == overflow


@pytest.mark.parametrize("largest_e", [3, 21])
@pytest.mark.parametrize(("grid_k", "grid_n"), [(1, 1), (1, 3), (2, 2), (4, 1), (8, 2)])
def test_no_grid_changes_the_result(grid_k, grid_n, largest_e):
    """Sums that wrap around and the flag too: the groups are added in ascending order on every grid."""
    config = SMALL.with_(grid_k=grid_k, grid_n=grid_n)
    rng = np.random.default_rng(12)
    layer = Layer.random(rng, config, 20, 100, largest_e=largest_e)
    x = rng.integers(-128, 128, (3, 100), dtype=np.int8)
    expected, expected_overflow = naive_gemm(config, layer.weights, x, 0, layer.m, layer.e)
    execution, y = LayerProgram(config, layer, 3).run(x)
    assert y.tolist() == expected.tolist()
    assert execution.overflow == expected_overflow == (largest_e == 21)


@pytest.mark.parametrize(("e", "overflow"), [(14, False), (15, True)])
def test_overflow_of_a_scaled_psum_alone(e, overflow):
    """One group, so nothing is added up; 128 x 127 x 8 = 130048 is just below 2^17."""
    weights = np.full((1, 8), 128)
    activations = np.full((1, 8), 127, np.int8)
    acc, flag = gemm(EDGE, weights, activations, e=e)
    exact = 128 * 127 * 8 << e
    assert flag == overflow == (exact >= 2 ** 31)
    assert acc.item() == (exact + 2 ** 31) % 2 ** 32 - 2 ** 31


@pytest.mark.parametrize(("weights", "activations", "others", "text"), [
    (np.full((1, 8), 256), np.zeros((1, 8), np.int8), {}, "weight magnitudes must be below 2^planes = 256, not 256"),
    (np.zeros((1, 8), int), np.zeros((1, 8), np.int16), {}, "activations must be int8 or uint8, not int16"),
    (np.zeros((1, 8), int), np.zeros((1, 9), np.int8), {}, "activations must be [vectors, 8], not [1, 9]"),
    (np.zeros((1, 0), int), np.zeros((1, 0), np.int8), {}, "weights must have at least one input, not 0"),
    (np.zeros((1, 8), int), np.zeros((1, 8), np.int8), {"m": 8}, "m must be from 0 to 7, not 8 to 8"),
    (np.zeros((1, 8), int), np.zeros((1, 8), np.int8), {"e": -1}, "e must be from 0 to 31, not -1 to -1"),
])
def test_refuses(weights, activations, others, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        gemm(EDGE, weights, activations, **others)
