"""Floating-point layers to integers: weights with a scale per output channel and an integer scale per group.

    w = scale[output] x F[output, group] x weight        F = (8 + m) x 2^(e - 3), whole
    x = scale x (activation - zero_point)

so that an accumulator, the sum of ``F x weight x (activation - zero_point)``, stands for ``accumulator x scale of the
channel x scale of the activations``.
"""

from dataclasses import dataclass

import numpy as np

from hdl.isa import OutputFormat, activation_range
from hdl.layouts import scale_layout

from .layer import Layer, Requantisation

#: Largest magnitude of symmetric INT8.
INT8_LIMIT = 127

#: F of a channel's largest group unless the accumulators are too narrow for it. Groups down to an eighth of the largest
#: still have eight scales per octave.
LARGEST_SCALE = 64

#: A bias takes at most this many accumulator steps: half of an accumulator's range.
_MOST_BIAS = 1 << 30

#: Ratios that differ by less are the same one, computed in another order.
_ROUNDING = 1e-12


class QuantisationError(ValueError):
    """Values that cannot be quantised; the message names what, its value and the rule."""


@dataclass(frozen=True)
class Affine:
    """How real values become 8-bit integers.

    Attributes
    ----------
    scale : float or float64 [channels]
        What a step of one stands for, in the whole tensor or in each channel, the last axis.
    zero_point : int
        The integer that stands for 0.
    signed : bool
        int8, else uint8.
    """

    scale: float | np.ndarray
    zero_point: int = 0
    signed: bool = True

    @classmethod
    def of_range(cls, low: float, high: float, signed: bool = True) -> "Affine":
        """Covers ``low`` to ``high``, and always 0.

        Raises
        ------
        QuantisationError
            If the limits are not finite or in the wrong order.
        """
        if not (np.isfinite(low) and np.isfinite(high)):
            raise QuantisationError(f"the range must be finite, not {low} to {high}")
        if low > high:
            raise QuantisationError(f"the range must begin below its end, not {low} to {high}")
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        least, most = activation_range(signed)
        scale = (high - low) / (most - least) or 1.0
        return cls(scale, round(least - low / scale), signed)

    @classmethod
    def symmetric(cls, largest: np.ndarray) -> "Affine":
        """int8 with the zero point 0 that covers magnitudes up to ``largest`` [channels], a scale per channel.

        Raises
        ------
        QuantisationError
            If a limit is negative or not finite.
        """
        largest = np.asarray(largest, np.float64)
        wrong = ~(np.isfinite(largest) & (largest >= 0))
        if wrong.any():
            raise QuantisationError(f"largest magnitudes must be finite and not negative, not {largest[wrong][0]}")
        return cls(np.where(largest > 0, largest, INT8_LIMIT) / INT8_LIMIT)

    @property
    def dtype(self) -> str:
        return "int8" if self.signed else "uint8"

    @property
    def limits(self) -> tuple[int, int]:
        return activation_range(self.signed)

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """Rounds half to even and saturates: int8 or uint8 of the same shape."""
        return np.clip(np.rint(values / self.scale) + self.zero_point, *self.limits).astype(self.dtype)

    def dequantise(self, integers: np.ndarray) -> np.ndarray:
        """float64 of the same shape."""
        return self.scale * (integers.astype(np.float64) - self.zero_point)


@dataclass(frozen=True)
class GroupedWeights:
    """Integer weights and their scales.

    Attributes
    ----------
    weights : int64 [outputs, inputs]
    m, e : uint8 [outputs, groups]
    scale : float64 [outputs]
    rows : int
        Inputs of a group; the last one may have fewer.
    """

    weights: np.ndarray
    m: np.ndarray
    e: np.ndarray
    scale: np.ndarray
    rows: int

    @property
    def group_scales(self) -> np.ndarray:
        """int64 [outputs, groups]: F."""
        return ((8 + self.m.astype(np.int64)) << self.e.astype(np.int64)) >> 3

    @property
    def scaled(self) -> np.ndarray:
        """int64 [outputs, inputs]: F x weight, what the array multiplies by."""
        return self.weights * np.repeat(self.group_scales, self.rows, axis=1)[:, :self.weights.shape[1]]

    @property
    def masks(self) -> np.ndarray:
        """int64 [outputs, groups]: the magnitude bits that are set anywhere in a group, its stored planes."""
        return np.bitwise_or.reduce(_grouped(np.abs(self.weights), self.rows), axis=2)

    def dequantise(self) -> np.ndarray:
        """float64 [outputs, inputs]."""
        return self.scale[:, None] * self.scaled


