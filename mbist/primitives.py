"""Fault primitives <S/F/R>: what sensitises a faulty cell, what it then stores, and what a read of it returns.

The notation is van de Goor and Al-Ars, *Functional memory faults: a formal notation and a taxonomy*, VTS 2000:

========================  =============================================================================================
``<0w1/0/->``             a write of 1 into a cell that holds 0 leaves 0 (transition fault)
``<1r1/1/0>``             a read of 1 returns 0 and leaves 1 (incorrect read fault)
``<0/1/->``               a cell cannot hold 0 (state fault)
``<0w1;1/0/->``           a write of 1 into the aggressor, which holds 0, flips the victim, which holds 1
``<1;0r0/1/0>``           aggressor in 1: a read of 0 from the victim returns 0 but leaves 1
``<0w1r1/0/0>``           two operations in consecutive cycles (dynamic fault)
``<0w1.;1.r1/0/0>``       first the aggressor, in the next cycle the victim; a dot is a cycle without a condition
``<0w1;1r1/0/0>``         both in the same cycle, on two ports; likewise ``<0w1:r0/0/0>`` on one cell
``<1t/0/->``              a cell that is left alone for a pause loses 1 (data retention fault)
``<0k0/1/1>``             an operation ``k``: the row is read because it computes, with all columns at once
========================  =============================================================================================

The value of a read in S is what the cell holds. R is what a read of the victim in the last cycle returns; ``-`` if
there is none. An operation that S does not name may happen too: a write that another port's read accompanies is still a
write.
"""

import re
from dataclasses import dataclass

#: Bits of what happens to a cell in one cycle. A computing read is a read as well.
W0, W1, READ, COMPUTE, PAUSE = 1, 2, 4, 8, 16
_BITS = {"w0": W0, "w1": W1, "r0": READ, "r1": READ, "k0": READ | COMPUTE, "k1": READ | COMPUTE, "t": PAUSE, ".": 0}


@dataclass(frozen=True)
class Sensitisation:
    """What one cell contributes to S.

    Attributes
    ----------
    state : int
        What it holds before the first cycle.
    cycles : tuple of tuple of str
        Per cycle the operations ``w0 w1 r0 r1 k0 k1``, ``t`` for a pause, or none.
    """

    state: int
    cycles: tuple[tuple[str, ...], ...] = ()

    def __str__(self):
        return str(self.state) + "".join(":".join(cycle) or "." for cycle in self.cycles)

    def states(self) -> tuple[int, ...]:
        """What a fault-free cell holds before each cycle, and after the last."""
        held = [self.state]
        for cycle in self.cycles:
            held.append(next((int(o[1]) for o in cycle if o[0] == "w"), held[-1]))
        return tuple(held)

    def masks(self) -> tuple[int, ...]:
        """The operations of each cycle as bits."""
        masks = []
        for cycle in self.cycles:
            mask = 0
            for operation in cycle:
                mask |= _BITS[operation]
            masks.append(mask)
        return tuple(masks)


@dataclass(frozen=True)
class FaultPrimitive:
    """A deviation from the behaviour of a memory; ``str`` is its notation.

    Attributes
    ----------
    victim : Sensitisation
    aggressor : Sensitisation or None
    effect : int
        F, what the victim holds after S.
    read : int or None
        R, what a read of the victim in the last cycle returns.
    """

    victim: Sensitisation
    effect: int
    read: int | None = None
    aggressor: Sensitisation | None = None

    def __str__(self):
        first = "" if self.aggressor is None else f"{self.aggressor};"
        return f"<{first}{self.victim}/{self.effect}/{'-' if self.read is None else self.read}>"

    @property
    def cycles(self) -> int:
        """Cycles of S: 0 for a state fault, 1 for other static faults, 2 for dynamic ones."""
        return max(len(cell.cycles) for cell in (self.victim, self.aggressor) if cell is not None)

    @property
    def faulty(self) -> bool:
        """Whether the victim's value is wrong after S, not only what was read."""
        return self.effect != self.victim.states()[-1]


_CELL = re.compile(r"([01])((?:[wrk][01](?::[wrk][01])?|t|\.)*)\Z")
_PRIMITIVE = re.compile(r"<(?:([^;/<>]*);)?([^;/<>]*)/([01])/([01-])>\Z")


def parse_primitive(text: str) -> FaultPrimitive:
    """Reads a fault primitive.

    Raises
    ------
    ValueError
        If it is none, or a read in it expects what the cell does not hold, or nothing in it is wrong.
    """
    found = _PRIMITIVE.match(text)
    if found is None:
        raise ValueError(f"a fault primitive must be <S/F/R> or <Sa;Sv/F/R>, not {text!r}")
    aggressor, victim = (None if cell is None else _parse_cell(cell, text) for cell in found.group(1, 2))
    assert victim is not None
    primitive = FaultPrimitive(victim, int(found[3]), None if found[4] == "-" else int(found[4]), aggressor)
    lengths = {len(cell.cycles) for cell in (victim, aggressor) if cell is not None and cell.cycles}
    if len(lengths) > 1:
        raise ValueError(f"aggressor and victim of {text} must have as many cycles, not {sorted(lengths)}")
    reads = [o for o in (victim.cycles[-1] if victim.cycles else ()) if o[0] in "rk"]
    if bool(reads) != (primitive.read is not None):
        raise ValueError(f"R of {text} must be {'0 or 1' if reads else '-'}, as S "
                         f"{'ends' if reads else 'does not end'} with a read of the victim")
    if not primitive.faulty and all(int(o[1]) == primitive.read for o in reads):
        raise ValueError(f"{text} must differ from a fault-free memory in F or R")
    return primitive


def _parse_cell(text: str, whole: str) -> Sensitisation:
    found = _CELL.match(text)
    if found is None:
        raise ValueError(f"S of {whole} must be a state and operations, as 0w1, not {text!r}")
    cycles = re.findall(r"[wrk][01](?::[wrk][01])?|t|\.", found[2])
    cell = Sensitisation(int(found[1]), tuple(() if c == "." else tuple(c.split(":")) for c in cycles))
    for held, cycle in zip(cell.states(), cell.cycles):
        for operation in cycle:
            if operation[0] in "rk" and int(operation[1]) != held:
                raise ValueError(f"{operation} in {whole} must read {held}, which the cell holds")
    return cell
