"""How a program opens: the first piece is taken slice by slice, and by parts of its vectors, as activations come in.

Nothing computes before the first weights and activations are there, and until then the bus is what a layer waits for.
So little is loaded before the first product, and everything else in the order in which the array needs it.
"""

from dataclasses import dataclass, replace

from .pieces import Piece, Rectangle
from .tiling import Run, Tiling, even, slices

#: Parts of the vectors for which the activations of the first slice are loaded, and those of later slices of one step.
FIRST_PARTS, NEXT_PARTS = 8, 2

#: Slices of channels after the first, at most.
CHANNEL_SLICES = 8


@dataclass(frozen=True)
class Region:
    """Rows, columns and channels, counted from the first ones that a piece loads."""

    rows: Run
    columns: Run
    channels: Run

    @property
    def is_empty(self) -> bool:
        return not (self.rows[1] and self.columns[1])


@dataclass(frozen=True)
class Slice:
    """Steps of a piece in the order in which they are taken, and what they need of the activations beyond those before.

    Attributes
    ----------
    steps : list of int
    region : Region or None
        None if there are no such activations.
    parts : int
        Parts of the vectors for which they are loaded one after another; 1 if there are several steps.
    """

    steps: list[int]
    region: Region | None
    parts: int = 1


def whole(piece: Piece) -> Region:
    """All that a piece loads."""
    return Region((0, piece.row_span.loaded), (0, piece.column_span.loaded), (0, piece.loaded_channels[1]))


def opening(tiling: Tiling, piece: Piece) -> list[Slice]:
    """Slices of the first piece.

    A window of one pixel is cut into channels, if these are whole bus words. If all windows look at most of the
    columns, as in global pooling, each row of taps is a slice, and the last one three: little is left to be computed
    when the last activations have come. Any other window is loaded whole, by vectors alone. But for rows of taps, the
    first step is the last one if that is shorter, since the array waits for its weights.
    """
    config, geometry = tiling.config, tiling.geometry
    taps = tiling.taps(piece.outputs, piece.chunk, piece.column_span)
    if taps.rows > 1 and taps.size % config.line_bytes == 0 and _sees_most_columns(tiling, piece):
        return _rows_of_taps(tiling, piece)
    order = list(range(len(piece.images)))
    if piece.images[-1].bytes < piece.images[0].bytes:
        order = [order[-1], *order[:-1]]
    if taps.bytes == piece.loaded_channels[1] and geometry.channels % config.bus_bytes == 0:
        return _channels(tiling, piece, order)
    return [Slice(order[:1], whole(piece), FIRST_PARTS), *([Slice(order[1:], None)] if order[1:] else [])]


def _channels(tiling: Tiling, piece: Piece, order: list[int]) -> list[Slice]:
    """One step first, the others in few slices: loads of few channels are many short bursts."""
    line, size = tiling.config.line_bytes, piece.loaded_channels[1]
    first, rest = order[:1], order[1:]
    found = []
    for steps in [first, *(rest[a:a + n] for a, n in slices(len(rest), max(1, -(-len(rest) // CHANNEL_SLICES))))]:
        begin = steps[0] * line
        region = replace(whole(piece), channels=(begin, min(len(steps) * line, size - begin)))
        found.append(Slice(steps, region, 1 if len(steps) > 1 else FIRST_PARTS if steps is first else NEXT_PARTS))
    return found


def _rows_of_taps(tiling: Tiling, piece: Piece) -> list[Slice]:
    taps = tiling.taps(piece.outputs, piece.chunk, piece.column_span)
    found, step, above = [], 0, 0
    for row in range(taps.rows):
        below, left = piece.row_span.needed(piece.rows[1], row + 1), 0
        for first, count in slices(taps.taps, -(-taps.taps // 3) if row == taps.rows - 1 else taps.taps):
            right = (piece.column_span.loaded if first + count == taps.taps
                     else piece.column_span.needed(piece.columns[1], first + count))
            steps = count * taps.size // tiling.config.line_bytes
            region = replace(whole(piece), rows=(above, below - above), columns=(left, right - left))
            found.append(Slice(list(range(step, step + steps)), None if region.is_empty else region))
            step, left = step + steps, right
        above = below
    return found


def _sees_most_columns(tiling: Tiling, piece: Piece) -> bool:
    """One row of windows, each of which looks at more than half of the columns."""
    return (piece.rows[1] == 1
            and 2 * piece.column_span.needed(1, tiling.geometry.columns.taps) > piece.column_span.loaded)


def loaded_parts(tiling: Tiling, piece: Piece, loads: Slice, parts: list[Rectangle]) -> list[Region | None]:
    """What is to be loaded before each of these parts of the vectors, ``loads.parts`` times at most: what the next ones
    look at and those before do not, rows or, if there is one row of windows, columns."""
    found: list[Region | None] = [None] * len(parts)
    if loads.region is None:
        return found
    runs, done = even(len(parts), min(loads.parts, len(parts))), 0
    for first, count in runs:
        last, new = parts[first + count - 1], loads.region
        if len(runs) > 1 and piece.rows[1] > 1:
            end = piece.row_span.needed(last.row + last.rows, piece.chunk.tap_rows[1])
            new, done = replace(new, rows=(done, end - done)), end
        elif len(runs) > 1:
            end = piece.column_span.needed(last.column + last.columns, tiling.geometry.columns.taps)
            new, done = replace(new, columns=(done, end - done)), end
        found[first] = None if new.is_empty else new
    return found
