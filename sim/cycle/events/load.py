"""The load queue: instructions that start and complete. :mod:`.reads` asks for their runs."""

from ..compiled import inner
from ..front import give, granted, take
from ..load import clock_start, completes, starts
from . import agenda
from .account import busy, classify
from .agenda import NEVER, wake, wake_queues


@inner
def received_from(s, k, p, arrival):
    """The cycle from which the oldest transfer has been received, as far as is known."""
    f, a = s.load, s.account
    return arrival[k.transfer_arrival + a.claimed] + 1 if a.claimed != f.transfer else NEVER


@inner
def got(s, k, p):
    return s.queues.level[0] != 0 and granted(s, 0, p[k.load_wait + s.queues.head[0]])


@inner
def show_load(s, k, p, arrival):
    f, w = s.load, s.wires
    f.received = received_from(s, k, p, arrival) <= s.control.cycle
    w.load_start = starts(s, got(s, k, p))
    w.load_complete = completes(s, k, p)
    if w.load_start or w.load_complete:
        busy(s, k, p, arrival)


@inner
def clock_load(s, k, p, arrival):
    f, w, a, now = s.load, s.wires, s.account, s.control.cycle
    if w.load_start:
        take(s, 0, p[k.load_wait + s.queues.head[0]])
        clock_start(s, k, p)
        wake(s, agenda.READS, now + 1)
    if w.load_complete:
        signal = p[k.load_signal + f.oldest]
        give(s, 0, signal)
        wake_queues(s, signal, now + 1)
        a.claimed += not p[k.load_is_weights + f.oldest]
        f.started -= 1
        f.oldest += 1
        s.idle.load = now + 1
    classify(s)
    after = NEVER
    if starts(s, got(s, k, p)):
        after = 0
    elif f.started != 0:
        after = 0 if p[k.load_is_weights + f.oldest] else received_from(s, k, p, arrival)
    s.agenda.when[agenda.LOAD] = max(after, now + 1)
