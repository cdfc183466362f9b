"""Lowers one fully connected layer to a program."""

from dataclasses import dataclass

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.isa import Instruction, Opcode, OutputFormat, Queue, illegal_fields
from hdl.layouts import PARAMETER_BYTES, Step, pack_step
from hdl.program import Program, Tensor

from .layer import Layer, LayerError

#: Where a program's instructions begin; regions start at multiples of this.
PAGE = 4096


@dataclass(frozen=True)
class Tiling:
    """How a layer is cut.

    Attributes
    ----------
    vectors : int
        Vectors per tile; half the accumulators, so that one tile is stored while the next is computed.
    steps : int
        Steps of the K loop of the whole layer.
    chunk : int
        Steps whose activations are in the buffer at once.
    tiles : list of (first vector, vectors, first output)
    """

    vectors: int
    steps: int
    chunk: int
    tiles: list[tuple[int, int, int]]


def tile(config: Config, layer: Layer, vectors: int) -> Tiling:
    """Cuts a layer for ``vectors`` input vectors."""
    steps = -(-layer.inputs // config.line_bytes)
    per_tile = min(vectors, config.acc_vectors // 2)
    whole = per_tile * steps <= config.act_lines and vectors <= per_tile
    chunk = steps if whole else max(1, min(steps, config.act_lines // 2 // per_tile))
    per_tile = min(per_tile, config.act_lines // 2) if not whole else per_tile
    tiles = [(v, min(per_tile, vectors - v), n)
             for v in range(0, vectors, per_tile) for n in range(0, layer.outputs, config.out_cols)]
    return Tiling(per_tile, steps, chunk, tiles)


def pack_weights(config: Config, layer: Layer) -> list[list[np.ndarray]]:
    """The packed steps of a layer, uint8, by output tile and step. Padding has no planes."""
    if int(np.abs(layer.weights).max()) >= 1 << config.planes:
        raise LayerError(f"weight magnitudes must be below 2^planes = {1 << config.planes}, "
                         f"not {int(np.abs(layer.weights).max())}")
    steps = -(-layer.inputs // config.line_bytes)
    tiles = -(-layer.outputs // config.out_cols)
    groups = -(-layer.inputs // config.rows)
    if layer.m.shape[1] != groups:
        raise LayerError(f"m must have one scale per group of {config.rows} inputs, {groups}, not {layer.m.shape[1]}")
    padded = np.zeros((tiles * config.out_cols, steps * config.line_bytes), np.int64)
    padded[:layer.outputs, :layer.inputs] = layer.weights
    scales = np.zeros((2, tiles * config.out_cols, steps * config.grid_k), np.uint8)
    scales[:, :layer.outputs, :groups] = layer.m, layer.e
    # [tile, n, column, step, k, row] -> [tile, step, k, n, column, row]
    grid = (tiles, config.grid_n, config.cols, steps, config.grid_k)
    ordered = padded.reshape(*grid, config.rows).transpose(0, 3, 4, 1, 2, 5)
    weights = ordered.reshape(tiles, steps, config.columns, config.rows)
    m, e = (s.reshape(grid).transpose(0, 3, 4, 1, 2).reshape(tiles, steps, config.columns) for s in scales)
    return [[pack_step(config, Step.of_weights(weights[t, s], m[t, s], e[t, s])) for s in range(steps)]
            for t in range(tiles)]


class _Memory:
    """Hands out page-aligned regions of the program's memory."""

    def __init__(self):
        self.end = 0
        self.segments: list[tuple[int, bytes]] = []

    def reserve(self, size: int) -> int:
        address = self.end
        self.end += -(-max(size, 1) // PAGE) * PAGE
        return address

    def place(self, content: bytes) -> int:
        address = self.reserve(len(content))
        self.segments.append((address, content))
        return address


def lower(config: Config, layer: Layer, vectors: int) -> Program:
    """The program that computes ``y = layer(x)``: input ``x`` [vectors, inputs], output ``y`` [vectors, outputs].

    Weights are streamed once per vector tile. Loads of the next tile run beside the computation of this one, and so
    does the store of the last: activations, accumulators and parameters are used in two halves each, guarded by
    tokens.

    Raises
    ------
    LayerError
        If the layer does not fit the configuration.
    """
    if vectors < 1:
        raise LayerError(f"vectors must be at least 1, not {vectors!r}")
    tile_bytes = config.out_cols * np.dtype(_output_dtype(layer)).itemsize
    if layer.outputs > config.out_cols and tile_bytes % config.bus_bytes:
        raise LayerError(f"outputs must be at most {config.out_cols} on {config.name!r}, where a tile of 8-bit results "
                         f"is no whole bus word, not {layer.outputs!r}; int32 results have no such limit")
    tiling = tile(config, layer, vectors)
    memory = _Memory()
    bus = config.bus_bytes

    def aligned(size: int) -> int:
        return -(-size // bus) * bus

    loads = (len(tiling.tiles) * -(-tiling.steps // tiling.chunk))
    entry = memory.reserve((3 * loads + 2 * len(tiling.tiles)) * INSTRUCTION_BYTES)
    packed = pack_weights(config, layer)
    weights = [[memory.place(b"".join(s.tobytes() for s in steps[first:first + tiling.chunk]))
                for first in range(0, tiling.steps, tiling.chunk)] for steps in packed]
    parameters = memory.place(_parameters(config, layer))
    x_stride, y_dtype = aligned(layer.inputs), _output_dtype(layer)
    x = Tensor(memory.reserve(vectors * x_stride), (vectors, layer.inputs), layer.act_dtype, x_stride)
    y_stride = aligned(layer.outputs * np.dtype(y_dtype).itemsize)
    y_bytes = vectors * y_stride
    y = Tensor(memory.reserve(y_bytes), (vectors, layer.outputs), y_dtype, y_stride)

    instructions = _Emit(config, layer, tiling, weights, packed, parameters, x, y).program()
    for instruction in instructions:
        for rule in illegal_fields(config, instruction):
            raise LayerError(f"the layer does not fit {config.name!r}: {rule}")
    return Program.assemble(config, instructions, entry=entry, segments=memory.segments, memory_bytes=memory.end,
                            inputs={"x": x}, outputs={"y": y}, writable=(y.address, y.address + y_bytes))


def _output_dtype(layer: Layer) -> str:
    if layer.requantisation is None:
        return "int32"
    return {OutputFormat.INT8: "int8", OutputFormat.UINT8: "uint8"}[layer.requantisation.output_format]


def _parameters(config: Config, layer: Layer) -> bytes:
    """Bias and multiplier of all outputs, padded to whole tiles."""
    tiles = -(-layer.outputs // config.out_cols)
    table = np.zeros(tiles * config.out_cols, np.dtype([("bias", "<i4"), ("multiplier", "<f4")]))
    if layer.requantisation is not None:
        table["bias"][:layer.outputs] = layer.requantisation.bias
        table["multiplier"][:layer.outputs] = layer.requantisation.multiplier
    return table.tobytes()


@dataclass
class _Emit:
    """Emits the instructions of a tiled layer."""

    config: Config
    layer: Layer
    tiling: Tiling
    weights: list[list[int]]
    packed: list[list[np.ndarray]]
    parameters: int
    x: Tensor
    y: Tensor

    def program(self) -> list[Instruction]:
        chunks = range(0, self.tiling.steps, self.tiling.chunk)
        pieces = [(v, first) for v, _, _ in self.tiling.tiles for first in chunks]
        loads = [i for i, piece in enumerate(pieces) if i == 0 or piece != pieces[i - 1]]
        load_of = np.searchsorted(loads, np.arange(len(pieces)), side="right") - 1  # which load each piece uses
        program = []
        for t in range(len(self.tiling.tiles)):
            program += self._load_parameters(t)
            for c, first in enumerate(chunks):
                use = t * len(chunks) + c
                load = int(load_of[use])
                new = loads[load] == use
                last_use = use + 1 == len(pieces) or load_of[use + 1] != load
                if new:
                    program.append(self._load_activations(t, first, load))
                program.append(self._load_weights(t, c))
                program.append(self._gemm(t, c, first, load, new, frees=bool(last_use and load + 2 < len(loads))))
            program.append(self._store(t))
        return program

    def _requantises(self) -> bool:
        return self.layer.requantisation is not None

    def _steps(self, first: int) -> int:
        return min(self.tiling.chunk, self.tiling.steps - first)

    def _half(self, number: int, of: int) -> int:
        return (number % 2) * (of // 2)

    def _load_parameters(self, t: int) -> list[Instruction]:
        if not self._requantises():
            return []
        channels = self.config.out_cols
        output = self.tiling.tiles[t][2]
        return [Instruction(Opcode.LOAD_PARAMETERS, {
            "address": self.parameters + output * PARAMETER_BYTES,
            "channels": channels,
            "channel": (t % 2) * channels,
        }, wait=(Queue.STORE,) if t >= 2 else (), signal=(Queue.STORE,))]

    def _act_line(self, load: int) -> int:
        single = self.tiling.vectors * self.tiling.chunk > self.config.act_lines // 2
        return 0 if single else self._half(load, self.config.act_lines)

    def _load_activations(self, t: int, first: int, load: int) -> Instruction:
        config = self.config
        vector, count, _ = self.tiling.tiles[t]
        line_beats = config.line_bytes // config.bus_bytes
        offset = first * config.line_bytes
        row_bytes = min(self.x.stride - offset, self._steps(first) * config.line_bytes)
        row_beats = row_bytes // config.bus_bytes
        buffer_stride = self._steps(first) * line_beats
        fields = {"address": self.x.address + vector * self.x.stride + offset,
                  "buffer_beat": self._act_line(load) * line_beats}
        if row_bytes == self.x.stride and row_beats == buffer_stride and row_beats * count < 1 << 16:
            fields |= {"rows": 1, "row_beats": row_beats * count}  # rows follow one another on both sides
        else:
            fields |= {"rows": count, "row_beats": row_beats, "stride": self.x.stride, "buffer_stride": buffer_stride}
        return Instruction(Opcode.LOAD_ACTIVATIONS, fields,
                           wait=(Queue.COMPUTE,) if load >= 2 else (), signal=(Queue.COMPUTE,))

    def _load_weights(self, t: int, chunk: int) -> Instruction:
        column_tile = self.tiling.tiles[t][2] // self.config.out_cols
        first = chunk * self.tiling.chunk
        steps = self._steps(first)
        size = sum(len(s) for s in self.packed[column_tile][first:first + steps])
        return Instruction(Opcode.LOAD_WEIGHTS, {
            "address": self.weights[column_tile][chunk], "beats": size // self.config.bus_bytes, "steps": steps})

    def _gemm(self, t: int, chunk: int, first: int, load: int, new: bool, frees: bool) -> Instruction:
        steps = self._steps(first)
        begins, ends = chunk == 0, first + steps == self.tiling.steps
        wait = [Queue.LOAD] if new else []
        if begins and t >= 2:
            wait.append(Queue.STORE)
        signal = [Queue.LOAD] if frees else []
        if ends:
            signal.append(Queue.STORE)
        return Instruction(Opcode.GEMM, {
            "steps": steps,
            "vectors": self.tiling.tiles[t][1],
            "act_line": self._act_line(load),
            "act_vector_stride": steps,
            "act_step_stride": 1,
            "acc_vector": self._half(t, self.config.acc_vectors),
            "accumulate": int(not begins),
            "act_signed": int(self.layer.act_signed),
            "zero_point": self.layer.zero_point & 0xFF,
        }, wait=tuple(wait), signal=tuple(signal))

    def _store(self, t: int) -> Instruction:
        vector, count, output = self.tiling.tiles[t]
        fields = {
            "address": self.y.address + vector * self.y.stride + output * np.dtype(self.y.dtype).itemsize,
            "stride": self.y.stride,
            "vectors": count,
            "channels": min(self.config.out_cols, self.layer.outputs - output),
            "acc_vector": self._half(t, self.config.acc_vectors),
            "channel": (t % 2) * self.config.out_cols,
            "format": OutputFormat.INT32,
        }
        wait = [Queue.COMPUTE]
        signal = [Queue.COMPUTE] if t + 2 < len(self.tiling.tiles) else []
        if (r := self.layer.requantisation) is not None:
            fields |= {"format": r.output_format, "zero_point": r.zero_point, "low": r.low, "high": r.high}
            wait.append(Queue.LOAD)
            if signal:
                signal.append(Queue.LOAD)
        return Instruction(Opcode.STORE, fields, wait=tuple(wait), signal=tuple(signal))
