"""The memory, ``sim/rtl/axi_memory.sv``: when it takes addresses and words, and when it answers."""

from ..rtl.stalls import Channel
from .compiled import inner
from .state import MEMORY_OUTSTANDING

AR, R, AW, W, B = (int(channel) for channel in Channel)

_MASK = 0xFFFF_FFFF


@inner
def mix(x):
    """As in :mod:`sim.rtl.stalls`."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & _MASK
    x = (x ^ (x >> 15)) * 0x846CA68B & _MASK
    return x ^ (x >> 16)


@inner
def stall(k, channel, transaction, beat):
    """Cycles by which a transfer is late."""
    if k.stall_chance == 0:
        return 0
    drawn = mix(mix(mix(mix(k.stall_seed) ^ channel) ^ transaction & _MASK) ^ beat)
    return 1 + (drawn >> 8) % k.stall_longest if (drawn & 0xFF) < k.stall_chance else 0


@inner
def clock_reads(s, k):
    m, w = s.reads, s.wires
    now = s.control.cycle
    active, r_late = m.active != 0, m.r_late
    due = active or (m.ar_head != m.ar_tail
                     and now - s.rings.ar_time[m.ar_head % MEMORY_OUTSTANDING] >= k.read_latency - 1)
    m.ar_late -= m.ar_late != 0
    m.r_late -= r_late != 0
    m.valid = 0
    if due and r_late == 0:
        slot = m.ar_head % MEMORY_OUTSTANDING
        left = m.left if active else s.rings.ar_beats[slot] - 1
        channel = m.channel if active else s.rings.ar_channel[slot]
        m.valid = 1
        m.id = channel
        m.last = left == 0
        m.channel = channel
        if left == 0:
            m.r_count += 1
            m.r_beat = 0
        else:
            m.r_beat += 1
        m.r_late = stall(k, R, m.r_count, m.r_beat)
        m.active = left != 0
        m.left = left - 1
        if not active:
            m.ar_head += 1
    if w.ar:
        slot = m.ar_tail % MEMORY_OUTSTANDING
        m.ar_count += 1
        m.ar_late = stall(k, AR, m.ar_count, 0)
        s.rings.ar_channel[slot] = w.chosen
        s.rings.ar_beats[slot] = w.ar_beats
        s.rings.ar_time[slot] = now
        m.ar_tail += 1


@inner
def clock_writes(s, k):
    m, w = s.writes, s.wires
    if not (w.aw or w.w or m.b_head != m.b_tail or m.b_valid or m.aw_late or m.w_late or m.b_late):
        return
    now = s.control.cycle
    due = (m.b_head != m.b_tail and now - s.rings.b_time[m.b_head % MEMORY_OUTSTANDING] >= k.write_latency - 1
           and m.b_late == 0)
    m.aw_late -= m.aw_late != 0
    m.w_late -= m.w_late != 0
    m.b_late -= m.b_late != 0
    m.b_valid = due
    if due:
        m.b_head += 1
        m.b_count += 1
        m.b_late = stall(k, B, m.b_count, 0)
    if w.aw:
        m.aw_level += 1
        m.aw_count += 1
        m.aw_late = stall(k, AW, m.aw_count, 0)
    if w.w:
        if w.w_last:
            m.w_count += 1
            m.w_beat = 0
            s.rings.b_time[m.b_tail % MEMORY_OUTSTANDING] = now
            m.b_tail += 1
            m.aw_level -= 1
        else:
            m.w_beat += 1
        m.w_late = stall(k, W, m.w_count, m.w_beat)
