"""``hdl.ipu.fetch``, ``hdl.ipu.decode``, the queues of ``hdl.ipu.engine``, and ``hdl.ipu.tokens``."""

from hdl.config import QUEUE_DEPTH
from hdl.ipu.tokens import COUNTER_BITS
from hdl.isa import QUEUES

from .compiled import inner
from .state import FETCH

N_QUEUES = len(QUEUES)
TAKE, MULTIPLY, CHECK = range(3)


@inner
def granted(s, queue, wait):
    """Whether every token is there that the next instruction of a queue waits for."""
    count, missing = s.tokens.count, 0
    for source in range(N_QUEUES):
        missing |= wait >> source & (count[source * N_QUEUES + queue] == 0)
    return missing & 1 == 0


@inner
def fetch(s, k, p):
    """Words and records that move."""
    f, d, w = s.fetch, s.decode, s.wires
    w.runs_valid[FETCH] = f.request
    w.fetch_word = f.word != k.record_beats
    w.fetch_taken = w.fetch_word and s.fetch_reader.ready
    w.record_taken = f.word == k.record_beats and d.state == TAKE
    w.dispatch = d.state == CHECK and s.queues.level[p[k.queue + d.instruction]] != QUEUE_DEPTH


@inner
def clock_fetch(s):
    f, w = s.fetch, s.wires
    if w.runs_ready[FETCH]:
        f.request = 0
    f.word += w.fetch_taken
    if w.record_taken:
        f.word = 0
        f.left -= 1


@inner
def clock_decode(s):
    d, w = s.decode, s.wires
    if w.record_taken:
        d.state = MULTIPLY
    elif d.state == MULTIPLY:
        d.state = CHECK
    elif w.dispatch:
        d.state = TAKE
        d.instruction += 1


@inner
def clock_queues(s, k, p):
    q, w, d = s.queues, s.wires, s.decode
    if w.dispatch:
        q.level[p[k.queue + d.instruction]] += 1
    for queue, popped in enumerate((w.load_pop, w.compute_pop, w.store_start)):
        q.level[queue] -= popped
        q.head[queue] += popped


@inner
def give(s, source, targets):
    """Tokens from a queue to others, as a mask."""
    t = s.tokens
    for to in range(N_QUEUES):
        if targets >> to & 1:
            t.count[source * N_QUEUES + to] += 1
            if t.count[source * N_QUEUES + to] >> COUNTER_BITS:
                t.overflow = 1 + 8 * source + to


@inner
def take(s, queue, wait):
    t = s.tokens
    for source in range(N_QUEUES):
        if wait >> source & 1:
            t.count[source * N_QUEUES + queue] -= 1


@inner
def clock_tokens(s, k, p):
    w, q = s.wires, s.queues
    if w.load_start:
        take(s, 0, p[k.load_wait + q.head[0]])
    if w.compute_take:
        take(s, 1, p[k.gemm_wait + q.head[1]])
    if w.store_start:
        take(s, 2, p[k.store_wait + q.head[2]])
    if w.load_complete:
        give(s, 0, p[k.load_signal + s.load.oldest])
    if w.retired:
        give(s, 1, p[k.gemm_signal + s.array.retired])
    if s.writer.signal:
        give(s, 2, s.writer.signal)
    if w.done:
        give(s, 2, p[k.store_release + s.store.released])
