"""Layers in plain numpy, and lowered ones on the golden model, to be compared."""

import numpy as np

from compiler.layer import Layer, Requantisation
from compiler.lower import lower
from hdl.config import Config
from hdl.csr import Cause
from hdl.isa import OutputFormat
from hdl.program import Program
from sim.golden.executor import execute
from sim.golden.post import requantise, scale_residual


def random_weights(config: Config, rng: np.random.Generator, *shape: int) -> np.ndarray:
    limit = (1 << config.planes) - 1
    return rng.integers(-limit, limit + 1, shape)


def random_requantisation(rng: np.random.Generator, outputs: int, **fields) -> Requantisation:
    """Results that use all of the format, and some that saturate."""
    zero_point = -7 if fields.get("output_format", OutputFormat.INT8) is OutputFormat.INT8 else 100
    return Requantisation(rng.integers(-1000, 1000, outputs).astype(np.int32),
                          rng.uniform(1e-4, 1e-2, outputs).astype(np.float32), **({"zero_point": zero_point} | fields))


def random_activations(layer: Layer, rng: np.random.Generator, *shape: int) -> np.ndarray:
    low, high = (-128, 128) if layer.act_signed else (0, 256)
    return rng.integers(low, high, shape).astype(layer.act_dtype)


def accumulators(layer: Layer, x: np.ndarray, rows: int) -> np.ndarray:
    """int64 [height, width, outputs]: the layer on an image, tap by tap, output group by output group."""
    w = layer.window
    top, bottom, left, right = w.padding
    padded = np.pad(x.astype(np.int64) - layer.zero_point, ((top, bottom), (left, right), (0, 0)))
    height = (padded.shape[0] - w.dilation[0] * (w.height - 1) - 1) // w.stride[0] + 1
    width = (padded.shape[1] - w.dilation[1] * (w.width - 1) - 1) // w.stride[1] + 1
    scaled = layer.weights * np.repeat(layer.scales.astype(np.int64), rows, axis=1)[:, :layer.inputs]
    inputs, outputs = layer.group_channels, layer.outputs // layer.groups
    weights = scaled.reshape(layer.outputs, w.height, w.width, inputs)
    taps = np.zeros((w.taps, height, width, layer.outputs), np.int64)
    for tap, (ky, kx) in enumerate(np.ndindex(w.height, w.width)):
        seen = padded[ky * w.dilation[0]:, kx * w.dilation[1]:][::w.stride[0], ::w.stride[1]][:height, :width]
        for group in range(layer.groups):
            mine = slice(group * outputs, (group + 1) * outputs)
            taps[tap, ..., mine] = seen[..., group * inputs:(group + 1) * inputs] @ weights[mine, ky, kx].T
    return taps.max(axis=0) if layer.maximum else taps.sum(axis=0)


def expected(layer: Layer, x: np.ndarray, rows: int, residual: np.ndarray | None = None) -> np.ndarray:
    """What the layer's results are; ``x`` is [vectors, inputs] or an image."""
    acc = accumulators(layer, x if x.ndim == 3 else x[None], rows)
    acc = acc if x.ndim == 3 else acc[0]
    r = layer.requantisation
    if r is None:
        return acc
    added = None
    if r.residual is not None and residual is not None:
        added = scale_residual(residual, r.residual.zero_point, np.float32(r.residual.multiplier))
    results = requantise(acc.astype(np.int32), r.bias, r.multiplier, r.zero_point, r.low, r.high, added)
    results = results.astype(layer.output_dtype)
    return results if r.table is None else r.table[results.view(np.uint8)].view(layer.output_dtype)


def lowered(config: Config, layer: Layer, x: np.ndarray, **options) -> Program:
    return lower(config, layer, len(x) if x.ndim == 2 else x.shape[:2], **options)


def run(config: Config, program: Program, inputs: dict[str, np.ndarray], seed: int = 0) -> np.ndarray:
    """``y`` as the golden model computes it, having checked that nothing else of the memory was written."""
    image = program.image(inputs)
    execution = execute(config, image, program.entry, program.count, seed=seed)
    assert (execution.cause, execution.overflow) == (Cause.NONE, False)
    untouched = np.ones(program.memory_bytes, bool)
    untouched[program.writable[0]:program.writable[1]] = False
    assert np.array_equal(execution.memory[untouched], image[untouched])
    return program.results(execution.memory)["y"]


def check(config: Config, layer: Layer, x: np.ndarray, seeds: int = 1, **inputs: np.ndarray) -> Program:
    """Lowers the layer and compares its results; several orders of execution must give the same."""
    program = lowered(config, layer, x)
    want = expected(layer, x, config.rows, **inputs)
    for seed in range(seeds):
        assert np.array_equal(run(config, program, {"x": x, **inputs}, seed), want)
    return program
