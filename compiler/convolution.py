"""Convolutions as layers."""

import numpy as np

from .layer import Layer, LayerError
from .window import Window


def convolution(weights: np.ndarray, rows: int, *, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
                padding: tuple[int, int, int, int] = (0, 0, 0, 0), groups: int = 1, **fields) -> Layer:
    """A convolution with group scales of one.

    Parameters
    ----------
    weights : int [outputs, kernel height, kernel width, channels per group]
        Depthwise: one channel per group, ``groups`` = channels.
    rows : int
        Of the configuration.
    stride, dilation : (int, int)
        Down, across.
    padding : (int, int, int, int)
        Top, bottom, left, right.
    fields
        Others of :class:`Layer`.
    """
    if weights.ndim != 4 or 0 in weights.shape:
        raise LayerError("weights must be outputs x height x width x channels per group, "
                         f"not {list(weights.shape)}")
    outputs, height, width, _ = weights.shape
    return Layer.of_weights(weights.reshape(outputs, -1), rows, groups=groups,
                            window=Window(height, width, stride, dilation, padding), **fields)
