"""Redundancy analysis: repairs by hand, the exact search against all subsets, repair-most against the exact search."""

from itertools import combinations

import numpy as np
import pytest

from mbist.redundancy import Repair, Spares, exact, random_defects, repair_most


def defects_at(*cells, shape=(6, 6)) -> np.ndarray:
    defects = np.zeros(shape, bool)
    defects[tuple(zip(*cells))] = True
    return defects


@pytest.mark.parametrize("analyse", [repair_most, exact])
class TestByHand:
    def test_nothing_to_do(self, analyse):
        assert analyse(np.zeros((4, 4), bool), Spares(1, 1)) == Repair()

    def test_one_column(self, analyse):
        assert analyse(defects_at((0, 3), (4, 3)), Spares(1)) == Repair(columns=(3,))

    def test_two_columns_with_one_spare(self, analyse):
        assert analyse(defects_at((0, 3), (4, 2)), Spares(1)) is None

    def test_a_row_must_be_repaired(self, analyse):
        """Three defects in row 2, and two columns cannot cover them; the column that remains takes the rest."""
        cells = [(2, 0), (2, 1), (2, 2), (0, 5), (1, 5)]
        assert analyse(defects_at(*cells), Spares(2, 1)) == Repair(columns=(5,), rows=(2,))

    def test_must_repair_without_a_spare(self, analyse):
        assert analyse(defects_at((0, 0), (0, 1), (0, 2)), Spares(2, 0)) is None

    def test_no_spares(self, analyse):
        assert analyse(defects_at((0, 0)), Spares(0, 0)) is None
        assert analyse(np.zeros((4, 4), bool), Spares(0, 0)) == Repair()

    def test_map_is_left_alone(self, analyse):
        defects = defects_at((0, 3))
        analyse(defects, Spares(1))
        assert defects.sum() == 1


def cheapest(defects: np.ndarray, spares: Spares) -> int | None:
    """Lines of the cheapest repair, by trying all."""
    rows, columns = defects.shape
    sizes = [r + c for r in range(spares.rows + 1) for c in range(spares.columns + 1)
             for taken in combinations(range(rows), r) for others in combinations(range(columns), c)
             if not Repair(others, taken).remaining(defects).any()]
    return min(sizes, default=None)


def test_exact_is_exact():
    rng = np.random.default_rng(3)
    answers = []
    for _ in range(150):
        defects = rng.random((5, 6)) < rng.uniform(0.05, 0.3)
        spares = Spares(int(rng.integers(3)), int(rng.integers(3)))
        found, size = exact(defects, spares), cheapest(defects, spares)
        assert (None if found is None else len(found.columns) + len(found.rows)) == size
        assert found is None or not found.remaining(defects).any()
        answers.append(size)
    assert {None, 0, 1, 2, 3} <= set(answers)


def test_repair_most_repairs():
    """Never more than the exact search, nearly as much, and always really."""
    rng = np.random.default_rng(4)
    good = best = 0
    for _ in range(300):
        spares = Spares(int(rng.integers(1, 4)), int(rng.integers(4)))
        defects = random_defects((20, 64), 4, rng)
        found, reference = repair_most(defects, spares), exact(defects, spares)
        good += found is not None
        best += reference is not None
        if found is not None:
            assert reference is not None
            assert not found.remaining(defects).any()
            assert len(found.columns) <= spares.columns
            assert len(found.rows) <= spares.rows
    assert best - 6 <= good <= best
    assert 50 < best < 250


def test_repair_most_is_no_exact_search():
    """Of equal lines it takes the first, which here is the wrong one."""
    defects = defects_at((0, 3), (1, 0), (1, 1), (4, 2), (5, 1), (5, 4))
    assert exact(defects, Spares(2, 2)) == Repair(columns=(2, 3), rows=(1, 5))
    assert repair_most(defects, Spares(2, 2)) is None


def test_random_defects_have_the_mean():
    rng = np.random.default_rng(5)
    cells = [random_defects((20, 64), 3, rng, line_share=0).sum() for _ in range(3000)]
    assert np.mean(cells) == pytest.approx(3, rel=0.1)
    assert np.var(cells) == pytest.approx(3 + 9 / 2, rel=0.2)


@pytest.mark.parametrize(("arguments", "sentence"), [
    ((-1, 0), "columns must be a whole number of spares from 0, not -1"),
    ((1, 0.5), "rows must be a whole number of spares from 0, not 0.5"),
])
def test_spares(arguments, sentence):
    with pytest.raises(ValueError) as raised:
        Spares(*arguments)
    assert str(raised.value) == sentence
