"""What a program makes each part of the chip do, in order: everything about a program that is not timing.

Timing depends on data only through the masks in the headers of packed steps, which are read from the memory image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.data import Field as LayoutField

from hdl.config import BURST_BOUNDARY, INSTRUCTION_BYTES, MAX_BURST_BEATS, Config
from hdl.csr import COUNTERS
from hdl.ipu.residual import Residual
from hdl.ipu.writer import Writer
from hdl.isa import (
    QUEUE_OF,
    QUEUES,
    TABLE_ENTRIES,
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    body_layout,
    head_layout,
    illegal_fields,
)
from hdl.layouts import PARAMETER_BYTES, header_layout

from .compiled import entry_point

#: Of bursts, in the order in which the plan has them.
CHANNELS = ("fetch", "weights", "load", "residual", "write")


class PredictionError(ValueError):
    """A program whose cycles cannot be predicted, since it does not run to its end."""


class Plan(NamedTuple):
    """Arrays of int64, one entry per instruction, run, burst, step, ..., in program order.

    Attributes
    ----------
    queue : [instructions]
    load_wait, load_signal, load_is_weights, load_runs : [instructions of the load queue]
        Runs of bus words that it asks for; a LOAD_WEIGHTS has none here.
    transfer_words : [transfers + 1]
        Bus words of every load but LOAD_WEIGHTS; 0 ends them.
    weight_beats : [LOAD_WEIGHTS]
    step_units, step_planes : [steps + 1]
        Bus words of units, and planes of the fullest column.
    gemm_wait, gemm_signal, gemm_steps, gemm_vectors, gemm_accumulate, gemm_maximum, gemm_keep, gemm_line : [GEMMs]
        ``gemm_line`` is the index of its first line in ``pieces``.
    pieces : [lines + 1]
        Pieces of each line of each GEMM.
    store_wait, store_signal, store_release, store_rows, store_channels, store_wide, store_residual : [store queue]
    row_offset : [rows + 1]
        Byte of its first bus word with which each vector written begins.
    residual_offset, residual_channels : [rows of residuals + 1]
    burst_beats, burst_last, burst_signal : [bursts + 1]
        Of all channels, one channel after another: bus words, whether its run ends, and what a STORE signals with it.
    first_burst : [channels]
    """

    queue: np.ndarray
    load_wait: np.ndarray
    load_signal: np.ndarray
    load_is_weights: np.ndarray
    load_runs: np.ndarray
    transfer_words: np.ndarray
    weight_beats: np.ndarray
    step_units: np.ndarray
    step_planes: np.ndarray
    gemm_wait: np.ndarray
    gemm_signal: np.ndarray
    gemm_steps: np.ndarray
    gemm_vectors: np.ndarray
    gemm_accumulate: np.ndarray
    gemm_maximum: np.ndarray
    gemm_keep: np.ndarray
    gemm_line: np.ndarray
    pieces: np.ndarray
    store_wait: np.ndarray
    store_signal: np.ndarray
    store_release: np.ndarray
    store_rows: np.ndarray
    store_channels: np.ndarray
    store_wide: np.ndarray
    store_residual: np.ndarray
    row_offset: np.ndarray
    residual_offset: np.ndarray
    residual_channels: np.ndarray
    burst_beats: np.ndarray
    burst_last: np.ndarray
    burst_signal: np.ndarray
    first_burst: np.ndarray

    def flat(self, **constants: int) -> tuple[np.ndarray, np.ndarray]:
        """What compiled functions take: one record (in an array) of constants, of where each table begins, and of each
        channel's first burst; and all tables, one after another."""
        tables = self._asdict()
        starts = np.cumsum([0, *(len(table) for table in self)])
        channels = {f"{channel}_bursts": int(first) for channel, first in zip(CHANNELS, self.first_burst)}
        values = constants | dict(zip(tables, starts.tolist())) | channels
        record = np.array([tuple(values.values())], np.dtype([(name, np.int64) for name in values]))
        return record, np.concatenate(self)


