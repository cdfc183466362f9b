"""Pooling on the array: depthwise layers with weights of one, a single plane.

Global pooling has a window as large as the image. The lanes of padding are zero after the zero point is subtracted.
"""

import numpy as np

from hdl.isa import OutputFormat, activation_range

from .layer import Layer, LayerError, Requantisation
from .window import Window


def average_pool(channels: int, window: Window, rows: int, *, act_signed: bool = True, zero_point: int = 0,
                 count_padding: bool = False) -> Layer:
    """The mean of the window, in the activations' own type, scale and zero point.

    Padding counts as zero, like ONNX's ``count_include_pad``. A mean over fewer elements at the edges has another
    divisor per result, which channel multipliers do not have: it is refused.

    Raises
    ------
    LayerError
        If the window has padding that is not to be counted.
    """
    if any(window.padding) and not count_padding:
        raise LayerError(f"padding must be 0 if the average does not count it, not {window.padding}")
    return _pool(channels, window, rows, act_signed, zero_point, zero_point, np.float32(1) / np.float32(window.taps))


def maximum_pool(channels: int, window: Window, rows: int, *, act_signed: bool = True) -> Layer:
    """The largest of the window; padding never wins, because the zero point is the type's lowest value."""
    lowest, _ = activation_range(act_signed)
    return _pool(channels, window, rows, act_signed, lowest, lowest, np.float32(1), maximum=True)


def _pool(channels: int, window: Window, rows: int, act_signed: bool, zero_point: int, result_zero_point: int,
          multiplier: np.float32, **fields) -> Layer:
    low, high = activation_range(act_signed)
    requantisation = Requantisation(
        np.zeros(channels, np.int32), np.full(channels, multiplier), result_zero_point, low, high,
        OutputFormat.INT8 if act_signed else OutputFormat.UINT8)
    return Layer.of_weights(np.ones((channels, window.taps), np.int8), rows, act_signed=act_signed,
                            zero_point=zero_point, requantisation=requantisation, window=window, groups=channels,
                            **fields)
