"""Faults at a place of a memory of words: what one simulation injects."""

from dataclasses import dataclass
from typing import NamedTuple

from .primitives import FaultPrimitive


class Cell(NamedTuple):
    """One bit of a memory."""

    word: int
    bit: int


@dataclass(frozen=True)
class CellFault:
    """Fault primitives of one victim; two of them are linked if one may hide the other.

    Attributes
    ----------
    primitives : tuple of FaultPrimitive
    victim : Cell
    aggressors : tuple of Cell
        At most one per primitive. Primitive ``i`` takes the ``i``-th, or the last; those that have none ignore it.
    power_up : tuple of int
        What the aggressors, then the victim, hold at first.
    retention : int
        Cycles from which on a pause is a pause to the operation ``t``.
    """

    primitives: tuple[FaultPrimitive, ...]
    victim: Cell
    aggressors: tuple[Cell, ...] = ()
    power_up: tuple[int, ...] = ()
    retention: int = 1


@dataclass(frozen=True)
class DecoderFault:
    """An address decoder fault (van de Goor 1991, section 4.1): faults of addresses and of cells occur in four pairs.

    ====  ===================================================
    A     address x reaches no word, word x has no address
    B     address x reaches no word, address y reaches both
    C     address x reaches word y, word x has no address
    D     address x reaches both words, address y reaches y
    ====  ===================================================

    Attributes
    ----------
    kind : str
    x, y : int
        Words; A ignores ``y``.
    floating : int
        What all bits of a read that reaches no word are.
    wired_or : bool
        How the words that one read reaches add up: bitwise or, else bitwise and.
    """

    kind: str
    x: int
    y: int = 0
    floating: int = 0
    wired_or: bool = False

    def reached(self, address: int) -> tuple[int, ...]:
        """Words that an address reaches."""
        x, y = self.x, self.y
        others: dict[str, dict[int, tuple[int, ...]]] = {
            "A": {x: ()}, "B": {x: (), y: (x, y)}, "C": {x: (y,)}, "D": {x: (x, y)}}
        return others[self.kind].get(address, (address,))


@dataclass(frozen=True)
class StuckOpen:
    """A cell without access: writes do not reach it, and a read returns what the sense amplifier of its bit line, one
    for this bit of all words, returned last (Dekker, Beenker and Thijssen, IEEE TCAD 9(6), 1990)."""

    cell: Cell
    latch: int = 0


Fault = CellFault | DecoderFault | StuckOpen
