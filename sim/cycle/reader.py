"""DMA: ``hdl.ipu.burst``, ``hdl.ipu.reader`` and ``hdl.axi.arbiter``."""

from .compiled import inner
from .state import FETCH, LOAD, MEMORY_OUTSTANDING, READERS, RESIDUAL, WEIGHTS

CHANNELS = len(READERS)


@inner
def clock_fifo(f, written, r_en):
    """A ``SyncFIFOBuffered``: ``inner`` words behind the one that is ``ready``."""
    moves = f.inner != 0 and (not f.ready or r_en)
    f.inner += written - moves
    if moves:
        f.ready = 1
    elif r_en:
        f.ready = 0


@inner
def runs_ready(f, k, p, asked):
    """Whether a splitter takes a run."""
    return not f.running or ((not f.valid or asked) and p[k.burst_last + f.split])


@inner
def clock_splitter(f, asked, run_valid, run_ready):
    if not f.valid or asked:
        f.valid = f.checking
        f.checking = f.running
        f.split += f.running
    f.burst += asked
    if run_ready:
        f.running = run_valid


@inner
def splitter_idle(f):
    return not f.running and not f.checking and not f.valid


@inner
def shown(r, k, p, depth):
    """Whether a reader shows an address."""
    return r.waiting or (r.valid and r.in_flight != k.outstanding
                         and (depth == 0 or r.room >= p[k.burst_beats + r.burst]))


@inner
def arbitrate(s, k, p):
    """Addresses that are shown, the one that is chosen, and whether memory takes it."""
    w, arbiter, m = s.wires, s.arbiter, s.reads
    w.show[FETCH] = shown(s.fetch_reader, k, p, 1)
    w.show[WEIGHTS] = shown(s.weights_reader, k, p, 1)
    w.show[LOAD] = shown(s.load_reader, k, p, 0)
    w.show[RESIDUAL] = shown(s.residual_reader, k, p, 1)
    choice = arbiter.last
    if not arbiter.waiting and (w.show[0] or w.show[1] or w.show[2] or w.show[3]):
        choice = (arbiter.last + 1) % CHANNELS
        while not w.show[choice]:
            choice = (choice + 1) % CHANNELS
    w.chosen = choice
    w.ar = w.show[choice] and m.ar_late == 0 and m.ar_tail - m.ar_head != MEMORY_OUTSTANDING
    ask(s.fetch_reader, w, k, p, FETCH)
    ask(s.weights_reader, w, k, p, WEIGHTS)
    ask(s.load_reader, w, k, p, LOAD)
    ask(s.residual_reader, w, k, p, RESIDUAL)


@inner
def ask(r, w, k, p, channel):
    """Whether a reader's address is taken, and whether it takes a run."""
    w.asked[channel] = w.ar and w.chosen == channel
    if w.asked[channel]:
        w.ar_beats = p[k.burst_beats + r.burst]
    w.runs_ready[channel] = runs_ready(r, k, p, w.asked[channel])


@inner
def clock_arbiter(s):
    w, arbiter = s.wires, s.arbiter
    arbiter.waiting = w.show[w.chosen] and not w.ar
    if w.show[w.chosen]:
        arbiter.last = w.chosen


@inner
def clock_reader(r, s, k, p, c, r_en):
    """``r_en`` takes a word from the FIFO."""
    w, m = s.wires, s.reads
    beat = m.valid and m.id == c
    asked = w.asked[c]
    if not (beat or asked or w.show[c] or r.running or r.checking or w.runs_valid[c] or (r.ready and r_en)
            or (r.inner and not r.ready)):
        return  # nothing moves
    r.in_flight += asked - (beat and m.last)
    r.waiting = w.show[c] and not asked
    clock_splitter(r, asked, w.runs_valid[c], w.runs_ready[c])
    if c != LOAD:
        r.room += (r.ready and r_en) - (w.ar_beats if asked else 0)
        clock_fifo(r, beat, r_en)
