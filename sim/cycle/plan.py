"""What a program makes each part of the chip do, in order: everything about a program that is not timing.

Timing depends on data only through the masks in the headers of packed steps, which are read from the memory image.
"""

from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from hdl.config import BURST_BOUNDARY, INSTRUCTION_BYTES, MAX_BURST_BEATS, Config
from hdl.csr import COUNTERS
from hdl.ipu.residual import Residual
from hdl.ipu.writer import Writer
from hdl.isa import TABLE_ENTRIES, Opcode, OutputFormat, Queue, parameter_entries
from hdl.layouts import PARAMETER_BYTES, header_layout

from .compiled import entry_point, inner
from .decode import Code, Commands, PredictionError, decode

#: Numbers for compiled functions.
LOAD, STORE, LOAD_PARAMETERS, INT32 = (
    int(number) for number in (Queue.LOAD, Queue.STORE, Opcode.LOAD_PARAMETERS, OutputFormat.INT32))

#: Of bursts, in the order in which the plan has them.
CHANNELS = ("fetch", "weights", "load", "residual", "write")


class Plan(NamedTuple):
    """Arrays of whole numbers, one entry per instruction, run, burst, step, ..., in program order.

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
        starts = [0, *accumulate(map(len, self))][:-1]
        values = (*constants.values(), *starts, *self.first_burst.tolist())
        return np.array([values], _constants(tuple(constants))), np.concatenate(self)


@cache
def _constants(names: tuple[str, ...]) -> np.dtype:
    return np.dtype([(name, np.int64) for name in (*names, *Plan._fields, *(f"{c}_bursts" for c in CHANNELS))])


def fetch_depth(config: Config) -> int:
    """Bus words that instruction fetch holds."""
    return max(16, 2 * INSTRUCTION_BYTES // config.bus_bytes)


def plan(config: Config, memory: np.ndarray, entry: int, count: int) -> Plan:
    """The plan of ``count`` instructions at address ``entry`` of a memory image (uint8, from address 0).

    Raises
    ------
    PredictionError
        If an instruction is illegal or a TEST, weights do not fit their steps, a multiplier is not a number, or
        something does not lie in the memory.
    """
    if entry < 0 or entry % INSTRUCTION_BYTES or count < 0 or entry + count * INSTRUCTION_BYTES > len(memory):
        raise PredictionError(f"entry must be a multiple of {INSTRUCTION_BYTES} and the program end in the memory's "
                              f"{len(memory)} bytes, not {count} instructions at {entry:#x}")
    code = decode(config, memory, entry, count)
    if (code.by_queue[Queue.COMPUTE].opcode == Opcode.TEST).any():
        raise PredictionError("the program tests a macro, and how long that takes is in no instruction")
    _check_multipliers(config, memory, code)
    bus = config.bus_bytes
    loads, gemms, stores = (code.by_queue[queue] for queue in (Queue.LOAD, Queue.COMPUTE, Queue.STORE))

    # fields that an instruction does not have are 0
    is_weights = loads.opcode == Opcode.LOAD_WEIGHTS
    weights, others = np.flatnonzero(is_weights), np.flatnonzero(~is_weights)
    sizes = (loads["beats"] * bus + loads["row_bytes"] + loads["channels"] * PARAMETER_BYTES
             + (loads.opcode == Opcode.LOAD_TABLE) * TABLE_ENTRIES)
    loaded = Rows(loads["address"], np.maximum(loads["rows"], 1), loads["stride"], np.maximum(loads["blocks"], 1),
                  loads["block_stride"], sizes, loads["signal"])

    is_counters = stores.opcode == Opcode.STORE_COUNTERS
    wide = stores["format"] == OutputFormat.INT32
    channels = stores["channels"] + is_counters * (2 * len(COUNTERS))
    vectors, vector_rows = np.maximum(stores["vectors"], 1), np.maximum(stores["vector_rows"], 1)
    written = Rows(stores["address"], vectors, stores["stride"], vector_rows, stores["row_stride"],
                   channels << 2 * wide, stores["signal"])
    with_residual = np.minimum(stores["residual"], 1)
    residuals = Rows(stores["residual_address"], vectors * with_residual, stores["residual_stride"],
                     vector_rows, stores["residual_row_stride"], channels, stores["signal"])
    fetched = Rows(*np.array([[entry], [count != 0], [0], [1], [0], [count * INSTRUCTION_BYTES], [0]]))
    runs = [  # by channel, and the longest burst
        _runs(config, fetched, min(MAX_BURST_BEATS, fetch_depth(config))),
        _runs(config, loaded.of(weights), min(MAX_BURST_BEATS, config.prefetch_beats)),
        _runs(config, loaded.of(others), MAX_BURST_BEATS),
        _runs(config, residuals, min(MAX_BURST_BEATS, Residual.DEPTH)),
        _runs(config, written, Writer.MAX_BEATS),
    ]
    end = max(run.end for run in runs)
    if end > len(memory):
        raise PredictionError(f"what is read and written must lie in the memory's {len(memory)} bytes, "
                              f"not end at {end:#x}")
    step_units, step_planes = _steps(config, memory, *(loads[name][weights] for name in ("address", "beats", "steps")))
    steps = gemms["steps"]
    bursts = np.concatenate([*(run.bursts for run in runs), np.zeros((3, 1), np.int64)], axis=1)
    residual_rows, written_rows = runs[CHANNELS.index("residual")], runs[CHANNELS.index("write")]
    return Plan(
        queue=code.queue,
        load_wait=loads["wait"], load_signal=loads["signal"], load_is_weights=is_weights,
        load_runs=loaded.inner_count * loaded.outer_count,
        transfer_words=_ended(runs[CHANNELS.index("load")].beats),
        weight_beats=loads["beats"][weights],
        step_units=_ended(step_units), step_planes=_ended(step_planes),
        gemm_wait=gemms["wait"], gemm_signal=gemms["signal"], gemm_steps=steps,
        gemm_vectors=gemms["vectors"] * gemms["vector_rows"], gemm_accumulate=gemms["accumulate"],
        gemm_maximum=gemms["maximum"], gemm_keep=gemms["keep"], gemm_line=np.cumsum(steps) - steps,
        pieces=_ended(_pieces(config.line_bytes, gemms)),
        store_wait=stores["wait"], store_signal=stores["signal"], store_release=stores["release"],
        store_rows=vectors * vector_rows, store_channels=channels, store_wide=wide,
        store_residual=with_residual, row_offset=_ended(written_rows.offset),
        residual_offset=_ended(residual_rows.offset),
        residual_channels=_ended(np.repeat(channels, residuals.inner_count * residuals.outer_count)),
        burst_beats=bursts[0], burst_last=bursts[1], burst_signal=bursts[2],
        first_burst=np.array([0, *accumulate(run.bursts.shape[1] for run in runs[:-1])]))


def _ended(values: np.ndarray) -> np.ndarray:
    """With a zero behind the last entry, for what looks at the next one."""
    return np.append(values, 0)


def _check_multipliers(config: Config, memory: np.ndarray, code: Code):
    """Parameters come in program order from the memory as it is before START."""
    loads, stores = code.by_queue[Queue.LOAD], code.by_queue[Queue.STORE]
    entry = infinite_multiplier(
        memory, code.queue, loads.opcode, loads["address"], loads["channel"], loads["channels"],
        stores["format"] * (stores.opcode == Opcode.STORE), stores["channel"], stores["channels"],
        np.zeros(parameter_entries(config), np.bool_))
    if entry >= 0:
        raise PredictionError(f"a STORE uses parameter {entry}, whose multiplier is infinite or not a number")


@entry_point
def infinite_multiplier(memory, queue, load_opcode, address, load_channel, load_channels, store_format, store_channel,
                        store_channels, infinite):
    """The first parameter that a STORE uses although its multiplier is infinite or not a number, or -1; ``infinite``
    has room for a mark for each parameter."""
    load = store = 0
    some = False
    for i in range(len(queue)):
        if queue[i] == LOAD:
            if load_opcode[load] == LOAD_PARAMETERS:
                for c in range(load_channels[load]):
                    last = address[load] + c * PARAMETER_BYTES + PARAMETER_BYTES - 1
                    mark = last < len(memory) and (memory[last] & 0x7F) == 0x7F and memory[last - 1] >= 0x80
                    infinite[load_channel[load] + c] = mark
                    some |= mark
            load += 1
        elif queue[i] == STORE:
            if some and store_format[store] != INT32:
                for c in range(store_channel[store], store_channel[store] + store_channels[store]):
                    if infinite[c]:
                        return c
            store += 1
    return -1


# Rows, runs and bursts

class Rows(NamedTuple):
    """Rows of bytes in memory that instructions walk, ``outer_count`` times ``inner_count``; int64 [instructions]."""
    address: np.ndarray
    inner_count: np.ndarray
    inner_stride: np.ndarray
    outer_count: np.ndarray
    outer_stride: np.ndarray
    size: np.ndarray
    signal: np.ndarray

    def of(self, instructions: np.ndarray) -> "Rows":
        return Rows(*(values[instructions] for values in self))


class Runs(NamedTuple):
    """A channel's runs of bus words, one per row.

    Attributes
    ----------
    bursts : int64 [3, bursts]
        Bus words, whether the run ends, and what is signalled with it.
    offset : int64 [rows]
        Byte of its first bus word with which each row begins.
    beats : int64 [instructions]
        Bus words of all rows.
    end : int
        First byte after all rows.
    """
    bursts: np.ndarray
    offset: np.ndarray
    beats: np.ndarray
    end: int


def _runs(config: Config, rows: Rows, max_beats: int) -> Runs:
    bus = config.bus_bytes
    counts = rows.inner_count * rows.outer_count
    longest = (rows.size + 2 * bus - 2) // bus  # bus words of a row, at most
    most = int((counts * (longest // max_beats + longest * bus // BURST_BOUNDARY + 2)).sum())
    bursts = np.empty((3, most), np.int64)
    offset = np.empty(int(counts.sum()), np.int64)
    beats = np.empty(len(counts), np.int64)
    count, end = split(*rows, bus.bit_length() - 1, max_beats, BURST_BOUNDARY // bus, bursts, offset, beats)
    return Runs(bursts[:, :count], offset, beats, end)


@entry_point
def split(address, inner_count, inner_stride, outer_count, outer_stride, size, signal, bus_shift, max_beats, page_beats,
          bursts, offset, beats):
    """Fills in the bursts of rows, as :mod:`hdl.ipu.burst` does, and what else :class:`Runs` has; returns how many
    bursts there are, and the first byte after all rows. Bus words and pages are powers of two of bytes."""
    count = row = end = 0
    last_byte = (1 << bus_shift) - 1
    for i in range(len(address)):
        words = 0
        for y in range(outer_count[i]):
            for x in range(inner_count[i]):
                first = address[i] + y * outer_stride[i] + x * inner_stride[i]
                end = max(end, first + size[i])
                begin = offset[row] = first & last_byte
                row += 1
                word, left = first >> bus_shift, begin + size[i] + last_byte >> bus_shift
                words += left
                while left != 0:
                    burst = min(left, max_beats, page_beats - (word & page_beats - 1))
                    left -= burst
                    word += burst
                    bursts[0, count] = burst
                    bursts[1, count] = left == 0
                    bursts[2, count] = 0
                    count += 1
        if words != 0:
            bursts[2, count - 1] = signal[i]
        beats[i] = words
    return count, end


# Weights and windows

def _steps(config: Config, memory: np.ndarray, address, beats, steps) -> tuple[np.ndarray, np.ndarray]:
    """Bus words of units and planes of the fullest column of every step. Raises :class:`PredictionError` if the steps
    of an instruction are not as long as its bus words."""
    short = np.flatnonzero(beats < steps * (config.header_beats + 1))
    units = np.zeros(0 if short.size else int(steps.sum()), np.int64)
    planes = np.zeros_like(units)
    header_bytes = config.header_bits // 8
    headers = memory[:len(memory) // header_bytes * header_bytes].view(f"<u{header_bytes}")
    bad = int(short[0]) if short.size else read_steps(
        headers, address, beats, steps, config.columns, _mask_offset(config), config.planes, config.header_beats,
        config.units_per_beat, config.bus_bytes, units, planes)
    if bad >= 0:
        raise PredictionError(f"the {beats[bad]} bus words of weights at {address[bad]:#x} do not hold "
                              f"{steps[bad]} steps")
    return units, planes


@cache
def _mask_offset(config: Config) -> int:
    return header_layout(config)["mask"].offset


@inner
def ones(word):
    """How many bits of 16 are set."""
    word -= word >> 1 & 0x5555
    word = (word & 0x3333) + (word >> 2 & 0x3333)
    word = (word & 0x0F0F) + (word >> 4 & 0x0F0F)
    return (word + (word >> 8)) & 0x1F


@entry_point
def read_steps(headers, address, beats, steps, columns, mask_offset, planes, header_beats, units_per_beat, bus_bytes,
               step_units, step_planes):
    """Fills in what the headers of packed steps say; ``headers`` is the memory. Returns the instruction whose steps do
    not fit, or -1."""
    step = 0
    stored = (1 << planes) - 1
    for i in range(len(address)):
        at, left = address[i], beats[i]
        for _ in range(steps[i]):
            if left <= header_beats:
                return i
            units, fullest = columns, 0
            first = at // headers.itemsize
            for header in headers[first:first + columns]:
                count = ones(header >> mask_offset & stored)
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
