"""The vectorised simulator against the memory that follows one fault, and against figures of the literature."""

import random
from itertools import product

import pytest

from mbist.families import BITS, WORDS, Family, Model, Place, families
from mbist.faults import Cell, CellFault
from mbist.library import LIBRARY
from mbist.memory import detected
from mbist.notation import parse
from mbist.simulator import backgrounds, positions, simulate

FAMILIES = families()
TESTS = ("MATS+", "March Y", "March SS", "March G", "March K", "March 2A", "March 2B", "March MSL")


def reference(march, model: Model) -> list[bool]:
    """Per order of the cells, whether every case fails a read: case by case, without arrays."""
    words = 2 * WORDS if model.place is Place.BANKS and not march.uses_partner else WORDS

    def cell(position) -> Cell:
        return Cell(position.word + position.bank * WORDS, position.bit)

    def found(cells, background: int, bank: int) -> bool:
        up = [word + bank * WORDS for word in range(words)]
        faults = [CellFault(model.primitives, cells[-1], cells[:-1], power_up)
                  for power_up in product((0, 1), repeat=len(cells))]
        return all(detected(march, 2 * WORDS, BITS, fault, up=up, background=[background] * 2 * WORDS,
                            partner=lambda word: (word + WORDS) % (2 * WORDS)) for fault in faults)

    runs = list(product(backgrounds(BITS) if model.place is Place.WORD else [0],
                        (0, 1) if march.uses_partner else (0,)))
    return [all(any(found(tuple(map(cell, place)), *run) for run in runs) for place in order)
            for order in positions(model.place)]


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_equals_the_memory(family):
    """Random models of the family with random tests, each place, order, power-up state and choice."""
    rng = random.Random(family)
    models = FAMILIES[family].models
    for _ in range(6 if models else 0):
        march, model = LIBRARY[rng.choice(TESTS)], rng.choice(models)
        if model.place in (Place.WORD, Place.TRIPLE):
            march = LIBRARY[rng.choice(("MATS+", "March C-"))]
        outcome = simulate(march, Family("one", (model,)))
        assert outcome.detected.tolist() == reference(march, model), f"{march.name} {model}"


def test_both_verdicts_are_among_those_compared():
    """Of one model of each kind of place, a test that finds it and one that does not."""
    for name, weak, strong in (("static 2", "MATS+", "March SS"), ("dynamic 1", "MATS+", "March RAW"),
                               ("word lines", "March SS", "March 2B")):
        model = next(m for m in FAMILIES[name].models if any(reference(LIBRARY[strong], m))
                     and not any(reference(LIBRARY[weak], m)))
        family = Family("one", (model,))
        assert simulate(LIBRARY[strong], family).detected.tolist() == reference(LIBRARY[strong], model)
        assert not simulate(LIBRARY[weak], family).detected.any()


@pytest.mark.parametrize(("test", "single", "pairs"), [
    ("March C-", 8, 48), ("March SS", 12, 72), ("March RAW", 12, 72), ("March AB", 12, 72), ("March SL", 12, 72),
    ("March MSS", 12, 72), ("March MSL", 12, 72),
])
def test_static_faults(test, single, pairs):
    """March C- finds no write or deceptive read destructive fault, alone or coupled; the others find all."""
    assert simulate(LIBRARY[test], FAMILIES["static 1"]).count == single
    assert simulate(LIBRARY[test], FAMILIES["static 2"]).count == pairs


@pytest.mark.parametrize("test", ["March SL", "March MSL"])
def test_linked_faults(test):
    """Hamdioui et al. 2004 and Harutunyan et al. 2006: all of them."""
    outcome = simulate(LIBRARY[test], FAMILIES["linked"])
    assert outcome.detected.all()
    assert outcome.total == 2148


@pytest.mark.parametrize(("test", "count"), [("MATS", 14), ("MATS+", 16), ("March C-", 16), ("March SR", 10)])
def test_decoder_faults(test, count):
    """MATS+ finds all (van de Goor 1991); MATS misses D when two words are ANDed, which is why it has a dual form."""
    assert simulate(LIBRARY[test], FAMILIES["decoder"]).count == count


@pytest.mark.parametrize(("test", "found"), [("MATS+", False), ("MATS++", True), ("March C-", False),
                                             ("March C+", True), ("IFA-13", True), ("March B", True)])
def test_stuck_open(test, found):
    """Found by an element that reads both values of one cell (Dekker et al. 1990)."""
    assert simulate(LIBRARY[test], FAMILIES["stuck open"]).detected.tolist() == [found]


def test_retention_needs_pauses():
    """A cell alone, both values; with an aggressor in the same state as the victim, as all cells are in a pause."""
    assert simulate(LIBRARY["March C-"], FAMILIES["retention"]).count == 0
    assert simulate(LIBRARY["IFA-9"], FAMILIES["retention"]).count == 6


def test_transitions_within_a_word_are_hidden():
    """A word is written whole: the victim of a transition of its neighbour is written in the same cycle, and either it
    changes to what the fault makes of it or it is not sensitised."""
    outcome = simulate(LIBRARY["March SS"], FAMILIES["intra-word"])
    missed = {str(model) for model, found in zip(FAMILIES["intra-word"].models, outcome.detected.reshape(-1, 2))
              if not found.all()}
    assert missed == {"<0w1;0/1/->", "<0w1;1/0/->", "<1w0;0/1/->", "<1w0;1/0/->"}


def test_faults_of_the_macro_need_tests_of_their_own():
    classic = LIBRARY["March SL"]
    for family, ours in (("word lines", "March 2B"), ("compute only", "March K"), ("two ports", "March 2A")):
        assert simulate(classic, FAMILIES[family]).count == 0
        assert simulate(LIBRARY[ours], FAMILIES[family]).detected.all()
    assert simulate(LIBRARY["March SS"], FAMILIES["sign row"]).count == 72
    assert simulate(LIBRARY["March SS"], FAMILIES["sign row"]).total == 76


def test_order_of_addresses_matters():
    """Swapping one arrow of March C- loses faults: the last transition of an aggressor above goes unseen."""
    mutant = parse("{c(w0); u(r0,w1); u(r1,w0); u(r0,w1); d(r1,w0); c(r0)}")
    assert simulate(mutant, FAMILIES["static 2"]).count < 48


def test_backgrounds():
    assert [f"{b:08b}" for b in backgrounds(8)] == ["00000000", "10101010", "11001100", "11110000"]
    for one, other in product(range(8), repeat=2):
        pairs = {(b >> one & 1) == (b >> other & 1) for b in backgrounds(8)}
        assert pairs == ({True} if one == other else {True, False})


def test_backgrounds_of_no_power_of_two():
    with pytest.raises(ValueError) as raised:
        backgrounds(12)
    assert str(raised.value) == "bits must be a power of two, not 12"


def test_verdicts_are_counted():
    """12 models, 4 places, 2 power-up states, 4 choices."""
    assert simulate(LIBRARY["March C-"], FAMILIES["static 1"]).verdicts == 12 * 4 * 2 * 4


@pytest.mark.parametrize("place", Place)
def test_orders_of_cells(place):
    """An order of the cells is one ranking of their places, and no two orders are the same."""
    ranks = [{tuple(sorted(range(len(cells)), key=lambda i: (cells[i].bank, cells[i].word, cells[i].bit)))
              for cells in order} for order in positions(place)]
    assert all(len(kinds) == 1 for kinds in ranks)
    assert len({next(iter(kinds)) for kinds in ranks}) == len(ranks)
