"""The suite's layers: the shapes add up to the networks, and each can be lowered."""

import numpy as np
import pytest

from bench.layers import SHAPES, Kind, Shape, ideal_cycles, make
from bench.utilization import LAYER_GOAL, READ_LATENCY
from compiler.lower import lower
from compiler.window import Window
from hdl.config import configuration
from sim.cycle import predict

EDGE = configuration("edge")

#: Ideal / actual of layers that are over before two latencies of memory, the first weights and the last store are paid
#: for. That of layer3 stores as long as it computes, so it cannot store before all weights of a step are there.
SHORT = {"ResNet-18-layer3.0.downsample": 0.845, "ResNet-18-layer4.0.downsample": 0.84, "ResNet-18-avgpool": 0.655,
         "MobileNetV2-avgpool": 0.855}


def network(name: str) -> list[Shape]:
    return [s for s in SHAPES if s.network == name]


@pytest.mark.parametrize(("name", "macs"), [
    ("ResNet-18", 1.814e9), ("MobileNetV2", 0.3008e9), ("MiniLM-L6", 128 * 6 * 1.769e6),
    ("Llama-3-8B decode", 7.504e9), ("Llama-3-8B prefill", 128 * 6.979e9)])
def test_multiplications_are_those_of_the_network(name, macs):
    """As published, or parameters times tokens; pooling is none."""
    pools = (Kind.MAXIMUM_POOL, Kind.AVERAGE_POOL)
    assert sum(s.macs * s.count for s in network(name) if s.kind not in pools) == pytest.approx(macs, rel=2e-3)


def test_vit_has_its_parameters():
    weights = sum(s.outputs * s.window.taps * s.channels * s.count for s in network("ViT-B/16"))
    assert weights == pytest.approx(86.3e6, rel=2e-3)


def test_each_shape_is_listed_once():
    keys = [(s.network, s.kind, s.image, s.channels, s.outputs, s.window) for s in SHAPES]
    assert len(set(keys)) == len(keys)
    assert len({(s.network, s.name) for s in SHAPES}) == len(SHAPES)


def test_least_costs_of_a_convolution():
    shape = Shape("c", "n", Kind.CONVOLUTION, (8, 8), 64, 130, Window(3, 3, (2, 2), padding=(1, 1, 1, 1)))
    assert shape.vectors == 16
    assert shape.compute_cycles(EDGE) == 16 * 8 * 5 * 2
    assert shape.least_read_bytes == 130 * 9 * 64 * 9 // 8 + 8 * 130 + 64 * 64
    assert shape.least_write_bytes == 16 * 130
    assert ideal_cycles(EDGE, shape) == -(-shape.least_read_bytes // 64)


def test_strided_points_are_read_once():
    shape = Shape("c", "n", Kind.CONVOLUTION, (8, 8), 64, 64, Window(1, 1, (2, 2)))
    assert shape.least_read_bytes == 64 * 64 * 9 // 8 + 8 * 64 + 16 * 64


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.outputs * s.channels <= 1 << 19],
                         ids=lambda s: f"{s.network}-{s.name}")
def test_layers_reach_the_goal(shape):
    """The cycle model predicts the RTL's cycles."""
    layer = make(EDGE, shape, np.random.default_rng(1))
    program = lower(EDGE, layer, shape.lowered_image)
    assert program.outputs["y"].shape[-1] == shape.outputs
    assert np.prod(program.outputs["y"].shape) == shape.vectors * shape.outputs
    cycles = predict(EDGE, program, read_latency=READ_LATENCY).cycles
    assert ideal_cycles(EDGE, shape) / cycles >= SHORT.get(f"{shape.network}-{shape.name}", LAYER_GOAL)
