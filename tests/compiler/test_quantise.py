"""Quantisation, by the properties that its users rely on."""

import numpy as np
import pytest

from compiler.lower import lower
from compiler.quantise import (
    INT8_LIMIT,
    LARGEST_SCALE,
    Affine,
    QuantisationError,
    accumulator_bound,
    quantise_layer,
    quantise_weights,
    requantise,
    whole_scales,
)
from hdl.config import CONFIGS
from hdl.isa import OutputFormat
from sim.session import Session

SMALL = CONFIGS["small"]
TINY_STEP = 1 + 1e-9  # of rounding in float64


def group_view(values: np.ndarray, rows: int) -> np.ndarray:
    """[outputs, groups, rows]; inputs must be whole groups."""
    return values.reshape(len(values), -1, rows)


def random_weights(seed: int, outputs: int = 24, inputs: int = 96) -> np.ndarray:
    """Groups of very different sizes, some of them zero, and one zero channel."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(outputs, inputs // 16, 16)) * 2.0 ** rng.uniform(-12, 4, (outputs, inputs // 16, 1))
    weights[rng.random(weights.shape[:2]) < 0.1] = 0
    weights[3] = 0
    return weights.reshape(outputs, inputs)


# Activations and results


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (-6.1, 28.4), (0.0, 1.0), (2.0, 7.0), (-9.0, -1.0),
                                             (-1e-6, 1e6)])
def test_values_in_range_are_off_by_half_a_step(low, high, signed):
    affine = Affine.of_range(low, high, signed)
    x = np.random.default_rng(1).uniform(low, high, 1000)
    assert affine.quantise(x).dtype == (np.int8 if signed else np.uint8)
    assert np.abs(affine.dequantise(affine.quantise(x)) - x).max() <= affine.scale / 2 * TINY_STEP


@pytest.mark.parametrize("signed", [True, False])
def test_zero_is_exact(signed):
    affine = Affine.of_range(-0.37, 11.0, signed)
    assert affine.dequantise(affine.quantise(np.zeros(1))) == 0
    assert affine.limits[0] <= affine.zero_point <= affine.limits[1]


def test_values_out_of_range_saturate():
    affine = Affine.of_range(-1, 1)
    assert affine.quantise(np.array([-50.0, 50.0])).tolist() == [-128, 127]


def test_halves_round_to_even():
    assert Affine(1.0).quantise(np.array([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


def test_an_empty_range_has_a_scale():
    assert Affine.of_range(0, 0).quantise(np.zeros(2)).tolist() == [-128, -128]


def test_symmetric_has_a_scale_per_channel_and_no_zero_point():
    affine = Affine.symmetric(np.array([1.27, 0.0, 254.0]))
    assert affine.zero_point == 0
    assert affine.quantise(np.array([[1.27, 0.0, -254.0], [-0.01, 0.0, 2.0]])).tolist() == [[127, 0, -127], [-1, 0, 1]]


@pytest.mark.parametrize(("low", "high", "sentence"), [
    (0, np.inf, r"^the range must be finite, not 0 to inf$"),
    (np.nan, 1, r"^the range must be finite, not nan to 1$"),
    (2, 1, r"^the range must begin below its end, not 2 to 1$")])
def test_ranges_that_are_none(low, high, sentence):
    with pytest.raises(QuantisationError, match=sentence):
        Affine.of_range(low, high)


@pytest.mark.parametrize("largest", [-1.0, np.nan, np.inf])
def test_magnitudes_that_are_none(largest):
    sentence = rf"^largest magnitudes must be finite and not negative, not {largest}$"
    with pytest.raises(QuantisationError, match=sentence):
        Affine.symmetric(np.array([1.0, largest]))


# Weights


def test_whole_scales():
    values, m, e = whole_scales()
    assert values[0] == 1
    assert (np.diff(values) > 0).all()
    assert ((8 + m.astype(float)) * 2.0 ** (e.astype(float) - 3) == values).all()
    assert set(range(1, 17)) <= set(values.tolist())
    assert 17 not in values
    assert m.max() == 7
    assert e.max() == 31


@pytest.mark.parametrize("limit", [1, 15, INT8_LIMIT, 2047])
@pytest.mark.parametrize("seed", [1, 2])
def test_weights_are_off_by_half_a_step_and_within_the_limit(seed, limit):
    weights = random_weights(seed)
    grouped = quantise_weights(weights, 16, limit=limit)
    assert np.abs(grouped.weights).max() == limit
    step = (grouped.scale[:, None] * grouped.group_scales)[:, :, None]
    error = group_view(grouped.dequantise() - weights, 16)
    assert (np.abs(error) <= step / 2 * TINY_STEP).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_smaller_scale_would_do(seed):
    weights = random_weights(seed)
    grouped = quantise_weights(weights, 16)
    values = whole_scales()[0]
    chosen = np.searchsorted(values, grouped.group_scales)
    assert (values[chosen] == grouped.group_scales).all()
    smaller = np.where(chosen > 0, values[chosen - 1], 0) * grouped.scale[:, None]
    largest = np.abs(group_view(weights, 16)).max(axis=2)
    assert (largest[chosen > 0] > (smaller * INT8_LIMIT)[chosen > 0]).all()


def test_the_largest_group_of_a_channel_has_the_largest_scale():
    weights = np.random.default_rng(5).normal(size=(40, 64))
    grouped = quantise_weights(weights, 16)
    largest = np.abs(group_view(weights, 16)).max(axis=2).argmax(axis=1)
    assert (grouped.group_scales[np.arange(40), largest] == LARGEST_SCALE).all()
    assert (grouped.group_scales <= LARGEST_SCALE).all()


def test_without_group_scales_it_is_per_channel_int8():
    weights = np.random.default_rng(6).normal(size=(8, 48))
    grouped = quantise_weights(weights, 48, largest_scale=1)
    scale = np.abs(weights).max(axis=1) / 127
    assert (grouped.group_scales == 1).all()
    assert np.allclose(grouped.scale, scale)
    assert (grouped.weights == np.rint(weights / scale[:, None])).all()


def test_zero_groups_and_channels_store_nothing():
    grouped = quantise_weights(random_weights(1), 16)
    assert (grouped.weights[3] == 0).all()
    assert (grouped.group_scales[3] == 1).all()
    assert ((grouped.masks == 0) == (group_view(grouped.weights, 16) == 0).all(axis=2)).all()


def test_the_last_group_may_be_short():
    weights = np.random.default_rng(7).normal(size=(5, 37))
    grouped = quantise_weights(weights, 16)
    assert grouped.m.shape == (5, 3)
    full = quantise_weights(np.pad(weights, ((0, 0), (0, 11))), 16)
    assert (full.weights[:, :37] == grouped.weights).all()
    assert (full.masks == grouped.masks).all()


def test_masks_are_the_bits_in_use():
    grouped = quantise_weights(np.array([[127.0, 0, 0, 0], [64.0, 127.0, 0, 0]]), 2, largest_scale=1)
    assert grouped.masks.tolist() == [[127, 0], [127, 0]]


def test_weights_must_be_finite():
    with pytest.raises(QuantisationError, match=r"^weights must be finite, not nan$"):
        quantise_weights(np.array([[1.0, np.nan]]), 2)


# Whole layers

ACTIVATIONS = Affine.of_range(-4.0, 6.0)


def random_layer(seed: int, outputs: int = 40, inputs: int = 80, vectors: int = 5):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(outputs, inputs)), rng.normal(size=outputs) * 3,
            np.clip(rng.normal(size=(vectors, inputs)) * 2, -4, 6))


def run_on_golden(quantised, x) -> np.ndarray:
    program = lower(SMALL, quantised.layer, len(x))
    return Session(SMALL).run(program, {"x": quantised.activations.quantise(x)}).outputs["y"]


def error_bound(quantised, weights, x) -> np.ndarray:
    """[vectors, outputs]: half a step of every weight and of every activation."""
    q = quantised.weights
    steps = q.scale[:, None] * np.repeat(q.group_scales, q.rows, axis=1)[:, :weights.shape[1]]
    half = quantised.activations.scale / 2
    return (np.abs(x) @ steps.T / 2 + half * np.abs(weights).sum(axis=1) + half * steps.sum(axis=1) / 2) * TINY_STEP


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_accumulators_stand_for_the_layer(seed):
    weights, bias, x = random_layer(seed)
    quantised = quantise_layer(weights, bias, SMALL.rows, ACTIVATIONS)
    error = quantised.dequantise(run_on_golden(quantised, x)) - (x @ weights.T + bias)
    assert (np.abs(error) <= error_bound(quantised, weights, x)).all()


@pytest.mark.parametrize("per_channel", [True, False])
def test_results_stand_for_the_layer(per_channel):
    weights, bias, x = random_layer(4)
    exact = x @ weights.T + bias
    results = Affine.symmetric(np.abs(exact).max(axis=0)) if per_channel else Affine.of_range(exact.min(), exact.max())
    quantised = quantise_layer(weights, bias, SMALL.rows, ACTIVATIONS, results)
    error = quantised.dequantise(run_on_golden(quantised, x)) - exact
    assert (np.abs(error) <= error_bound(quantised, weights, x) + results.scale * 0.51).all()


def test_unsigned_activations_and_results():
    weights, bias, x = random_layer(5)
    exact = np.maximum(np.abs(x) @ weights.T + bias, 0)
    quantised = quantise_layer(weights, bias, SMALL.rows, Affine.of_range(0, 6, signed=False),
                               Affine.of_range(0, exact.max(), signed=False))
    assert quantised.layer.act_dtype == "uint8"
    given = run_on_golden(quantised, np.abs(x))
    assert given.dtype == np.uint8
    bound = error_bound(quantised, weights, np.abs(x)) + quantised.results.scale * 0.51
    assert (np.abs(quantised.dequantise(given) - exact) <= bound).all()


def test_scales_are_lowered_until_no_input_can_overflow():
    rng = np.random.default_rng(8)
    weights = rng.choice([-1.0, 1.0], (3, 8192))
    weights[1] *= rng.random(8192) < 0.05
    quantised = quantise_layer(weights, np.zeros(3), 64, Affine.of_range(-1, 1))
    largest = quantised.weights.group_scales.max(axis=1)
    assert largest.tolist() == [16, LARGEST_SCALE, 16]
    bound = accumulator_bound(quantised.weights, quantised.bias, quantised.activations)
    assert (bound < 2.0 ** 31).all()
    assert bound[0] * 2 >= 2.0 ** 31


@pytest.mark.parametrize("weight", [1e-3, 1e-9, 0.0])
def test_a_bias_that_dwarfs_its_weights(weight):
    weights, bias, x = np.full((2, 16), weight), np.array([150.0, 0.0]), np.full((1, 16), 0.7)
    results = Affine.symmetric(np.array([200.0, 1.0]))
    quantised = quantise_layer(weights, bias, SMALL.rows, Affine.of_range(-1, 1), results)
    assert abs(int(quantised.layer.requantisation.bias[0])) <= 1 << 30
    accumulators = quantise_layer(weights, bias, SMALL.rows, Affine.of_range(-1, 1))
    exact = x @ weights.T + bias
    assert accumulators.dequantise(run_on_golden(accumulators, x))[0, 0] == pytest.approx(exact[0, 0], rel=1e-6)
    assert np.abs(quantised.dequantise(run_on_golden(quantised, x)) - exact)[0, 0] <= 200 / 127 * 0.51


def test_a_layer_that_is_too_long_is_refused():
    with pytest.raises(QuantisationError, match=r"^output 0 can reach 2\.28e\+09, which must stay below 2\^31, with "
                                                r"group scales of one; split the layer's inputs or use fewer planes$"):
        quantise_layer(np.ones((1, 140_000)), np.zeros(1), 64, Affine(1.0))


def test_biases_must_be_finite():
    with pytest.raises(QuantisationError, match=r"^biases must be finite, not inf$"):
        quantise_layer(np.ones((1, 16)), np.array([np.inf]), 16, ACTIVATIONS)


def test_activations_have_one_scale():
    with pytest.raises(QuantisationError, match=r"^activations must have one scale for all channels, not 16$"):
        quantise_layer(np.ones((1, 16)), np.zeros(1), 16, Affine.symmetric(np.ones(16)))


def test_requantisation_parameters():
    parameters = requantise(np.array([0.5, 0.25]), np.array([1.0, -3.0]), Affine(2.0, -7))
    assert parameters.bias.tolist() == [2, -12]
    assert parameters.bias.dtype == np.int32
    assert parameters.multiplier.tolist() == [0.25, 0.125]
    assert parameters.multiplier.dtype == np.float32
    assert (parameters.zero_point, parameters.low, parameters.high) == (-7, -128, 127)
    assert parameters.output_format is OutputFormat.INT8
    assert requantise(np.ones(1), np.zeros(1), Affine(1.0, 0, signed=False)).output_format is OutputFormat.UINT8
