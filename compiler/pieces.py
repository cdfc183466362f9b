"""Pieces of a tiled layer in the order in which they are computed, and parts of their vectors."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .tiling import Chunk, OutputTile, Run, Tiling, even
from .weights import Image
from .window import Span

#: Parts in which a tile's results are stored, at most.
LAST_PARTS = 24

#: Vectors of the smallest part, about.
LEAST_PART = 3


@dataclass(frozen=True)
class Rectangle:
    """Some pixels of a vector tile, counted from its first. Their accumulators follow one another: they are whole rows,
    or lie in one row."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def vectors(self) -> int:
        return self.rows * self.columns


def rectangles(rows: int, columns: int, sizes: list[int]) -> list[Rectangle]:
    """Cuts a tile into parts of about these numbers of vectors, the last size for all that is left: whole rows or even
    parts of a row, but exactly these numbers if it is only one row."""
    parts: list[Rectangle] = []
    row = column = 0
    while rows == 1 and column < columns:
        size = sizes[min(len(parts), len(sizes) - 1)]
        parts.append(Rectangle(0, column, 1, min(size, columns - column)))
        column += size
    while rows > 1 and row < rows:
        size = sizes[min(len(parts), len(sizes) - 1)]
        count = min(round(size / columns), rows - row)
        if count:
            parts.append(Rectangle(row, 0, count, columns))
        else:
            parts += [Rectangle(row, first, 1, width) for first, width in even(columns, round(columns / size))]
        row += max(1, count)
    return parts


def tapered(vectors: int, ratio: float) -> list[int]:
    """Sizes of parts, each ``ratio`` times the one before: what one takes to store, the next takes to compute."""
    weights = [ratio ** i for i in range(LAST_PARTS)]
    parts = next((n for n in range(LAST_PARTS, 1, -1) if vectors * weights[n - 1] >= LEAST_PART * sum(weights[:n])), 1)
    bounds = np.rint(vectors * np.cumsum([0, *weights[:parts]]) / sum(weights[:parts])).astype(int)
    return np.diff(bounds).tolist()


@dataclass(frozen=True)
class Piece:
    """A chunk of an output tile of a vector tile.

    Attributes
    ----------
    tile : int
        Which tile: vector tiles one after another, their output tiles within.
    rows, columns : Run
        The vector tile.
    output : int
        Which output tile.
    outputs : OutputTile
    chunk : Chunk
    first, last : bool
        It begins the tile; it completes it.
    row_span, column_span : Span
    loaded_channels : Run
    load : int
        Number of the load of its activations.
    new, frees : bool
        It is the first piece to use this load; it is the last one, and another load waits for the buffer.
    images : list of Image
        Its steps.
    """

    tile: int
    rows: Run
    columns: Run
    output: int
    outputs: OutputTile
    chunk: Chunk
    first: bool
    last: bool
    row_span: Span
    column_span: Span
    loaded_channels: Run
    load: int
    new: bool
    frees: bool
    images: list[Image]

    @property
    def vectors(self) -> int:
        return self.rows[1] * self.columns[1]

    @property
    def whole(self) -> Rectangle:
        return Rectangle(0, 0, self.rows[1], self.columns[1])

    @property
    def pitch(self) -> int:
        """Bytes of a row in the buffer."""
        return self.column_span.loaded * self.loaded_channels[1]


def pieces(tiling: Tiling, images: list[list[list[Image]]]) -> list[Piece]:
    """All pieces in the order in which they are computed."""
    geometry = tiling.geometry
    places = [(rows, columns, number, tile, chunk) for rows in tiling.rows for columns in tiling.columns
              for number, tile in enumerate(tiling.outputs) for chunk in enumerate(tiling.chunks(tile))]
    wanted = [(rows, columns, chunk.tap_rows, tiling.loaded_channels(tile, chunk))
              for rows, columns, _, tile, (_, chunk) in places]
    new = [True, *(a != b for a, b in pairwise(wanted))]
    loads = np.cumsum(new) - 1
    ends = [*new[1:], True]
    begins = [chunk == 0 for *_, (chunk, _) in places]
    tiles = np.cumsum(begins) - 1
    return [Piece(int(tiles[i]), rows, columns, number, tile, chunk, begins[i], [*begins, True][i + 1],
                  geometry.rows.span(*rows, *chunk.tap_rows), geometry.columns.span(*columns), wanted[i][3],
                  int(loads[i]), new[i], bool(ends[i] and loads[i] + 2 <= loads[-1]), images[number][c])
            for i, (rows, columns, number, tile, (c, chunk)) in enumerate(places)]
