"""Families of faults: which fault primitives there are, and where in a memory they may be.

Static and dynamic primitives are enumerated from their definition (Hamdioui, van de Goor and Rodgers, *March SS: a
test for all static simple RAM faults*, MTDT 2002; Hamdioui, Al-Ars and van de Goor, *Testing static and dynamic faults
in random access memories*, VTS 2002), linked ones as pairs of which the second can undo the first unseen (Hamdioui,
Al-Ars, van de Goor and Rodgers, *Linked faults in random access memories*, IEEE TCAD 23(5), 2004).
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from .faults import Cell, DecoderFault, Fault, StuckOpen
from .primitives import FaultPrimitive, Sensitisation

#: Words of the simulated memory: enough for neighbours and others, at its ends and between, in each order of three.
WORDS = 4

#: Bits of its words where a fault is within a word.
BITS = 8


class Place(enum.Enum):
    """Where a fault's cells may be relative to one another; each order of them is an instance of its own."""

    ALONE = "one cell"
    PAIR = "two words, any"
    NEIGHBOURS = "two words that follow one another"
    TRIPLE = "three words, any"
    WORD = "two bits of one word"
    BANKS = "the same word of both banks"
    SIGN = "a plane, and the sign word after it"
    PLANE = "the sign word, and a plane before it"


@dataclass(frozen=True)
class Model:
    """Fault primitives of one victim, linked if there are two; ``aggressors`` are how many cells they need besides."""

    primitives: tuple[FaultPrimitive, ...]
    place: Place

    @property
    def aggressors(self) -> int:
        return {Place.ALONE: 0, Place.TRIPLE: 2}.get(self.place, 1)

    def __str__(self):
        return "→".join(map(str, self.primitives))


@dataclass(frozen=True)
class Family:
    """Faults that a table counts together.

    Attributes
    ----------
    name : str
    models : tuple of Model
        Each counts once per order of its cells.
    faults : tuple of tuple of Fault
        Faults that are no fault primitives, as places and values of one instance on a memory of :data:`WORDS` bits.
    """

    name: str
    models: tuple[Model, ...] = ()
    faults: tuple[tuple[Fault, ...], ...] = ()


# Fault primitives by definition

_WRITES = tuple(f"w{value}" for value in (0, 1))


def _sequences(cycles: int, read: str = "r") -> Iterator[Sensitisation]:
    """All sequences of so many operations on one cell: 2 x 3^cycles."""
    for state in (0, 1):
        cells = [Sensitisation(state)]
        for _ in range(cycles):
            cells = [Sensitisation(state, (*cell.cycles, (operation,)))
                     for cell in cells for operation in (*_WRITES, f"{read}{cell.states()[-1]}")]
        yield from cells


def _outcomes(victim: Sensitisation, aggressor: Sensitisation | None = None) -> Iterator[FaultPrimitive]:
    """All wrong pairs of F and R: one if S does not end with a read of the victim, three if it does."""
    right = victim.states()[-1]
    read = next((int(o[1]) for o in (victim.cycles[-1] if victim.cycles else ()) if o[0] in "rk"), None)
    for effect, returned in product((0, 1), (None,) if read is None else (0, 1)):
        if (effect, returned) != (right, read):
            yield FaultPrimitive(victim, effect, returned, aggressor)


def _shifted(cell: Sensitisation, before: int, after: int) -> Sensitisation:
    return Sensitisation(cell.state, ((),) * before + cell.cycles + ((),) * after)


def _states() -> list[Sensitisation]:
    return [Sensitisation(0), Sensitisation(1)]


def single_cell(cycles: int) -> list[FaultPrimitive]:
    """Primitives of one cell: 2 state faults without operation, 10 of one operation, 30 of two."""
    return [fault for victim in (_sequences(cycles) if cycles else _states()) for fault in _outcomes(victim)]


def on_aggressor(cycles: int, read: str = "r") -> list[FaultPrimitive]:
    """Primitives whose operations are all on the aggressor: 4 without, 12 of one operation, 36 of two."""
    aggressors = _sequences(cycles, read) if cycles else _states()
    return [fault for aggressor in aggressors for victim in _states() for fault in _outcomes(victim, aggressor)]


def on_victim(cycles: int, read: str = "r") -> list[FaultPrimitive]:
    """Primitives whose operations are all on the victim: 20 of one operation, 60 of two."""
    return [fault for aggressor in _states() for victim in _sequences(cycles, read)
            for fault in _outcomes(victim, aggressor)]


def two_cell_static() -> list[FaultPrimitive]:
    """The 36: state (4), disturb (12), transition, write destructive, read destructive, deceptive read destructive and
    incorrect read coupling (4 each)."""
    return [*on_aggressor(0), *on_aggressor(1), *on_victim(1)]


def back_to_back() -> list[FaultPrimitive]:
    """One operation on each of two cells in consecutive cycles: 60 that end on the victim, 36 that end on the
    aggressor."""
    cells = list(_sequences(1))
    return [fault for first, last in product(cells, cells)
            for aggressor, victim in ((_shifted(first, 0, 1), _shifted(last, 1, 0)),
                                      (_shifted(last, 1, 0), _shifted(first, 0, 1)))
            for fault in _outcomes(victim, aggressor)]


def _both_ports() -> list[Sensitisation]:
    """One port writes a cell that the other reads."""
    return [Sensitisation(held, ((write, f"r{held}"),)) for held in (0, 1) for write in _WRITES]


