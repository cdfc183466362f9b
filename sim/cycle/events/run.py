"""The chip and its memory, event by event."""

from ..compiled import entry_point, inner
from ..front import TAKE
from ..load import load_idle
from ..machine import FINISHED, UNKNOWN, begin
from ..state import FETCH, RESIDUAL, WEIGHTS
from ..store import store_idle
from . import agenda
from .agenda import COMPUTE, FRONT, LOAD, NEVER, READS, STORE
from .compute import clock_compute, rests, show_compute
from .front import clock_front, show_front
from .load import clock_load, show_load
from .reads import clock_reads
from .store import clock_store_queue, show_store
from .weights import weights


@inner
def prepare(s, k, p):
    begin(s, k, p)
    s.agenda.when[:] = NEVER
    s.agenda.when[READS] = 0
    s.bus.shown[:] = NEVER
    s.words.burst[FETCH] = k.fetch_bursts
    s.words.burst[WEIGHTS] = k.weights_bursts
    s.words.burst[RESIDUAL] = k.residual_bursts
    s.taking.full[:] = NEVER
    s.account.busy = -1
    s.account.burst = k.load_bursts


@inner
def end(s):
    """The first cycle in which all parts are idle; -1 if one is not and never will be."""
    q = s.queues.level
    if (s.fetch.left != 0 or s.decode.state != TAKE or q[0] or q[1] or q[2] or not load_idle(s)
            or s.weights.expected != 0 or not rests(s) or s.walk.state != 0 or not store_idle(s)):
        return -1
    d = s.idle
    return max(max(d.front, d.load, d.weights), max(d.compute, d.store))


@entry_point
def run(states, words, k, p, arrival):
    """Runs the program from reset in state 0; state 1 is for :mod:`.store`. ``words`` are the same states as whole
    numbers, ``k`` constants and ``p`` tables of a :class:`~sim.cycle.plan.Plan`, and ``arrival`` has room for a time of
    each burst and transfer. UNKNOWN if the program does not end well, or only cycles tell."""
    s = states[0]
    prepare(s, k, p)
    when = s.agenda.when
    while True:
        now = min(min(when[0], when[1], when[2]), min(when[3], when[4], when[5]))
        if now == NEVER:
            break
        s.control.cycle = now
        if when[agenda.WEIGHTS] == now and not weights(s, k, p, arrival):
            return UNKNOWN
        front, loads, computes = when[FRONT] == now, when[LOAD] == now, when[COMPUTE] == now
        stores = when[STORE] == now
        if front:
            show_front(s, k, p, arrival)
        if loads:
            show_load(s, k, p, arrival)
        if computes:
            show_compute(s, k, p)
        if when[READS] == now:
            when[READS] = NEVER
            clock_reads(s, k, p, arrival)
        if stores:
            show_store(s, k, p, arrival)
        if front:
            when[FRONT] = NEVER
        if loads:
            when[LOAD] = NEVER
        if computes:
            when[COMPUTE] = NEVER
        if stores:
            when[STORE] = NEVER
        if front:
            clock_front(s, k, p, arrival)
        if loads:
            clock_load(s, k, p, arrival)
        if computes:
            clock_compute(s, k, p)
        if stores:
            clock_store_queue(states, words, k, p, arrival)
        if s.tokens.overflow:
            return UNKNOWN
    last = end(s)
    if last < 0:
        return UNKNOWN
    s.counters[0] = last + 1
    return FINISHED
