"""``hdl.ipu.store``, ``hdl.ipu.pack``, ``hdl.ipu.residual``, ``hdl.ipu.gearbox`` and ``hdl.ipu.writer``."""

from hdl.ipu.residual import Residual
from hdl.ipu.store import Store
from hdl.ipu.writer import Writer

from .compiled import inner
from .front import granted
from .reader import clock_fifo, clock_splitter, runs_ready, splitter_idle
from .state import MEMORY_OUTSTANDING, RESIDUAL

PIPELINE = Store.PIPELINE
#: Cycles from a slot to the bus word that it completes.
PACKED = PIPELINE + 2
OUTSTANDING, WORDS = Writer.OUTSTANDING, Writer.WORDS
RESIDUAL_ROWS = Residual.ROWS


@inner
def residual(s, k):
    """What the gearbox cuts, and the run that is asked for."""
    f, w = s.residual, s.wires
    if not (f.active or f.rows or f.geared):
        w.runs_valid[RESIDUAL] = w.residual_run = w.hold_word = w.cut = w.gear_taken = w.row_taken = 0
        return
    bus = k.bus_bytes
    w.runs_valid[RESIDUAL] = f.active and f.rows != RESIDUAL_ROWS
    w.residual_run = w.runs_valid[RESIDUAL] and w.runs_ready[RESIDUAL]
    ends = f.left <= f.block
    straddles = f.at + (f.left if ends else f.block) > bus
    word = f.geared and s.residual_reader.ready
    w.hold_word = word and straddles and not f.split
    w.cut = word and (not straddles or f.split) and (not f.valid or w.block_taken)
    w.gear_taken = w.hold_word or (w.cut and (ends or f.at + f.block == bus or next_straddles(f, k)))
    w.row_taken = not f.geared or (w.cut and ends)


@inner
def next_straddles(f, k):
    at = (f.at + f.block) % k.bus_bytes
    return at + (f.left - f.block if f.left <= 2 * f.block else f.block) > k.bus_bytes


@inner
def clock_residual(s, k, p):
    f, w, head = s.residual, s.wires, s.queues.head[2]
    if not (f.active or f.rows or f.geared or f.valid or w.store_start):
        return
    if w.block_taken:
        f.valid = 0
    if w.hold_word:
        f.split = 1
    if w.cut:
        f.valid = 1
        f.split = next_straddles(f, k)
        f.at = (f.at + f.block) % k.bus_bytes
        f.left -= f.block
    if w.row_taken:
        f.geared = f.rows != 0
        f.split = 0
        if f.geared:
            f.at = p[k.residual_offset + f.row]
            f.left = p[k.residual_bytes + f.row]
            f.block = p[k.residual_block + f.row]
            f.row += 1
    f.rows += w.residual_run - (w.row_taken and f.geared)
    if w.store_start and p[k.store_residual + head]:
        f.active = 1
        f.rows_left = p[k.store_rows + head]
    elif w.residual_run:
        f.rows_left -= 1
        f.active = f.rows_left != 0


@inner
def writer_rests(s):
    """Whether no run has come, or all is answered."""
    f = s.writer
    return s.store.runs == 0 and not f.running and not f.checking and not f.valid and f.answers == 0


@inner
def writer(s, k, p):
    """The burst that begins, the address and the word that go out."""
    f, w, m = s.writer, s.wires, s.writes
    if writer_rests(s):
        w.begin = w.aw_show = w.aw = w.w = w.w_last = w.word_taken = 0
        return
    w.begin = (f.valid and not f.waiting and f.unclaimed >= p[k.burst_beats + f.burst] and f.lengths != OUTSTANDING
               and f.answers != OUTSTANDING)
    w.awready = m.aw_late == 0 and m.aw_level != MEMORY_OUTSTANDING
    w.aw_show = f.waiting or w.begin
    w.aw = w.aw_show and w.awready
    w.writer_run = runs_ready(f, k, p, w.aw)
    wready = m.w_late == 0 and m.aw_level != 0 and m.b_tail - m.b_head != MEMORY_OUTSTANDING
    w.w = f.ready and f.lengths != 0 and wready
    w.w_last = w.w and f.beat == p[k.burst_beats + f.sent] - 1
    w.word_taken = f.ready and f.lengths != 0 and wready


