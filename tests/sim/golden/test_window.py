"""The window of a GEMM against a walk over its bytes, one after another, as the docstring of ``hdl/isa.py`` has it."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.isa import Instruction, Opcode
from sim.golden import window

TINY, SMALL = CONFIGS["tiny"], CONFIGS["small"]


def wrapped(position: int) -> int:
    """A position of 24 bits, signed."""
    position &= (1 << 24) - 1
    return position - (1 << 24) if position >> 23 else position


def window_list(config, buffer, f, i, r) -> list[int]:
    """The bytes of the window of vector ``i`` in row ``r`` of vectors."""
    found = []
    for row in range(f["tap_rows"]):
        for tap in range(f["first_tap"] if row == 0 else 0, f["taps"]):
            column = tap * f["tap_x_stride"]
            if row == 0:
                column = f["first_x"] + (tap - f["first_tap"]) * f["tap_x_stride"]
            for byte in range(f["first_byte"] if row == 0 and tap == f["first_tap"] else 0, f["tap_bytes"]):
                x = wrapped(f["x"] + i * f["x_stride"] + column + byte)
                y = wrapped(f["y"] + r * f["y_stride"] + row * f["tap_y_stride"])
                inside = 0 <= x < f["x_end"] and 0 <= y < f["y_end"]
                found.append(buffer[(f["act_address"] + x + y) % config.act_bytes] if inside else f["zero_point"])
    return found


def lines(config, buffer, f, step) -> list[list[int]]:
    """Line ``step`` of every vector."""
    found = []
    for r in range(f["vector_rows"]):
        for i in range(f["vectors"]):
            content = window_list(config, buffer, f, i, r)[step * config.line_bytes:(step + 1) * config.line_bytes]
            found.append(content + [f["zero_point"]] * (config.line_bytes - len(content)))
    return found


def gemm(**fields) -> Instruction:
    """Fields left out are those of one vector, one tap, and no padding within a ``tiny`` buffer."""
    return Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1, "vector_rows": 1, "taps": 1, "tap_rows": 1,
                                     "x_end": 64, "y_end": 64, "zero_point": 0xEE} | fields)


def check(config, f, steps=4):
    buffer = np.random.default_rng(40).integers(0, 256, config.act_bytes, dtype=np.uint8)
    for step in range(steps):
        assert window.line(config, buffer, f, step).tolist() == lines(config, buffer, f, step)


def random_fields(rng, config) -> dict[str, int]:
    line = config.line_bytes
    fields = {name: int(rng.integers(-2 * line, 2 * line)) for name in
              ("x", "y", "x_stride", "y_stride", "tap_x_stride", "tap_y_stride", "first_x")}
    if rng.random() < 0.2:
        fields |= {name: int(rng.integers(-1 << 23, 1 << 23)) for name in fields}
    fields |= {"taps": int(rng.integers(1, 6)), "tap_rows": int(rng.integers(1, 5)),
               "tap_bytes": int(rng.integers(1, 2 * line)), "vectors": int(rng.integers(1, 5)),
               "vector_rows": int(rng.integers(1, 4)), "act_address": int(rng.integers(config.act_bytes)),
               "x_end": int(rng.integers(config.act_bytes + 1)), "y_end": int(rng.integers(config.act_bytes + 1))}
    return fields | {"first_tap": int(rng.integers(fields["taps"])),
                     "first_byte": int(rng.integers(fields["tap_bytes"]))}


@pytest.mark.parametrize("config", [TINY, SMALL], ids=lambda config: config.name)
def test_random_windows(config):
    rng = np.random.default_rng(41)
    for _ in range(60):
        check(config, gemm(**random_fields(rng, config)), steps=3)


def test_a_product_takes_consecutive_bytes():
    f = gemm(vectors=3, x_stride=20, tap_bytes=20)
    buffer = np.arange(64, dtype=np.uint8)
    assert window.line(TINY, buffer, f, 0).tolist() == [[*range(v, v + 8)] for v in (0, 20, 40)]
    assert window.line(TINY, buffer, f, 2).tolist() == [[*range(v + 16, v + 20), *[0xEE] * 4] for v in (0, 20, 40)]
    assert (window.line(TINY, buffer, f, 3) == 0xEE).all()


@pytest.mark.parametrize(("x", "y"), [(-3, 0), (0, -8), (-3, -8), (2, 8), (-99, 0), (0, 99)], ids=str)
def test_padding_on_every_side(x, y):
    """An image of three rows of six bytes, eight bytes from row to row, and a window of two rows of two taps."""
    check(TINY, gemm(x=x, y=y, x_end=6, y_end=24, tap_bytes=3, taps=2, tap_rows=2, tap_x_stride=3, tap_y_stride=8,
                     vectors=2, vector_rows=2, x_stride=3, y_stride=8))


@pytest.mark.parametrize(("x", "x_end", "inside"), [(-1, 64, 7), (0, 64, 8), (0, 0, 0), (60, 64, 4), (0, 7, 7)])
def test_columns_that_are_inside(x, x_end, inside):
    line = window.line(TINY, np.zeros(64, np.uint8), gemm(x=x, x_end=x_end, tap_bytes=8), 0)
    assert np.count_nonzero(line == 0) == inside


def test_addresses_wrap_around_in_the_buffer():
    f = gemm(act_address=60, tap_bytes=8)
    assert window.line(TINY, np.arange(64, dtype=np.uint8), f, 0).tolist() == [[60, 61, 62, 63, 0, 1, 2, 3]]


@pytest.mark.parametrize("change", [{"x": (1 << 23) - 1, "x_stride": (1 << 23) - 1},
                                    {"x": -(1 << 23), "x_stride": -(1 << 23)},
                                    {"y": (1 << 23) - 1, "y_stride": (1 << 23) - 3, "tap_y_stride": 2},
                                    {"tap_x_stride": -(1 << 23), "first_tap": 2, "first_x": (1 << 23) - 1}], ids=str)
def test_positions_wrap_around(change):
    check(TINY, gemm(tap_bytes=3, taps=3, tap_rows=3, vectors=4, vector_rows=3, **change))


def test_a_window_goes_on_where_another_has_ended():
    """Line ``s + n`` of a window is line ``s`` of what begins after ``n`` lines, wherever that is."""
    config, rng = SMALL, np.random.default_rng(42)
    buffer = rng.integers(0, 256, config.act_bytes, dtype=np.uint8)
    for _ in range(40):
        fields = random_fields(rng, config) | {"first_tap": 0, "first_byte": 0, "first_x": 0}
        n = int(rng.integers(1, 4))
        tap, byte = divmod(n * config.line_bytes, fields["tap_bytes"])
        row, tap = divmod(tap, fields["taps"])
        if row >= fields["tap_rows"]:
            continue
        columns = tap * fields["tap_x_stride"]
        rest = fields | {"tap_rows": fields["tap_rows"] - row, "first_tap": tap, "first_byte": byte,
                         "first_x": wrapped(columns), "y": wrapped(fields["y"] + row * fields["tap_y_stride"])}
        for step in range(3):
            assert (window.line(config, buffer, gemm(**rest), step)
                    == window.line(config, buffer, gemm(**fields), step + n)).all()


def test_segments_are_the_taps_of_a_line():
    """By counting in which taps the bytes of a line are; a line of padding is one piece."""
    rng = np.random.default_rng(43)
    for _ in range(60):
        f = gemm(**random_fields(rng, TINY))
        owners = [(row, tap) for row in range(f["tap_rows"])
                  for tap in range(f["first_tap"] if row == 0 else 0, f["taps"])
                  for _ in range(f["first_byte"] if (row, tap) == (0, f["first_tap"]) else 0, f["tap_bytes"])]
        for step in range(5):
            line = owners[step * TINY.line_bytes:(step + 1) * TINY.line_bytes]
            assert window.segments(TINY, f, step) == max(1, len(set(line)))
