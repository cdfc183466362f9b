"""Lowering of convolutions, against a direct one."""

import re

import numpy as np
import pytest

from compiler.convolution import convolution
from compiler.layer import Layer, LayerError, Residual
from compiler.lower import lower
from compiler.window import Window
from hdl.config import Config, configuration
from hdl.isa import Opcode, OutputFormat

from .reference import check, random_activations, random_requantisation, random_weights


def conv(config: Config, rng, outputs: int, kernel: tuple[int, int], channels: int, groups: int = 1, **fields) -> Layer:
    return convolution(random_weights(config, rng, outputs, *kernel, channels // groups), config.rows, groups=groups,
                       **fields)


@pytest.mark.parametrize("name", ["tiny", "small"])
@pytest.mark.parametrize(("image", "outputs", "kernel", "channels", "fields"), [
    ((5, 6), 5, (1, 1), 7, {}),
    ((7, 9), 5, (3, 3), 3, {"padding": (1, 1, 1, 1)}),
    ((7, 9), 9, (3, 3), 10, {"padding": (1, 1, 1, 1), "stride": (2, 2)}),
    ((9, 8), 4, (7, 7), 3, {"padding": (3, 3, 3, 3), "stride": (2, 2)}),
    ((7, 6), 9, (1, 1), 24, {"stride": (2, 2)}),
    ((7, 6), 3, (1, 1), 70, {"stride": (3, 2), "padding": (0, 1, 2, 0)}),
    ((9, 15), 4, (3, 5), 5, {"padding": (1, 0, 3, 1), "dilation": (2, 3), "stride": (2, 1)}),
    ((8, 8), 4, (2, 2), 5, {"padding": (0, 0, 1, 1), "dilation": (2, 2), "stride": (2, 2)}),
    ((3, 2), 4, (3, 3), 4, {"padding": (9, 8, 7, 6), "stride": (3, 4)}),
    ((4, 40), 6, (4, 3), 2, {}),
    ((6, 5), 6, (6, 5), 4, {}),
    ((3, 3), 4, (2, 3), 45, {"padding": (1, 1, 1, 1)}),
    ((6, 7), 9, (3, 3), 9, {"groups": 9, "padding": (1, 1, 1, 1)}),
    ((7, 7), 40, (3, 3), 40, {"groups": 40, "padding": (1, 1, 1, 1), "stride": (2, 2)}),
    ((5, 7), 12, (3, 2), 24, {"groups": 4, "padding": (1, 1, 0, 1)}),
    ((5, 4), 50, (3, 3), 6, {"groups": 2, "dilation": (2, 1)}),
    ((4, 4), 36, (1, 1), 18, {"groups": 6}),
    ((1, 9), 4, (1, 3), 3, {"padding": (0, 0, 1, 1)}),
])
def test_accumulators_are_exact(name, image, outputs, kernel, channels, fields):
    config, rng = configuration(name), np.random.default_rng(outputs)
    layer = conv(config, rng, outputs, kernel, channels, zero_point=-9, **fields)
    check(config, layer, random_activations(layer, rng, *image, channels))


@pytest.mark.parametrize(("image", "outputs", "kernel", "channels", "fields"), [
    ((32, 30), 64, (7, 7), 3, {"padding": (3, 3, 3, 3), "stride": (2, 2)}),
    ((9, 14), 150, (3, 3), 72, {"padding": (1, 1, 1, 1)}),
    ((9, 14), 140, (3, 3), 140, {"padding": (1, 1, 1, 1), "groups": 140}),
    ((14, 14), 130, (1, 1), 65, {"stride": (2, 2)}),
    ((7, 30), 20, (3, 3), 600, {"padding": (1, 1, 1, 1), "dilation": (3, 3)}),
])
def test_accumulators_are_exact_on_edge(image, outputs, kernel, channels, fields):
    config, rng = configuration("edge"), np.random.default_rng(outputs)
    layer = conv(config, rng, outputs, kernel, channels, act_signed=False, zero_point=200, **fields)
    check(config, layer, random_activations(layer, rng, *image, channels))


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_8_bit_results_with_residual_and_table(name):
    config, rng = configuration(name), np.random.default_rng(11)
    layer = conv(config, rng, 9, (3, 3), 5, padding=(1, 1, 1, 1), stride=(1, 2), requantisation=random_requantisation(
        rng, 9, output_format=OutputFormat.UINT8, low=3, high=250, table=rng.permutation(256).astype(np.uint8),
        residual=Residual(-0.4, 17)))
    residual = rng.integers(-128, 128, (6, 4, 9)).astype(np.int8)
    check(config, layer, random_activations(layer, rng, 6, 7, 5), residual=residual)


def random_case(rng) -> tuple[Config, Layer, np.ndarray]:
    """Any convolution that fits its image."""
    config = configuration(rng.choice(["tiny", "small"]))
    kernel = tuple(int(k) for k in rng.integers(1, 5, 2))
    dilation, stride = (tuple(int(k) for k in rng.integers(1, high, 2)) for high in (3, 4))
    padding = tuple(int(p) for p in rng.integers(0, 4, 4))
    groups = int(rng.choice([1, 1, 2, 5, 12]))
    channels, outputs = groups * int(rng.integers(1, 24 // groups + 1)), groups * int(rng.integers(1, 40 // groups + 1))
    least = [max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(kernel, dilation, (padding[:2], padding[2:]))]
    image = [int(size + rng.integers(0, 8)) for size in least]
    signed = bool(rng.integers(2))
    layer = conv(config, rng, outputs, kernel, channels, groups, dilation=dilation, stride=stride, padding=padding,
                 act_signed=signed, zero_point=int(rng.integers(0, 256)) - 128 * signed,
                 requantisation=random_requantisation(rng, outputs) if rng.integers(2) else None)
    return config, layer, random_activations(layer, rng, *image, channels)


@pytest.mark.parametrize("seed", range(40))
def test_any_convolution(seed):
    config, layer, x = random_case(np.random.default_rng(seed))
    check(config, layer, x, seeds=2)


def test_group_scales_go_with_their_inputs():
    """Those of a convolution whose channels are not cut, and of a product whose inputs are cut in whole groups."""
    config, rng = configuration("small"), np.random.default_rng(12)
    for window, channels, image in ((Window(3, 3, padding=(1, 1, 1, 1)), 11, (6, 5)), (Window(), 900, (4, 4))):
        inputs = window.taps * channels
        shape = (20, -(-inputs // config.rows))
        layer = Layer(random_weights(config, rng, 20, inputs), rng.integers(0, 8, shape).astype(np.uint8),
                      rng.integers(3, 5, shape).astype(np.uint8), window=window)
        check(config, layer, random_activations(layer, rng, *image, channels))


def test_a_row_of_taps_is_one_tap():
    config, rng = configuration("edge"), np.random.default_rng(13)
    layer = conv(config, rng, 64, (3, 3), 64, padding=(1, 1, 1, 1))
    gemms = [i for i in lower(config, layer, (14, 14)).instructions if i.opcode == Opcode.GEMM]
    assert {(g["tap_bytes"], g["taps"]) for g in gemms} == {(192, 1)}


# Refusals


def test_windows_that_do_not_fit_are_refused():
    config, rng = configuration("small"), np.random.default_rng(14)
    layer = conv(config, rng, 2, (3, 3), 2, dilation=(2, 1))
    with pytest.raises(LayerError, match="height must be at least 1, and with padding the window's 5, not 4"):
        lower(config, layer, (4, 9))
    with pytest.raises(LayerError, match="width must be at least 1, and with padding the window's 3, not 0"):
        lower(config, layer, (9, 0))
    with pytest.raises(LayerError, match="the image of a convolution must be its height and width, not 9 vectors"):
        lower(config, layer, 9)


@pytest.mark.parametrize(("fields", "message"), [
    ({"stride": (1, 0)}, "stride must be at least 1, not 0"),
    ({"dilation": (0, 1)}, "dilation must be at least 1, not 0"),
    ({"padding": (0, 0, -1, 0)}, "padding must be at least 0, not -1"),
    ({"groups": 0}, "groups must be a divisor of the 2 outputs, not 0"),
])
def test_impossible_windows_are_refused(fields, message):
    with pytest.raises(LayerError, match=re.escape(message)):
        convolution(np.ones((2, 3, 3, 1), int), 16, **fields)


def test_weights_have_four_axes():
    with pytest.raises(LayerError, match=re.escape("weights must be outputs x height x width x channels per group, "
                                                   "not [2, 9]")):
        convolution(np.ones((2, 9), int), 16)


def test_what_fits_in_no_way_is_refused():
    tiny = configuration("tiny")
    with pytest.raises(LayerError, match="width of the window must be such that one channel of a row of it fits half "
                                         "of act_bytes = 64, not 70"):
        lower(tiny, convolution(np.ones((1, 1, 70, 1), int), tiny.rows), (1, 71))
    scales = np.arange(36, dtype=np.uint8).reshape(2, 18) % 2 + 3
    grouped = Layer(np.ones((2, 288), int), 0 * scales, scales, window=Window(3, 3), groups=2)
    with pytest.raises(LayerError, match="m and e must be the same for all inputs of an output where its inputs are "
                                         "not taken in their own order, as with 2 groups of channels"):
        lower(configuration("small"), grouped, (4, 4))
    edge = configuration("edge")
    with pytest.raises(LayerError, match="the layer does not fit 'edge': GEMM taps must be from 0 to 255, not 300"):
        lower(edge, convolution(np.ones((2, 1, 300, 1), int), edge.rows, dilation=(1, 2)), (1, 700))
