"""The compute queue.

While the array issues planes of vectors that are alike, it gives nothing to the rest of the chip and takes nothing from
it. Its state after any number of such cycles is known.
"""

from ..compiled import inner
from ..compute import (
    BANK,
    LAST,
    PLANES,
    STEP,
    VALID,
    WAIT,
    WALK,
    clock_array,
    clock_banks,
    clock_gather,
    clock_issue,
    clock_walk,
    compute_idle,
    issue,
    walk,
)
from ..front import give, granted, take
from . import agenda
from .agenda import NEVER, wake, wake_queues

BUSY, TOKEN, MEMORY = 9, 10, 11
NOTHING = 0


@inner
def plain(bank, planes):
    """The word of a vector in the middle of a step."""
    return VALID | LAST | (BANK if bank else 0) | planes << PLANES


@inner
def hands_on(s, k, p):
    """Whether the walk is in the middle of a step whose lines are one piece each."""
    f = s.walk
    return f.state == WALK and not f.opens and f.vectors_left >= 2 and p[k.pieces + f.line] == 1


@inner
def accepts(s, k, p):
    """How many of the next vectors are like the one that is being issued, and have another one right behind them."""
    f, g, i = s.walk, s.gather, s.issue
    same = plain(i.bank, i.planes)
    hands = hands_on(s, k, p)
    if f.state == WALK and not hands:
        return 0
    if g.line != same or not g.merging & LAST:
        return 0
    if g.merging != same or not g.reading & LAST:
        most = 1
    elif g.reading != same or not g.piece & LAST:
        most = 2
    elif g.piece != same or not hands or plain(f.bank, f.planes) != same:
        most = 3
    else:
        return f.vectors_left - 1
    return min(most, f.vectors_left - 1) if hands else most


@inner
def got(s, k, p):
    return s.queues.level[1] != 0 and granted(s, 1, p[k.gemm_wait + s.queues.head[1]])


@inner
def streaming(s, k, p):
    """Cycles for which the array only issues planes of vectors that are alike; 0 if something else happens next."""
    f, g, i = s.walk, s.gather, s.issue
    if not i.valid or i.target_final or s.array.finals or (f.state == WALK and f.silent):
        return 0
    if f.state == STEP and s.banks.full[s.banks.step & 1]:
        return 0
    if f.state == WAIT and got(s, k, p):
        return 0
    if g.line == 0 and (f.state == WALK or g.piece or g.reading or g.merging):
        return 0
    planes = max(1, i.planes)
    if i.closes or i.final:
        return max(0, planes - 2 - i.plane)
    return planes - 1 - i.plane + planes * accepts(s, k, p)


@inner
def stream(s, k, p, cycles):
    """Goes on by so many cycles, at most as many as :func:`streaming` says."""
    f, g, i = s.walk, s.gather, s.issue
    planes = max(1, i.planes)
    accepted = (i.plane + cycles) // planes
    i.plane = (i.plane + cycles) % planes
    i.last = i.plane == planes - 1
    behind = plain(f.bank, f.planes) if f.state == WALK else 0
    for _ in range(min(4, accepted)):
        g.line, g.merging, g.reading, g.piece = g.merging, g.reading, g.piece, behind
    if f.state == WALK:
        f.vectors_left -= accepted
    s.counters[1] += cycles * i.multiplies
    s.counters[BUSY] += cycles


@inner
def rests(s):
    """Whether nothing is in the array; :attr:`in_flight` may count down."""
    g, i, a = s.gather, s.issue, s.array
    return not (s.walk.state == WALK or i.valid or i.target_final or a.finals
                or g.piece or g.reading or g.merging or g.line)


@inner
def show_compute(s, k, p):
    """Goes on to this cycle."""
    c = s.computed
    cycles = s.control.cycle - c.until
    if cycles > 0:
        if s.issue.valid:
            stream(s, k, p, cycles)
        else:
            s.array.in_flight = max(0, s.array.in_flight - cycles)
            if c.counts != NOTHING:
                s.counters[c.counts] += cycles
    walk(s, k, p)
    issue(s, k, p)


@inner
def clock_compute(s, k, p):
    w, f, q, c, now = s.wires, s.walk, s.queues, s.computed, s.control.cycle
    if w.compute_take:
        take(s, 1, p[k.gemm_wait + q.head[1]])
    if w.retired:
        signal = p[k.gemm_signal + s.array.retired]
        give(s, 1, signal)
        wake_queues(s, signal, now + 1)
    clock_array(s, k)
    clock_issue(s)
    clock_gather(s, k, p)
    clock_walk(s, k, p)
    clock_banks(s, k)
    if w.compute_pop:
        q.level[1] -= 1
        q.head[1] += 1
        wake(s, agenda.FRONT, now + 1)
    if w.take or w.release_bank or w.start_bank:
        wake(s, agenda.WEIGHTS, now + 1)
    c.until = now + 1
    c.counts = NOTHING
    if not compute_idle(s):
        s.idle.compute = now + 1 + max(1, s.array.in_flight)
    after = now + 1
    if s.issue.valid:
        after += streaming(s, k, p)
    elif rests(s):
        if f.state == WAIT:
            if not got(s, k, p):
                after = NEVER
            if q.level[1] != 0:
                c.counts = TOKEN
        elif not s.banks.full[s.banks.step & 1]:
            after = NEVER
            c.counts = MEMORY
    s.agenda.when[agenda.COMPUTE] = after
