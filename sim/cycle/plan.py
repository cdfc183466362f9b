"""What a program makes each part of the chip do, in order: everything about a program that is not timing.

Timing depends on data only through the masks in the headers of packed steps, which are read from the memory image.
"""

from typing import NamedTuple

import numpy as np

from hdl.config import BURST_BOUNDARY, INSTRUCTION_BYTES, MAX_BURST_BEATS, Config
from hdl.csr import COUNTERS
from hdl.ipu.residual import Residual
from hdl.ipu.writer import Writer
from hdl.isa import (
    QUEUE_OF,
    TABLE_ENTRIES,
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    fields_layout,
    head_layout,
    illegal_fields,
)
from hdl.layouts import PARAMETER_BYTES, header_layout

from .compiled import entry_point, inner
from .state import READERS


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


class Commands(NamedTuple):
    """Instructions of one kind: their places in the program, and a function from field names to values."""
    index: np.ndarray
    values: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]


def _field(records: np.ndarray, offset: int, field) -> np.ndarray:
    """int64 [n]: a field of records (uint8 [n, bytes]) at bit ``offset``; at most 64 bits, and wrapped to them."""
    first, shift, width = offset // 8, offset % 8, field.width
    value = np.zeros(len(records), np.uint64)
    for byte in range(-(-(shift + width) // 8)):
        value |= records[:, first + byte].astype(np.uint64) << np.uint64(8 * byte)
    value >>= np.uint64(shift)
    return (value & np.uint64((1 << width) - 1)).astype(np.int64)


def _layout_fields(layout, start: int) -> list[tuple[str, int, object]]:
    return [(name, start + field.offset, field) for name, field in layout]


def decode(config: Config, memory: np.ndarray, entry: int, count: int) -> dict[Opcode, Commands]:
    """The instructions by opcode. Raises :class:`PredictionError` if one is illegal."""
    records = memory[entry:entry + count * INSTRUCTION_BYTES].reshape(count, INSTRUCTION_BYTES)
    known = {int(opcode) for opcode in Opcode}
    commands = {}
    for index in np.flatnonzero(~np.isin(records[:, 0], list(known))):
        raise PredictionError(f"instruction {index} has opcode {records[index, 0]:#04x}, which does not exist")
    head = _layout_fields(head_layout(), 0)
    for opcode in Opcode:
        index = np.flatnonzero(records[:, 0] == opcode)
        mine = records[index]
        fields = head + _layout_fields(fields_layout(opcode), 64)
        commands[opcode] = Commands(index, {name: _field(mine, offset, field) for name, offset, field in fields})
    for index, record in enumerate(records):
        try:
            broken = illegal_fields(config, Instruction.decode(record.tobytes()))
        except ValueError as error:
            broken = [str(error)]
        if broken:
            raise PredictionError(f"instruction {index}: {broken[0]}")
    return commands
