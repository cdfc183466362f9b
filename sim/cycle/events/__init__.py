"""The same machine from event to event, for a memory that is never late.

Each part of the chip is evaluated only in cycles in which it does more than count. In between nothing gets in or out of
it but by an event of another part, which wakes it; and what it counts until then is known. So the order of events, and
with it every counter, is that of :mod:`sim.cycle.machine`, with whose functions a part is evaluated where that is not
slower.

What makes it fast is that a memory that is never late answers a burst at a time that is known when it takes the
address: one event stands for all its words (:mod:`.reads`, :mod:`.weights`). The array's planes and the rows of a store
repeat, and are gone through many at a time (:mod:`.compute`, :mod:`.store`).
"""

from .run import run

__all__ = ["run"]
