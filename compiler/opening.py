"""How a program opens: its first piece's window is taken slice by slice, as the activations come in."""

from dataclasses import dataclass

from .pieces import Piece, Rectangle
from .tiling import Run, Tiling, even, slices

#: Slices after the first, at most.
MOST_SLICES = 8

ROW_PARTS = 2

FIRST_PARTS = 8

NEXT_PARTS = 2


@dataclass(frozen=True)
class Region:
    """A part of what a piece loads: rows, columns and channels, counted from the first loaded ones."""

    rows: Run
    columns: Run
    channels: Run


@dataclass(frozen=True)
class Slice:
    """Consecutive steps, the activations that they need and those before did not, and in how many parts of the vectors
    these are loaded."""

    steps: list[int]
    region: Region
    parts: int = 1


def whole(piece: Piece) -> Region:
    """All that a piece loads."""
    return Region((0, piece.row_span.loaded), (0, piece.column_span.loaded), (0, piece.loaded_channels[1]))


def opening_slices(tiling: Tiling, piece: Piece, order: list[int]) -> list[Slice]:
    """Slices of a piece's window, its steps taken in this order.

    A window of one pixel is cut into channels, a step first and then twice as many each time: loads of few channels
    are many short bursts. That of a single row of windows is cut into rows of taps. Others are one slice.
    """
    config, all_of_it = tiling.config, whole(piece)
    taps = tiling.taps(piece.outputs, piece.chunk, piece.column_span)
    line, channels = config.line_bytes, piece.loaded_channels[1]
    if taps.bytes == channels and channels % config.bus_bytes == 0:
        rest = order[1:]
        cut = [order[:1], *(rest[a:a + n] for a, n in slices(len(rest), -(-len(rest) // MOST_SLICES) or 1))]
        return [Slice(steps, Region(all_of_it.rows, all_of_it.columns, (
            steps[0] * line, min(len(steps) * line, channels - steps[0] * line))),
            1 if len(steps) > 1 else FIRST_PARTS if steps is cut[0] else NEXT_PARTS) for steps in cut]
    if piece.rows[1] == 1 and taps.size % line == 0 and taps.rows * taps.taps > 1:
        cut, steps, above = [], iter(order), 0
        for row in range(taps.rows):
            end = piece.row_span.needed(1, row + 1)
            left = 0
            for first, count in even(taps.taps, min(ROW_PARTS if row + 1 == taps.rows else 1, taps.taps)):
                right = piece.column_span.needed(piece.columns[1], first + count)
                cut.append(Slice([next(steps) for _ in range(count * taps.size // line)],
                                 Region((above, end - above), (left, right - left), all_of_it.channels)))
                left = right
            above = end
        return cut
    return [Slice(order[:1], all_of_it, FIRST_PARTS)]


def loaded_parts(tiling: Tiling, piece: Piece, slice_: Slice,
                 parts: list[Rectangle]) -> list[tuple[Rectangle, Region | None]]:
    """Parts of a vector tile, and what each has to load: the first of some of them what they all look at of the slice's
    region and parts before do not. These are rows, or columns if there is one row of windows."""
    region, found, done = slice_.region, [], 0
    groups = [run for run in even(len(parts), min(slice_.parts, len(parts)))]
    for first, count in groups:
        last = parts[first + count - 1]
        if len(groups) == 1:
            new = region
        elif piece.rows[1] > 1:
            end = piece.row_span.needed(last.row + last.rows, piece.chunk.tap_rows[1])
            new, done = Region((done, end - done), region.columns, region.channels), end
        else:
            end = piece.column_span.needed(last.column + last.columns, tiling.geometry.columns.taps)
            new, done = Region(region.rows, (done, end - done), region.channels), end
        found.append((parts[first], new if new.rows[1] and new.columns[1] else None))
        found += [(part, None) for part in parts[first + 1:first + count]]
    return found
