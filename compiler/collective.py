"""The ring of a card as routes: who passes what on to whom.

Collectives are built of two: *delivery* of a block from the chip that has it to those that need it (all-gather if every
chip does that with its own blocks, broadcast if one does), and *reduction* of a block whose partial sums all chips
have, each adding its own to what comes from the chip before (reduce-scatter; with delivery, all-reduce).
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from hdl.topology import NEXT, PREVIOUS, partner


@dataclass(frozen=True)
class Hop:
    """One chip sends to another, through a port of its own."""

    source: int
    port: int
    target: int


def delivery(chips: int, owner: int, wanted: Collection[int], turn: int = 0) -> list[Hop]:
    """Hops in order: each begins where the block is already. The shorter way round, both at once; the chip opposite is
    reached by either, by ``turn``, so that blocks in turn use both."""
    far = {NEXT: 0, PREVIOUS: 0}
    for chip in wanted:
        ahead = (chip - owner) % chips
        behind = chips - ahead
        port = NEXT if ahead < behind or (ahead == behind and (chips == 2 or turn % 2 == 0)) else PREVIOUS
        far[port] = max(far[port], min(ahead, behind))
    hops = []
    for port, distance in far.items():
        at = owner
        for _ in range(distance):
            there, _ = partner(chips, at, port)
            hops.append(Hop(at, port, there))
            at = there
    return hops


def reduction(chips: int, owner: int) -> list[Hop]:
    """Hops of partial sums that end at the owner, beginning with the chip after it."""
    path = [(owner + 1 + i) % chips for i in range(chips)]
    return [Hop(a, NEXT, b) for a, b in pairwise(path)]


def distance(chips: int, a: int, b: int) -> int:
    """Hops between two chips."""
    return min((a - b) % chips, (b - a) % chips)
