"""Post-processing: from an accumulator to an 8-bit result."""

import numpy as np


def add_residual(acc: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Accumulators plus residuals, both int32 and of one shape, wrapped around at 32 bits; and whether any has."""
    exact = acc.astype(np.int64) + values
    total = exact.astype(np.int32)
    return total, bool((total != exact).any())


def requantise(acc: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, zero_point: int, low: int,
               high: int, residual: np.ndarray | None = None) -> np.ndarray:
    """Accumulator plus bias, times the multiplier, plus the residual, rounded, plus the zero point, saturated.

    The sum of accumulator and bias is exact (33 bits), becomes binary32 by round to nearest even, is multiplied in
    binary32, added to the residual in binary32, rounded half to even to an integer. A product beyond the binary32 range
    saturates like any other.

    Parameters
    ----------
    acc : int32 [..., channels]
    bias : int32 [channels]
    multiplier : float32 [channels]
        Finite; it may be zero, negative or subnormal.
    zero_point, low, high : int
        16-bit signed.
    residual : float32 [..., channels], optional
        As :func:`scale_residual` gives it.

    Returns
    -------
    int16 [..., channels]

    Raises
    ------
    ValueError
        If a multiplier is infinite or not a number.
    """
    bad = bad_multiplier(multiplier)
    if bad is not None:
        raise ValueError(f"multiplier must be finite, not {multiplier[bad]} in channel {bad}")
    biased = (acc.astype(np.int64) + bias).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        product = biased * np.asarray(multiplier, np.float32)
        if residual is not None:
            product = product + residual
    # binary64 holds every integer that is not saturated anyway, and the zero point, exactly
    return np.clip(np.rint(product).astype(np.float64) + zero_point, low, high).astype(np.int16)


def scale_residual(values: np.ndarray, zero_point: int, multiplier: np.float32) -> np.ndarray:
    """float32: residual values (int8 or uint8) less their zero point, times their multiplier."""
    with np.errstate(under="ignore"):
        return (values.astype(np.int16) - zero_point).astype(np.float32) * np.float32(multiplier)


def bad_multiplier(multiplier: np.ndarray) -> int | None:
    """The lowest channel whose multiplier is infinite or not a number; None if there is none."""
    bad = np.flatnonzero(~np.isfinite(multiplier))
    return int(bad[0]) if bad.size else None
