"""The store queue: instructions, residuals and the writer.

Evaluated cycle by cycle while anything moves, but for rows that are like those before them: if the state after a row is
that after the row before, but for what counts rows, bursts and cycles, and so is what the plan says of the rows and
bursts that follow, then the next row does what the last one did.
"""

import numpy as np

from ..compiled import inner
from ..front import give, granted, take
from ..memory import clock_writes
from ..reader import splitter_idle
from ..state import MEMORY_OUTSTANDING, RESIDUAL, places
from ..store import clock_residual, clock_store, clock_writer, residual, store, store_idle, writer
from . import agenda
from .agenda import NEVER, wake, wake_queues
from .reads import show_again, take_words, word_ready

WRITE_BEATS = 4
STORE_COUNTERS = BUSY, TOKEN, MEMORY = 12, 13, 14
NOTHING = 0

_COUNTING = places("store.row", "store.rows_left", "writer.split", "writer.burst", "writer.sent", "writer.answered",
                   "writes.b_head", "writes.b_tail", "writes.aw_count", "writes.w_count", "writes.b_count",
                   "writes.w_beat")
_COUNTERS = {min(places("counters")) + counter for counter in (WRITE_BEATS, *STORE_COUNTERS)}
#: Words of a state that must be as after the row before, and those that go on as from that row to this one.
STILL = np.array(sorted(places("store", "writer", "writes") - _COUNTING))
GOING_ON = np.array(sorted(_COUNTING | _COUNTERS))


@inner
def alike(p, table, first, end, step, most):
    """Periods for which entries from ``first`` on are as those ``step`` before; ``end`` is the last one that is looked
    at now."""
    i = first
    while i <= end + most * step:
        if p[table + i] != p[table + i - step]:
            return max(0, (i - end - 1) // step)
        i += 1
    return most


@inner
def rows_alike(s, b, k, p, period):
    """How many of the next rows go by as the last one; words of :data:`STILL` are equal."""
    f, o, m, n, ring = s.writer, b.writer, s.writes, b.writes, s.rings
    step = f.split - o.split
    if step <= 0 or step != f.burst - o.burst or step != f.sent - o.sent or step != f.answered - o.answered:
        return 0
    count = m.b_tail - m.b_head
    if count != n.b_tail - n.b_head or m.b_tail - n.b_head > MEMORY_OUTSTANDING:
        return 0
    for i in range(count):
        if (ring.b_time[(m.b_head + i) % MEMORY_OUTSTANDING]
                != ring.b_time[(n.b_head + i) % MEMORY_OUTSTANDING] + period):
            return 0
    most = alike(p, k.row_offset, s.store.row, s.store.row, 1, s.store.rows_left - 1)
    most = alike(p, k.burst_beats, f.answered, f.split, step, most)
    most = alike(p, k.burst_last, f.answered, f.split, step, most)
    return alike(p, k.burst_signal, f.answered, f.split, step, most)


@inner
def same(words):
    for i in STILL:  # noqa: SIM110 - numba compiles no generators here
        if words[0, i] != words[1, i]:
            return False
    return True


@inner
def skip_rows(states, words, k, p):
    """After a row: goes on by all rows that go by as it did. Returns by how many cycles."""
    s, b = states[0], states[1]
    period = s.control.cycle - b.control.cycle
    rows = 0
    if same(words):
        rows = rows_alike(s, b, k, p, period)
    if rows != 0:
        ring, m = s.rings, s.writes
        step = m.b_tail - b.writes.b_tail
        for i in range(m.b_tail, m.b_tail + rows * step):
            ring.b_time[i % MEMORY_OUTSTANDING] = ring.b_time[(i - step) % MEMORY_OUTSTANDING] + period
        for i in GOING_ON:
            words[0, i] += rows * (words[0, i] - words[1, i])
    b.control.cycle = s.control.cycle + rows * period
    for i in STILL:
        words[1, i] = words[0, i]
    for i in GOING_ON:
        words[1, i] = words[0, i]
    return rows * period


@inner
def rests(s):
    """Whether nothing moves until an instruction starts."""
    f, g, h, m = s.store, s.residual, s.writer, s.writes
    return not (f.walking or f.valid_pipe or f.in_use[0] or f.in_use[1] or f.runs or not splitter_idle(h)
                or h.answers or h.signal or m.b_valid or m.b_head != m.b_tail
                or g.active or g.rows or g.geared or g.valid)


@inner
def show_store(s, k, p, arrival):
    c, now = s.stored, s.control.cycle
    if c.counts != NOTHING:
        s.counters[c.counts] += now - c.until
    s.residual_reader.ready = word_ready(s, s.residual_reader, RESIDUAL, arrival) <= now
    writer(s, k, p)
    store(s, k, p)
    residual(s, k)
    s.counters[WRITE_BEATS] += s.wires.w


@inner
def clock_store_queue(states, words, k, p, arrival):
    s = states[0]
    f, g, w, q, c, now = s.store, s.residual, s.wires, s.queues, s.stored, s.control.cycle
    if w.store_start:
        take(s, 2, p[k.store_wait + q.head[2]])
    signal = s.writer.signal
    if w.done:
        give(s, 2, p[k.store_release + f.released])
        wake_queues(s, p[k.store_release + f.released], now + 1)
    if signal:
        give(s, 2, signal)
        wake_queues(s, signal, now + 1)
    clock_residual(s, k, p)
    clock_writer(s, k, p)
    clock_store(s, k, p)
    if w.gear_taken:
        s.residual_reader.room += 1
        take_words(s, k, p, RESIDUAL, 1)
        show_again(s, k, p, arrival, RESIDUAL)
    if w.store_start:
        q.level[2] -= 1
        q.head[2] += 1
        wake(s, agenda.FRONT, now + 1)
    clock_writes(s, k)
    if g.active:
        wake(s, agenda.READS, now + 1)
    c.until = now + 1
    c.counts = NOTHING
    after = now + 1
    if not store_idle(s):
        s.idle.store = now + 2
    if w.row_end and f.walking and not w.store_start and not p[k.store_residual + f.instruction]:
        after += skip_rows(states, words, k, p)
        s.agenda.done[agenda.STORE] = after
    elif rests(s):
        if q.level[2] != 0:
            if not granted(s, 2, p[k.store_wait + q.head[2]]):
                after = NEVER
                c.counts = TOKEN
        else:
            after = NEVER
    s.agenda.when[agenda.STORE] = after
