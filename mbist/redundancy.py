"""Redundancy analysis: which lines of a memory to take out of use so that no defect remains.

A defect map is a matrix of bool, rows x columns, spare lines included: a spare is a line like any other and may be
defective too. Of so many physical lines of a kind, as many may be left unused as there are spares.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spares:
    """Lines that may be left unused."""

    columns: int
    rows: int = 0

    def __post_init__(self):
        for name in ("columns", "rows"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number of spares from 0, not {value!r}")


@dataclass(frozen=True)
class Repair:
    """Physical lines that are left unused, ascending."""

    columns: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()

    def remaining(self, defects: np.ndarray) -> np.ndarray:
        """The defect map without these lines."""
        defects = defects.copy()
        defects[:, list(self.columns)] = False
        defects[list(self.rows)] = False
        return defects


class _Search:
    """A map of what is still defective, and the lines taken out so far."""

    def __init__(self, defects: np.ndarray, spares: Spares):
        self.defects = np.array(defects, bool)
        self.taken: tuple[list[int], list[int]] = ([], [])
        self.left = [spares.rows, spares.columns]

    def take(self, axis: int, line: int):
        """Takes out a row (axis 0) or a column (axis 1)."""
        self.defects[(line, slice(None))[::1 - 2 * axis]] = False
        self.taken[axis].append(line)
        self.left[axis] -= 1

    def counts(self, axis: int) -> np.ndarray:
        return np.count_nonzero(self.defects, axis=1 - axis)

    def must_repair(self) -> bool:
        """Takes out every line that has more defects than the spares of the other kind can cover, until there is none.
        Whether the spares sufficed."""
        while True:
            for axis in (0, 1):
                counts = self.counts(axis)
                lines = np.flatnonzero(counts > self.left[1 - axis])
                if len(lines):
                    if not self.left[axis]:
                        return False
                    self.take(axis, int(lines[np.argmax(counts[lines])]))
                    break
            else:
                return True

    def repair(self) -> Repair:
        rows, columns = (tuple(sorted(lines)) for lines in self.taken)
        return Repair(columns, rows)


def repair_most(defects: np.ndarray, spares: Spares) -> Repair | None:
    """Must-repair, then always the line with the most defects (Tarr, Boudreau and Murphy, *Electronics*, January 1984);
    of equals, a column, and the first. None if that does not lead to a repair; there may be one.

    Time grows with the spares times the map.
    """
    search = _Search(defects, spares)
    while search.must_repair():
        if not search.defects.any():
            return search.repair()
        _, axis = max((int(search.counts(axis).max()), axis) for axis in (0, 1) if search.left[axis])
        search.take(axis, int(search.counts(axis).argmax()))
    return None


def exact(defects: np.ndarray, spares: Spares) -> Repair | None:
    """A repair with the fewest lines, or None if there is none: must-repair, then both ways to cover a defect in turn
    (Kuo and Fuchs, *IEEE Design and Test* 4(1), 1987).

    Time grows with two to the power of the spares.
    """
    search = _Search(defects, spares)
    if not search.must_repair():
        return None
    cells = [(int(row), int(column)) for row, column in np.argwhere(search.defects)]
    # After must-repair, a spare covers at most as many defects as the other kind has spares.
    if len(cells) > 2 * search.left[0] * search.left[1]:
        return None
    cover = _cover(cells, search.left[0], search.left[1])
    if cover is None:
        return None
    for axis in (0, 1):
        for line in cover[axis]:
            search.take(axis, line)
    return search.repair()


def _cover(cells: list[tuple[int, int]], rows: int, columns: int) -> tuple[list[int], list[int]] | None:
    """Fewest rows and columns that cover the cells."""
    if not cells:
        return [], []
    row, column = cells[0]
    best: tuple[list[int], list[int]] | None = None
    if rows:
        rest = _cover([cell for cell in cells if cell[0] != row], rows - 1, columns)
        if rest is not None:
            best = [row, *rest[0]], rest[1]
    if columns:
        rest = _cover([cell for cell in cells if cell[1] != column], rows, columns - 1)
        if rest is not None and (best is None or len(rest[0]) + len(rest[1]) + 1 < len(best[0]) + len(best[1])):
            best = rest[0], [column, *rest[1]]
    return best


def random_defects(shape: tuple[int, int], mean: float, rng: np.random.Generator, *, line_share: float = 0.1,
                   clustering: float = 2.0) -> np.ndarray:
    """A random defect map.

    The number of defects is negative binomial, as Stapper (*IBM J. Res. Dev.* 27(6), 1983) found it for wafers: its
    variance is ``mean + mean^2 / clustering``. Each is a cell, or with ``line_share`` a row or a column of which every
    cell is defective with an even chance.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, spares included.
    mean : float
        Mean number of defects.
    """
    defects = np.zeros(shape, bool)
    for _ in range(rng.negative_binomial(clustering, clustering / (clustering + mean))):
        row, column = (int(rng.integers(size)) for size in shape)
        if rng.random() < line_share:
            line = defects[row] if rng.random() < 0.5 else defects[:, column]
            line |= rng.random(line.size) < 0.5
        defects[row, column] = True
    return defects
