"""From the weight stream to the loader: words of one burst and of one step's headers or units at a time.

They follow one another without a pause, since a bank that is free for a step's first unit is free for all.
"""

from ..compiled import inner
from ..load import LOADER_LATENCY, bank_free
from ..state import WEIGHTS
from . import agenda
from .agenda import NEVER, wake
from .reads import show_again, take_words, word_ready


@inner
def taken(s, k, p):
    """What words change that have been taken until now."""
    f, g, now = s.loader, s.taking, s.control.cycle
    words = g.words
    g.words = 0
    s.weights_reader.room += words
    take_words(s, k, p, WEIGHTS, words)
    s.counters[2] += words
    s.idle.weights = now
    s.weights.word += words
    if not f.units:
        f.header_beat += words
        if f.header_beat == k.header_beats:
            f.units = 1
            f.header_beat = 0
        return
    f.unit_beat += words
    if f.unit_beat == p[k.step_units + f.step]:
        f.units = 0
        f.unit_beat = 0
        f.step += 1
        if s.weights.word == p[k.weight_beats + s.weights.current]:
            s.weights.word = 0
            s.weights.current += 1
            s.weights.expected -= 1
            wake(s, agenda.READS, now)


@inner
def commit(s):
    """Banks whose last word has gone through the loader."""
    g, now = s.taking, s.control.cycle
    for b in range(2):
        if now >= g.full[b]:
            g.full[b] = NEVER
            s.banks.full[b] = 1
            s.loader.committed += 1
            wake(s, agenda.COMPUTE, now)


@inner
def weights(s, k, p, arrival):
    """Everything in one cycle; before anything else in it. Returns whether the model still holds."""
    f, g, now = s.loader, s.taking, s.control.cycle
    commit(s)
    if g.words and now >= g.begin + g.words:
        taken(s, k, p)
    bank = f.step & 1
    after = NEVER
    if g.words:
        after = g.begin + g.words
    else:
        after = word_ready(s, s.weights_reader, WEIGHTS, arrival)
        if after <= now and f.units and not bank_free(s, bank):
            after = s.banks.hold[bank] if not s.banks.full[bank] and not s.banks.held[bank] else NEVER
        elif after <= now:
            if f.units and g.full[bank] != NEVER:
                return False  # the step before the last one is not committed yet
            left = p[k.step_units + f.step] - f.unit_beat if f.units else k.header_beats - f.header_beat
            burst = s.words.burst[WEIGHTS]
            g.begin = now
            g.words = min(left, p[k.burst_beats + burst] - s.words.beat[WEIGHTS])
            after = now + g.words
            if f.units and g.words == left:
                g.full[bank] = after + LOADER_LATENCY
            show_again(s, k, p, arrival, WEIGHTS)
    s.agenda.when[agenda.WEIGHTS] = min(max(after, now + 1), min(g.full[0], g.full[1]))
    return True
