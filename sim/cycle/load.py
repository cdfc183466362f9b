"""``hdl.ipu.load``, ``hdl.ipu.receive``, ``hdl.ipu.weights`` and ``hdl.cim.loader``."""

from hdl.cim.loader import Loader
from hdl.ipu.load import Load
from hdl.ipu.weights import Weights

from .compiled import inner
from .front import granted
from .state import LOAD, WEIGHTS

WAIT, WEIGHTS_STATE, ROWS = range(3)
INSTRUCTIONS = Load.INSTRUCTIONS
DESCRIPTORS = Weights.DESCRIPTORS
LOADER_LATENCY = Loader.LATENCY


@inner
def starts(s, got):
    return s.load.state == WAIT and got and s.load.started != INSTRUCTIONS


@inner
def completes(s, k, p):
    f = s.load
    return f.started != 0 and (p[k.load_is_weights + f.oldest] or f.received != 0)


@inner
def load(s, k, p):
    """What starts, moves and completes in the load queue; counters."""
    f, q, w, m = s.load, s.queues, s.wires, s.reads
    valid = q.level[0] != 0
    got = valid and granted(s, 0, p[k.load_wait + q.head[0]])
    w.load_start = starts(s, got)
    w.load_complete = completes(s, k, p)
    w.load_word = m.valid and m.id == LOAD
    w.load_finished = w.load_word and f.words_left == 1
    w.runs_valid[LOAD] = f.state == ROWS
    w.runs_valid[WEIGHTS] = f.state == WEIGHTS_STATE and s.weights.expected != DESCRIPTORS
    w.weights_run = w.runs_valid[WEIGHTS] and w.runs_ready[WEIGHTS]
    asks = w.runs_valid[LOAD] and w.runs_ready[LOAD]
    w.load_pop = w.weights_run or (asks and f.runs_left == 1)

    if w.load_start or w.load_complete or w.load_word or asks or w.weights_run:
        s.counters[5] += 1
    elif f.started != 0:
        s.counters[7] += 1
    elif f.state == WAIT and valid and not got:
        s.counters[6] += 1
    elif f.state == WEIGHTS_STATE:
        s.counters[8] += 1


@inner
def load_idle(s):
    return s.queues.level[0] == 0 and s.load.started == 0


@inner
def clock_start(s, k, p):
    f, head = s.load, s.queues.head[0]
    if p[k.load_is_weights + head]:
        f.state = WEIGHTS_STATE
    else:
        f.state = ROWS
        f.runs_left = p[k.load_runs + head]
        f.started += 1


@inner
def clock_run(s):
    """A run that is asked for."""
    f = s.load
    if f.state == WEIGHTS_STATE:
        f.state = WAIT
        f.started += 1
    else:
        f.runs_left -= 1
        if f.runs_left == 0:
            f.state = WAIT


@inner
def clock_load(s, k, p):
    f, w = s.load, s.wires
    if w.load_start:
        clock_start(s, k, p)
    elif w.weights_run or (f.state == ROWS and w.runs_ready[LOAD]):
        clock_run(s)
    if w.load_complete:
        f.received -= not p[k.load_is_weights + f.oldest]
        f.started -= 1
        f.oldest += 1
    if w.load_finished:
        f.received += 1
        f.transfer += 1
        f.words_left = p[k.transfer_words + f.transfer]
    elif w.load_word:
        f.words_left -= 1


@inner
def bank_free(s, b):
    bank = s.banks
    return not bank.full[b] and not bank.held[b] and s.control.cycle >= bank.hold[b]


@inner
def weights(s, k, p):
    """Whether a word goes from the weight stream to the loader."""
    f, w = s.loader, s.wires
    w.loader_ready = not f.units or bank_free(s, f.step & 1)
    w.weight_taken = w.loader_ready and s.weights_reader.ready and s.weights.expected != 0
    w.weight_last = f.units and f.unit_beat == p[k.step_units + f.step] - 1
    w.commit = f.last_units >> (LOADER_LATENCY - 1) & 1
    s.counters[2] += w.weight_taken


@inner
def weights_idle(s):
    r = s.weights_reader
    return s.weights.expected == 0 and r.in_flight == 0 and not r.running and not r.checking and not r.valid


@inner
def clock_weights(s, k, p):
    f, w = s.weights, s.wires
    f.expected += w.weights_run
    if w.weight_taken:
        f.word += 1
        if f.word == p[k.weight_beats + f.current]:
            f.word = 0
            f.current += 1
            f.expected -= 1


@inner
def clock_loader(s, k):
    f, w = s.loader, s.wires
    if w.commit:
        s.banks.full[f.committed & 1] = 1
        f.committed += 1
    f.last_units = (f.last_units << 1 | (w.weight_taken and w.weight_last)) & 0xFF
    if not w.weight_taken:
        return
    if f.units:
        f.unit_beat += 1
        if w.weight_last:
            f.units = 0
            f.unit_beat = 0
            f.step += 1
    else:
        f.header_beat += 1
        if f.header_beat == k.header_beats:
            f.units = 1
            f.header_beat = 0
