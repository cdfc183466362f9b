"""From event to event is what it is cycle by cycle."""

import numpy as np
import pytest

from compiler.layer import Layer
from compiler.lower import lower
from hdl.config import CONFIGS
from sim.cycle import PredictionError, machine, predict

from .programs import images, memories, memory_of


def outcome(*args, **options):
    try:
        return predict(*args, **options)
    except PredictionError as error:
        return str(error)


@pytest.mark.parametrize(("name", "count"), [("tiny", 150), ("small", 150), ("ulx3s", 30), ("edge", 60),
                                             ("edge11", 30)])
def test_random_programs_with_every_latency(name, count):
    config = CONFIGS[name]
    rng = np.random.default_rng(11)
    for image in images(config, count, 12):
        _, latency = memories(rng)
        by_cycle, by_event = (outcome(config, memory_of(image), read_latency=latency, forward=forward)
                              for forward in (False, True))
        assert by_cycle == by_event


@pytest.mark.parametrize("name", ["small", "ulx3s", "edge"])
@pytest.mark.parametrize("latency", [1, 2, 40, 300])
def test_long_layers(name, latency):
    config = CONFIGS[name]
    rng = np.random.default_rng(1)
    weights = rng.integers(-128, 128, (3 * config.out_cols, 5 * config.line_bytes))
    program = lower(config, Layer.of_weights(weights, config.rows), 150)
    by_cycle, by_event = (predict(config, program, read_latency=latency, forward=forward) for forward in (False, True))
    assert by_cycle == by_event


def test_no_cycle_is_evaluated_on_its_own(monkeypatch):
    monkeypatch.setattr(machine, "run", None)
    config = CONFIGS["small"]
    for image in images(config, 10, 12):
        assert predict(config, memory_of(image)).cycles > 0


@pytest.mark.parametrize("options", [{"forward": False}, {"watchdog": 10_000}])
def test_what_only_cycles_tell(monkeypatch, options):
    monkeypatch.setattr(machine, "run", lambda *_: machine.FINISHED)
    image = next(images(CONFIGS["small"], 1, 12))
    assert predict(CONFIGS["small"], memory_of(image), **options).cycles == 0
