"""The column: what one column of a macro computes from its lanes, its planes and its header.

Shapes: ``...`` are any leading axes, usually the macro rows of a grid or the groups of a layer, the same in every
argument of a function. Planes count all magnitude bits; one that is not stored is all zero and adds nothing.
"""

import numpy as np

from hdl.config import ACC_BITS, ACT_BITS


def lanes(activations: np.ndarray, act_signed: bool, zero_point: int) -> np.ndarray:
    """Activation lanes, int16 of the same shape: each byte (uint8) read as int8 or uint8, minus the zero point.

    ``zero_point`` is of the activations' type: a lane is from -255 to 255.

    Raises
    ------
    ValueError
        If the zero point is not of the activations' type.
    """
    low, high = (-128, 127) if act_signed else (0, 255)
    if not low <= zero_point <= high:
        raise ValueError(f"zero_point must be from {low} to {high}, not {zero_point!r}")
    values = np.asarray(activations, np.uint8).view(np.int8 if act_signed else np.uint8)
    return values.astype(np.int16) - np.int16(zero_point)


def planes(magnitude: np.ndarray, count: int) -> np.ndarray:
    """bool [..., columns, count, rows]: the bit-planes of magnitudes [..., columns, rows], lowest bit first."""
    bits = np.arange(count, dtype=np.uint16)
    return (np.asarray(magnitude, np.uint16)[..., None, :] >> bits[:, None]) & 1 == 1


def plane_sum(plane: np.ndarray, sign: np.ndarray, act: np.ndarray) -> np.ndarray:
    """Sum over the rows of ``plane * (sign ? ~act : act)``, exact.

    Parameters
    ----------
    plane : bool [..., columns, planes, rows]
    sign : bool [..., columns, rows]
    act : int16 [..., vectors, rows]
        Lanes, 9-bit signed.

    Returns
    -------
    int32 [..., vectors, columns, planes]

    Raises
    ------
    ValueError
        If a lane does not fit 9 bits.
    """
    limit = 1 << ACT_BITS - 1
    if act.size and not (-limit <= act.min() and act.max() < limit):
        raise ValueError(f"act must be from {-limit} to {limit - 1}, not {int(act.min())} to {int(act.max())}")
    *lead, columns, count, rows = plane.shape
    sign = sign[..., None, :]

    def product(selected: np.ndarray, operand: np.ndarray) -> np.ndarray:
        # binary32 is exact here: no partial sum exceeds rows x 256 <= 2^16
        matrix = selected.reshape(*lead, columns * count, rows).astype(np.float32)
        return operand.astype(np.float32) @ np.swapaxes(matrix, -1, -2)

    total = product(plane & ~sign, act) + product(plane & sign, ~act)
    return total.astype(np.int32).reshape(*total.shape[:-1], columns, count)


def negation_constant(plane: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """int64 [..., columns]: sum over the planes of ``2^b * popcount(plane_b & sign)``.

    What :func:`plane_sum` lacks because ``~a = -a - 1``. The loader adds it up as the words pass by.
    """
    counts = np.count_nonzero(plane & sign[..., None, :], axis=-1)
    return (counts << np.arange(plane.shape[-2])).sum(axis=-1)


def psum(plane: np.ndarray, sign: np.ndarray, act: np.ndarray) -> np.ndarray:
    """int64 [..., vectors, columns]: shifted plane sums plus the negation constant, which is ``sum of w * a`` exactly.

    Parameters as for :func:`plane_sum`.
    """
    shifted = plane_sum(plane, sign, act).astype(np.int64) << np.arange(plane.shape[-2])
    return shifted.sum(axis=-1) + negation_constant(plane, sign)[..., None, :]


def wrap(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The value in 32-bit two's complement (int32), and where that changed it (bool)."""
    limit = 1 << ACC_BITS - 1
    return value.astype(np.int32), (value < -limit) | (value >= limit)


def scale(partial: np.ndarray, m: np.ndarray, e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``floor(psum * (8 + m) * 2^e / 8)``, wrapped to 32 bits.

    Parameters
    ----------
    partial : int64 [..., vectors, columns]
        psums.
    m, e : uint8 [..., columns]
        Group scales.

    Returns
    -------
    scaled : int32 [..., vectors, columns]
    overflow : bool [..., vectors, columns]
        Where the result does not fit 32 bits.
    """
    product = (8 + m.astype(np.int64))[..., None, :] * partial
    return wrap((product << e.astype(np.int64)[..., None, :]) >> 3)
