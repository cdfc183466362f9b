"""``hdl.ipu.compute``: walk, gather, issue and banks, and what ``hdl.cim.array`` retires."""

from .compiled import inner
from .front import granted

WAIT, STEP, WALK = range(3)

#: Bits of a word in :mod:`hdl.ipu.gather`'s stages; the planes of the vector are above them.
VALID, LAST, EMPTY, BANK, OPENS, CLOSES, FINAL, PLANES = 1, 2, 4, 8, 16, 32, 64, 7


@inner
def walk(s, k, p):
    """Gather, issue and walk, from the array backwards: what moves."""
    f, g, i, w, q = s.walk, s.gather, s.issue, s.wires, s.queues
    head = q.head[1]
    ready = not i.valid or i.last
    w.accept = g.line and ready
    w.move = not g.line or ready
    w.compute_take = w.compute_pop = w.line_end = w.o_piece = w.advance = w.takes = w.take = w.skip = 0
    begins = f.state == STEP
    ahead = f.steps_left
    if f.state == WAIT:
        w.compute_take = q.level[1] != 0 and granted(s, 1, p[k.gemm_wait + head])
    elif f.state == WALK:
        w.line_end = f.piece == p[k.pieces + f.line] - 1
        w.o_piece = not f.silent or (w.line_end and f.final)
        w.advance = w.move or not w.o_piece
        ahead -= 1
        if w.advance and w.line_end and (f.vectors_left == 1 or f.silent):
            w.compute_pop = f.final
            begins = not f.final
    if begins and s.banks.full[s.banks.step & 1]:
        last = ahead == 1
        w.takes = 1
        w.keep = last and p[k.gemm_keep + head]
        w.must_run = (p[k.step_planes + s.banks.step] != 0 or p[k.gemm_maximum + head] or (last and f.fresh) or f.kept)
        w.take = not w.keep
        w.skip = w.take and not w.must_run


@inner
def issue(s, k, p):
    """Banks that are started and released, and the instruction that retires; counters."""
    g, i, w, f, a = s.gather, s.issue, s.wires, s.walk, s.array
    w.start_bank = w.release_bank = 0
    if w.accept:
        line = g.line
        if not line & EMPTY:
            bank = 2 if line & BANK else 1
            w.start_bank = bank if line & OPENS else 0
            w.release_bank = bank if line & CLOSES and line >> PLANES <= 1 else 0
    elif i.valid and not i.last and i.closes and i.plane + 2 >= i.planes:
        w.release_bank = 1 << i.bank
    w.retired = a.finals >> (k.array_latency - 1) & 1

    busy = i.valid or g.piece or g.reading or g.merging or g.line
    s.counters[1] += i.multiplies
    if busy:
        s.counters[9] += 1
    elif f.state == WAIT:
        if s.queues.level[1] != 0:
            s.counters[9 if w.compute_take else 10] += 1
    elif f.state == STEP and not s.banks.full[s.banks.step & 1]:
        s.counters[11] += 1
    else:
        s.counters[9] += 1


@inner
def compute_idle(s):
    g, i, a = s.gather, s.issue, s.array
    return (s.walk.state == WAIT and s.queues.level[1] == 0 and not i.valid and not i.target_final
            and a.in_flight == 0 and not g.piece and not g.reading and not g.merging and not g.line)


@inner
def clock_array(s, k):
    g, i, a, w = s.gather, s.issue, s.array, s.wires
    if i.target_final or i.valid or g.piece or g.reading or g.merging or g.line:
        a.in_flight = k.array_latency + 1
    elif a.in_flight != 0:
        a.in_flight -= 1
    a.finals = (a.finals << 1 | i.target_final) & (1 << k.array_latency) - 1
    a.retired += w.retired


@inner
def clock_issue(s):
    g, i, w = s.gather, s.issue, s.wires
    going_on = i.valid and not i.last
    i.valid = i.target_final = i.multiplies = 0
    if w.accept:
        planes, empty = g.line >> PLANES, g.line & EMPTY != 0
        i.valid = not empty
        i.last = planes <= 1
        i.plane = 0
        i.planes = planes
        i.bank = g.line & BANK != 0
        i.closes = g.line & CLOSES != 0
        i.final = g.line & FINAL != 0
        i.multiplies = not empty and planes != 0
        i.target_final = i.final and (i.last or empty)
    elif going_on:
        i.valid = 1
        i.multiplies = 1
        i.last = i.plane + 2 >= i.planes
        i.plane += 1
        i.target_final = i.final and i.last


@inner
def handed_on(s, k, p):
    """The piece that the walk hands to the gather, as a word; 0 if none."""
    f, w = s.walk, s.wires
    if not w.o_piece:
        return 0
    word = VALID | f.planes << PLANES
    last_vector = f.vectors_left == 1
    if w.line_end:
        word |= LAST
    if f.silent:
        word |= EMPTY
    if f.bank:
        word |= BANK
    if f.opens:
        word |= OPENS
    if last_vector and not (f.final and p[k.gemm_keep + s.queues.head[1]]):
        word |= CLOSES
    if f.final and (last_vector or f.silent):
        word |= FINAL
    return word


@inner
def clock_gather(s, k, p):
    g, w = s.gather, s.wires
    if w.move:
        g.line = g.merging if g.merging & LAST else 0
        g.merging = g.reading
        g.reading = g.piece
        g.piece = handed_on(s, k, p)


@inner
def clock_walk(s, k, p):
    f, w, b = s.walk, s.wires, s.banks
    head = s.queues.head[1]
    if w.compute_take:
        f.state = STEP
        f.steps_left = p[k.gemm_steps + head]
        f.fresh = not p[k.gemm_accumulate + head]
        f.line = p[k.gemm_line + head]
        f.piece = 0
    if w.advance:
        f.piece += 1
        if w.line_end:
            f.piece = 0
            f.opens = 0
            if f.vectors_left == 1 or f.silent:
                f.line += 1
                f.steps_left -= 1
                f.state = WAIT if f.final else STEP
            else:
                f.vectors_left -= 1
    if w.takes:
        f.state = WALK
        f.kept = w.keep and w.must_run
        f.silent = not w.must_run
        f.bank = b.step & 1
        f.planes = p[k.step_planes + b.step]
        f.final = f.steps_left == 1
        f.vectors_left = p[k.gemm_vectors + head]
        f.opens = 1
        if w.must_run:
            f.fresh = 0


@inner
def clock_banks(s, k):
    f, w = s.banks, s.wires
    taken = f.step & 1
    if w.take:
        f.full[taken] = 0
        f.held[taken] = not w.skip
        f.step += 1
    for b in range(2):
        if w.release_bank >> b & 1:
            f.held[b] = 0
        if w.start_bank >> b & 1:
            f.hold[b] = s.control.cycle + 1 + k.hold_cycles
