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
        If vectors are cut, the last tile is small, because nothing hides the storing of its results, but not so small
        that computing a step takes less time than loading one.
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
    first, count, output = tiles[-1]
    # So many take as long with a step of two planes as loading the step does. All vectors at once are not cut: they
    # share one load, in a buffer that is not used in halves.
    least = max(1, 3 * config.columns // (2 * config.units_per_beat))
    if not whole and count >= 2 * least:
        tiles[-1:] = [(first, count - least, output), (first + count - least, least, output)]
    return Tiling(per_tile, steps, chunk, tiles)


def split(count: int, parts: int) -> list[tuple[int, int]]:
    """Cuts ``count`` vectors into at most ``parts`` runs of one size, the last maybe smaller: first vector, vectors."""
    size = -(-count // parts)
    return [(first, min(size, count - first)) for first in range(0, count, size)]


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

    Weights are streamed once per vector tile, those of the last tile twice if it is cut. Loads of the next tile run
    beside the computation of this one, and so does the store of the last: activations, accumulators and parameters are
    used in two halves each, guarded by tokens. The very first step begins when some vectors have come, and the very
    last one hands on its results by parts: these GEMMs keep the weights for one another.

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
    entry = memory.reserve(len(instructions) * INSTRUCTION_BYTES)
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


@dataclass(frozen=True)
class _Piece:
    """What one tile computes of one chunk.

    Attributes
    ----------
    tile, chunk : int
    load : int
        Number of the load of its activations.
    new : bool
        It is the first piece to use this load.
    frees : bool
        It is the last one, and another load waits for the buffer.
    """

    tile: int
    chunk: int
    load: int
    new: bool
    frees: bool


#: Parts in which the first activations are loaded, and the last results are stored.
FIRST_PARTS, LAST_PARTS = 8, 2


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
        pieces = self._pieces()
        program = []
        for piece in pieces:
            program += self._first_loads(piece) if piece is pieces[0] else self._loads(piece)
            if piece.chunk == 0:
                program += self._load_parameters(piece.tile)
            program += self._compute(piece, first=piece is pieces[0], last=piece is pieces[-1])
        return program

    def _pieces(self) -> list[_Piece]:
        chunks = range(-(-self.tiling.steps // self.tiling.chunk))
        places = [(t, c) for t in range(len(self.tiling.tiles)) for c in chunks]
        wanted = [(*self.tiling.tiles[t][:2], c) for t, c in places]  # which activations
        new = [i == 0 or wanted[i] != wanted[i - 1] for i in range(len(wanted))]
        loads = np.cumsum(new) - 1
        last_uses = [*new[1:], True]
        return [_Piece(t, c, int(load), begins, bool(ends and load + 2 <= loads[-1]))
                for (t, c), load, begins, ends in zip(places, loads, new, last_uses)]

    def _requantises(self) -> bool:
        return self.layer.requantisation is not None

    def _vectors(self, piece: _Piece) -> int:
        return self.tiling.tiles[piece.tile][1]

    def _first_step(self, piece: _Piece) -> int:
        return piece.chunk * self.tiling.chunk

    def _steps(self, piece: _Piece) -> int:
        return min(self.tiling.chunk, self.tiling.steps - self._first_step(piece))

    def _half(self, number: int, of: int) -> int:
        return (number % 2) * (of // 2)

    def _loads(self, piece: _Piece) -> list[Instruction]:
        weights = self._load_weights(piece, 0, self._steps(piece))
        return [weights, self._load_activations(piece, 0, self._vectors(piece))] if piece.new else [weights]

    def _first_loads(self, piece: _Piece) -> list[Instruction]:
        """The weights of the first step, then the vectors by parts, then the other weights."""
        rest = self._steps(piece) - 1
        return [self._load_weights(piece, 0, 1),
                *(self._load_activations(piece, *part) for part in split(self._vectors(piece), FIRST_PARTS)),
                *([self._load_weights(piece, 1, rest)] if rest else [])]

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

    def _load_activations(self, piece: _Piece, begin: int, count: int) -> Instruction:
        """Vectors ``begin`` to ``begin + count`` of the tile."""
        config = self.config
        steps = self._steps(piece)
        line_beats = config.line_bytes // config.bus_bytes
        offset = self._first_step(piece) * config.line_bytes
        row_bytes = min(self.x.stride - offset, steps * config.line_bytes)
        row_beats = row_bytes // config.bus_bytes
        buffer_stride = steps * line_beats
        vector = self.tiling.tiles[piece.tile][0] + begin
        fields = {"address": self.x.address + vector * self.x.stride + offset,
                  "buffer_beat": self._act_line(piece.load) * line_beats + begin * buffer_stride}
        if row_bytes == self.x.stride and row_beats == buffer_stride and row_beats * count < 1 << 16:
            fields |= {"rows": 1, "row_beats": row_beats * count}  # rows follow one another on both sides
        else:
            fields |= {"rows": count, "row_beats": row_beats, "stride": self.x.stride, "buffer_stride": buffer_stride}
        return Instruction(Opcode.LOAD_ACTIVATIONS, fields,
                           wait=(Queue.COMPUTE,) if piece.load >= 2 else (), signal=(Queue.COMPUTE,))

    def _load_weights(self, piece: _Piece, begin: int, count: int) -> Instruction:
        """Steps ``begin`` to ``begin + count`` of the chunk."""
        column_tile = self.tiling.tiles[piece.tile][2] // self.config.out_cols
        first = self._first_step(piece)
        sizes = [len(step) for step in self.packed[column_tile][first:first + begin + count]]
        return Instruction(Opcode.LOAD_WEIGHTS, {
            "address": self.weights[column_tile][piece.chunk] + sum(sizes[:begin]),
            "beats": sum(sizes[begin:]) // self.config.bus_bytes, "steps": count})

    def _cuts(self, piece: _Piece, first: bool, last: bool) -> list[tuple[int, int, list[tuple[int, int]]]]:
        """Step, how many, and the runs of vectors that take them one after another. The program's first step is taken
        as its vectors are loaded, the last one as its results are stored."""
        steps, vectors = self._steps(piece), self._vectors(piece)
        whole, loaded, stored = (split(vectors, parts) for parts in (1, FIRST_PARTS, LAST_PARTS))
        if steps == 1:
            return [(0, 1, loaded if first else stored if last else whole)]
        cuts = [(0, 1, loaded)] if first else []
        middle = steps - first - last
        cuts += [(int(first), middle, whole)] if middle else []
        return cuts + ([(steps - 1, 1, stored)] if last else [])

    def _compute(self, piece: _Piece, *, first: bool, last: bool) -> list[Instruction]:
        """The GEMMs of a piece and, if it ends the tile, the stores."""
        steps, vectors = self._steps(piece), self._vectors(piece)
        completes = self._first_step(piece) + steps == self.tiling.steps
        program: list[Instruction] = []
        for step, count, runs in self._cuts(piece, first, last):
            for begin, size in runs:
                begins = (step, begin) == (0, 0)
                ends = (step + count, begin + size) == (steps, vectors)
                stores = completes and (ends or (last and step + count == steps))
                wait = [Queue.LOAD] if (begins and piece.new) or (first and step == 0) else []
                wait += [Queue.STORE] if begins and piece.chunk == 0 and piece.tile >= 2 else []
                signal = [Queue.LOAD] if ends and piece.frees else []
                signal += [Queue.STORE] if stores else []
                program.append(self._gemm(piece, step, count, begin, size, wait, signal))
                if stores:
                    program.append(self._store(piece.tile, *((begin, size) if last else (0, vectors))))
        return program

    def _gemm(self, piece: _Piece, step: int, count: int, begin: int, vectors: int, wait: list[Queue],
              signal: list[Queue]) -> Instruction:
        """Steps ``step`` to ``step + count`` of the chunk, vectors ``begin`` to ``begin + vectors`` of the tile."""
        steps = self._steps(piece)
        return Instruction(Opcode.GEMM, {
            "steps": count,
            "vectors": vectors,
            "act_line": self._act_line(piece.load) + begin * steps + step,
            "act_vector_stride": steps,
            "act_step_stride": 1,
            "acc_vector": self._half(piece.tile, self.config.acc_vectors) + begin,
            "accumulate": int(piece.chunk > 0 or step > 0),
            "act_signed": int(self.layer.act_signed),
            "zero_point": self.layer.zero_point & 0xFF,
            "keep": int(begin + vectors < self._vectors(piece)),
        }, wait=tuple(wait), signal=tuple(signal))

    def _store(self, t: int, begin: int, count: int) -> Instruction:
        """Vectors ``begin`` to ``begin + count`` of a tile. The first store of a tile waits for its parameters."""
        vector, _, output = self.tiling.tiles[t]
        fields = {
            "address": (self.y.address + (vector + begin) * self.y.stride
                        + output * np.dtype(self.y.dtype).itemsize),
            "stride": self.y.stride,
            "vectors": count,
            "channels": min(self.config.out_cols, self.layer.outputs - output),
            "acc_vector": self._half(t, self.config.acc_vectors) + begin,
            "channel": (t % 2) * self.config.out_cols,
            "format": OutputFormat.INT32,
        }
        wait = [Queue.COMPUTE]
        signal = [Queue.COMPUTE] if t + 2 < len(self.tiling.tiles) else []
        if (r := self.layer.requantisation) is not None:
            fields |= {"format": r.output_format, "zero_point": r.zero_point, "low": r.low, "high": r.high}
            if begin == 0:
                wait.append(Queue.LOAD)
            if signal:
                signal.append(Queue.LOAD)
        return Instruction(Opcode.STORE, fields, wait=tuple(wait), signal=tuple(signal))
