"""The chip and its memory, cycle by cycle."""

from .compiled import entry_point, inner
from .compute import clock_array, clock_banks, clock_gather, clock_issue, clock_walk, compute_idle, issue, walk
from .front import TAKE, clock_decode, clock_fetch, clock_queues, clock_tokens, fetch
from .load import clock_load, clock_loader, clock_weights, load, load_idle, weights, weights_idle
from .memory import clock_reads, clock_writes
from .reader import arbitrate, clock_arbiter, clock_reader
from .state import FETCH, LOAD, RESIDUAL, WEIGHTS
from .store import clock_residual, clock_store, clock_writer, residual, store, store_idle, writer

#: Why :func:`run` ends.
FINISHED, STUCK, TOKEN_OVERFLOW, UNKNOWN = range(4)


@inner
def begin(s, k, p):
    """The first cycle of RUN in :mod:`hdl.ipu.control`."""
    s.fetch.request = k.count != 0
    s.fetch.left = k.count
    begin_reader(s.fetch_reader, k.fetch_bursts, k.fetch_depth)
    begin_reader(s.weights_reader, k.weights_bursts, k.weights_depth)
    begin_reader(s.load_reader, k.load_bursts, 0)
    begin_reader(s.residual_reader, k.residual_bursts, k.residual_depth)
    f = s.writer
    f.split = f.burst = f.sent = f.answered = k.write_bursts
    s.load.words_left = p[k.transfer_words + 0]
    s.store.row_start = 1


@inner
def begin_reader(r, first_burst, depth):
    r.split = r.burst = first_burst
    r.room = depth


@inner
def show_all(s, k, p):
    """Wires, and counters."""
    arbitrate(s, k, p)
    fetch(s, k, p)
    load(s, k, p)
    weights(s, k, p)
    walk(s, k, p)
    issue(s, k, p)
    writer(s, k, p)
    store(s, k, p)
    residual(s, k)
    m = s.reads
    s.counters[0] += 1
    s.counters[3] += m.valid
    s.counters[4] += s.wires.w


@inner
def finished(s):
    return (s.fetch.left == 0 and s.decode.state == TAKE and load_idle(s) and weights_idle(s)
            and compute_idle(s) and store_idle(s))


@inner
def progress(s):
    w = s.wires
    return (w.ar or s.reads.valid or w.aw or w.w or s.writes.b_valid or w.record_taken
            or w.weight_taken or s.issue.valid)


@inner
def clock(s, k, p):
    """Every register, each after those that are read before it changes."""
    w, c = s.wires, s.control
    c.idle_cycles = 0 if progress(s) else c.idle_cycles + 1
    clock_tokens(s, k, p)
    clock_array(s, k)
    clock_issue(s)
    clock_gather(s, k, p)
    clock_walk(s, k, p)
    clock_residual(s, k, p)
    clock_writer(s, k, p)
    clock_store(s, k, p)
    clock_reader(s.fetch_reader, s, k, p, FETCH, w.fetch_word)
    clock_reader(s.weights_reader, s, k, p, WEIGHTS, w.weight_taken)
    clock_reader(s.load_reader, s, k, p, LOAD, 1)
    clock_reader(s.residual_reader, s, k, p, RESIDUAL, w.gear_taken)
    clock_load(s, k, p)
    clock_weights(s, k, p)
    clock_banks(s, k)
    clock_loader(s, k)
    clock_queues(s, k, p)
    clock_fetch(s)
    clock_decode(s)
    clock_reads(s, k)
    clock_writes(s, k)
    clock_arbiter(s)
    c.cycle += 1


@entry_point
def run(states, k, p):
    """Runs the program from reset in state 0. ``k`` are constants and ``p`` tables of a
    :class:`~sim.cycle.plan.Plan`."""
    s = states[0]
    begin(s, k, p)
    while True:
        show_all(s, k, p)
        if finished(s):
            return FINISHED
        clock(s, k, p)
        if s.tokens.overflow:
            return TOKEN_OVERFLOW
        if s.control.idle_cycles >= k.watchdog:
            return STUCK
