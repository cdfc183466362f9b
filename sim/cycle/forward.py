"""Leaves out cycles in which the chip repeats itself.

If all registers are as they were a number of cycles ago, but for some that count, then the next cycles are like those,
until a count comes to its end: :func:`leap` goes on by as many whole periods as that allows. What counts are the words
of a burst, the rows of an instruction, places in the plan's tables, levels of FIFOs that are neither empty nor full,
and the performance counters.

While the array issues planes of vectors that are alike, it gives nothing to the rest of the chip and takes nothing
from it. Its state after any number of such cycles is known (:func:`stream`), so its period need not be the rest's.
"""

import numpy as np

from hdl.csr import COUNTERS

from .compiled import inner
from .compute import BANK, LAST, PLANES, STEP, VALID, WAIT, WALK
from .front import granted
from .state import MEMORY_OUTSTANDING, STATE, WORDS

#: More than any number of cycles.
ENDLESS = 1 << 40

#: Evaluated cycles after which each of the remembered states is renewed.
RENEWED = (1, 8, 32)


def _places(*names: str) -> set[int]:
    """Places of blocks (``block``) and of fields (``block.field``) among the words of a state."""
    found: set[int] = set()
    for name in names:
        dtype, start = STATE, 0
        for part in name.split("."):
            assert dtype.fields is not None
            dtype, offset = dtype.fields[part][:2]
            start += offset
        found |= set(range(start // 8, (start + dtype.itemsize) // 8))
    return found


_COMPUTE = _places("walk", "gather", "issue")
_COUNTING = _places(
    "control", "counters",
    *(f"{channel}_reader.{field}" for field in ("split", "burst")
      for channel in ("fetch", "weights", "load", "residual")),
    *(f"{channel}_reader.{field}" for channel in ("weights", "residual") for field in ("room", "inner")),
    "load.runs_left", "load.words_left", "weights.word", "loader.unit_beat", "walk.vectors_left",
    "store.row", "store.rows_left", "residual.row", "residual.rows_left",
    "writer.split", "writer.burst", "writer.sent", "writer.answered",
    *(f"reads.{field}" for field in ("ar_head", "ar_tail", "left", "waited", "ar_late", "r_late", "ar_count",
                                     "r_count", "r_beat")),
    *(f"writes.{field}" for field in ("b_head", "b_tail", "aw_late", "w_late", "b_late", "aw_count", "w_count",
                                      "w_beat", "b_count")))

#: What most often tells two states apart.
_RESTLESS = _places("store.offset", "load_reader.in_flight", "reads.active", "store.row_start",
                    "weights_reader.in_flight", "fetch_reader.room")
#: Words of a state that must be equal: those of the array, and the others.
STILL_COMPUTE = np.array(sorted(_COMPUTE - _COUNTING))
STILL = np.array(sorted(set(range(WORDS)) - _COUNTING - _COMPUTE, key=lambda place: place not in _RESTLESS))
#: Words that go on counting, but those of the array, and counters.
GOING_ON = np.array(sorted(_COUNTING - _COMPUTE - _places("counters")))
#: Performance counters of the array: ARRAY_BUSY and those of its queue.
ARRAY_COUNTERS = np.array([name == "ARRAY_BUSY" or name.startswith("COMPUTE_") for name in COUNTERS])


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
def streaming(s, k, p):
    """Cycles for which the array only issues planes of vectors that are alike; 0 if something else happens next."""
    f, g, i = s.walk, s.gather, s.issue
    if not i.valid or i.target_final or (f.state == WALK and f.silent):
        return 0
    if f.state == STEP and s.banks.full[s.banks.step & 1]:
        return 0
    if f.state == WAIT and s.queues.level[1] != 0 and granted(s, 1, p[k.gemm_wait + s.queues.head[1]]):
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
    s.counters[9] += cycles


@inner
def down(most, before, now):
    """Periods until a register that counts down comes to its end."""
    if now == before:
        return most
    return min(most, (now - 2) // (before - now)) if now < before else 0


@inner
def up(most, before, now, end):
    if now == before:
        return most
    return min(most, (end - now - 2) // (now - before)) if now > before else 0


@inner
def alike(p, table, first, end, step, most):
    """Periods for which entries from ``first`` on are as those ``step`` before; ``end`` is the last one that is looked
    at now."""
    i = first
    while i <= end + most * step:
        if p[table + i] != p[table + i - step]:
            return max(0, (i - end - 1) // step)
        i += 1
    return most


@inner
def bursts(k, p, first, end, step, most):
    if step < 0:
        return 0
    if step:
        most = alike(p, k.burst_beats, first, end, step, most)
        most = alike(p, k.burst_last, first, end, step, most)
        most = alike(p, k.burst_signal, first, end, step, most)
    return most


@inner
def reader(r, b, k, p, period, most):
    """Periods for which a reader goes on as it does."""
    step = r.split - b.split
    if step != r.burst - b.burst:
        return 0
    most = bursts(k, p, r.burst, r.split, step, most)
    if r.inner != b.inner:
        if min(r.inner, b.inner) <= period:
            return 0
        if r.inner < b.inner:
            most = min(most, (r.inner - period) // (b.inner - r.inner))
    if r.room != b.room:
        if step or r.room < b.room:
            return 0
        if r.valid:
            beats = p[k.burst_beats + r.burst]
            if r.room < beats:
                most = min(most, (beats - r.room - period) // (r.room - b.room))
            elif b.room < beats + period:
                return 0
    return most


@inner
def reads(s, b, k, period, most):
    """Periods for which the memory answers reads as it does. The ring still has the entries of before."""
    m, o, ring = s.reads, b.reads, s.rings
    step, count = m.ar_head - o.ar_head, m.ar_tail - m.ar_head
    if count != o.ar_tail - o.ar_head or m.ar_tail - o.ar_head > MEMORY_OUTSTANDING:
        return 0
    due = s.control.cycle - (k.read_latency - 1)  # what came at this time or before
    if step == 0:  # only the first one is looked at, and only when nothing is being answered
        if count == 0 or m.active or m.r_late:
            return most
        return min(most, max(0, ring.ar_time[m.ar_head % MEMORY_OUTSTANDING] - due) // period)
    for i in range(count):
        now, before = (m.ar_head + i) % MEMORY_OUTSTANDING, (o.ar_head + i) % MEMORY_OUTSTANDING
        late = ring.ar_time[now] - due  # cycles until it can be answered
        # Where nothing has waited for the latency, nothing will, if it is due when its turn comes.
        in_time = (ring.ar_time[now] == ring.ar_time[before] + period
                   or (late <= 0 and ring.ar_time[before] <= due - period)
                   or (m.waited < b.control.cycle and late <= i // step * period))
        if (ring.ar_channel[now] != ring.ar_channel[before] or ring.ar_beats[now] != ring.ar_beats[before]
                or not in_time):
            return min(most, i // step)
    return most


@inner
def answers(s, b, k, period, most):
    """The same for writes."""
    m, o, ring = s.writes, b.writes, s.rings
    step, count = m.b_head - o.b_head, m.b_tail - m.b_head
    if count != o.b_tail - o.b_head or m.b_tail - o.b_head > MEMORY_OUTSTANDING:
        return 0
    due = s.control.cycle - (k.write_latency - 1)
    if step == 0:
        if count == 0 or m.b_late:
            return most
        return min(most, max(0, ring.b_time[m.b_head % MEMORY_OUTSTANDING] - due) // period)
    for i in range(count):
        now, before = (m.b_head + i) % MEMORY_OUTSTANDING, (o.b_head + i) % MEMORY_OUTSTANDING
        if ring.b_time[now] != ring.b_time[before] + period:
            return 0
    return most


@inner
def periods(s, b, k, p, period):
    """How often what has happened since the state ``b`` happens again; words of :data:`STILL` are equal."""
    most = ENDLESS
    most = down(most, b.load.runs_left, s.load.runs_left)
    most = down(most, b.load.words_left, s.load.words_left)
    most = down(most, b.reads.left, s.reads.left)
    most = down(most, b.store.rows_left, s.store.rows_left)
    most = down(most, b.residual.rows_left, s.residual.rows_left)
    most = up(most, b.weights.word, s.weights.word, p[k.weight_beats + s.weights.current])
    most = up(most, b.loader.unit_beat, s.loader.unit_beat, p[k.step_units + s.loader.step])
    if s.control.idle_cycles > b.control.idle_cycles:
        most = up(most, b.control.idle_cycles, s.control.idle_cycles, k.watchdog)
    if k.stall_chance:  # every transfer is another one
        m, o = s.reads, b.reads
        if m.ar_count != o.ar_count or m.r_count != o.r_count or m.r_beat != o.r_beat:
            return 0
        most = down(most, o.ar_late, m.ar_late)
        most = down(most, o.r_late, m.r_late)
        n, c = s.writes, b.writes
        if n.aw_count != c.aw_count or n.w_count != c.w_count or n.w_beat != c.w_beat or n.b_count != c.b_count:
            return 0
        most = down(most, c.aw_late, n.aw_late)
        most = down(most, c.w_late, n.w_late)
        most = down(most, c.b_late, n.b_late)
    if most > 0:
        most = reads(s, b, k, period, most)
    if most > 0:
        most = answers(s, b, k, period, most)
    if most <= 0:
        return 0
    most = reader(s.fetch_reader, b.fetch_reader, k, p, period, most)
    most = reader(s.weights_reader, b.weights_reader, k, p, period, most)
    most = reader(s.load_reader, b.load_reader, k, p, period, most)
    most = reader(s.residual_reader, b.residual_reader, k, p, period, most)
    f, o = s.writer, b.writer
    step = f.split - o.split
    if step != f.burst - o.burst or step != f.sent - o.sent or step != f.answered - o.answered:
        return 0
    most = bursts(k, p, f.answered, f.split, step, most)
    step = s.store.row - b.store.row
    if step > 0:
        most = alike(p, k.row_offset, s.store.row, s.store.row, step, most)
    step = s.residual.row - b.residual.row
    if step > 0:
        most = alike(p, k.residual_offset, s.residual.row, s.residual.row, step, most)
        most = alike(p, k.residual_channels, s.residual.row, s.residual.row, step, most)
    return most


@inner
def repeat(values, tail, step, count, add):
    """Appends ``count`` entries to a ring, each as the one ``step`` before, but for what is added to it."""
    for i in range(tail, tail + count):
        values[i % MEMORY_OUTSTANDING] = values[(i - step) % MEMORY_OUTSTANDING] + add


@inner
def leap(states, words, number, k, p, free):
    """Goes on from state 0 by whole periods, if it is as the earlier state ``number``; returns whether it is. ``free``
    is what :func:`streaming` says."""
    s, b = states[0], states[number]
    period = s.control.cycle - b.control.cycle
    free = free if free >= period else 0
    for i in STILL:
        if words[0, i] != words[number, i]:
            return False
    if free == 0:
        for i in STILL_COMPUTE:
            if words[0, i] != words[number, i]:
                return False
    most = periods(s, b, k, p, period)
    if free:
        most = min(most, free // period)
    else:
        most = down(most, b.walk.vectors_left, s.walk.vectors_left)
    if most <= 0:
        return False
    cycles = most * period
    tail, step = s.reads.ar_tail, s.reads.ar_tail - b.reads.ar_tail
    repeat(s.rings.ar_channel, tail, step, most * step, 0)
    repeat(s.rings.ar_beats, tail, step, most * step, 0)
    repeat(s.rings.ar_time, tail, step, most * step, period)
    tail, step = s.writes.b_tail, s.writes.b_tail - b.writes.b_tail
    repeat(s.rings.b_time, tail, step, most * step, period)
    for i in GOING_ON:
        words[0, i] += most * (words[0, i] - words[number, i])
    for i in range(len(ARRAY_COUNTERS)):
        if not (free and ARRAY_COUNTERS[i]):
            s.counters[i] += most * (s.counters[i] - b.counters[i])
    if free:
        stream(s, k, p, cycles)
    else:
        s.walk.vectors_left += most * (s.walk.vectors_left - b.walk.vectors_left)
    return True


@inner
def array_event(s):
    """Whether the array has something to do with the rest of the chip in this cycle."""
    w = s.wires
    return w.takes or w.compute_take or w.compute_pop or w.start_bank or w.release_bank or w.retired or w.commit


@inner
def remember(then, now):
    for i in range(WORDS):
        then[i] = now[i]


@inner
def forward(states, words, k, p):
    """Leaves out what can be left out after a cycle, and remembers states."""
    s = states[0]
    h, w = s.history, s.wires
    h.evaluated += 1
    first = 1 if w.ar or w.slot else 0  # what changes in every cycle is not compared with the cycle before
    if first:
        h.known[0] = 0
    if array_event(s):
        h.known[:] = 0
    else:
        free = streaming(s, k, p)
        for j in range(first, len(RENEWED)):
            if h.known[j] and leap(states, words, j + 1, k, p, free):
                return
    for j in range(first, len(RENEWED)):
        if not h.known[j] or h.evaluated % RENEWED[j] == 0:
            remember(words[j + 1], words[0])
            h.known[j] = 1
