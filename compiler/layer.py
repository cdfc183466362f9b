"""A quantised layer, as the hardware understands it."""

from dataclasses import dataclass

import numpy as np

from hdl.isa import TABLE_ENTRIES, OutputFormat, activation_range

from .window import POINT, LayerError, Window

__all__ = ["Layer", "LayerError", "Requantisation", "Residual", "Window"]


@dataclass(frozen=True)
class Residual:
    """A second input, of the results' shape, that is added to them before they are rounded.

    Attributes
    ----------
    multiplier : float
        Taken as a binary32; below 2^64.
    zero_point : int
    signed : bool
        int8, else uint8.
    """

    multiplier: float
    zero_point: int = 0
    signed: bool = True

    def __post_init__(self):
        low, high = activation_range(self.signed)
        if not low <= self.zero_point <= high:
            raise LayerError(f"zero_point of the residual must be from {low} to {high}, not {self.zero_point!r}")

    @property
    def dtype(self) -> str:
        return "int8" if self.signed else "uint8"


@dataclass(frozen=True)
class Requantisation:
    """How accumulators become 8-bit results.

    Attributes
    ----------
    bias : int32 [outputs]
    multiplier : float32 [outputs]
    zero_point : int
    low, high : int
        Limits of the result, within the format.
    output_format : OutputFormat
        INT8 or UINT8.
    table : uint8 [256] or None
        Replaces each result, by its byte, at the very end.
    residual : Residual or None
    """

    bias: np.ndarray
    multiplier: np.ndarray
    zero_point: int = 0
    low: int = -128
    high: int = 127
    output_format: OutputFormat = OutputFormat.INT8
    table: np.ndarray | None = None
    residual: Residual | None = None

    def __post_init__(self):
        if self.table is not None and (self.table.shape != (TABLE_ENTRIES,) or self.table.dtype != np.uint8):
            raise LayerError(f"table must be uint8 [{TABLE_ENTRIES}], "
                             f"not {self.table.dtype} {list(self.table.shape)}")


@dataclass(frozen=True)
class Layer:
    """``outputs x inputs`` integer weights with group scales, and what becomes of the accumulators.

    A fully connected layer is a window of one tap over its vectors. In a convolution, ``inputs`` are the window's, by
    row, column and channel; output ``n`` looks only at the channels of group ``n // (outputs / groups)``.

    Attributes
    ----------
    weights : int [outputs, inputs]
    m, e : uint8 [outputs, scales]
        Scale ``F = (8 + m) x 2^(e - 3)`` of each ``rows`` inputs; 0, 0 is one.
    act_signed : bool
        Activations are int8, else uint8.
    zero_point : int
        Of the activations, and the value of padding.
    requantisation : Requantisation or None
        None stores the int32 accumulators.
    window : Window
    groups : int
        Of channels and outputs.
    maximum : bool
        The largest of the taps' products instead of their sum.
    """

    weights: np.ndarray
    m: np.ndarray
    e: np.ndarray
    act_signed: bool = True
    zero_point: int = 0
    requantisation: Requantisation | None = None
    window: Window = POINT
    groups: int = 1
    maximum: bool = False

    def __post_init__(self):
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise LayerError(f"weights must be outputs x inputs, not {list(self.weights.shape)}")
        for name in ("m", "e"):
            if getattr(self, name).shape != self.m.shape or self.m.shape[0] != self.outputs:
                raise LayerError(f"{name} must be one per output and group, not {list(getattr(self, name).shape)}")
        low, high = activation_range(self.act_signed)
        if not low <= self.zero_point <= high:
            raise LayerError(f"zero_point must be from {low} to {high}, not {self.zero_point!r}")
        if self.inputs % self.window.taps:
            raise LayerError(f"inputs must be a multiple of the window's {self.window.taps} taps, not {self.inputs}")
        if self.groups < 1 or self.outputs % self.groups:
            raise LayerError(f"groups must be a divisor of the {self.outputs} outputs, not {self.groups!r}")
        if self.maximum and self.group_channels > 1:
            raise LayerError(f"groups must be the channels in a layer of maxima, not {self.groups!r} of "
                             f"{self.group_channels} channels each")
        self._prove_range()

    @classmethod
    def of_weights(cls, weights: np.ndarray, rows: int, **fields) -> "Layer":
        """A layer whose group scales are all one."""
        groups = -(-weights.shape[1] // rows)
        ones = np.zeros((weights.shape[0], groups), np.uint8)
        return cls(weights, ones, ones, **fields)

    @property
    def outputs(self) -> int:
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        """Of one output."""
        return self.weights.shape[1]

    @property
    def group_channels(self) -> int:
        return self.inputs // self.window.taps

    @property
    def channels(self) -> int:
        """Of the image."""
        return self.group_channels * self.groups

    @property
    def act_dtype(self) -> str:
        return "int8" if self.act_signed else "uint8"

    @property
    def output_dtype(self) -> str:
        if self.requantisation is None:
            return "int32"
        return {OutputFormat.INT8: "int8", OutputFormat.UINT8: "uint8"}[self.requantisation.output_format]

    @property
    def residual(self) -> Residual | None:
        return None if self.requantisation is None else self.requantisation.residual

    @property
    def scales(self) -> np.ndarray:
        """float64 [outputs, scales]: F."""
        return (8.0 + self.m) * 2.0 ** (self.e.astype(int) - 3)

    @property
    def magnitudes(self) -> np.ndarray:
        """int32 [outputs, inputs]."""
        return np.abs(self.weights, dtype=np.int32)

    def _prove_range(self):
        """Section 2 of the architecture: integer scales, and no accumulator can pass 32 bits."""
        scales = self.scales
        if (scales != np.rint(scales)).any():
            raise LayerError(f"group scales must be integers, not {float(scales[scales != np.rint(scales)][0])}")
        rows = -(-self.inputs // self.m.shape[1])
        sums = np.add.reduceat(self.magnitudes, np.arange(0, self.inputs, rows), axis=1, dtype=np.int64)
        low, high = activation_range(self.act_signed)
        largest = max(high - self.zero_point, self.zero_point - low)
        bound = (sums * scales[:, :sums.shape[1]]).sum(axis=1) * largest
        if self.requantisation is not None:
            bound = bound + np.abs(self.requantisation.bias.astype(np.float64))
        if (bound >= 2.0 ** 31).any():
            worst = int(bound.argmax())
            raise LayerError(f"output {worst} can reach {bound[worst]:.3g}, which must stay below 2^31; "
                             "lower its group scales")
