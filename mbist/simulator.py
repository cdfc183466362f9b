"""Fault simulation of March tests: which instances of which faults a test detects for certain.

Exhaustive: a fault at every place of a small memory, with every power-up state of its cells, under every choice of the
elements in either order. A March test treats all words alike, so a memory of :data:`~mbist.families.WORDS` words has
all situations of a larger one: first, last and middle words, neighbours and others, in every order. An instance is a
fault and an order of its cells, as 36 coupling faults make 72 instances; it is detected if a read fails at each of its
places in each case. It makes no difference whether a cycle passes between elements: only the word at which one ends and
the next begins could tell, and an instance is detected at every place or not.

Models of one place are simulated together, as arrays of models x places x power-up states; whether one test with one
choice of orders detects one element of the array is a verdict.
"""

from dataclasses import dataclass
from itertools import groupby, pairwise, permutations, product
from typing import Any, NamedTuple

import numpy as np

from .families import BITS, WORDS, Family, Model, Place
from .memory import fail_log
from .notation import March, Order, Pause
from .primitives import COMPUTE, PAUSE, READ, W0, W1, Sensitisation

#: A state that does not matter.
_ANY = 2


@dataclass(frozen=True)
class Outcome:
    """What a test does to a family.

    Attributes
    ----------
    detected : ndarray of bool
        Per instance: models in their order, each with every order of its cells.
    verdicts : int
        How many were reached.
    """

    detected: np.ndarray
    verdicts: int

    @property
    def count(self) -> int:
        return int(self.detected.sum())

    @property
    def total(self) -> int:
        return self.detected.size


class _Position(NamedTuple):
    word: int
    bit: int = 0
    bank: int = 0


def positions(place: Place) -> list[list[tuple[_Position, ...]]]:
    """Per order of the cells, all places of aggressors and victim, the victim last."""
    words = range(WORDS)
    if place is Place.ALONE:
        return [[(_Position(v),) for v in words]]
    if place is Place.TRIPLE:
        triples = [[t for t in permutations(words, 3) if sorted(range(3), key=t.__getitem__) == list(ranks)]
                   for ranks in permutations(range(3))]
        return [[tuple(map(_Position, t)) for t in order] for order in triples]
    if place is Place.WORD:
        bits = [[p for p in permutations(range(BITS), 2) if (p[0] < p[1]) is up] for up in (True, False)]
        return [[(_Position(w, a), _Position(w, v)) for w in words for a, v in order] for order in bits]
    if place is Place.BANKS:
        return [[(_Position(w, bank=a), _Position(w, bank=1 - a)) for w in words] for a in (0, 1)]
    pairs = [[p for p in permutations(words, 2) if (p[0] < p[1]) is up] for up in (True, False)]
    if place is Place.NEIGHBOURS:
        pairs = [[p for p in order if abs(p[0] - p[1]) == 1] for order in pairs]
    elif place is Place.SIGN:
        pairs = [[p for p in pairs[0] if p[1] == WORDS - 1]]
    elif place is Place.PLANE:
        pairs = [[p for p in pairs[1] if p[0] == WORDS - 1]]
    return [[(_Position(a), _Position(v)) for a, v in order] for order in pairs]


def backgrounds(bits: int) -> list[int]:
    """The log2(bits) + 1 data backgrounds, of which any two bits are equal in one and differ in another: solid, then
    stripes of 1, 2, 4, ... bits (Dekker, Beenker and Thijssen 1990).

    Raises
    ------
    ValueError
        If ``bits`` is no power of two.
    """
    if bits < 1 or bits & (bits - 1):
        raise ValueError(f"bits must be a power of two, not {bits!r}")
    return [0, *(sum(1 << b for b in range(bits) if b >> k & 1) for k in range(bits.bit_length() - 1))]


def simulate(march: March, family: Family) -> Outcome:
    """Which instances of a family a March test detects. Pure: a campaign may run it anywhere."""
    detected, verdicts = [], 0
    for place, models in groupby(family.models, lambda model: model.place):
        outcome = _simulate_models(march, list(models), place)
        detected.append(outcome.detected)
        verdicts += outcome.verdicts
    for instance in family.faults:
        logs = [fail_log(chosen, 2 * WORDS, 1, fault, up=range(WORDS), partner=lambda word: word + WORDS)
                for fault in instance for chosen in march.orders()]
        detected.append(np.array([all(logs)]))
        verdicts += len(logs)
    return Outcome(np.concatenate(detected), verdicts)


def _simulate_models(march: March, models: list[Model], place: Place) -> Outcome:
    """Models of one place; detected are models x orders, as one row."""
    orders = positions(place)
    places = [p for order in orders for p in order]
    table = _Table(models)
    words = 2 * WORDS if place is Place.BANKS and not march.uses_partner else WORDS
    runs = product(backgrounds(BITS) if place is Place.WORD else [0], (0, 1) if march.uses_partner else (None,))
    found, verdicts = np.zeros((len(models), len(places)), bool), 0
    for background, bank in runs:
        sure = np.ones((len(models), len(places)), bool)
        for chosen in march.orders():
            failed = _Run(table, places, words, background, bank).march(chosen)
            verdicts += failed.size
            sure &= failed.all(axis=2)
        found |= sure
    ends = np.cumsum([0, *map(len, orders)])
    detected = np.stack([found[:, a:b].all(axis=1) for a, b in pairwise(ends)], axis=1)
    return Outcome(detected.reshape(-1), verdicts)


