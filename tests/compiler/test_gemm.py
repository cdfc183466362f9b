"""Lowering of fully connected layers: the golden model runs the program and must give the layer's results."""

import re

import numpy as np
import pytest

from compiler.gemm import lower, tile
from compiler.layer import Layer, LayerError, Requantisation
from hdl.config import Config, configuration
from hdl.csr import Cause
from hdl.isa import Opcode, OutputFormat, Queue
from sim.golden.executor import execute
from sim.golden.post import requantise


def layer_of(config: Config, rng, outputs: int, inputs: int, **fields) -> Layer:
    limit = (1 << config.planes) - 1
    weights = rng.integers(-limit, limit + 1, (outputs, inputs))
    shape = (outputs, -(-inputs // config.rows))
    return Layer(weights, rng.integers(0, 8, shape).astype(np.uint8), np.full(shape, 3, np.uint8), **fields)


def run(config: Config, layer: Layer, x: np.ndarray, seed: int = 0) -> np.ndarray:
    program = lower(config, layer, len(x))
    execution = execute(config, program.image({"x": x}), program.entry, program.count, seed=seed)
    assert (execution.cause, execution.overflow) == (Cause.NONE, False)
    untouched = np.ones(program.memory_bytes, bool)
    untouched[program.writable[0]:program.writable[1]] = False
    assert np.array_equal(execution.memory[untouched], program.image({"x": x})[untouched])
    return program.results(execution.memory)["y"]


def expected(config: Config, layer: Layer, x: np.ndarray) -> np.ndarray:
    scales = np.repeat(layer.scales, config.rows, axis=1)[:, :layer.inputs]
    return (x.astype(np.int64) - layer.zero_point) @ (layer.weights * scales.astype(np.int64)).T


@pytest.mark.parametrize(("name", "vectors", "inputs", "outputs"), [
    ("tiny", 1, 1, 1), ("tiny", 9, 30, 13), ("tiny", 33, 100, 5), ("small", 1, 16, 8), ("small", 5, 40, 20),
    ("small", 50, 170, 63), ("small", 200, 1500, 17), ("ulx3s", 70, 200, 40), ("edge", 300, 300, 200),
    ("edge11", 10, 1000, 130),
])
def test_int32_results_are_exact(name, vectors, inputs, outputs):
    config, rng = configuration(name), np.random.default_rng(vectors)
    layer = layer_of(config, rng, outputs, inputs)
    x = rng.integers(-128, 128, (vectors, inputs)).astype(np.int8)
    assert np.array_equal(run(config, layer, x), expected(config, layer, x))


@pytest.mark.parametrize(("output_format", "low", "high"), [(OutputFormat.INT8, -128, 127), (OutputFormat.INT8, 0, 100),
                                                      (OutputFormat.UINT8, 0, 255)])
@pytest.mark.parametrize(("name", "vectors", "inputs", "outputs"), [("tiny", 7, 20, 4), ("small", 40, 100, 50),
                                                            ("edge", 140, 130, 300)])
def test_8_bit_results_are_those_of_the_contract(name, vectors, inputs, outputs, output_format, low, high):
    config, rng = configuration(name), np.random.default_rng(outputs)
    requantisation = Requantisation(
        rng.integers(-1000, 1000, outputs).astype(np.int32), (rng.random(outputs) * 1e-4).astype(np.float32),
        zero_point=int(rng.integers(low, high)), low=low, high=high, output_format=output_format)
    layer = layer_of(config, rng, outputs, inputs, act_signed=False, zero_point=99, requantisation=requantisation)
    x = rng.integers(0, 256, (vectors, inputs)).astype(np.uint8)
    want = requantise(expected(config, layer, x).astype(np.int32), requantisation.bias, requantisation.multiplier,
                      requantisation.zero_point, low, high)
    assert np.array_equal(run(config, layer, x), want)


TOKEN_CASES = [("tiny", 8, 30, 4), ("tiny", 1, 8, 4), ("small", 60, 700, 70), ("small", 3, 20, 40),
               ("ulx3s", 64, 130, 64), ("edge", 256, 600, 130), ("edge", 140, 100, 100)]


def token_case(name: str, vectors: int, inputs: int, outputs: int) -> tuple[Config, Layer]:
    config = configuration(name)
    requantisation = Requantisation(np.zeros(outputs, np.int32), np.full(outputs, 1e-4, np.float32))
    return config, layer_of(config, np.random.default_rng(1), outputs, inputs, requantisation=requantisation)


@pytest.mark.parametrize("case", TOKEN_CASES, ids=str)
def test_tokens_are_complete(case):
    """A missing token shows as results that depend on the order in which the model serves the queues."""
    config, layer = token_case(*case)
    x = np.random.default_rng(2).integers(-128, 128, (case[1], case[2])).astype(np.int8)
    results = [run(config, layer, x, seed) for seed in range(4)]
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("case", TOKEN_CASES, ids=str)
def test_tokens_come_in_program_order(case):
    """Each wait has its own signal, of an instruction before: queues of any length cannot block one another."""
    config, layer = token_case(*case)
    program = lower(config, layer, case[1])
    given: dict[tuple[Queue, Queue], int] = {}
    for instruction in program.instructions:
        for source in instruction.wait:
            pair = source, instruction.queue
            assert given.get(pair, 0) > 0, f"{instruction} waits for a later one"
            given[pair] -= 1
        for target in instruction.signal:
            given[instruction.queue, target] = given.get((instruction.queue, target), 0) + 1
    assert not any(given.values()), f"tokens are left: {given}"


def test_the_first_and_the_last_step_are_taken_by_parts():
    config, layer = token_case("edge", 256, 600, 130)
    tiling = tile(config, layer, 256)
    least = 3 * config.columns // (2 * config.units_per_beat)
    assert tiling.tiles[-1] == (256 - least, least, 128)
    gemms = [i for i in lower(config, layer, 256).instructions if i.opcode == Opcode.GEMM]
    assert [i["keep"] for i in gemms[:9]] == [1] * 7 + [0, 0]
    assert [(i["steps"], i["vectors"], i["keep"]) for i in gemms[-2:]] == [(1, least // 2, 1), (1, least // 2, 0)]


@pytest.mark.parametrize(("fields", "message"), [
    ({"weights": np.zeros((0, 3), int)}, "weights must be outputs x inputs, not [0, 3]"),
    ({"zero_point": 128}, "zero_point must be from -128 to 127, not 128"),
    ({"m": np.zeros((2, 1), np.uint8)}, "m must be one per output and group, not [2, 1]"),
    ({"m": np.ones((3, 1), np.uint8)}, "group scales must be integers, not 1.125"),
    ({"e": np.full((3, 1), 31, np.uint8)}, "which must stay below 2^31; lower its group scales"),
])
def test_impossible_layers_are_refused(fields, message):
    good = {"weights": np.ones((3, 16), int), "m": np.zeros((3, 1), np.uint8), "e": np.zeros((3, 1), np.uint8)}
    with pytest.raises(LayerError, match=re.escape(message)):
        Layer(**good | fields)


def test_layers_that_do_not_fit_the_configuration_are_refused():
    small, tiny = configuration("small"), configuration("tiny")
    with pytest.raises(LayerError, match=re.escape("weight magnitudes must be below 2^planes = 16, not 16")):
        lower(tiny, Layer.of_weights(np.full((1, 8), 16), tiny.rows), 1)
    with pytest.raises(LayerError, match="vectors must be at least 1, not 0"):
        lower(small, Layer.of_weights(np.ones((1, 8), int), small.rows), 0)
    with pytest.raises(LayerError, match="m must have one scale per group of 16 inputs, 2, not 4"):
        lower(small, Layer.of_weights(np.ones((1, 32), int), 8), 1)
    requantisation = Requantisation(np.zeros(5, np.int32), np.ones(5, np.float32))
    with pytest.raises(LayerError, match="outputs must be at most 4 on 'tiny'"):
        lower(tiny, Layer.of_weights(np.ones((5, 8), int), tiny.rows, requantisation=requantisation), 1)
