"""The window that a GEMM walks over the activation buffer; see :mod:`hdl.isa`."""

import numpy as np

from hdl.config import Config
from hdl.isa import POSITION_BITS, Instruction


def _position(value: np.ndarray) -> np.ndarray:
    """Wraps around as the hardware's positions do."""
    half = 1 << POSITION_BITS - 1
    return (value + half) % (2 * half) - half


def line(config: Config, buffer: np.ndarray, f: Instruction, step: int) -> np.ndarray:
    """uint8 [vectors, line_bytes]: what step ``step`` of a GEMM takes from the buffer (uint8 [act_bytes]); padding has
    the value of the zero point."""
    at = f["first_tap"] * f["tap_bytes"] + f["first_byte"] + step * config.line_bytes + np.arange(config.line_bytes)
    tap, byte = np.divmod(at, f["tap_bytes"])
    tap_row, tap = np.divmod(tap, f["taps"])
    first_x = f["first_x"] - f["first_tap"] * f["tap_x_stride"]  # of tap 0, in the row that the window begins with
    window_x = np.where(tap_row == 0, first_x, 0) + tap * f["tap_x_stride"] + byte
    window_y = tap_row * f["tap_y_stride"]
    rows, vectors = np.divmod(np.arange(f["vectors"] * f["vector_rows"]), f["vectors"])
    x = _position(f["x"] + vectors[:, None] * f["x_stride"] + window_x)
    y = _position(f["y"] + rows[:, None] * f["y_stride"] + window_y)
    inside = (tap_row < f["tap_rows"]) & (x >= 0) & (x < f["x_end"]) & (y >= 0) & (y < f["y_end"])
    return np.where(inside, buffer[(f["act_address"] + x + y) % config.act_bytes], np.uint8(f["zero_point"]))


def segments(config: Config, f: Instruction, step: int) -> int:
    """Pieces of taps in the line of a step: what the hardware reads one after another, at least one."""
    first = f["first_tap"] * f["tap_bytes"] + f["first_byte"] + step * config.line_bytes
    end = min(first + config.line_bytes, f["tap_bytes"] * f["taps"] * f["tap_rows"])
    return max(1, -(-end // f["tap_bytes"]) - first // f["tap_bytes"])
