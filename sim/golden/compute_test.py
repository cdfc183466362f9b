"""What a fault-free column answers to the compute self-test, cycle by cycle, and the signatures that follow.

The arithmetic is that of :mod:`sim.golden.column`; only the pipeline around it is here.
"""

from collections.abc import Mapping

import numpy as np

from hdl.cim.interfaces import bank_record_layout, group_layout, issue_layout
from hdl.config import ACC_BITS, ACT_BITS, Config
from mbist.signature import update

from . import column as golden


def column_outputs(config: Config, pins: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs ``scaled`` and ``word``: int64 or object [cycles], of what a column's inputs are in each cycle.

    Parameters
    ----------
    pins : dict of str to bool [cycles, width]
        By port, as :func:`mbist.compute_pins.column_pins` gives them. What a column holds at power-up is taken as zero.
    """
    rows, slots = config.rows, config.slots
    layout, group, record = issue_layout(config), group_layout(config), bank_record_layout(config)
    cycles = len(pins["rst"])

    def fields(bits: np.ndarray, shape) -> dict[str, int]:
        return {name: _number(bits[shape[name].offset:][:shape[name].width]) for name in shape.members}

    store = np.zeros((2, slots, rows), bool)
    sign = np.zeros((2, rows), bool)
    groups = np.zeros((2, group.size), bool)
    constants = np.zeros((2, config.constant_bits), bool)
    plane, bank_read, selected, word_read = np.zeros(rows, bool), 0, False, 0
    sums = [0] * config.row_bits
    late_group, late_constant = np.zeros(group.size, bool), 0
    remaining, psum, finished, product, exponent, scaled, overflow = 0, 0, False, 0, 0, 0, False
    units = config.units_per_beat
    scaled_out, word_out = np.zeros(cycles, np.int64), np.zeros(cycles, object)
    for t in range(cycles):
        issue, now = (fields(pins[name][t], layout) for name in ("issue", "accumulate"))
        word = 0
        if selected:
            others = np.concatenate([groups[bank_read], constants[bank_read]])
            pieces = [sign[bank_read], *(others[i:i + rows] for i in range(0, record.size, rows))]
            word = _number(plane if word_read < slots else pieces[min(word_read - slots, len(pieces) - 1)])
        scaled_out[t], word_out[t] = scaled | overflow << ACC_BITS, word

        act = sum(np.where(pins[f"act__{b}"][t], 1 << b, 0) for b in range(ACT_BITS))
        act = np.where(act >> ACT_BITS - 1 & 1, act - (1 << ACT_BITS), act).astype(np.int16)
        arriving = sums[-1]
        sums = [int(golden.plane_sum(plane[None, None], sign[bank_read][None], act[None])[0, 0, 0]), *sums[:-1]]

        value, wrapped = golden.wrap(np.array([(product << exponent) >> 3]))
        scaled, overflow = int(value[0]) & (1 << ACC_BITS) - 1, bool(wrapped[0])
        if finished:
            late = fields(late_group, group)
            product, exponent = psum * (8 + late["m"]), late["e"]
        finished = bool(now["valid"] and now["last"])
        if now["valid"]:
            if now["step"]:
                late_group, late_constant = groups[now["bank"]].copy(), _number(constants[now["bank"]])
            mask = fields(late_group, group)["mask"] if now["first"] else remaining
            lowest = mask & -mask
            psum = _signed((late_constant if now["first"] else psum) + arriving * lowest, config.psum_bits)
            remaining = mask & ~lowest
        if pins["rst"][t, 0]:
            psum, scaled, overflow = 0, 0, False

        reading, showing = bool(pins["bist_select"][t, 0]), bool(pins["bist_show"][t, 0])
        bank = int(pins["bist_bank"][t, 0]) if reading else issue["bank"]
        word_read = _number(pins["bist_word"][t])
        slot = word_read if reading else fields(groups[bank], group)["first_slot"] + issue["plane"]
        plane, bank_read, selected = store[bank, slot % slots].copy(), bank, showing
        if pins["select"][t, 0]:
            bank, row = int(pins["bank"][t, 0]), _number(pins["row"][t]) % max(1, slots // units)
            for unit in np.flatnonzero(pins["lane_mask"][t]):
                store[bank, row * units + unit] = pins["lanes"][t, unit * rows:(unit + 1) * rows]
            first, test, words = pins["first"][t, 0], pins["test"][t, 0], pins["test_words"][t]
            if first or words[0]:
                sign[bank] = pins["sign"][t]
            piece = np.arange(record.size) // rows
            written = words[1 + piece]
            given = np.concatenate([pins["group"][t], pins["constant"][t]])
            groups[bank] = np.where(first | written[:group.size], given[:group.size], groups[bank])
            constants[bank] = np.where(~test | written[group.size:], given[group.size:], constants[bank])
    return {"scaled": scaled_out, "word": word_out}


def signature(values: np.ndarray, listen: np.ndarray) -> int:
    """The signature register at the end of a test."""
    state = 0
    for value in values[listen]:
        state = update(state, int(value))
    return state


def _number(bits: np.ndarray) -> int:
    return int(sum(1 << int(i) for i in np.flatnonzero(bits)))


def _signed(value: int, width: int) -> int:
    return (value + (1 << width - 1)) % (1 << width) - (1 << width - 1)
