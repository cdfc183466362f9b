"""The instructions of a program, as arrays."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
from amaranth.hdl import Shape

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.isa import (
    FIELDS,
    HEAD,
    QUEUE_OF,
    Instruction,
    Opcode,
    Queue,
    body_layout,
    head_layout,
    illegal_fields,
    opcodes,
    queues,
)

from .compiled import entry_point

WORDS = INSTRUCTION_BYTES // 8

#: Rows of :attr:`Commands.values`.
NAMES = tuple(dict.fromkeys([*HEAD, *(name for fields in FIELDS.values() for name in fields)]))

ROW = {name: row for row, name in enumerate(NAMES)}
#: Those of an opcode's own fields, and whether each is too large for int64.
_ROWS = {opcode: [ROW[name] for name in fields] for opcode, fields in FIELDS.items()}
_UNSIGNED = {opcode: [field.bits == 64 for field in fields.values()] for opcode, fields in FIELDS.items()}

WAIT, SIGNAL = ROW["wait"], ROW["signal"]

#: What :func:`unpack` finds.
LEGAL, NO_OPCODE, RESERVED, NO_QUEUE = range(4)


class PredictionError(ValueError):
    """A program whose cycles cannot be predicted, since it does not run to its end."""


@dataclass(frozen=True)
class Commands:
    """Instructions of one queue in program order.

    Attributes
    ----------
    opcode : int64 [n]
    values : int64 [names, n]
        By :data:`NAMES`; 0 where an instruction has no such field, as two's complement.
    """
    values: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[ROW[name]]

    def __len__(self) -> int:
        return self.values.shape[1]

    @property
    def opcode(self) -> np.ndarray:
        return self["opcode"]


@dataclass(frozen=True)
class Code:
    """A program.

    Attributes
    ----------
    queue : int64 [instructions]
    by_queue : dict of Commands
    """
    queue: np.ndarray
    by_queue: dict[Queue, Commands]


class _Format(NamedTuple):
    """Where the fields of all opcodes are.

    Attributes
    ----------
    kind : int64 [256]
        Index of each opcode in the other arrays; -1 if there is none.
    queue : int64 [opcodes]
    fields : int64 [opcodes, names, 3]
        First bit, width, and whether it is a signed number; width 0 where an opcode has no such field.
    reserved : uint64 [opcodes, words]
        Bits that must be zero.
    """
    kind: np.ndarray
    queue: np.ndarray
    fields: np.ndarray
    reserved: np.ndarray


@cache
def _format(config: Config) -> _Format:
    kind = np.full(256, -1, np.int64)
    fields = np.zeros((len(Opcode), len(NAMES), 3), np.int64)
    reserved = np.zeros((len(Opcode), WORDS), np.uint64)
    for number, opcode in enumerate(opcodes(config)):
        kind[opcode] = number
        mask, start = 0, 0
        for layout in (head_layout(), body_layout(opcode)):
            for name, field in layout:
                shape = Shape.cast(field.shape)
                if name == "reserved":
                    mask |= (1 << shape.width) - 1 << start + field.offset
                else:
                    fields[number, ROW[name]] = start + field.offset, shape.width, shape.signed
            start += layout.size
        reserved[number] = np.frombuffer(mask.to_bytes(INSTRUCTION_BYTES, "little"), np.uint64)
    return _Format(kind, np.array([QUEUE_OF[opcode] for opcode in opcodes(config)], np.int64), fields, reserved)


@entry_point
def unpack(records, kinds, queue_of, fields, reserved, queue_mask, queue, values, begins, ends):
    """Fills in the queue of each record (uint64 [n, 8]), values [names, n], queue after queue, and where each queue
    begins and ends there. Returns the first illegal record, and what is wrong with it."""
    for i in range(len(records)):
        kind = kinds[records[i, 0] & 0xFF]
        if kind < 0:
            return i, NO_OPCODE
        queue[i] = queue_of[kind]
        ends[queue[i]] += 1
    for q in range(1, len(ends)):
        begins[q] = begins[q - 1] + ends[q - 1]
    for q in range(len(ends)):
        ends[q] = begins[q]
    for i in range(len(records)):
        kind = kinds[records[i, 0] & 0xFF]
        for word in range(WORDS):
            if records[i, word] & reserved[kind, word]:
                return i, RESERVED
        n = ends[queue[i]]
        ends[queue[i]] += 1
        for name in range(len(NAMES)):
            first, width, signed = fields[kind, name]
            if width == 0:
                values[name, n] = 0
                continue
            word, shift = first >> 6, first & 63
            value = records[i, word] >> np.uint64(shift)
            if shift + width > 64:
                value |= records[i, word + 1] << np.uint64(64 - shift)
            spare = 64 - width
            value = value << np.uint64(spare)
            values[name, n] = np.int64(value) >> spare if signed else np.int64(value >> np.uint64(spare))
        if (values[WAIT, n] | values[SIGNAL, n]) & ~queue_mask:
            return i, NO_QUEUE
    return len(records), LEGAL


class Every:
    """Values of a field that differ; what is asked of them is true if it is true of every one."""
    __slots__ = ("values",)

    def __init__(self, values: np.ndarray):
        self.values = values

    def __bool__(self) -> bool:
        return 0 not in self.values.tobytes()  # of few values sooner than their all()


def _of_values(name: str) -> Callable[[Every, Any], Every]:
    of_arrays = getattr(np.ndarray, name)

    def apply(self: Every, other: Any) -> Every:
        return Every(of_arrays(self.values, other.values if isinstance(other, Every) else other))

    return apply


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "mod", "rshift", "and", "lt", "le", "gt", "ge", "eq"):
    setattr(Every, f"__{_name}__", _of_values(f"__{_name}__"))


@dataclass(frozen=True)
class Fields:
    """Instructions of an opcode as :func:`hdl.isa.illegal_fields` sees one."""
    opcode: Opcode
    values: Mapping[str, int | Every]

    def __getitem__(self, name: str) -> int | Every:
        return self.values.get(name, 0)


def decode(config: Config, memory: np.ndarray, entry: int, count: int) -> Code:
    """The ``count`` instructions at address ``entry`` of a memory image (uint8). Raises :class:`PredictionError` at an
    illegal one."""
    records = memory[entry:entry + count * INSTRUCTION_BYTES].copy().view(np.uint64).reshape(count, WORDS)
    queue = np.empty(count, np.int64)
    values = np.empty((len(NAMES), count), np.int64)
    present = queues(config)
    begins, ends = np.zeros((2, len(present)), np.int64)
    form = _format(config)
    bad, why = unpack(records, form.kind, form.queue, form.fields, form.reserved, (1 << len(present)) - 1, queue,
                      values, begins, ends)
    by_queue = {q: Commands(values[:, begin:end]) for q, begin, end in zip(present, begins.tolist(), ends.tolist())}
    if why != LEGAL:
        sentence = {NO_OPCODE: f"there is no opcode {int(records[bad, 0]) & 0xFF:#04x}",
                    RESERVED: "its reserved bits must be zero", NO_QUEUE: "it names a queue that does not exist"}[why]
    else:
        broken = min((broken for q, commands in by_queue.items()
                      for broken in _broken(config, commands, np.flatnonzero(queue == q))), default=None)
        if broken is None:
            return Code(queue, by_queue)
        bad, sentence = broken
    raise PredictionError(f"instruction {bad} at {entry + bad * INSTRUCTION_BYTES:#x} is illegal: {sentence}")


def _rules(config: Config, opcode: Opcode, values: Mapping[str, Any]) -> list[str]:
    return illegal_fields(config, cast(Instruction, Fields(opcode, values)))


def _broken(config: Config, commands: Commands, places: np.ndarray) -> Iterator[tuple[int, str]]:
    """Places in the program of instructions that break a rule, and the rule."""
    kinds = commands.opcode << 8 | commands["format"] << 4 | commands["residual"]  # which decide on other rules
    for kind in set(kinds.tolist()):
        opcode = Opcode(kind >> 8)
        chosen = kinds == kind
        values = commands.values[_ROWS[opcode]][:, chosen].view(np.uint64)
        columns = [column if unsigned else column.view(np.int64) for column, unsigned in zip(values, _UNSIGNED[opcode])]
        same = (values == values[:, :1]).all(axis=1).tolist()
        if _rules(config, opcode, {name: column.item(0) if alike else Every(column)
                                   for name, column, alike in zip(FIELDS[opcode], columns, same)}):
            for place, row in zip(places[chosen].tolist(), zip(*(column.tolist() for column in columns))):
                for rule in _rules(config, opcode, dict(zip(FIELDS[opcode], row)))[:1]:
                    yield place, rule
