"""How a layer lies over its image: the loops that tiling cuts.

Tensors in memory are dense, at any alignment: pixels of an image follow one another, row after row, channels last
(NHWC, one image). A fully connected layer is an image of one row whose columns are its vectors.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hdl.config import Config

from .layer import Layer, LayerError
from .window import POINT, Axis


@dataclass(frozen=True)
class Geometry:
    """A layer on an image of a size.

    Attributes
    ----------
    layer : Layer
        Its weights and parameters; the loops are those of ``rows`` and ``columns`` instead of its window's.
    rows, columns : Axis
    """

    layer: Layer
    rows: Axis
    columns: Axis

    @classmethod
    def of_vectors(cls, layer: Layer, vectors: int) -> "Geometry":
        """Of a fully connected layer."""
        if layer.window != POINT:
            raise LayerError("the image of a convolution must be its height and width, "
                             f"not {vectors!r} vectors")
        if vectors < 1:
            raise LayerError(f"vectors must be at least 1, not {vectors!r}")
        return cls(layer, Axis(1), Axis(vectors, outputs=vectors))

    @classmethod
    def of_image(cls, config: Config, layer: Layer, height: int, width: int) -> "Geometry":
        rows, columns = layer.window.axes(height, width)
        # A pixel that is left out costs the bus a word for each that is not.
        return cls(layer, rows, replace(columns, skips=layer.channels >= config.bus_bytes))

    @property
    def channels(self) -> int:
        return self.layer.channels

    @property
    def vectors(self) -> int:
        return self.rows.outputs * self.columns.outputs

    @property
    def row_pitch(self) -> int:
        """Bytes of a row of the image."""
        return self.columns.size * self.channels

    @property
    def result_bytes(self) -> int:
        return np.dtype(self.layer.output_dtype).itemsize

    @property
    def pixel_results(self) -> int:
        """Bytes from one vector's results to the next's."""
        return self.layer.outputs * self.result_bytes

    @property
    def row_results(self) -> int:
        """Bytes of a row of results."""
        return self.columns.outputs * self.pixel_results

    @cached_property
    def planes(self) -> int:
        """Magnitude bits that are set in any weight."""
        return int(np.bitwise_or.reduce(self.layer.magnitudes, axis=None)).bit_count()

    @cached_property
    def single_planes(self) -> int:
        """Magnitude bits that are set in the weight that has most."""
        return int(np.bitwise_count(self.layer.magnitudes).max())

    @cached_property
    def is_uniform(self) -> bool:
        """All channels are treated alike, as in pooling."""
        layer = self.layer
        arrays = [layer.weights, layer.m, layer.e]
        if (r := layer.requantisation) is not None:
            arrays += [r.bias, r.multiplier]
        return (layer.groups == layer.outputs == layer.channels
                and all((array == array[:1]).all() for array in arrays))

    def alternatives(self, config: Config) -> list["Geometry"]:
        """Geometries with the same tensors and results, among them this one."""
        if self.layer.window == POINT and self.layer.groups == 1:
            return [Geometry(self.layer, Axis(1), Axis(self.vectors, outputs=self.vectors))]
        return [self, *self._blocked(config)]

    def _blocked(self, config: Config) -> list["Geometry"]:
        """If all channels are alike, blocks of them become columns, so that all share the same weights. With one
        window per row, or windows at every column, they still are evenly spaced."""
        layer, columns = self.layer, self.columns
        if not self.is_uniform or (columns.stride > 1 and columns.outputs > 1):
            return []
        block = max(b for b in range(1, min(config.out_cols, config.line_bytes) + 1) if layer.channels % b == 0)
        blocks = layer.channels // block
        if blocks == 1:
            return []
        across = Axis(columns.size * blocks, columns.taps, 1, columns.dilation * blocks, columns.before * blocks,
                      columns.outputs * blocks, skips=False)
        return [replace(self, layer=_first_channels(layer, block), columns=across)]


def _first_channels(layer: Layer, count: int) -> Layer:
    """A depthwise layer of the first channels only."""
    r = layer.requantisation
    if r is not None:
        r = replace(r, bias=r.bias[:count], multiplier=r.multiplier[:count])
    return replace(layer, weights=layer.weights[:count], m=layer.m[:count], e=layer.e[:count], groups=count,
                   requantisation=r)
