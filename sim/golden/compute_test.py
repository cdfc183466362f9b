"""What a fault-free macro answers to the compute self-test, cycle by cycle, and the signatures that follow.

The arithmetic is that of :mod:`sim.golden.column`; only the pipeline around it is here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np

from hdl.cim.interfaces import bank_record_layout, group_layout, issue_layout
from hdl.config import ACC_BITS, ACT_BITS, Config
from mbist.compute_pins import Drive, column_pins, expand
from mbist.compute_test import TestStep
from mbist.signature import update
from mbist.signature_file import Expected, export_signatures

from . import column as golden

Pins = Mapping[str, np.ndarray]


class Cells:
    """What a column stores. What it holds at power-up is taken as zero."""

    def __init__(self, config: Config, pins: Pins):
        self.config, self.pins = config, pins
        self.group_bits = group_layout(config).size
        self.planes = np.zeros((2, config.slots, config.rows), bool)
        self.signs = np.zeros((2, config.rows), bool)
        self.records = np.zeros((2, bank_record_layout(config).size), bool)

    def load(self, t: int):
        """Takes in what is delivered or written in a cycle."""
        config, pins = self.config, self.pins
        if not pins["select"][t, 0]:
            return
        rows, units = config.rows, config.units_per_beat
        bank, row = int(pins["bank"][t, 0]), _number(pins["row"][t]) % max(1, config.slots // units)
        for unit in np.flatnonzero(pins["lane_mask"][t]):
            self.planes[bank, row * units + unit] = pins["lanes"][t, unit * rows:(unit + 1) * rows]
        first, test, words = pins["first"][t, 0], pins["test"][t, 0], pins["test_words"][t]
        if first or words[0]:
            self.signs[bank] = pins["sign"][t]
        bit = np.arange(self.records.shape[1])
        enabled = np.where(bit < self.group_bits, first, not test) | words[1 + bit // rows]
        self.records[bank] = np.where(enabled, np.concatenate([pins["group"][t], pins["constant"][t]]),
                                      self.records[bank])

    def word(self, plane: np.ndarray, bank: int, code: int) -> int:
        """What the test port shows; ``plane`` is what it has read one cycle before."""
        rows, record = self.config.rows, self.records[bank]
        pieces = [self.signs[bank], *(record[i:i + rows] for i in range(0, len(record), rows))]
        return _number(plane if code < self.config.slots else pieces[min(code - self.config.slots, len(pieces) - 1)])


def column_outputs(config: Config, pins: Pins) -> dict[str, np.ndarray]:
    """Outputs ``scaled`` and ``word``: int64 or object [cycles], of what a column's inputs are in each cycle.

    Parameters
    ----------
    pins : dict of str to bool [cycles, width]
        By port, as :func:`mbist.compute_pins.column_pins` gives them.
    """
    rows, slots = config.rows, config.slots
    layout, group = issue_layout(config), group_layout(config)
    cycles = len(pins["rst"])

    def fields(bits: np.ndarray, shape) -> dict[str, int]:
        return {name: _number(bits[shape[name].offset:][:shape[name].width]) for name in shape.members}

    cells = Cells(config, pins)
    plane, bank_read, selected, word_read = np.zeros(rows, bool), 0, False, 0
    sums = [0] * config.row_bits
    late_group, late_constant = np.zeros(group.size, bool), 0
    remaining, psum, finished, product, exponent, scaled, overflow = 0, 0, False, 0, 0, 0, False
    scaled_out, word_out = np.zeros(cycles, np.int64), np.zeros(cycles, object)
    for t in range(cycles):
        issue, now = (fields(pins[name][t], layout) for name in ("issue", "accumulate"))
        word = cells.word(plane, bank_read, word_read) if selected else 0
        scaled_out[t], word_out[t] = scaled | overflow << ACC_BITS, word

        act = sum(np.where(pins[f"act__{b}"][t], 1 << b, 0) for b in range(ACT_BITS))
        act = np.where(act >> ACT_BITS - 1 & 1, act - (1 << ACT_BITS), act).astype(np.int16)
        arriving = sums[-1]
        sign = cells.signs[bank_read]
        sums = [int(golden.plane_sum(plane[None, None], sign[None], act[None])[0, 0, 0]), *sums[:-1]]

        value, wrapped = golden.wrap(np.array([(product << exponent) >> 3]))
        scaled, overflow = int(value[0]) & (1 << ACC_BITS) - 1, bool(wrapped[0])
        if finished:
            late = fields(late_group, group)
            product, exponent = psum * (8 + late["m"]), late["e"]
        finished = bool(now["valid"] and now["last"])
        if now["valid"]:
            if now["step"]:
                record = cells.records[now["bank"]]
                late_group, late_constant = record[:group.size].copy(), _number(record[group.size:])
            mask = fields(late_group, group)["mask"] if now["first"] else remaining
            lowest = mask & -mask
            psum = _signed((late_constant if now["first"] else psum) + arriving * lowest, config.psum_bits)
            remaining = mask & ~lowest
        if pins["rst"][t, 0]:
            psum, scaled, overflow = 0, 0, False

        reading, selected = bool(pins["bist_select"][t, 0]), bool(pins["bist_show"][t, 0])
        bank_read = int(pins["bist_bank"][t, 0]) if reading else issue["bank"]
        word_read = _number(pins["bist_word"][t])
        first_slot = fields(cells.records[bank_read], group)["first_slot"]
        plane = cells.planes[bank_read, (word_read if reading else first_slot + issue["plane"]) % slots].copy()
        cells.load(t)
    return {"scaled": scaled_out, "word": word_out}


def column_words(config: Config, pins: Pins) -> np.ndarray:
    """Output ``word`` of :func:`column_outputs` alone, which needs no arithmetic."""
    cells, words = Cells(config, pins), np.zeros(len(pins["rst"]), object)
    for t in map(int, np.flatnonzero(pins["select"][:, 0] | pins["bist_show"][:, 0])):
        bank, code = int(pins["bist_bank"][t, 0]), _number(pins["bist_word"][t])
        plane = cells.planes[bank, code % config.slots].copy()
        cells.load(t)
        if pins["bist_show"][t, 0] and t + 1 < len(words):
            words[t + 1] = cells.word(plane, bank, code)
    return words


def signature(values: np.ndarray, listen: np.ndarray) -> int:
    """The signature register at the end of a test."""
    state = 0
    for value in values[listen]:
        state = update(state, int(value))
    return state


@dataclass(frozen=True)
class Signatures:
    """What the signature registers of a macro hold after a test.

    Attributes
    ----------
    columns : tuple of int
        By logical column; one for all of them, if they are driven alike.
    words : int
        Of the words that the test port reads.
    """
    columns: tuple[int, ...]
    words: int


def macro_signatures(config: Config, program: Sequence[TestStep], *, moved: bool = False) -> Signatures:
    """Signatures of a fault-free macro.

    Columns are driven alike unless a step has ``spread``, or moves columns while they compute.

    Raises
    ------
    ValueError
        If the engine cannot hold the program.
    """
    drive = expand(config, program, moved=moved)
    alike = not any(step.spread or step.repair is not program[0].repair for step in program)
    logical = range(1 if alike else config.cols)
    physical = {column: column_pins(drive, column) for column in sorted(
        {c + k * config.spare_cols for c in logical for k in _shifts(drive)})}
    scaled = {column: column_outputs(config, pins)["scaled"] for column, pins in physical.items()}
    columns = [np.select([column < drive.repair, True], [
        scaled.get(column, 0), scaled.get(column + config.spare_cols, 0)]) for column in logical]
    words = np.zeros(drive.cycles, object)
    for column in range(config.physical_cols):
        words[1:] |= column_words(config, column_pins(drive, column))[:-1]
    return Signatures(tuple(signature(values, drive.listen) for values in columns), signature(words, drive.listen))


def expected_runs(config: Config, program: Sequence[TestStep]) -> list[Expected]:
    """A program's two runs, that of columns in their place and that of moved ones; one if there are no spares."""
    return [Expected(moved, expand(config, program, moved=moved).cycles,
                     *astuple(macro_signatures(config, program, moved=moved)))
            for moved in ((False, True) if config.spare_cols else (False,))]


def signature_file(config: Config, program: Sequence[TestStep]) -> str:
    """The file of a program's runs, as :func:`mbist.signature_file.read_signatures` reads it."""
    return export_signatures(config, program, expected_runs(config, program))


def _shifts(drive: Drive) -> Iterable[int]:
    """Whether columns are ever in their place, and ever moved, while results are listened to."""
    repair = drive.repair[drive.listen]
    return [moved for moved, occurs in ((0, (repair > 0).any()), (1, (repair < drive.config.cols).any())) if occurs]


def _number(bits: np.ndarray) -> int:
    return int(sum(1 << int(i) for i in np.flatnonzero(bits)))


def _signed(value: int, width: int) -> int:
    return (value + (1 << width - 1)) % (1 << width) - (1 << width - 1)
