"""A whole layer through the stages of the array at once, without steps, buffers or instructions."""

import numpy as np

from hdl.config import Config

from . import array, column


def gemm(config: Config, weights: np.ndarray, activations: np.ndarray, *, zero_point: int = 0, m: np.ndarray | int = 0,
         e: np.ndarray | int = 0) -> tuple[np.ndarray, bool]:
    """Accumulators of a layer after all its steps, and the overflow flag.

    Groups are added in ascending order, as on every grid; the last one is filled up with zero weights.

    Parameters
    ----------
    weights : int [outputs, inputs]
        Magnitudes below ``2^planes``.
    activations : int8 or uint8 [vectors, inputs]
    zero_point : int
        Subtracted from each activation; of the activations' type.
    m, e : uint8 [outputs, groups], or one number for all
        Group scales; ``groups = ceil(inputs / rows)``.

    Returns
    -------
    acc : int32 [vectors, outputs]
    overflow : bool

    Raises
    ------
    ValueError
        If the shapes do not fit each other, a weight or scale does not fit its field, or the activations are of another
        type.
    """
    outputs, inputs = weights.shape
    if inputs == 0:
        raise ValueError("weights must have at least one input, not 0")
    groups = -(-inputs // config.rows)
    if activations.dtype not in (np.int8, np.uint8):
        raise ValueError(f"activations must be int8 or uint8, not {activations.dtype}")
    if activations.ndim != 2 or activations.shape[1] != inputs:
        raise ValueError(f"activations must be [vectors, {inputs}], not {list(activations.shape)}")
    magnitude = np.abs(weights.astype(np.int64))
    if magnitude.max(initial=0) >= 1 << config.planes:
        raise ValueError(f"weight magnitudes must be below 2^planes = {1 << config.planes}, not {magnitude.max()}")
    scales = []
    for name, value, high in (("m", m, 7), ("e", e, 31)):
        value = np.asarray(value)
        if value.size and not (0 <= value.min() and value.max() <= high):
            raise ValueError(f"{name} must be from 0 to {high}, not {value.min()} to {value.max()}")
        scales.append(np.broadcast_to(value.astype(np.uint8), (outputs, groups)).T)

    fill = ((0, 0), (0, groups * config.rows - inputs))
    shape = (-1, groups, config.rows)
    magnitude = np.pad(magnitude, fill).astype(np.uint16).reshape(shape).swapaxes(0, 1)
    sign = np.pad(weights < 0, fill).reshape(shape).swapaxes(0, 1)
    act = column.lanes(activations.view(np.uint8), activations.dtype == np.int8, zero_point)
    act = np.pad(act, fill).reshape(shape).swapaxes(0, 1)

    acc, overflow = None, False
    for group in range(groups):
        partial = column.psum(column.planes(magnitude[group], config.planes), sign[group], act[group])
        scaled, scale_overflow = column.scale(partial, scales[0][group], scales[1][group])
        acc, acc_overflow = array.accumulate(acc, scaled[None])
        overflow |= bool(scale_overflow.any()) or acc_overflow
    assert acc is not None
    return acc, overflow
