"""The array: the grid of macros, its K reduction and its accumulators.

Columns come in grid order: index ``(k * grid_n + n) * cols + c``; the output channel of a column is ``n * cols + c``.
"""

import numpy as np

from hdl.config import Config
from hdl.layouts import Step

from . import column


def grid_lanes(config: Config, lines: np.ndarray, act_signed: bool, zero_point: int) -> np.ndarray:
    """int16 [grid_k, vectors, rows]: the lanes of every macro row, from activation lines (uint8 [vectors, line_bytes]).

    Row ``r`` of macro row ``k`` is byte ``k * rows + r`` of the line.
    """
    split = np.asarray(lines, np.uint8).reshape(-1, config.grid_k, config.rows)
    return column.lanes(split.swapaxes(0, 1), act_signed, zero_point)


def scaled_psums(config: Config, step: Step, act: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the macros give for one step, before the K reduction.

    Parameters
    ----------
    step : Step
        Weights of the whole grid.
    act : int16 [grid_k, vectors, rows]

    Returns
    -------
    scaled : int32 [grid_k, vectors, out_cols]
    overflow : bool [grid_k, vectors, out_cols]
    """
    shape = (config.grid_k, config.out_cols)
    plane = column.planes(step.magnitude.reshape(*shape, config.rows), config.planes)
    partial = column.psum(plane, step.negative.reshape(*shape, config.rows), act)
    return column.scale(partial, step.m.reshape(shape), step.e.reshape(shape))


def accumulate(acc: np.ndarray | None, scaled: np.ndarray, *, maximum: bool = False) -> tuple[np.ndarray, bool]:
    """Adds scaled psums to the accumulators, macro row (group) after macro row, each sum wrapped to 32 bits.

    With ``maximum``, the sum of the psums alone, wrapped likewise, replaces an accumulator if it is larger.

    Parameters
    ----------
    acc : int32 [vectors, out_cols], or None
        None: the initialising step; the accumulators become ``scaled[0]`` and the others are added to that.
    scaled : int32 [grid_k, vectors, out_cols]

    Returns
    -------
    acc : int32 [vectors, out_cols]
        A new array.
    overflow : bool
        Whether any sum wrapped around.
    """
    overflow = False
    if maximum and acc is not None:
        total, overflow = accumulate(None, scaled)
        return np.maximum(acc, total), overflow
    for addend in scaled:
        if acc is None:
            acc = addend.copy()
            continue
        acc, wrapped = column.wrap(acc.astype(np.int64) + addend)
        overflow |= bool(wrapped.any())
    if acc is None:
        raise ValueError("scaled must have at least one macro row, not 0")
    return acc, overflow
