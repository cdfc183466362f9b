"""The layers of the suite: every distinct shape with weights of five networks, and what each at least costs.

ResNet-18 and MobileNetV2 1.0 at 224 x 224, MiniLM-L6 (128 tokens), ViT-B/16 (197 tokens), and Llama-3-8B: one token
(decode) and 128 tokens (prefill). Linear, convolution, depthwise and pooling layers are there; products of activations
with activations (attention scores and values) have no weights and are left out, and so are embeddings, norms,
activation functions and additions. In decoding Llama's four-bit planes are not modelled: weights are INT8 everywhere.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from compiler.convolution import convolution
from compiler.layer import Layer, Requantisation
from compiler.pooling import average_pool, maximum_pool
from compiler.window import POINT, Window
from hdl.config import Config
from sim.golden import post

#: Planes of full-range int8 weights: -128 is magnitude 128.
PLANES = 8


class Kind(Enum):
    LINEAR = "linear"
    CONVOLUTION = "convolution"
    DEPTHWISE = "depthwise"
    MAXIMUM_POOL = "maximum pool"
    AVERAGE_POOL = "average pool"


@dataclass(frozen=True)
class Shape:
    """A layer of a network.

    Attributes
    ----------
    name, network : str
        Of the first layer of this shape.
    kind : Kind
    image : (int, int)
        Height and width; a linear layer has a height of 1 and a width of its vectors.
    channels, outputs : int
    window : Window
    count : int
        Layers of this shape in the network.
    """

    name: str
    network: str
    kind: Kind
    image: tuple[int, int]
    channels: int
    outputs: int
    window: Window = POINT
    count: int = 1

    @property
    def groups(self) -> int:
        return 1 if self.kind in (Kind.LINEAR, Kind.CONVOLUTION) else self.channels

    @property
    def lowered_image(self) -> int | tuple[int, int]:
        """As :func:`compiler.lower.lower` takes it."""
        return self.image[1] if self.kind is Kind.LINEAR else self.image

    @property
    def vectors(self) -> int:
        rows, columns = self.window.axes(*self.image)
        return rows.outputs * columns.outputs

    @property
    def planes(self) -> int:
        """Cycles per vector and step. A depthwise group of lanes has few weights: one is at most seven bits."""
        if self.kind is Kind.DEPTHWISE:
            return PLANES - 1
        return 1 if self.kind in (Kind.MAXIMUM_POOL, Kind.AVERAGE_POOL) else PLANES

    @property
    def macs(self) -> int:
        return self.vectors * self.outputs * self.window.taps * self.channels // self.groups

    def compute_cycles(self, config: Config) -> int:
        """Least cycles of the array: ``vectors x planes x steps``. A dense layer has ``ceil(K / line) x ceil(N /
        out_cols)`` steps, K = taps x channels. A layer of one channel per group is block-diagonal: a step multiplies
        each of its lines of ``line`` bytes with outputs of those channels only, so the steps are the least over all
        sizes ``T`` of a tile of channels, whole tiles with ``ceil(taps x T / line)`` and the rest likewise; for the
        maximum, each tap is a step."""
        taps, line = self.window.taps, config.line_bytes
        if self.groups == 1:
            steps = -(-taps * self.channels // line) * -(-self.outputs // config.out_cols)
        elif self.kind is Kind.MAXIMUM_POOL:
            steps = taps * -(-self.channels // min(config.out_cols, line))
        else:
            steps = min(sum(-(-taps * min(size, self.channels - first) // line)
                            for first in range(0, self.channels, size))
                        for size in range(1, min(config.out_cols, self.channels) + 1))
        return self.vectors * self.planes * steps

    @property
    def least_read_bytes(self) -> int:
        """Every weight's sign and planes once (pooling has none), 8 bytes of parameters per output, and the part of
        the image that windows look at once."""
        weights = 0
        if self.planes > 1:
            weights = self.outputs * self.window.taps * self.channels // self.groups * (PLANES + 1) // 8
        seen = 1
        for axis in self.window.axes(*self.image):
            looked = {i * axis.stride + k * axis.dilation - axis.before
                      for i in range(axis.outputs) for k in range(axis.taps)}
            seen *= len(looked & set(range(axis.size)))
        return weights + 8 * self.outputs + seen * self.channels

    @property
    def least_write_bytes(self) -> int:
        return self.vectors * self.outputs


def ideal_cycles(config: Config, shape: Shape) -> int:
    """What bounds a layer: the array, or the bus that reads. Writes have channels of their own."""
    return max(shape.compute_cycles(config), -(-shape.least_read_bytes // config.bus_bytes),
               -(-shape.least_write_bytes // config.bus_bytes))


def make(config: Config, shape: Shape, rng: np.random.Generator) -> Layer:
    """The layer with random weights, -128 to 127, and int8 results that use the whole range. Pooling has no weights.

    So that the array needs all of :attr:`Shape.planes`, each group of inputs has a -128, and every eighth channel of a
    depthwise layer weights of 127.
    """
    if shape.kind is Kind.MAXIMUM_POOL:
        return maximum_pool(shape.channels, shape.window, config.rows)
    if shape.kind is Kind.AVERAGE_POOL:
        return average_pool(shape.channels, shape.window, config.rows)
    per_group = shape.channels // shape.groups
    weights = rng.integers(-128, 128, (shape.outputs, shape.window.height, shape.window.width, per_group), np.int16)
    if shape.kind is Kind.DEPTHWISE:
        weights[::8] = 127
    else:
        weights.reshape(shape.outputs, -1)[:, ::config.rows] = -128
    spread = 74 * 74 * np.sqrt(shape.window.taps * per_group)  # standard deviation of an accumulator
    requantisation = Requantisation(rng.integers(-1 << 12, 1 << 12, shape.outputs).astype(np.int32),
                                    rng.uniform(20, 40, shape.outputs).astype(np.float32) / np.float32(spread))
    w = shape.window
    return convolution(weights, config.rows, stride=w.stride, dilation=w.dilation, padding=w.padding,
                       groups=shape.groups, requantisation=requantisation)


def exact(layer: Layer, x: np.ndarray) -> np.ndarray:
    """What a layer must give, [..., outputs], computed tap by tap: products and sums of whole numbers in binary64,
    which holds them exactly, and the golden model's requantisation."""
    image = x.reshape((1, *x.shape) if x.ndim == 2 else x.shape)
    window, r = layer.window, layer.requantisation
    assert r is not None
    top, bottom, left, right = window.padding
    centred = np.pad(image.astype(np.float64) - layer.zero_point, ((top, bottom), (left, right), (0, 0)))
    rows, columns = window.axes(*image.shape[:2])
    weights = layer.weights.reshape(layer.outputs, window.height, window.width, layer.group_channels)
    acc = None
    for ky in range(window.height):
        for kx in range(window.width):
            seen = centred[ky * window.dilation[0]:, kx * window.dilation[1]:]
            seen = seen[:(rows.outputs - 1) * rows.stride + 1:rows.stride,
                        :(columns.outputs - 1) * columns.stride + 1:columns.stride]
            of_tap = weights[:, ky, kx].astype(np.float64)
            product = seen @ of_tap.T if layer.groups == 1 else seen * of_tap[:, 0]
            acc = product if acc is None else np.maximum(acc, product) if layer.maximum else acc + product
    assert acc is not None
    results = post.requantise(acc.astype(np.int32), r.bias, r.multiplier, r.zero_point, r.low, r.high)
    results = results.astype(layer.output_dtype)
    return results[0] if x.ndim == 2 else results