def whole_scales() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every group scale that is whole, ascending: F int64, m uint8, e uint8."""
    layout = scale_layout()
    m, e = np.meshgrid(np.arange(1 << layout["m"].width), np.arange(1 << layout["e"].width))
    eighths = (8 + m) << e
    whole = eighths % 8 == 0
    order = np.argsort(eighths[whole])
    return eighths[whole][order] // 8, m[whole][order].astype(np.uint8), e[whole][order].astype(np.uint8)


def _grouped(weights: np.ndarray, rows: int) -> np.ndarray:
    """[outputs, groups, rows]: the weights of each group, the last one filled up with zeros."""
    outputs, inputs = weights.shape
    return np.pad(weights, ((0, 0), (0, -inputs % rows))).reshape(outputs, -1, rows)


def quantise_weights(weights: np.ndarray, rows: int, *, limit: int = INT8_LIMIT,
                     largest_scale: int | np.ndarray = LARGEST_SCALE,
                     least_step: float | np.ndarray = 0.0) -> GroupedWeights:
    """Rounds each weight to the nearest multiple of its group's scale, which is the smallest that saturates none.

    Parameters
    ----------
    weights : float [outputs, inputs]
    rows : int
    limit : int
        Largest magnitude, 127 for INT8; ``2^planes - 1`` for so many planes.
    largest_scale : int or int [outputs]
        F of each channel's largest group, a power of two: what the channel's scale is chosen for.
    least_step : float or float [outputs]
        Lower limit of each channel's scale; where it is more, weights stay below ``limit``.

    Raises
    ------
    QuantisationError
        If a weight is not finite.
    """
    weights = np.asarray(weights, np.float64)
    if not np.isfinite(weights).all():
        raise QuantisationError(f"weights must be finite, not {weights[~np.isfinite(weights)][0]}")
    maxima = np.abs(_grouped(weights, rows)).max(axis=2)
    scale = np.maximum(maxima.max(axis=1) / (limit * np.broadcast_to(largest_scale, len(weights))), least_step)
    scale[scale == 0] = 1.0
    values, m, e = whole_scales()
    chosen = np.searchsorted(values, maxima / (limit * scale[:, None]) * (1 - _ROUNDING))
    steps = scale[:, None] * np.repeat(values[chosen], rows, axis=1)[:, :weights.shape[1]]
    return GroupedWeights(np.rint(weights / steps).astype(np.int64), m[chosen], e[chosen], scale, rows)


@dataclass(frozen=True)
class QuantisedLayer:
    """A fully connected layer of integers and what its numbers stand for.

    Attributes
    ----------
    layer : Layer
        What the hardware runs.
    weights : GroupedWeights
    bias : float64 [outputs]
    activations : Affine
    results : Affine or None
        Of 8-bit results; None if the int32 accumulators are stored, without the bias.
    """

    layer: Layer
    weights: GroupedWeights
    bias: np.ndarray
    activations: Affine
    results: Affine | None

    @property
    def accumulator_scale(self) -> np.ndarray:
        """float64 [outputs]: what an accumulator of one stands for."""
        return self.weights.scale * self.activations.scale

    def dequantise(self, integers: np.ndarray) -> np.ndarray:
        """float64 [vectors, outputs]: what the layer's stored results stand for, the bias included."""
        if self.results is not None:
            return self.results.dequantise(integers)
        return integers * self.accumulator_scale + self.bias


def quantise_layer(weights: np.ndarray, bias: np.ndarray, rows: int, activations: Affine, results: Affine | None = None,
                   *, limit: int = INT8_LIMIT) -> QuantisedLayer:
    """Quantises a layer ``y = x @ weights.T + bias`` for groups of ``rows``.

    Group scales are lowered, channel by channel, until no input can bring an accumulator to 2^31. Where a bias dwarfs
    its channel's weights, the channel's scale is that of the bias.

    Parameters
    ----------
    weights : float [outputs, inputs]
    bias : float [outputs]
    activations : Affine
        Of ``x``, one scale for all channels.
    results : Affine, optional
        Of ``y``; without it the int32 accumulators are stored.

    Raises
    ------
    QuantisationError
        If a channel can reach 2^31 even with scales of one, a value is not finite, or activations have many scales.
    """
    if np.ndim(activations.scale):
        raise QuantisationError(f"activations must have one scale for all channels, not {np.size(activations.scale)}")
    bias = np.asarray(bias, np.float64)
    if not np.isfinite(bias).all():
        raise QuantisationError(f"biases must be finite, not {bias[~np.isfinite(bias)][0]}")
    largest = np.full(len(bias), LARGEST_SCALE)
    least_step = np.abs(bias) / (_MOST_BIAS * activations.scale)
    while True:
        grouped = quantise_weights(weights, rows, limit=limit, largest_scale=largest, least_step=least_step)
        bound = accumulator_bound(grouped, bias, activations)
        over = bound >= 2.0 ** 31
        if not over.any():
            break
        hopeless = over & (largest == 1)
        if hopeless.any():
            worst = int(np.flatnonzero(hopeless)[0])
            raise QuantisationError(f"output {worst} can reach {bound[worst]:.3g}, which must stay below 2^31, with "
                                    "group scales of one; split the layer's inputs or use fewer planes")
        largest[over] //= 2
    requantisation = None if results is None else requantise(grouped.scale * activations.scale, bias, results)
    layer = Layer(grouped.weights, grouped.m, grouped.e, act_signed=activations.signed,
                  zero_point=activations.zero_point, requantisation=requantisation)
    return QuantisedLayer(layer, grouped, bias, activations, results)


def accumulator_bound(grouped: GroupedWeights, bias: np.ndarray, activations: Affine) -> np.ndarray:
    """float64 [outputs]: what ``|accumulator| + |bias|`` cannot pass, whatever the activations."""
    low, high = activations.limits
    largest = max(high - activations.zero_point, activations.zero_point - low)
    return (np.abs(grouped.scaled).sum(axis=1) * float(largest)
            + np.ceil(np.abs(bias) / (grouped.scale * activations.scale)))


def requantise(accumulator_scale: np.ndarray, bias: np.ndarray, results: Affine) -> Requantisation:
    """The parameters that turn accumulators into 8-bit results.

    Parameters
    ----------
    accumulator_scale : float64 [outputs]
        What an accumulator of one stands for.
    bias : float64 [outputs]
        In units of the results; must be below 2^31 accumulator steps.
    """
    low, high = results.limits
    return Requantisation(
        np.rint(bias / accumulator_scale).astype(np.int32), (accumulator_scale / results.scale).astype(np.float32),
        zero_point=results.zero_point, low=low, high=high,
        output_format=OutputFormat.INT8 if results.signed else OutputFormat.UINT8)