class _Table:
    """The models of one place as arrays: a row for the first fault primitive of all models, one for the second."""

    def __init__(self, models: list[Model]):
        self.aggressors = models[0].aggressors
        self.models = len(models)
        self.rows = [_Row([model.primitives[min(i, len(model.primitives) - 1)] for model in models],
                          max(0, min(i, self.aggressors - 1)))
                     for i in range(max(len(model.primitives) for model in models))]


class _Row:
    def __init__(self, primitives, role: int):
        self.role = role
        self.cycles = np.array([p.cycles for p in primitives], np.uint8)
        self.longest = int(self.cycles.max())
        self.victim = self._conditions([p.victim for p in primitives])
        self.aggressor = self._conditions([p.aggressor for p in primitives])
        self.effect = np.array([p.effect for p in primitives], np.uint8)[:, None, None]
        self.read = np.array([_ANY if p.read is None else p.read for p in primitives], np.uint8)[:, None, None]

    def _conditions(self, cells: list[Sensitisation | None]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per cycle, operations that are needed and the state before it, for each model."""
        conditions = []
        for cycle in range(max(1, self.longest)):
            masks = np.zeros((len(cells), 1), np.uint8)
            states = np.full((len(cells), 1, 1), _ANY, np.uint8)
            for i, cell in enumerate(cells):
                if cell is not None:
                    masks[i] = cell.masks()[cycle] if cycle < len(cell.cycles) else 0
                    states[i] = cell.states()[min(cycle, len(cell.cycles))]
            conditions.append((masks, states))
        return conditions


class _Run:
    """One test, one choice of orders, one background, on all models and places of a table at once."""

    def __init__(self, table: _Table, places: list[tuple[_Position, ...]], words: int, background: int,
                 bank: int | None):
        self.table = table
        self.words = words
        roles = table.aggressors + 1
        power_up = np.array(list(product((0, 1), repeat=roles)), np.uint8)
        shape = (table.models, len(places), len(power_up))
        self.state = [np.broadcast_to(power_up[:, r], shape).copy() for r in range(roles)]
        cells = np.array(places)
        # Which visited address reaches a cell, directly or as a partner, and the cell's bit of the background.
        self.partner = np.zeros(cells.shape[:2], bool) if bank is None else cells[:, :, 2] != bank
        self.address = cells[:, :, 0] + (cells[:, :, 2] * WORDS if words > WORDS else 0)
        self.inverted = (background >> cells[:, :, 1] & 1).astype(np.uint8)
        self.failed = np.zeros(shape, bool)
        self.disarm()
        self.apply_states()

    def march(self, march: March) -> np.ndarray:
        """Per model, place and power-up state, whether a read fails."""
        for element in march.elements:
            if isinstance(element, Pause):
                self.cycle(np.full(self.address.shape, PAUSE, np.uint8))
                continue
            for address in range(self.words) if element.order is Order.UP else reversed(range(self.words)):
                for step in element.steps:
                    mask = np.zeros(self.address.shape, np.uint8)
                    expected = None
                    for operation in filter(None, step.ports):
                        value = self.inverted ^ operation.value
                        bits = READ | COMPUTE * operation.compute if operation.read else np.where(value, W1, W0)
                        mask |= np.where((self.address == address) & (self.partner == operation.partner), bits,
                                         0).astype(np.uint8)
                        if operation.read:
                            expected = value[:, -1]
                    if mask.any():
                        self.cycle(mask, expected)
                    else:
                        self.disarm()
        return self.failed

    def disarm(self):
        """A cycle without operations on the cells."""
        self.armed: list[Any] = [None] * len(self.table.rows)

    def matches(self, row: _Row, cycle: int, mask: np.ndarray) -> np.ndarray:
        """Where the conditions of a cycle hold; ``mask`` is what happens to each place's cells."""
        (victim, victim_state), (aggressor, aggressor_state) = row.victim[cycle], row.aggressor[cycle]
        met = (mask[:, -1] & victim == victim) & (mask[:, row.role] & aggressor == aggressor)
        before = self.state[row.role]
        return met[:, :, None] & (self.state[-1] == victim_state) & (
            (aggressor_state == _ANY) | (before == aggressor_state))

    def cycle(self, mask: np.ndarray, expected: np.ndarray | None = None):
        """One cycle; ``expected`` is what a read of the victim should return."""
        seen, effects = self.state[-1], []
        for i, row in enumerate(self.table.rows):
            if row.longest:
                first = self.matches(row, 0, mask)
                sensed = first & (row.cycles == 1)[:, None, None]
                if row.longest == 2:
                    if self.armed[i] is not None:
                        sensed |= self.armed[i] & self.matches(row, 1, mask)
                    self.armed[i] = first & (row.cycles == 2)[:, None, None]
                seen = np.where(sensed & (row.read != _ANY), row.read, seen)
                effects.append((sensed, row.effect))
        if expected is not None:
            read = mask[:, -1] & READ != 0
            self.failed |= read[:, None] & (seen != expected[:, None])
        for role, happened in enumerate(mask.T):
            written = happened & (W0 | W1) != 0
            if written.any():
                self.state[role][:, written] = (happened[written] & W1 != 0)[:, None]
        for sensed, effect in effects:
            self.state[-1] = np.where(sensed, effect, self.state[-1])
        self.apply_states()

    def apply_states(self):
        """State faults hold at any time."""
        for row in self.table.rows:
            if not row.cycles.all():
                state = self.matches(row, 0, np.zeros(self.address.shape, np.uint8)) & (row.cycles == 0)[:, None, None]
                self.state[-1] = np.where(state, row.effect, self.state[-1])
