"""DMA reads: splitters, arbiter, and the memory's answers.

The memory answers bursts in the order in which it takes them, one word per cycle, the first one ``read_latency`` cycles
after its address or right behind the burst before: ``arrival`` of a burst is the cycle of its first word. So it is
known for all bursts asked for how many are in flight at any time, and when a FIFO has words to give.
"""

from ..compiled import inner
from ..load import DESCRIPTORS, ROWS, WEIGHTS_STATE, clock_run
from ..reader import CHANNELS, clock_splitter, runs_ready
from ..state import FETCH, LOAD, RESIDUAL, WEIGHTS
from ..store import RESIDUAL_ROWS
from . import agenda
from .account import busy, classify, word_cycles
from .agenda import NEVER, wake


@inner
def word_ready(s, r, c, arrival):
    """The cycle from which a channel's FIFO shows its next word, had the one before been taken."""
    f = s.words
    return arrival[f.burst[c]] + f.beat[c] + 2 if f.burst[c] != r.burst else NEVER


@inner
def take_words(s, k, p, c, count):
    """Takes words of one burst from a channel's FIFO."""
    f = s.words
    f.beat[c] += count
    if f.beat[c] == p[k.burst_beats + f.burst[c]]:
        f.beat[c] = 0
        f.burst[c] += 1


@inner
def shown_from(s, r, c, first, k, p, arrival):
    """The cycle from which a reader shows the address of its next burst, as far as is known."""
    if not r.valid:
        return NEVER
    cycle = 0
    oldest = r.burst - k.outstanding  # no more than so many are in flight
    if oldest >= first:
        cycle = arrival[oldest] + p[k.burst_beats + oldest]
    if c != LOAD:
        missing = p[k.burst_beats + r.burst] - r.room
        if missing > 0:
            taken = s.taking
            if c != WEIGHTS or missing > taken.words:
                return NEVER
            cycle = max(cycle, taken.begin + missing)
    return cycle


@inner
def show_again(s, k, p, arrival, c):
    """After a reader's FIFO has got room."""
    if c == FETCH:
        s.bus.shown[c] = shown_from(s, s.fetch_reader, c, k.fetch_bursts, k, p, arrival)
    elif c == WEIGHTS:
        s.bus.shown[c] = shown_from(s, s.weights_reader, c, k.weights_bursts, k, p, arrival)
    else:
        s.bus.shown[c] = shown_from(s, s.residual_reader, c, k.residual_bursts, k, p, arrival)
    if s.bus.shown[c] != NEVER:
        wake(s, agenda.READS, max(s.bus.shown[c], s.control.cycle + 1))


@inner
def answer(s, k, p, c, burst, arrival):
    """The memory takes the address of a burst."""
    beats = p[k.burst_beats + burst]
    first = max(s.control.cycle + max(k.read_latency, 2), s.bus.free)
    arrival[burst] = first
    s.bus.free = first + beats
    s.counters[3] += beats
    if c == LOAD:
        f = s.load
        word_cycles(s, beats)
        f.words_left -= beats
        if f.words_left == 0:
            arrival[k.transfer_arrival + f.transfer] = first + beats - 1
            f.transfer += 1
            f.words_left = p[k.transfer_words + f.transfer]
            wake(s, agenda.LOAD, first + beats)
    elif c == WEIGHTS:
        wake(s, agenda.WEIGHTS, first + 2)
    elif c == FETCH:
        wake(s, agenda.FRONT, first + 2)


@inner
def clock_channel(s, r, c, first, run_valid, chosen, k, p, arrival):
    """A reader; returns when it does something next."""
    asked = chosen == c
    if not (asked or run_valid or r.running or r.checking):
        return NEVER if not r.valid else s.bus.shown[c]
    ready = runs_ready(r, k, p, asked)
    s.wires.runs_ready[c] = ready
    if asked:
        if c != LOAD:
            r.room -= p[k.burst_beats + r.burst]
        answer(s, k, p, c, r.burst, arrival)
    if asked or not r.valid:
        clock_splitter(r, asked, run_valid, ready)
        s.bus.shown[c] = shown_from(s, r, c, first, k, p, arrival)
    elif ready:
        r.running = run_valid
    if ready and run_valid:
        if c == FETCH:
            s.fetch.request = 0
        elif c != RESIDUAL:
            busy(s, k, p, arrival)
            s.weights.expected += c == WEIGHTS
            clock_run(s)
            if s.load.state != ROWS:
                s.queues.level[0] -= 1
                s.queues.head[0] += 1
                wake(s, agenda.LOAD, s.control.cycle + 1)
                wake(s, agenda.FRONT, s.control.cycle + 1)
            classify(s)
    return 0 if not r.valid and (r.running or r.checking) else s.bus.shown[c]


@inner
def clock_reads(s, k, p, arrival):
    """Everything in one cycle."""
    now, shown, last = s.control.cycle, s.bus.shown, s.arbiter.last
    chosen = -1
    for i in range(1, CHANNELS + 1):
        c = (last + i) % CHANNELS
        if shown[c] <= now:
            chosen = c
            s.arbiter.last = c
            break
    f, g = s.load, s.residual
    weights_run = f.state == WEIGHTS_STATE and s.weights.expected != DESCRIPTORS
    rows_run = f.state == ROWS
    residual_run = g.active and g.rows != RESIDUAL_ROWS
    others = min(
        clock_channel(s, s.fetch_reader, FETCH, k.fetch_bursts, s.fetch.request, chosen, k, p, arrival),
        clock_channel(s, s.weights_reader, WEIGHTS, k.weights_bursts, weights_run, chosen, k, p, arrival),
        clock_channel(s, s.residual_reader, RESIDUAL, k.residual_bursts, residual_run, chosen, k, p, arrival))
    rows = clock_channel(s, s.load_reader, LOAD, k.load_bursts, rows_run, chosen, k, p, arrival)
    r = s.load_reader
    if chosen == LOAD and f.state == ROWS and r.valid and r.checking and r.running:
        rows = ask_rows(s, k, p, arrival, others)
    s.agenda.when[agenda.READS] = max(min(others, rows), now + 1)


@inner
def ask_rows(s, k, p, arrival, others):
    """What :func:`clock_reads` does with rows of one burst each until another reader or part does something, while the
    splitter is full. Returns when the next address is shown."""
    r, f, when = s.load_reader, s.load, s.agenda.when
    for part in (agenda.FRONT, agenda.WEIGHTS, agenda.COMPUTE, agenda.STORE):
        others = min(others, when[part])
    after = max(s.bus.shown[LOAD], s.control.cycle + 1)
    while f.runs_left > 1 and p[k.burst_last + r.split] and after < min(others, when[agenda.LOAD]):
        s.control.cycle = after
        busy(s, k, p, arrival)
        answer(s, k, p, LOAD, r.burst, arrival)
        f.runs_left -= 1
        r.split += 1
        r.burst += 1
        s.bus.shown[LOAD] = shown_from(s, r, LOAD, k.load_bursts, k, p, arrival)
        after = max(s.bus.shown[LOAD], s.control.cycle + 1)
    return after
