"""What the compute self-test drives, cycle by cycle: the golden model of its engine.

The engine owns a macro's inputs while it runs. It has a 64-bit linear generator that steps in every cycle, a register
that holds one of its words for the length of a load, and counters for slot, vector, repetition and row of the table.
Inputs that mean nothing in a cycle carry the generator's noise.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.lib import data

from hdl.bist.compute_table import SEED, position_bits, turn
from hdl.cim.column import Column
from hdl.cim.interfaces import (
    bank_record_layout,
    bist_layout,
    bist_words,
    classes,
    group_layout,
    issue_layout,
    member_bits,
    record_words,
    slot_row_bits,
)
from hdl.config import ACT_BITS, Config, clog2

from .compute_test import Lanes, Mask, Port, Repair, TestStep, Value, check

#: A step whose words are all random.
_NOISE = TestStep()

Bits = np.ndarray


def generator(state: int = SEED) -> Iterator[Bits]:
    """Words of 64 bits: Marsaglia's xorshift (Journal of Statistical Software 8, 2003), three rows of 64 XOR gates, of
    period 2^64 - 1."""
    limit = (1 << 64) - 1
    while True:
        state ^= state << 13 & limit
        state ^= state >> 7
        state ^= state << 17 & limit
        yield _bits(state, 64)


def _bits(value: int, width: int) -> Bits:
    return np.array([value >> i & 1 for i in range(width)], bool)


def _number(bits: Bits) -> int:
    return int(bits @ (1 << np.arange(len(bits))))


def _packed(layout: data.StructLayout, fields: Mapping[str, Any]) -> Bits:
    return np.concatenate([_bits(int(fields[name]), layout[name].width) for name in layout.members])


def _tap(word: Bits, width: int, offset: int) -> Bits:
    """``width`` bits of a generator's word, from ``offset`` on; wires."""
    i = np.arange(width)
    return word[(i + 5 * (i // 64) + offset) % 64]


def lanes(config: Config, source: Lanes, position: int, slot: int, word: Bits, offset: int) -> Bits:
    """bool [rows]: a bit per lane, as :class:`Lanes` says. Only planes have a ``slot``."""
    row, bits = np.arange(config.rows), position_bits(config)
    if source is Lanes.STRIPE:
        return (row >> position // 2 % (1 << bits) & 1 ^ position & 1).astype(bool)
    power = row < 1 << position % (1 << bits)
    if source is Lanes.POWER:
        return power
    if source is Lanes.PAIR:
        return power if slot % 2 else row == config.rows - 1
    if source in (Lanes.ZERO, Lanes.ONE):
        return np.full(config.rows, source is Lanes.ONE)
    first, second, third = (_tap(word, config.rows, offset + more) for more in (0, 17, 41))
    return first if source is Lanes.RANDOM else first | second | third


def activations(config: Config, step: TestStep, position: int, word: Bits) -> Bits:
    """bool [9, rows]: activations of one vector, bit-sliced, as :class:`Value` says."""
    if step.value is Value.RANDOM:
        return np.array([_tap(word, config.rows, 7 * bit) for bit in range(ACT_BITS)])
    chosen = lanes(config, step.select, position, 0, word, 0)
    other = None
    if step.value is Value.EQUAL:
        value = _number(word[:ACT_BITS])
    elif step.value is Value.BIT:
        value = 1 << position % ACT_BITS
    elif step.value is Value.EXTREME:
        value = 255 if position % 2 else -256
    else:
        value, other, chosen = -1 << position % ACT_BITS, -1, np.arange(config.rows) < config.rows - 1
    rest = _bits(~value if other is None else other, ACT_BITS)
    return np.where(chosen, _bits(value, ACT_BITS)[:, None], rest[:, None])


@dataclass(frozen=True)
class Drive:
    """What the engine drives; every array is [cycles, ...], bool unless said otherwise.

    Attributes
    ----------
    issue : [width of issue_layout], act : [9, rows]
    valid : [classes], member : int
    first, bank, row, lane_mask, lanes, sign, group, constant
        Of a load, offered to all classes.
    opposed : [classes]
        Classes that offer the complement of ``first``, ``lane_mask``, ``sign``, ``group`` and ``constant`` instead.
    bist : [width of bist_layout], bist_data : [rows]
        The test port.
    repair : int
        First logical column that is moved.
    rst
    step : int
        Expanded step to which a cycle belongs, -1 before the first.
    listen
        Whether the signatures take the cycle in.
    """
    config: Config
    issue: np.ndarray
    act: np.ndarray
    valid: np.ndarray
    member: np.ndarray
    first: np.ndarray
    bank: np.ndarray
    row: np.ndarray
    lane_mask: np.ndarray
    lanes: np.ndarray
    sign: np.ndarray
    group: np.ndarray
    constant: np.ndarray
    opposed: np.ndarray
    bist: np.ndarray
    bist_data: np.ndarray
    repair: np.ndarray
    rst: np.ndarray
    step: np.ndarray
    listen: np.ndarray

    @property
    def cycles(self) -> int:
        return len(self.rst)

    @cached_property
    def accumulate(self) -> np.ndarray:
        """``issue`` as it leaves the adder tree."""
        latency = Column.sum_latency(self.config)
        accumulate = np.zeros_like(self.issue)
        accumulate[latency:] = self.issue[:-latency]
        for cycle in np.flatnonzero(self.rst):
            accumulate[cycle + 1:cycle + 1 + latency] = False
        return accumulate

    @cached_property
    def taken_act(self) -> np.ndarray:
        """The activation register."""
        first = np.where(self.issue[:, 0] & self.issue[:, 1], np.arange(self.cycles), -1)
        source = np.concatenate([[-1], np.maximum.accumulate(first)[:-1]])
        return np.where(source[:, None, None] < 0, False, self.act[source])


def expand(config: Config, program: Sequence[TestStep], columns: Sequence[int] | None = None, *,
           moved: bool = False) -> Drive:
    """Runs a program.

    Parameters
    ----------
    columns : sequence of int
        Physical columns that the test port visits, by default all of them, as the engine does.
    moved : bool
        Steps that move no column move all, and the opposite, so that spares take part.

    Raises
    ------
    ValueError
        If the engine cannot hold the program.
    """
    check(program)
    engine = _Engine(config, range(config.physical_cols) if columns is None else columns, moved)
    steps = [(step, repetition) for step in program for repetition in range(step.repeat)]
    engine.begin(steps[0])
    for number, (step, repetition) in enumerate(steps):
        engine.run(number, step, repetition, steps[(number + 1) % len(steps)])
    engine.end(len(steps))
    names = engine.cycles[0]
    made: dict[str, Any] = {name: np.array([cycle[name] for cycle in engine.cycles]) for name in names}
    start = int(np.flatnonzero(made["step"] == 0)[0]) + engine.settled
    return Drive(config, **made, listen=np.arange(len(engine.cycles)) >= start)


class _Engine:
    def __init__(self, config: Config, columns: Sequence[int], moved: bool):
        self.config, self.columns, self.moved = config, columns, moved
        self.words = generator()
        self.word = self.held = np.zeros(64, bool)
        self.repair = 0
        self.cycles: list[dict[str, Any]] = []
        #: Cycles after which everything that a vector needs has been taken over, and its results are out.
        self.settled = Column.sum_latency(config) + Column.SCALED_LATENCY + 1
        self.members = max(1, config.cols // classes(config))

    def begin(self, first: tuple[TestStep, int]):
        """Loads both banks of every physical column, since what they hold is unknown: twice, first with the repair
        that the first step does not have."""
        for own in (False, True):
            for bank in (1, 0):
                for load in self._load(*first, bank, own):
                    self._cycle(-1, load=load)

    def run(self, number: int, step: TestStep, repetition: int, following: tuple[TestStep, int]):
        """One step, and the load of the next one: beside it, or behind it if both banks are in use."""
        work = deque(self._port(step, number % 2))
        if step.port in (Port.NONE, Port.WRITE):
            work.extend(self._planes(step, repetition, number % 2))
        beside = not (step.wild or step.port or step.repair is Repair.SWEEP or following[0].spread)
        loads: Iterator[dict[str, Any]] | None = None
        load: dict[str, Any] | None = None
        # What a wild step has issued takes over mask, scale and constant of either bank when it leaves the adder tree.
        quiet = Column.sum_latency(self.config) if step.wild else 0
        begun = len(self.cycles)
        while work or loads is None or load is not None or len(self.cycles) - begun < self.settled:
            if loads is None and (beside or (not work and not quiet)):
                loads = self._load(*following, 1 - number % 2)
                load = next(loads)
            quiet -= bool(quiet and not work)
            swept = (len(self.cycles) - begun) % (self.config.cols + 1)
            self._cycle(number, step, work, load, swept if step.repair is Repair.SWEEP and work else None)
            if loads is not None:
                load = next(loads, None)
        if step.reset:
            self._cycle(number, reset=True)

    def end(self, number: int):
        for _ in range(self.settled):
            self._cycle(number)

    def _planes(self, step: TestStep, repetition: int, bank: int) -> Iterator[dict[str, Any]]:
        """Cycles that compute."""
        for vector in range(step.vectors):
            position = repetition * step.vectors + vector
            for plane in range(step.length):
                yield {"position": position, "issue": {
                    "valid": 1, "first": plane == 0, "last": plane == step.length - 1,
                    "step": vector == 0 and plane == 0, "bank": bank,
                    "plane": (step.length * position + plane) % self.config.slots}}

    def _port(self, step: TestStep, bank: int) -> Iterator[dict[str, Any]]:
        """Cycles that use the test port."""
        words = bist_words(self.config)
        for column in self.columns if step.port else ():
            if step.port is Port.WRITE:
                for word in range(words):
                    yield {"bist": {"valid": self.held[(word + 13) % 64], "read": 0, "write": 1, "column": column,
                                    "write_bank": bank, "word": word},
                           "bist_data": self._written(step, column, word)}
                continue
            for read_bank in range(2):
                for word in range(self.config.slots if step.port is Port.RECORD else 0, words):
                    yield {"bist": {"valid": 1, "read": 1, "write": 0, "column": column, "read_bank": read_bank,
                                    "word": word}}

    def _written(self, step: TestStep, column: int, word: int) -> Bits:
        """What is written: words differ in every fourth bit or more, and so do columns, if they have their own."""
        row, codes = np.arange(self.config.rows), clog2(bist_words(self.config))
        same = _tap(self.held, self.config.rows, 37) ^ _bits(word, codes)[row % codes]
        return same ^ _bits(column, 7)[row % 7] if step.spread else same

    def _load(self, step: TestStep, repetition: int, bank: int, own: bool = True) -> Iterator[dict[str, Any]]:
        """Cycles that load a bank. The word that is held is that of the cycle before them, in which nothing is
        offered."""
        count = classes(self.config)
        for member in range(self.members if step.spread else 1):
            for number in range(count if step.spread else 1):
                yield {}
                if step.spread or not step.keep or repetition % 4 == 0:
                    self.held = self.word
                self.repair = 0 if (step.repair is Repair.ALL) == (own is not self.moved) else self.config.cols
                word = self.held ^ (step.keep and repetition % 4 in (1, 2))
                for every in range(1 if step.spread else self.members):
                    for row in range(self.config.slots // self.config.units_per_beat):
                        yield self._offer(step, repetition, row, np.roll(word, -row * turn(self.config))) | {
                            "bank": bank,
                            "valid": (np.arange(count) == number) | (not step.spread),
                            "member": member if step.spread else every,
                            "opposed": ((np.arange(count) - number) % 2 == 1) & step.spread}

    def _offer(self, step: TestStep, repetition: int, row: int, word: Bits) -> dict[str, Any]:
        """What a bus word brings."""
        config = self.config
        slots = row * config.units_per_beat + np.arange(config.units_per_beat)
        group = {
            "mask": _bits(self._mask(step.mask, repetition), config.planes) if step.mask is not Mask.RANDOM
            else _tap(word, config.planes, 50),
            "m": _bits(step.m + repetition * step.m_step, 3),
            "e": _bits(step.e + repetition * step.e_step, 5),
            "first_slot": _bits(3 * repetition, clog2(config.slots)),
        }
        planes = [lanes(config, step.planes, repetition + int(slot), int(slot), word, 11 * unit + 3)
                  for unit, slot in enumerate(slots)]
        return {
            "first": (word[60] if step.partial else True) and row == 0,
            "row": _bits(row, slot_row_bits(config)),
            "lane_mask": _tap(word, len(slots), 5) if step.partial else np.ones(len(slots), bool),
            "lanes": np.concatenate(planes),
            "sign": lanes(config, step.sign, repetition, 0, word, 29),
            "group": _tap(word, group_layout(config).size, 50) if step.keep else np.concatenate(list(group.values())),
            "constant": _tap(word, config.constant_bits, 23) & step.constant,
        }

    def _mask(self, mask: Mask, repetition: int) -> int:
        planes = self.config.planes
        return {
            Mask.FIRST: 1,
            Mask.BIT: 1 << repetition % planes,
            Mask.PAIR: 1 | 2 << repetition % max(1, planes - 1) if planes > 1 else 1,
            Mask.HIGH: 3 << planes - 2 if planes > 1 else 1,
            Mask.ALL: (1 << planes) - 1,
        }[mask]

    def _cycle(self, number: int, step: TestStep = _NOISE, work: deque | None = None,
               load: dict[str, Any] | None = None, repair: int | None = None, reset: bool = False):
        """One cycle: the next of ``work``, one of a load, and noise on everything else."""
        config, layout = self.config, issue_layout(self.config)
        word = self.word = next(self.words)
        issue = {"valid": 0, "first": word[3], "last": word[4], "step": word[5], "bank": word[6],
                 "plane": _number(_tap(word, layout["plane"].width, 8))}
        port = bist_layout(config)
        bist = {"valid": 0, "read": word[38], "write": word[39], "compute": word[19], "read_bank": word[40],
                "write_bank": word[42], "column": _number(_tap(word, port["column"].width, 44)),
                "word": _number(_tap(word, port["word"].width, 51))}
        act, written = activations(config, _NOISE, 0, word), _tap(word, config.rows, 31)
        if work and not (step.wild and word[30] and word[31]):
            now = work.popleft()
            if "bist" in now:
                bist |= now["bist"]
                written = now.get("bist_data", written)
            else:
                issue = now["issue"]
                act = activations(config, step, now["position"], word)
                if step.wild:
                    issue |= {"first": word[35], "last": word[33] | word[34], "step": word[36] & word[35],
                              "bank": word[37]}
        noise = {
            "valid": np.zeros(classes(config), bool), "member": 0, "first": word[60], "bank": word[1],
            "row": _tap(word, slot_row_bits(config), 2), "lane_mask": _tap(word, config.units_per_beat, 5),
            "lanes": np.concatenate([_tap(word, config.rows, 11 * unit + 3) for unit in range(config.units_per_beat)]),
            "sign": _tap(word, config.rows, 29), "group": _tap(word, group_layout(config).size, 50),
            "constant": _tap(word, config.constant_bits, 23), "opposed": np.zeros(classes(config), bool),
        }
        self.cycles.append({"issue": _packed(layout, issue), "act": act, **noise, **(load or {}),
                            "bist": _packed(port, bist), "bist_data": written, "rst": reset, "step": number,
                            "repair": self.repair if repair is None else repair})


def column_pins(drive: Drive, column: int) -> dict[str, np.ndarray]:
    """What the macro makes of its inputs for one physical column: bool [cycles, width] by port of the column."""
    config = drive.config
    port = {name: drive.bist[:, field.offset:field.offset + field.width] for name, field in bist_layout(config)}
    here = _numbers(port["column"]) == column
    reads, test = port["valid"] & port["read"], port["valid"] & port["write"]
    written = _over_port(drive, port) | {"select": here}
    pins = {name: np.where(test, written[name], bits) for name, bits in _delivered(drive, column).items()}
    words = config.slots + np.arange(1 + record_words(config))
    return pins | {"issue": drive.issue, "accumulate": drive.accumulate, "rst": drive.rst[:, None], "test": test,
                   "test_words": test & (_numbers(port["word"]) == words),
                   "bist_select": reads & (here | port["compute"]), "bist_show": reads & here,
                   "bist_bank": port["read_bank"], "bist_word": port["word"]} | {
                       f"act__{bit}": drive.taken_act[:, bit] for bit in range(ACT_BITS)}


def _delivered(drive: Drive, column: int) -> dict[str, np.ndarray]:
    """What a column is offered by its class, and with ``select`` takes. One that is nobody's is offered what its lowest
    logical neighbour is."""
    config, cycles = drive.config, np.arange(drive.cycles)
    logical = _logical(drive, column)
    offered = np.where(logical < 0, max(0, column - config.spare_cols), logical)
    number = offered % classes(config)
    selected = (logical >= 0) & drive.valid[cycles, number] & (drive.member == offered // classes(config))
    opposed = drive.opposed[cycles, number]
    pins = {name: getattr(drive, name).reshape(drive.cycles, -1) ^ opposed[:, None]
            for name in ("first", "lane_mask", "sign", "group", "constant")}
    return pins | {"bank": drive.bank[:, None], "row": drive.row, "lanes": drive.lanes, "select": selected[:, None]}


def _over_port(drive: Drive, port: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the test port offers all columns if it writes."""
    config, word = drive.config, drive.bist_data
    lane_bits, group_bits = clog2(config.units_per_beat), group_layout(config).size
    slots = (_numbers(port["word"]) == np.arange(config.slots)).reshape(drive.cycles, -1, config.units_per_beat)
    record = np.tile(word, record_words(config))[:, :bank_record_layout(config).size]
    return {"first": np.zeros((drive.cycles, 1), bool), "bank": port["write_bank"],
            "row": port["word"][:, lane_bits:lane_bits + slot_row_bits(config)], "lane_mask": slots.any(axis=1),
            "lanes": np.tile(word, config.units_per_beat), "sign": word, "group": record[:, :group_bits],
            "constant": record[:, group_bits:]}


def _numbers(bits: np.ndarray) -> np.ndarray:
    """int [cycles, 1] of bits [cycles, width]."""
    return (bits @ (1 << np.arange(bits.shape[1])))[:, None]


def driven_alike(drive: Drive, column: int, other: int) -> bool:
    """Whether two physical columns do the same: their pins are the same in every cycle from the first step on, but for
    those that select one column; and in each step both are selected for the same loads and accesses in the same order,
    in cycles of their own. Of what is loaded before the first step, the last load of each bank counts."""
    mine, theirs = column_pins(drive, column), column_pins(drive, other)
    start = int(np.argmax(drive.step >= 0))
    turns = {"select": ("first", "bank", "row", "lane_mask", "lanes", "sign", "group", "constant", "test",
                        "test_words"), "bist_show": ("bist_bank", "bist_word")}

    def taken(pins: dict[str, np.ndarray], turn: str) -> np.ndarray:
        cycles = np.flatnonzero(pins[turn][:, 0])
        begun = np.searchsorted(cycles, start)
        cycles = cycles[max(0, begun - 2 * drive.config.slots // drive.config.units_per_beat):]
        return np.concatenate([drive.step[cycles, None], *(pins[name][cycles] for name in turns[turn])], axis=1)

    steady = mine.keys() - turns.keys() - {"bist_select"}
    return (all(np.array_equal(mine[name][start:], theirs[name][start:]) for name in steady)
            and all(np.array_equal(taken(mine, turn), taken(theirs, turn)) for turn in turns))


def _logical(drive: Drive, column: int) -> np.ndarray:
    """int [cycles]: logical column of a physical one, -1 if it has none. All repair inputs are moved together."""
    config = drive.config
    moved = column - config.spare_cols
    unmoved = np.where((column < config.cols) & (column < drive.repair), column, -1)
    return np.where((moved >= 0) & (moved >= drive.repair), moved, unmoved)


def macro_pins(drive: Drive) -> dict[str, np.ndarray]:
    """The same as inputs of a macro: bool [cycles, width] by Verilog port."""
    config = drive.config

    def number(values: np.ndarray, width: int) -> np.ndarray:
        return values[:, None] >> np.arange(width) & 1 == 1

    pins = {"issue": drive.issue, "rst": drive.rst[:, None], "load__bank": drive.bank[:, None], "load__row": drive.row,
            "load__lanes": drive.lanes}
    pins |= {f"act__{bit}": drive.act[:, bit] for bit in range(ACT_BITS)}
    for k in range(classes(config)):
        port = f"deliveries__{k}__"
        pins |= {f"{port}valid": drive.valid[:, k, None], f"{port}member": number(drive.member, member_bits(config))}
        pins |= {port + name: getattr(drive, name).reshape(drive.cycles, -1) ^ drive.opposed[:, k, None]
                 for name in ("first", "lane_mask", "sign", "group", "constant")}
    pins |= {f"repair__{i}": number(drive.repair, clog2(config.cols + 1)) for i in range(config.spare_cols)}
    return pins | {"bist": drive.bist, "bist_data": drive.bist_data}
