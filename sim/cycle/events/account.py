"""Counters of the load queue.

In each cycle one of them counts: LOAD_BUSY if anything gets on, else the one that the queue's registers choose. Here
the latter counts from each change of these registers to the next one, and cycles in which something gets on are moved.
"""

from ..compiled import inner
from ..load import WAIT, WEIGHTS_STATE

BUSY, TOKEN, MEMORY, BUFFER = 5, 6, 7, 8
NOTHING = 0


@inner
def classify(s):
    """After registers have changed."""
    f, a = s.load, s.account
    counts = NOTHING
    if f.started != 0:
        counts = MEMORY
    elif f.state == WAIT:
        if s.queues.level[0] != 0:
            counts = TOKEN
    elif f.state == WEIGHTS_STATE:
        counts = BUFFER
    if counts != a.counts:
        now = s.control.cycle + 1
        if a.counts != NOTHING:
            s.counters[a.counts] += now - a.since
        a.counts = counts
        a.since = now


@inner
def word_cycles(s, words):
    """Words will come, each in a cycle of its own; until then their instruction waits for them."""
    s.counters[BUSY] += words
    s.counters[MEMORY] -= words


@inner
def busy(s, k, p, arrival):
    """Something else gets on in this cycle."""
    a, now = s.account, s.control.cycle
    if a.busy == now:
        return
    a.busy = now
    while a.burst != s.load_reader.burst and arrival[a.burst] + p[k.burst_beats + a.burst] <= now:
        a.burst += 1
    if a.burst == s.load_reader.burst or arrival[a.burst] > now:  # no word comes in this cycle
        s.counters[BUSY] += 1
        if a.counts != NOTHING:
            s.counters[a.counts] -= 1