def same_address() -> list[FaultPrimitive]:
    """Faults of a write and a read of one cell in one cycle: 12 of this cell, 8 of another, 24 of this cell that depend
    on the state of another."""
    return [*(fault for victim in _both_ports() for fault in _outcomes(victim)),
            *(fault for aggressor in _both_ports() for victim in _states() for fault in _outcomes(victim, aggressor)),
            *(fault for aggressor in _states() for victim in _both_ports() for fault in _outcomes(victim, aggressor))]


def word_line_disturb() -> list[FaultPrimitive]:
    """Faults of a write of one cell while another is read: 24 of the one that is read, 8 of the one that is written."""
    cells = list(_sequences(1))
    return [fault for aggressor, victim in product(cells, cells)
            if (aggressor.cycles[0][0][0], victim.cycles[0][0][0]) in (("w", "r"), ("r", "w"))
            for fault in _outcomes(victim, aggressor)]


def _computing(primitives: list[FaultPrimitive]) -> list[FaultPrimitive]:
    """Those whose operation is a computing read."""
    return [fault for fault in primitives
            if any(o[0] == "k" for cell in (fault.victim, fault.aggressor) if cell for c in cell.cycles for o in c)]


def compute_only() -> list[FaultPrimitive]:
    """The 6 read faults of one cell and the 16 of two that appear when a row computes, not when it is read alone."""
    alone = [fault for victim in _sequences(1, "k") for fault in _outcomes(victim)]
    return _computing([*alone, *on_aggressor(1, "k"), *on_victim(1, "k")])


def retention() -> list[FaultPrimitive]:
    """Cells that lose a value while nothing happens, alone or depending on another: 2 and 4."""
    waiting = [Sensitisation(held, (("t",),)) for held in (0, 1)]
    return [fault for victim in waiting for aggressor in (None, *_states()) for fault in _outcomes(victim, aggressor)]


def linked() -> list[tuple[FaultPrimitive, FaultPrimitive]]:
    """Pairs of static primitives of one victim of which the second finds the cell as the first left it, wrong, and sets
    it right, without a wrong read in either. State faults do not link: they hold again at once."""
    static = [*single_cell(1), *on_aggressor(1), *on_victim(1)]

    def unseen(fault: FaultPrimitive, right: int) -> bool:
        return fault.read is None or fault.read == right

    firsts = [f for f in static if f.faulty and unseen(f, f.victim.state)]
    seconds = [f for f in static if f.effect != f.victim.state and unseen(f, f.effect)]
    return [(first, second) for first in firsts for second in seconds if second.victim.state == first.effect]


def _linked_models() -> tuple[Model, ...]:
    """Linked pairs: of one cell (LF1), with one aggressor (LF2), and those of two aggressors that differ (LF3)."""
    pairs = linked()
    aggressors = [sum(fault.aggressor is not None for fault in pair) for pair in pairs]
    return (*(Model(pair, Place.ALONE) for pair, count in zip(pairs, aggressors) if count == 0),
            *(Model(pair, Place.PAIR) for pair, count in zip(pairs, aggressors) if count > 0),
            *(Model(pair, Place.TRIPLE) for pair, count in zip(pairs, aggressors) if count == 2))


def _models(primitives: list[FaultPrimitive], place: Place) -> tuple[Model, ...]:
    """The primitives at a place; those of one cell alone."""
    return tuple(Model((fault,), place if fault.aggressor is not None else Place.ALONE) for fault in primitives)


# Faults that are no primitives


def decoder_faults(words: int = WORDS) -> Iterator[tuple[Fault, ...]]:
    """A to D for addresses in both orders, for what a line that floats reads as, and for both ways in which two cells
    add up: 2 + 8 + 2 + 4 instances."""
    for floating in (0, 1):
        yield tuple(DecoderFault("A", x, floating=floating) for x in range(words))
    for up in (True, False):
        pairs = [(x, y) for x in range(words) for y in range(words) if x != y and (x < y) is up]
        yield tuple(DecoderFault("C", x, y) for x, y in pairs)
        for wired_or in (False, True):
            yield tuple(DecoderFault("D", x, y, wired_or=wired_or) for x, y in pairs)
            for floating in (0, 1):
                yield tuple(DecoderFault("B", x, y, floating, wired_or) for x, y in pairs)


def stuck_open(words: int = WORDS) -> tuple[Fault, ...]:
    """One instance: whatever the cell, and what the sense amplifier holds at first."""
    return tuple(StuckOpen(Cell(word, 0), latch) for word in range(words) for latch in (0, 1))


def families() -> dict[str, Family]:
    """All families by name."""
    static = [*single_cell(0), *single_cell(1)]
    coupling = two_cell_static()
    return {family.name: family for family in (
        Family("static 1", _models(static, Place.ALONE)),
        Family("static 2", _models(coupling, Place.PAIR)),
        Family("dynamic 1", _models(single_cell(2), Place.ALONE)),
        Family("dynamic 2", _models([*on_aggressor(2), *on_victim(2)], Place.PAIR)),
        Family("back to back", _models(back_to_back(), Place.NEIGHBOURS)),
        Family("linked", _linked_models()),
        Family("decoder", faults=tuple(decoder_faults())),
        Family("stuck open", faults=(stuck_open(),)),
        Family("retention", _models(retention(), Place.PAIR)),
        Family("intra-word", _models(coupling, Place.WORD)),
        Family("two ports", _models(same_address(), Place.PAIR)),
        Family("word lines", _models(word_line_disturb(), Place.BANKS)),
        Family("compute only", _models(compute_only(), Place.PAIR)),
        Family("sign row", (*_models(coupling, Place.SIGN), *_models(coupling, Place.PLANE),
                            *_models(_computing(on_aggressor(1, "k")), Place.SIGN))),
    )}
