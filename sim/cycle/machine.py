"""The chip and its memory, cycle by cycle."""

from .compiled import entry_point, inner
from .compute import clock_array, clock_banks, clock_gather, clock_issue, clock_walk, compute_idle, issue, walk
from .front import TAKE, clock_decode, clock_fetch, clock_queues, clock_tokens, fetch
from .load import clock_load, clock_loader, clock_weights, load, load_idle, weights, weights_idle
from .memory import clock_reads, clock_writes
from .reader import clock_arbiter, clock_reader, show
from .state import FETCH, LOAD, RESIDUAL, WEIGHTS, WRITE
from .store import clock_residual, clock_store, clock_writer, residual, store, store_idle, writer

#: Why :func:`run` ends.
FINISHED, STUCK, TOKEN_OVERFLOW = range(3)


@inner
def begin(s, k, p):
    """The first cycle of RUN in :mod:`hdl.ipu.control`."""
    s.fetch[0].request = k.count != 0
    s.fetch[0].left = k.count
    for c in range(len(s.readers)):
        r = s.readers[c]
        r.split = r.burst = p.first_burst[c]
        r.room = k.depth[c]
    f = s.writer[0]
    f.split = f.burst = f.sent = f.answered = p.first_burst[WRITE]
    s.load[0].words_left = p.transfer_words[0]
    s.store[0].row_start = 1


@inner
def show_all(s, k, p):
    """Wires, and counters."""
    show(s, k, p)
    fetch(s, k, p)
    load(s, p)
    weights(s, p)
    walk(s, p)
    issue(s, k, p)
    writer(s, p)
    store(s, k, p)
    residual(s, k)
    m = s.reads[0]
    s.counters[0] += 1
    s.counters[3] += m.valid
    s.counters[4] += s.wires[0].w


@inner
def finished(s):
    return (s.fetch[0].left == 0 and s.decode[0].state == TAKE and load_idle(s) and weights_idle(s)
            and compute_idle(s) and store_idle(s))


@inner
def progress(s):
    w = s.wires[0]
    return ((w.chosen_valid and w.arready) or s.reads[0].valid or w.aw or w.w or s.writes[0].b_valid or w.record_taken
            or w.weight_taken or s.issue[0].valid)


@inner
def clock(s, k, p):
    """Every register, each after those that are read before it changes."""
    w, c = s.wires[0], s.control[0]
    c.idle_cycles = 0 if progress(s) else c.idle_cycles + 1
    clock_tokens(s, p)
    clock_array(s, k)
    clock_issue(s)
    clock_gather(s, p)
    clock_walk(s, p)
    clock_residual(s, k, p)
    clock_writer(s, p)
    clock_store(s, k, p)
    clock_reader(s, p, FETCH, w.fetch_word)
    clock_reader(s, p, WEIGHTS, w.weight_taken)
    clock_reader(s, p, LOAD, 1)
    clock_reader(s, p, RESIDUAL, w.gear_taken)
    clock_load(s, p)
    clock_weights(s, p)
    clock_banks(s, k)
    clock_loader(s, k)
    clock_queues(s, p)
    clock_fetch(s)
    clock_decode(s)
    clock_reads(s, k)
    clock_writes(s, k)
    clock_arbiter(s)
    c.cycle += 1


@entry_point
def run(s, k, p):
    begin(s, k, p)
    while True:
        show_all(s, k, p)
        if finished(s):
            return FINISHED
        clock(s, k, p)
        if s.tokens[0].overflow:
            return TOKEN_OVERFLOW
        if s.control[0].idle_cycles >= k.watchdog:
            return STUCK