def _square(taps: int, stride: int = 1) -> Window:
    """A window that keeps an image's size but for the stride."""
    return Window(taps, taps, (stride, stride), padding=(taps // 2,) * 4)


def _resnet18() -> list[Shape]:
    net = "ResNet-18"
    shapes = [Shape("conv1", net, Kind.CONVOLUTION, (224, 224), 3, 64, _square(7, 2)),
              Shape("maxpool", net, Kind.MAXIMUM_POOL, (112, 112), 64, 64, _square(3, 2)),
              Shape("layer1.conv", net, Kind.CONVOLUTION, (56, 56), 64, 64, _square(3), 4)]
    for number, (size, channels) in enumerate(((56, 64), (28, 128), (14, 256)), 2):
        shapes += [
            Shape(f"layer{number}.0.conv1", net, Kind.CONVOLUTION, (size, size), channels, 2 * channels, _square(3, 2)),
            Shape(f"layer{number}.0.downsample", net, Kind.CONVOLUTION, (size, size), channels, 2 * channels,
                  _square(1, 2)),
            Shape(f"layer{number}.conv", net, Kind.CONVOLUTION, (size // 2, size // 2), 2 * channels, 2 * channels,
                  _square(3), 3)]
    return [*shapes, Shape("avgpool", net, Kind.AVERAGE_POOL, (7, 7), 512, 512, Window(7, 7)),
            Shape("fc", net, Kind.LINEAR, (1, 1), 512, 1000)]


def _mobilenet_v2() -> list[Shape]:
    net = "MobileNetV2"
    shapes = [Shape("conv0", net, Kind.CONVOLUTION, (224, 224), 3, 32, _square(3, 2))]
    size, channels, block = 112, 32, 0
    for expansion, outputs, blocks, first_stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
                                                     (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(blocks):
            block += 1
            stride, hidden = first_stride if i == 0 else 1, expansion * channels
            name = f"block{block}"
            if expansion > 1:
                shapes.append(Shape(f"{name}.expand", net, Kind.CONVOLUTION, (size, size), channels, hidden))
            shapes.append(Shape(f"{name}.depthwise", net, Kind.DEPTHWISE, (size, size), hidden, hidden,
                                _square(3, stride)))
            size //= stride
            shapes.append(Shape(f"{name}.project", net, Kind.CONVOLUTION, (size, size), hidden, outputs))
            channels = outputs
    return _distinct([*shapes, Shape("conv_last", net, Kind.CONVOLUTION, (7, 7), 320, 1280),
                      Shape("avgpool", net, Kind.AVERAGE_POOL, (7, 7), 1280, 1280, Window(7, 7)),
                      Shape("classifier", net, Kind.LINEAR, (1, 1), 1280, 1000)])


def _distinct(shapes: list[Shape]) -> list[Shape]:
    """Each shape once, under its first name, with its count."""
    found: dict[tuple, Shape] = {}
    for s in shapes:
        key = (s.network, s.kind, s.image, s.channels, s.outputs, s.window)
        before = found.get(key)
        found[key] = s if before is None else Shape(before.name, *key[:5], s.window, before.count + s.count)
    return list(found.values())


def _linear(network: str, tokens: int, layers: list[tuple[str, int, int, int]]) -> list[Shape]:
    return _distinct([Shape(name, network, Kind.LINEAR, (1, tokens), inputs, outputs, count=count)
                      for name, inputs, outputs, count in layers])


#: Name, inputs, outputs, count, of the linear layers.
_MINILM = [("attention.query", 384, 384, 4 * 6), ("intermediate", 384, 1536, 6), ("output", 1536, 384, 6)]
_VIT = [("attention.query", 768, 768, 4 * 12), ("mlp.fc1", 768, 3072, 12), ("mlp.fc2", 3072, 768, 12)]
_LLAMA = [("q_proj", 4096, 4096, 2 * 32), ("k_proj", 4096, 1024, 2 * 32), ("gate_proj", 4096, 14336, 2 * 32),
          ("down_proj", 14336, 4096, 32)]

#: The suite. Llama's output layer, 128 256 outputs, is that of decoding: a prefill needs it for its last token only.
SHAPES: tuple[Shape, ...] = (
    *_resnet18(), *_mobilenet_v2(),
    *_linear("MiniLM-L6", 128, _MINILM),
    Shape("patches", "ViT-B/16", Kind.CONVOLUTION, (224, 224), 3, 768, Window(16, 16, (16, 16))),
    *_linear("ViT-B/16", 197, _VIT),
    Shape("head", "ViT-B/16", Kind.LINEAR, (1, 1), 768, 1000),
    *_linear("Llama-3-8B decode", 1, [*_LLAMA, ("lm_head", 4096, 128256, 1)]),
    *_linear("Llama-3-8B prefill", 128, _LLAMA),
)
