"""Instruction fetch and decode."""

from hdl.config import QUEUE_DEPTH

from ..compiled import inner
from ..front import CHECK, MULTIPLY, TAKE, clock_decode, clock_fetch, fetch
from ..state import FETCH
from . import agenda
from .account import classify
from .agenda import NEVER, wake_queues
from .reads import show_again, take_words, word_ready


@inner
def show_front(s, k, p, arrival):
    r = s.fetch_reader
    r.ready = word_ready(s, r, FETCH, arrival) <= s.control.cycle
    fetch(s, k, p)


@inner
def clock_front(s, k, p, arrival):
    f, d, w, now = s.fetch, s.decode, s.wires, s.control.cycle
    if w.fetch_taken:
        s.fetch_reader.room += 1
        take_words(s, k, p, FETCH, 1)
        show_again(s, k, p, arrival, FETCH)
    if w.dispatch:
        queue = p[k.queue + d.instruction]
        s.queues.level[queue] += 1
        wake_queues(s, 1 << queue, now + 1)
        if queue == 0:
            classify(s)
        s.idle.front = now + 1
    w.runs_ready[FETCH] = 0
    clock_fetch(s)
    clock_decode(s)
    after = NEVER
    if f.word != k.record_beats:
        after = word_ready(s, s.fetch_reader, FETCH, arrival)
    elif d.state == TAKE:
        after = 0
    if d.state == MULTIPLY or (d.state == CHECK and s.queues.level[p[k.queue + d.instruction]] != QUEUE_DEPTH):
        after = 0
    s.agenda.when[agenda.FRONT] = max(after, now + 1)
