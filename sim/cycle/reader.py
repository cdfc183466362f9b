"""DMA: ``hdl.ipu.burst``, ``hdl.ipu.reader`` and ``hdl.axi.arbiter``."""

from .compiled import inner
from .state import LOAD, MEMORY_OUTSTANDING, READERS

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
def runs_ready(f, p, asked):
    """Whether a splitter takes a run."""
    return not f.running or ((not f.valid or asked) and p.burst_last[f.split])


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
def show(s, k, p):
    """Addresses that are shown, the one that is chosen, and whether memory takes it."""
    w, arbiter, m = s.wires[0], s.arbiter[0], s.reads[0]
    any_shown = False
    for c in range(CHANNELS):
        r = s.readers[c]
        shown = r.waiting != 0
        if r.valid and not shown:
            shown = r.in_flight != k.outstanding and (c == LOAD or r.room >= p.burst_beats[r.burst])
        w.show[c] = shown
        w.asked[c] = 0
        any_shown |= shown
    choice = arbiter.last
    if any_shown and not arbiter.waiting:
        choice = (arbiter.last + 1) % CHANNELS
        while not w.show[choice]:
            choice = (choice + 1) % CHANNELS
    w.arready = m.ar_late == 0 and m.ar_tail - m.ar_head != MEMORY_OUTSTANDING
    w.chosen = choice
    w.chosen_valid = w.show[choice]
    w.asked[choice] = w.chosen_valid and w.arready
    if w.chosen_valid:
        w.chosen_beats = p.burst_beats[s.readers[choice].burst]
    for c in range(CHANNELS):
        w.runs_ready[c] = runs_ready(s.readers[c], p, w.asked[c])


@inner
def clock_arbiter(s):
    w, arbiter = s.wires[0], s.arbiter[0]
    arbiter.waiting = w.chosen_valid and not w.arready
    if w.chosen_valid:
        arbiter.last = w.chosen


@inner
def clock_reader(s, p, c, r_en):
    """``r_en`` takes a word from the FIFO."""
    r, w, m = s.readers[c], s.wires[0], s.reads[0]
    beat = m.valid and m.id == c
    asked = w.asked[c]
    r.room += (r.ready and r_en) - (p.burst_beats[r.burst] if asked else 0)
    r.in_flight += asked - (beat and m.last)
    r.waiting = w.show[c] and not asked
    clock_splitter(r, asked, w.runs_valid[c], w.runs_ready[c])
    if c != LOAD:
        clock_fifo(r, beat, r_en)
