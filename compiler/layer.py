"""A quantised fully connected layer, as the hardware understands it."""

from dataclasses import dataclass, field

import numpy as np

from hdl.isa import OutputFormat, activation_range


class LayerError(ValueError):
    """A layer that the hardware cannot run; the message names what, its value and the rule."""


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
    """

    bias: np.ndarray
    multiplier: np.ndarray
    zero_point: int = 0
    low: int = -128
    high: int = 127
    output_format: OutputFormat = OutputFormat.INT8


@dataclass(frozen=True)
class Layer:
    """``outputs x inputs`` integer weights with group scales, and what becomes of the accumulators.

    Attributes
    ----------
    weights : int [outputs, inputs]
    m, e : uint8 [outputs, groups]
        Scale ``F = (8 + m) x 2^(e - 3)`` of each group of ``rows`` inputs; 0, 0 is one.
    act_signed : bool
        Activations are int8, else uint8.
    zero_point : int
        Of the activations.
    requantisation : Requantisation or None
        None stores the int32 accumulators.
    """

    weights: np.ndarray
    m: np.ndarray
    e: np.ndarray
    act_signed: bool = True
    zero_point: int = 0
    requantisation: Requantisation | None = field(default=None)

    def __post_init__(self):
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise LayerError(f"weights must be outputs x inputs, not {list(self.weights.shape)}")
        for name in ("m", "e"):
            if getattr(self, name).shape != self.m.shape or self.m.shape[0] != self.outputs:
                raise LayerError(f"{name} must be one per output and group, not {list(getattr(self, name).shape)}")
        low, high = activation_range(self.act_signed)
        if not low <= self.zero_point <= high:
            raise LayerError(f"zero_point must be from {low} to {high}, not {self.zero_point!r}")
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
        return self.weights.shape[1]

    @property
    def act_dtype(self) -> str:
        return "int8" if self.act_signed else "uint8"

    @property
    def scales(self) -> np.ndarray:
        """float64 [outputs, groups]: F."""
        return (8.0 + self.m) * 2.0 ** (self.e.astype(int) - 3)

    def _prove_range(self):
        """Section 2 of the architecture: integer scales, and no accumulator can pass 32 bits."""
        scales = self.scales
        if (scales != np.rint(scales)).any():
            raise LayerError(f"group scales must be integers, not {float(scales[scales != np.rint(scales)][0])}")
        rows = -(-self.inputs // self.m.shape[1])
        padded = np.zeros((self.outputs, self.m.shape[1] * rows))
        padded[:, :self.inputs] = np.abs(self.weights)
        low, high = activation_range(self.act_signed)
        largest = max(high - self.zero_point, self.zero_point - low)
        bound = (padded.reshape(self.outputs, -1, rows).sum(axis=2) * scales).sum(axis=1) * largest
        if self.requantisation is not None:
            bound = bound + np.abs(self.requantisation.bias.astype(np.float64))
        if (bound >= 2.0 ** 31).any():
            worst = int(bound.argmax())
            raise LayerError(f"output {worst} can reach {bound[worst]:.3g}, which must stay below 2^31; "
                             "lower its group scales")
