"""Pooling on the array, against numpy."""

import numpy as np
import pytest

from compiler.layer import LayerError
from compiler.lower import lower
from compiler.pooling import average_pool, maximum_pool
from compiler.window import Window
from hdl.config import configuration
from hdl.isa import Opcode

from .reference import check, lowered, random_activations, run

CASES = pytest.mark.parametrize(("window", "image", "channels"), [
    (Window(2, 2, (2, 2)), (8, 6), 5),
    (Window(3, 3, (2, 2), padding=(1, 1, 1, 1)), (9, 7), 20),
    (Window(3, 2, padding=(0, 0, 1, 0)), (5, 6), 30),
    (Window(2, 2, dilation=(2, 3)), (6, 6), 7),
    (Window(5, 4), (5, 4), 37),
    (Window(3, 3), (3, 3), 64),
])


@CASES
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_maximum(name, window, image, channels, signed):
    config, rng = configuration(name), np.random.default_rng(channels)
    layer = maximum_pool(channels, window, config.rows, act_signed=signed)
    check(config, layer, random_activations(layer, rng, *image, channels))


@CASES
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_average(name, window, image, channels, signed):
    config, rng = configuration(name), np.random.default_rng(channels)
    layer = average_pool(channels, window, config.rows, act_signed=signed, zero_point=13, count_padding=True)
    check(config, layer, random_activations(layer, rng, *image, channels))


def test_maximum_is_that_of_the_pixels():
    config, rng = configuration("small"), np.random.default_rng(1)
    layer = maximum_pool(10, Window(2, 2, (2, 2), padding=(1, 1, 1, 1)), config.rows)
    x = random_activations(layer, rng, 4, 4, 10)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-128)
    want = padded.reshape(3, 2, 3, 2, 10).max(axis=(1, 3))
    assert np.array_equal(run(config, lowered(config, layer, x), {"x": x}), want)


def test_average_is_that_of_the_pixels():
    config, rng = configuration("edge"), np.random.default_rng(2)
    layer = average_pool(256, Window(7, 7), config.rows, zero_point=-5)
    x = random_activations(layer, rng, 7, 7, 256)
    given = run(config, lowered(config, layer, x), {"x": x})[0, 0]
    assert np.abs(given - x.reshape(49, 256).mean(axis=0)).max() <= 0.5 + 1e-4


@pytest.mark.parametrize(("window", "image"), [(Window(3, 3, (2, 2), padding=(1, 1, 1, 1)), (20, 20)),
                                               (Window(7, 7), (7, 7))])
def test_weights_are_loaded_once(window, image):
    config = configuration("edge")
    program = lower(config, maximum_pool(256, window, config.rows), image)
    assert [i["steps"] for i in program.instructions if i.opcode == Opcode.LOAD_WEIGHTS] == [1]


def test_global_pooling_takes_all_channels_at_once():
    config = configuration("edge")
    gemms = [i for i in lower(config, average_pool(1280, Window(7, 7), config.rows), (7, 7)).instructions
             if i.opcode == Opcode.GEMM and not i["accumulate"]]
    assert sum(g["vectors"] * g["vector_rows"] for g in gemms) == 1280 // config.out_cols


def test_padding_must_be_counted():
    with pytest.raises(LayerError, match=r"padding must be 0 if the average does not count it, not \(1, 0, 0, 0\)"):
        average_pool(4, Window(3, 3, padding=(1, 0, 0, 0)), 16)