@inner
def clock_writer(s, k, p):
    f, w, m = s.writer, s.wires, s.writes
    if writer_rests(s) and f.signal == 0 and s.store.valid_pipe == 0:
        return
    written = s.store.fills_pipe >> (PACKED - 1) & 1
    f.unclaimed += written - (p[k.burst_beats + f.burst] if w.begin else 0)
    f.waiting = w.aw_show and not w.aw
    f.lengths += w.begin - w.w_last
    f.answers += w.begin - m.b_valid
    f.signal = 0
    if m.b_valid:
        f.signal = p[k.burst_signal + f.answered]
        f.answered += 1
    if w.w:
        f.beat += 1
        if w.w_last:
            f.beat = 0
            f.sent += 1
    clock_fifo(f, written, w.word_taken)
    clock_splitter(f, w.aw, s.store.runs != 0, w.writer_run)


@inner
def store(s, k, p):
    """The instruction that starts, the slot that enters and the one that leaves; counters."""
    f, w, q, r = s.store, s.wires, s.queues, s.residual
    valid, head = q.level[2] != 0, q.head[2]
    got = valid and granted(s, 2, p[k.store_wait + head])
    w.slot = w.row_end = w.slot_last = w.fills = w.block_taken = w.run_pushed = 0
    if f.walking and f.reserved != WORDS:
        i, lanes, bus = f.instruction, k.post_lanes, k.bus_bytes
        reads = p[k.store_residual + i] and not f.ending
        if not reads or r.valid:
            size = 4 if p[k.store_wide + i] else 1
            left = p[k.store_channels + i] if f.row_start else f.left
            offset = p[k.row_offset + f.row] if f.row_start else f.offset
            last_block = left <= lanes
            straddles = offset + left * size > bus
            w.slot = 1
            w.block_taken = reads
            w.row_end = f.ending or (last_block and not straddles)
            w.slot_last = w.row_end and f.rows_left == 1
            w.fills = w.row_end or offset + min(left, lanes) * size >= bus
            w.run_pushed = f.row_start
    w.done = f.last_pipe >> (PIPELINE - 1) & 1
    w.store_start = got and (not f.walking or w.slot_last) and not f.in_use[1 - f.context] and not r.active

    if f.walking:
        s.counters[12 if w.slot else 14] += 1
    elif valid:
        s.counters[12 if got else 13] += 1
    elif f.in_use[0] or f.in_use[1]:
        s.counters[12] += 1
    elif on_bus(s):
        s.counters[14] += 1


@inner
def on_bus(s):
    f = s.writer
    return s.store.runs != 0 or not splitter_idle(f) or f.answers != 0 or f.signal != 0


@inner
def store_idle(s):
    f = s.store
    return s.queues.level[2] == 0 and not f.in_use[0] and not f.in_use[1] and not on_bus(s)


@inner
def clock_store(s, k, p):
    f, w, head = s.store, s.wires, s.queues.head[2]
    f.runs += w.run_pushed - (w.writer_run and f.runs != 0)
    f.reserved += w.slot - w.word_taken
    if f.valid_pipe or w.slot:
        passed = f.valid_pipe >> (PIPELINE - 1) & 1
        f.reserved -= passed and not f.fills_pipe >> (PIPELINE - 1) & 1
        if w.done:
            f.in_use[f.context_pipe >> (PIPELINE - 1) & 1] = 0
            f.released += 1
        mask = (1 << PACKED) - 1
        f.valid_pipe = (f.valid_pipe << 1 | w.slot) & mask
        f.fills_pipe = (f.fills_pipe << 1 | w.fills) & mask
        f.last_pipe = (f.last_pipe << 1 | w.slot_last) & mask
        f.context_pipe = (f.context_pipe << 1 | f.context) & mask
    if w.slot:
        i = f.instruction
        left = p[k.store_channels + i] if f.row_start else f.left
        offset = p[k.row_offset + f.row] if f.row_start else f.offset
        f.ending = not w.row_end and left <= k.post_lanes
        f.left = left - k.post_lanes
        f.offset = (offset + k.post_lanes * (4 if p[k.store_wide + i] else 1)) % k.bus_bytes
        f.row_start = w.row_end
        f.row += w.row_end
        f.rows_left -= w.row_end
        if w.slot_last:
            f.walking = 0
    if w.store_start:
        f.walking = 1
        f.instruction = head
        f.rows_left = p[k.store_rows + head]
        f.context = 1 - f.context
        f.in_use[f.context] = 1
