"""Leaving out what repeats changes nothing."""

import numpy as np
import pytest

from compiler.layer import Layer
from compiler.lower import lower
from hdl.config import CONFIGS
from sim.cycle import predict

from .programs import images, memories, memory_of


@pytest.mark.parametrize(("name", "count"), [("tiny", 150), ("small", 150), ("edge", 60)])
def test_random_programs_with_every_memory(name, count):
    config = CONFIGS[name]
    rng = np.random.default_rng(11)
    for image in images(config, count, 12):
        stalls, latency = memories(rng)
        plain, forward = (predict(config, memory_of(image), read_latency=latency, stalls=stalls, forward=forward)
                          for forward in (False, True))
        assert plain == forward


@pytest.mark.parametrize("name", ["small", "ulx3s", "edge"])
@pytest.mark.parametrize("latency", [2, 40, 300])
def test_long_layers(name, latency):
    config = CONFIGS[name]
    rng = np.random.default_rng(1)
    weights = rng.integers(-128, 128, (3 * config.out_cols, 5 * config.line_bytes))
    program = lower(config, Layer.of_weights(weights, config.rows), 150)
    plain, forward = (predict(config, program, read_latency=latency, forward=forward) for forward in (False, True))
    assert plain == forward
