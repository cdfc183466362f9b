"""Layers against the integer operators of ONNX's reference evaluator.

ONNX's reference multiplies by the quotient of the scales in binary64 and adds the zero point before it rounds; the
hardware multiplies in binary32 and rounds before. Results differ by at most 1; how often is asserted too.
"""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from hdl.config import CONFIGS
from sim.golden.gemm import gemm
from sim.golden.post import requantise

EDGE = CONFIGS["edge"]
TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32,
         "float32": TensorProto.FLOAT}

#: Share of results that may differ by 1: ties and the last bit of binary32, which are rare.
RARE = 0.002


def evaluate(operator: str, inputs: dict[str, np.ndarray], dtype: str) -> np.ndarray:
    node = helper.make_node(operator, list(inputs), ["y"])
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info(k, TYPES[v.dtype.name], v.shape) for k, v in inputs.items()],
        [helper.make_tensor_value_info("y", TYPES[dtype], None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    (result,) = ReferenceEvaluator(model).run(None, inputs)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.dtype(dtype)
    return result


def random_layer(rng, inputs, outputs, vectors, dtype):
    low, high = (-128, 128) if dtype == "int8" else (0, 256)
    return (rng.integers(low, high, (vectors, inputs)).astype(dtype),
            rng.integers(-128, 128, (inputs, outputs)).astype(np.int8))


def assert_off_by_one_at_most(result, expected):
    difference = np.abs(result.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= RARE * difference.size


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 0), ("int8", -7), ("uint8", 0), ("uint8", 131)])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (200, 30), (384, 100)])
def test_matmul_integer(dtype, zero_point, inputs, outputs):
    a, b = random_layer(np.random.default_rng(20), inputs, outputs, 9, dtype)
    expected = evaluate("MatMulInteger", {"a": a, "b": b, "za": np.array(zero_point, dtype)}, "int32")
    acc, overflow = gemm(EDGE, b.T, a, zero_point=zero_point)
    assert (acc == expected).all()
    assert not overflow


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_conv_integer(dtype):
    rng = np.random.default_rng(21)
    x = rng.integers(0, 256, (2, 5, 9, 8), dtype=np.uint8).view(dtype)
    w = rng.integers(-128, 128, (7, 5, 3, 3)).astype(np.int8)
    expected = evaluate("ConvInteger", {"x": x, "w": w}, "int32")
    acc, _ = gemm(EDGE, w.reshape(7, -1), patches(x, 3))
    assert (as_image(acc, expected.shape) == expected).all()


@pytest.mark.parametrize(("a_type", "y_type", "a_zero_point", "y_zero_point"), [
    ("uint8", "uint8", 128, 113), ("uint8", "uint8", 3, 0), ("int8", "int8", 0, 0), ("int8", "int8", 5, -9)])
def test_qlinear_matmul(a_type, y_type, a_zero_point, y_zero_point):
    rng = np.random.default_rng(22)
    a, b = random_layer(rng, 300, 120, 64, a_type)
    a_scale, y_scale = np.array(0.0173, np.float32), np.array(2.31, np.float32)
    b_scale = rng.uniform(0.001, 0.02, 120).astype(np.float32)
    expected = evaluate("QLinearMatMul", {
        "a": a, "a_scale": a_scale, "a_zero_point": np.array(a_zero_point, a_type),
        "b": b, "b_scale": b_scale, "b_zero_point": np.zeros(120, np.int8),
        "y_scale": y_scale, "y_zero_point": np.array(y_zero_point, y_type)}, y_type)
    acc, _ = gemm(EDGE, b.T, a, zero_point=a_zero_point)
    limits = np.iinfo(y_type)
    result = requantise(acc, np.zeros(120, np.int32), a_scale * b_scale / y_scale, y_zero_point, limits.min,
                        limits.max)
    assert np.mean((result > limits.min) & (result < limits.max)) > 0.4  # with zero point 0, negative sums saturate
    assert_off_by_one_at_most(result, expected)


def test_qlinear_matmul_ties():
    """Multiplier 1/2: every odd accumulator is a tie, and an odd zero point makes the reference round it the other way.

    With an even zero point both round alike.
    """
    a = np.arange(-100, 100, dtype=np.int8).reshape(-1, 1)
    b = np.ones((1, 1), np.int8)
    acc, _ = gemm(EDGE, b.T, a)
    differences = {}
    for zero_point in (0, 1, 2):
        expected = evaluate("QLinearMatMul", {
            "a": a, "a_scale": np.array(0.5, np.float32), "a_zero_point": np.array(0, np.int8),
            "b": b, "b_scale": np.array(1, np.float32), "b_zero_point": np.array(0, np.int8),
            "y_scale": np.array(1, np.float32), "y_zero_point": np.array(zero_point, np.int8)}, "int8")
        result = requantise(acc, np.array([0], np.int32), np.array([0.5], np.float32), zero_point, -128, 127)
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1
        differences[zero_point] = int(difference.sum())
    assert differences == {0: 0, 1: 100, 2: 0}


def test_qlinear_conv():
    rng = np.random.default_rng(23)
    x = rng.integers(0, 256, (2, 16, 12, 11), dtype=np.uint8)
    w = rng.integers(-128, 128, (24, 16, 3, 3)).astype(np.int8)
    bias = rng.integers(-20000, 20000, 24).astype(np.int32)
    x_scale, y_scale = np.array(0.02, np.float32), np.array(1.7, np.float32)
    w_scale = rng.uniform(0.001, 0.02, 24).astype(np.float32)
    expected = evaluate("QLinearConv", {
        "x": x, "x_scale": x_scale, "x_zero_point": np.array(121, np.uint8),
        "w": w, "w_scale": w_scale, "w_zero_point": np.zeros(24, np.int8),
        "y_scale": y_scale, "y_zero_point": np.array(100, np.uint8), "bias": bias}, "uint8")
    acc, _ = gemm(EDGE, w.reshape(24, -1), patches(x, 3), zero_point=121)
    result = requantise(acc, bias, x_scale * w_scale / y_scale, 100, 0, 255)
    assert_off_by_one_at_most(as_image(result, expected.shape), expected)


def patches(x: np.ndarray, size: int) -> np.ndarray:
    """A convolution's inputs as the rows of a GEMM: [images * height * width, channels * size * size]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(-1, x.shape[1] * size * size)


def as_image(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The rows of a GEMM as [images, channels, height, width]."""
    images, channels, height, width = shape
    return rows.reshape(images, height, width, channels).transpose(0, 3, 1, 2)