def fetch_depth(config: Config) -> int:
    """Bus words that instruction fetch holds."""
    return max(16, 2 * INSTRUCTION_BYTES // config.bus_bytes)


class Every(np.ndarray):
    """The values of a field in some instructions; what is asked of them is true if it is true of every one."""

    def __bool__(self):
        return bool(np.asarray(self).all())


@dataclass(frozen=True)
class Fields:
    """Instructions of an opcode as :func:`hdl.isa.illegal_fields` sees one."""
    opcode: Opcode
    values: Mapping[str, int | Every]

    def __getitem__(self, name: str) -> int | Every:
        return self.values.get(name, 0)


def plan(config: Config, memory: np.ndarray, entry: int, count: int) -> Plan:
    """The plan of ``count`` instructions at address ``entry`` of a memory image (uint8, from address 0).

    Raises
    ------
    PredictionError
        If an instruction is illegal, weights do not fit their steps, a multiplier is not a number, or something does
        not lie in the memory.
    """
    if entry < 0 or entry % INSTRUCTION_BYTES or count < 0 or entry + count * INSTRUCTION_BYTES > len(memory):
        raise PredictionError(f"entry must be a multiple of {INSTRUCTION_BYTES} and the program end in the memory's "
                              f"{len(memory)} bytes, not {count} instructions at {entry:#x}")
    opcodes, commands = decode(config, memory, entry, count)
    _check_multipliers(memory, opcodes, commands)
    bus = config.bus_bytes
    loads, gemms, stores = (_of_queue(opcodes, commands, queue) for queue in (Queue.LOAD, Queue.COMPUTE, Queue.STORE))

    is_weights = loads.opcode == Opcode.LOAD_WEIGHTS
    sizes = np.select([is_weights, loads.opcode == Opcode.LOAD_ACTIVATIONS, loads.opcode == Opcode.LOAD_PARAMETERS],
                      [loads["beats"] * bus, loads["row_bytes"], loads["channels"] * PARAMETER_BYTES], TABLE_ENTRIES)
    is_acts = loads.opcode == Opcode.LOAD_ACTIVATIONS
    load_rows = _rows(loads["address"], np.where(is_acts, loads["rows"], 1), loads["stride"],
                      np.where(is_acts, loads["blocks"], 1), loads["block_stride"])
    load_sizes = sizes[load_rows.source]
    weight_rows = is_weights[load_rows.source]

    is_counters = stores.opcode == Opcode.STORE_COUNTERS
    wide = (stores["format"] == OutputFormat.INT32) | is_counters
    channels = np.where(is_counters, 2 * len(COUNTERS), stores["channels"])
    vectors, vector_rows = (np.where(is_counters, 1, stores[name]) for name in ("vectors", "vector_rows"))
    written = _rows(stores["address"], vectors, stores["stride"], vector_rows, stores["row_stride"])
    written_sizes = (channels * np.where(wide, 4, 1))[written.source]
    with_residual = stores["residual"] != 0
    residuals = _rows(stores["residual_address"], np.where(with_residual, vectors, 0), stores["residual_stride"],
                      vector_rows, stores["residual_row_stride"])
    residual_sizes = channels[residuals.source]

    last_row = np.append(written.source[1:] != written.source[:-1], True)[:len(written.source)]
    signals = np.where(last_row, stores["signal"][written.source], 0)
    fetched = np.array([count * INSTRUCTION_BYTES] if count else [], np.int64)
    runs = [  # by channel: first bytes, sizes, signals, and the longest burst
        (np.full(len(fetched), entry), fetched, None, min(MAX_BURST_BEATS, fetch_depth(config))),
        (load_rows.address[weight_rows], load_sizes[weight_rows], None, min(MAX_BURST_BEATS, config.prefetch_beats)),
        (load_rows.address[~weight_rows], load_sizes[~weight_rows], None, MAX_BURST_BEATS),
        (residuals.address, residual_sizes, None, min(MAX_BURST_BEATS, Residual.DEPTH)),
        (written.address, written_sizes, signals, Writer.MAX_BEATS),
    ]
    for address, size, *_ in runs:
        if len(address) and int((address + size).max()) > len(memory):
            raise PredictionError(f"what is read and written must lie in the memory's {len(memory)} bytes, "
                                  f"not end at {int((address + size).max()):#x}")
    bursts = [_bursts(bus, *run) for run in runs]
    beats = (load_rows.address % bus + load_sizes + bus - 1) // bus
    load_beats = np.bincount(load_rows.source, beats, len(is_weights)).astype(np.int64)
    step_units, step_planes = _steps(config, memory, loads["address"][is_weights], loads["beats"][is_weights],
                                     loads["steps"][is_weights])
    steps = gemms["steps"]
    return Plan(
        queue=np.array([QUEUE_OF[Opcode(opcode)] for opcode in opcodes], np.int64),
        load_wait=loads["wait"], load_signal=loads["signal"], load_is_weights=is_weights.astype(np.int64),
        load_runs=np.bincount(load_rows.source, minlength=len(is_weights)),
        transfer_words=_ended(load_beats[~is_weights]),
        weight_beats=loads["beats"][is_weights],
        step_units=_ended(step_units), step_planes=_ended(step_planes),
        gemm_wait=gemms["wait"], gemm_signal=gemms["signal"], gemm_steps=steps,
        gemm_vectors=gemms["vectors"] * gemms["vector_rows"], gemm_accumulate=gemms["accumulate"],
        gemm_maximum=gemms["maximum"], gemm_keep=gemms["keep"], gemm_line=np.cumsum(steps) - steps,
        pieces=_ended(_pieces(config.line_bytes, gemms)),
        store_wait=stores["wait"], store_signal=stores["signal"], store_release=stores["release"],
        store_rows=vectors * vector_rows, store_channels=channels, store_wide=wide.astype(np.int64),
        store_residual=with_residual.astype(np.int64), row_offset=_ended(written.address % bus),
        residual_offset=_ended(residuals.address % bus), residual_channels=_ended(residual_sizes),
        burst_beats=_ended(np.concatenate([b[0] for b in bursts])),
        burst_last=_ended(np.concatenate([b[1] for b in bursts])),
        burst_signal=_ended(np.concatenate([b[2] for b in bursts])),
        first_burst=np.cumsum([0, *(len(b[0]) for b in bursts[:-1])]))


def _ended(values: np.ndarray) -> np.ndarray:
    """With a zero behind the last entry, for what looks at the next one."""
    return np.append(values.astype(np.int64), 0)


# Instructions

@dataclass(frozen=True)
class Commands:
    """Some instructions in program order: their opcodes and, by field, their values; 0 where one has no such field."""
    opcode: np.ndarray
    values: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def _field(records: np.ndarray, offset: int, field: LayoutField) -> np.ndarray:
    """int64 [n]: the bits from ``offset`` on of records (uint8 [n, bytes])."""
    shape = Shape.cast(field.shape)
    first, shift = offset // 8, offset % 8
    value = np.zeros(len(records), np.uint64)
    for byte in range(-(-(shift + shape.width) // 8)):
        value |= records[:, first + byte].astype(np.uint64) << np.uint64(8 * byte)
    spare = np.uint64(64 - shape.width)
    value = value >> np.uint64(shift) << spare
    return value.view(np.int64) >> spare.astype(np.int64) if shape.signed else (value >> spare).view(np.int64)


@cache
def _places(opcode: Opcode) -> list[tuple[str, int, LayoutField]]:
    """Name, first bit and field of what an instruction has."""
    head, body = head_layout(), body_layout(opcode)
    return ([(name, field.offset, field) for name, field in head if name != "reserved"]
            + [(name, head.size + field.offset, field) for name, field in body if name != "reserved"])


@cache
def _reserved(opcode: Opcode) -> np.ndarray:
    """uint8 [64]: the bits of a record that must be zero."""
    mask = 0
    for start, part in ((0, head_layout()), (head_layout().size, body_layout(opcode))):
        reserved = part["reserved"]
        mask |= (1 << reserved.width) - 1 << start + reserved.offset
    return np.frombuffer(mask.to_bytes(INSTRUCTION_BYTES, "little"), np.uint8)


def decode(config: Config, memory: np.ndarray, entry: int, count: int) -> tuple[np.ndarray, dict[Opcode, Commands]]:
    """The opcodes of the program, and its instructions by opcode. Raises :class:`PredictionError` at an illegal one."""
    records = memory[entry:entry + count * INSTRUCTION_BYTES].reshape(count, INSTRUCTION_BYTES)
    opcodes = records[:, 0].astype(np.int64)

    def refuse(index: int, why: str):
        raise PredictionError(f"instruction {index} at {entry + index * INSTRUCTION_BYTES:#x} is illegal: {why}")

    for index in np.flatnonzero(~np.isin(opcodes, list(Opcode)))[:1]:
        refuse(index, f"there is no opcode {opcodes[index]:#04x}")
    commands = {}
    queues = sum(1 << queue for queue in QUEUES)
    for opcode in Opcode:
        index = np.flatnonzero(opcodes == opcode)
        mine = records[index]
        for bad in np.flatnonzero((mine & _reserved(opcode)).any(axis=1))[:1]:
            refuse(index[bad], "its reserved bits must be zero")
        values = {name: _field(mine, offset, field) for name, offset, field in _places(opcode)}
        for bad in np.flatnonzero((values["wait"] | values["signal"]) & ~queues)[:1]:
            refuse(index[bad], "it names a queue that does not exist")
        for bad in _illegal(config, opcode, values, len(index)):
            refuse(index[bad[0]], bad[1])
        commands[opcode] = Commands(np.full(len(index), opcode), values)
    return opcodes, commands


def _broken(config: Config, opcode: Opcode, values: Mapping[str, Any]) -> list[str]:
    return illegal_fields(config, cast(Instruction, Fields(opcode, values)))


def _illegal(config: Config, opcode: Opcode, values: dict[str, np.ndarray], count: int) -> list[tuple[int, str]]:
    """The first instruction of an opcode that breaks a rule, and the rule; empty if there is none."""
    columns = {name: values[name].view(np.int64 if Shape.cast(field.shape).signed else np.uint64)
               for name, _, field in _places(opcode)}
    formats = columns.get("format", np.zeros(count, np.uint64))  # which decides on other rules
    legal = True
    for one in np.unique(formats):
        group = {name: column[formats == one].view(Every) for name, column in columns.items()}
        legal &= not _broken(config, opcode, group | {"format": int(one)})
    if legal:
        return []
    for i, row in enumerate(zip(*(column.tolist() for column in columns.values()))):
        for why in _broken(config, opcode, dict(zip(columns, row))):
            return [(i, why)]
    return []


def _of_queue(opcodes: np.ndarray, commands: dict[Opcode, Commands], queue: Queue) -> Commands:
    """The instructions of a queue, with the fields of all its opcodes."""
    mine = [opcode for opcode in Opcode if QUEUE_OF[opcode] == queue]
    order = opcodes[np.isin(opcodes, mine)]
    values = {}
    for name in {name for opcode in mine for name in commands[opcode].values}:
        values[name] = np.zeros(len(order), np.int64)
        for opcode in mine:
            if name in commands[opcode].values:
                values[name][order == opcode] = commands[opcode][name]
    return Commands(order, values)


def _check_multipliers(memory: np.ndarray, opcodes: np.ndarray, commands: dict[Opcode, Commands]):
    """Parameters come in program order from the memory as it is before START."""
    parameters, stores = commands[Opcode.LOAD_PARAMETERS], commands[Opcode.STORE]
    bad: set[int] = set()
    places = {opcode: iter(range(len(commands[opcode].opcode))) for opcode in (Opcode.LOAD_PARAMETERS, Opcode.STORE)}
    for opcode in opcodes[np.isin(opcodes, list(places))].tolist():
        i = next(places[opcode])
        if opcode == Opcode.LOAD_PARAMETERS:
            address, channel, channels = (int(parameters[name][i]) for name in ("address", "channel", "channels"))
            words = memory[address:address + channels * PARAMETER_BYTES]
            words = words[:len(words) // PARAMETER_BYTES * PARAMETER_BYTES].view("<u4").reshape(-1, 2)
            infinite = np.flatnonzero(words[:, 1] >> 23 & 0xFF == 0xFF)
            bad -= set(range(channel, channel + channels))
            bad |= set((channel + infinite).tolist())
        elif bad and stores["format"][i] != OutputFormat.INT32:
            channel, channels = (int(stores[name][i]) for name in ("channel", "channels"))
            for entry in sorted(bad & set(range(channel, channel + channels)))[:1]:
                raise PredictionError(f"a STORE uses parameter {entry}, whose multiplier is infinite or not a number")


# Rows, runs and bursts

class Rows(NamedTuple):
    """Rows of bytes in memory, in order: first byte, and the index of the instruction that they are of."""
    address: np.ndarray
    source: np.ndarray


def _rows(address, inner_count, inner_stride, outer_count, outer_stride) -> Rows:
    """The rows of instructions that walk ``outer_count`` times ``inner_count`` rows."""
    counts = inner_count * outer_count
    source = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    outer, inner = np.divmod(number, np.maximum(inner_count, 1)[source])
    return Rows(address[source] + outer * outer_stride[source] + inner * inner_stride[source], source)


def _bursts(bus: int, address, size, signal, max_beats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beats of the bursts of runs, whether each ends its run, and what the run signals if it does."""
    first = address // bus
    beats = (address % bus + size + bus - 1) // bus
    signal = np.zeros(len(first), np.int64) if signal is None else signal
    most = int((beats // max_beats + beats * bus // BURST_BOUNDARY + 2).sum())
    found = np.zeros((3, most), np.int64)
    count = split(first, beats, signal, max_beats, BURST_BOUNDARY // bus, found)
    return found[0, :count], found[1, :count], found[2, :count]


@entry_point
def split(first, beats, signal, max_beats, page_beats, found):
    """Fills in the bursts of runs of bus words, as :mod:`hdl.ipu.burst` does; returns how many they are."""
    count = 0
    for run in range(len(first)):
        word, left = first[run], beats[run]
        while left != 0:
            burst = min(left, max_beats, page_beats - word % page_beats)
            left -= burst
            word += burst
            found[0, count] = burst
            found[1, count] = left == 0
            found[2, count] = signal[run] if left == 0 else 0
            count += 1
    return count


# Weights and windows

def _steps(config: Config, memory: np.ndarray, address, beats, steps) -> tuple[np.ndarray, np.ndarray]:
    """Bus words of units and planes of the fullest column of every step. Raises :class:`PredictionError` if the steps
    of an instruction are not as long as its bus words."""
    short = np.flatnonzero(beats < steps * (config.header_beats + 1))
    units = np.zeros(0 if short.size else int(steps.sum()), np.int64)
    planes = np.zeros_like(units)
    layout = header_layout(config)
    bad = int(short[0]) if short.size else read_steps(
        memory, address, beats, steps, config.columns, config.header_bits // 8, layout["mask"].offset, config.planes,
        config.header_beats, config.units_per_beat, config.bus_bytes, units, planes)
    if bad >= 0:
        raise PredictionError(f"the {beats[bad]} bus words of weights at {address[bad]:#x} do not hold "
                              f"{steps[bad]} steps")
    return units, planes


@entry_point
def read_steps(memory, address, beats, steps, columns, header_bytes, mask_offset, planes, header_beats, units_per_beat,
               bus_bytes, step_units, step_planes):
    """Fills in what the headers of packed steps say; returns the instruction whose steps do not fit, or -1."""
    step = 0
    for i in range(len(address)):
        at, left = address[i], beats[i]
        for _ in range(steps[i]):
            if left <= header_beats:
                return i
            units, fullest = columns, 0
            for column in range(columns):
                header = 0
                for byte in range(header_bytes):
                    header |= int(memory[at + column * header_bytes + byte]) << 8 * byte
                mask = header >> mask_offset & (1 << planes) - 1
                count = 0
                while mask:
                    mask &= mask - 1
                    count += 1
                units += count
                fullest = max(fullest, count)
            step_units[step] = (units + units_per_beat - 1) // units_per_beat
            step_planes[step] = fullest
            at += (header_beats + step_units[step]) * bus_bytes
            left -= header_beats + step_units[step]
            step += 1
        if left != 0:
            return i
    return -1


def _pieces(line_bytes: int, gemms: Commands) -> np.ndarray:
    """Pieces of each line, as :func:`sim.golden.window.segments` counts them."""
    steps = gemms["steps"]
    source = np.repeat(np.arange(len(steps)), steps)
    step = np.arange(len(source)) - np.repeat(np.cumsum(steps) - steps, steps)
    tap_bytes = gemms["tap_bytes"][source]
    first = gemms["first_tap"][source] * tap_bytes + gemms["first_byte"][source] + step * line_bytes
    end = np.minimum(first + line_bytes, tap_bytes * (gemms["taps"] * gemms["tap_rows"])[source])
    return np.maximum(1, -(-end // tap_bytes) - first // tap_bytes)
