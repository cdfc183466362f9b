"""Small programs for the executor's tests: a layer as a compiler would lay it out, without cleverness."""

from dataclasses import dataclass

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.isa import Instruction, Opcode, OutputFormat, Queue, format_range
from hdl.layouts import Step, pack_step
from hdl.program import Program, Tensor
from sim.golden.executor import execute

LOAD, COMPUTE, STORE = Queue.LOAD, Queue.COMPUTE, Queue.STORE


def memory_of(config: Config, instructions, *segments, size=1 << 16, entry=0) -> tuple[np.ndarray, int, int]:
    """Memory (random where nothing was put), entry and number of instructions."""
    memory = np.random.default_rng(99).integers(0, 256, size, dtype=np.uint8)
    code = b"".join(i if isinstance(i, bytes) else i.encode() for i in instructions)
    for address, content in [(entry, code), *segments]:
        content = np.frombuffer(bytes(content), np.uint8)
        memory[address:address + len(content)] = content
    return memory, entry, len(code) // INSTRUCTION_BYTES


def tile_steps(config: Config, weights, m, e, n) -> list[Step]:
    """The steps of output tile ``n`` of a layer [outputs, inputs] with scales [outputs, groups]."""
    steps = []
    groups = m.shape[1]
    for first in range(0, groups, config.grid_k):
        tile = np.zeros((config.grid_k, config.out_cols, config.rows), int)
        scales = np.zeros((2, config.grid_k, config.out_cols), np.uint8)
        for k in range(min(config.grid_k, groups - first)):
            rows = slice((first + k) * config.rows, (first + k + 1) * config.rows)
            columns = slice(n * config.out_cols, (n + 1) * config.out_cols)
            block = weights[columns, rows]
            tile[k, :block.shape[0], :block.shape[1]] = block
            scales[0, k, :block.shape[0]] = m[columns, first + k]
            scales[1, k, :block.shape[0]] = e[columns, first + k]
        steps.append(Step.of_weights(tile.reshape(config.columns, config.rows), scales[0].ravel(), scales[1].ravel()))
    return steps


@dataclass
class Layer:
    """A layer with everything that its program needs.

    ``weights`` [outputs, inputs]; ``m``, ``e`` [outputs, groups]; ``bias``, ``multiplier`` [outputs].
    """
    weights: np.ndarray
    m: np.ndarray
    e: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    act_dtype: str = "int8"
    act_zero_point: int = 0
    output_format: OutputFormat = OutputFormat.INT32
    zero_point: int = 0

    @classmethod
    def random(cls, rng, config: Config, outputs: int, inputs: int, *, largest_e: int = 3, **others) -> "Layer":
        """Random masks, scales and parameters; some groups are empty."""
        groups = -(-inputs // config.rows)
        magnitude = rng.integers(0, 1 << config.planes, (outputs, groups, config.rows))
        magnitude &= rng.integers(0, 1 << config.planes, (outputs, groups, 1))
        magnitude[rng.random((outputs, groups)) < 0.1] = 0
        weights = (magnitude * rng.choice([-1, 1], magnitude.shape)).reshape(outputs, -1)[:, :inputs]
        return cls(weights, rng.integers(0, 8, (outputs, groups)).astype(np.uint8),
                   rng.integers(0, largest_e + 1, (outputs, groups)).astype(np.uint8),
                   rng.integers(-5000, 5000, outputs).astype(np.int32),
                   rng.uniform(-0.001, 0.001, outputs).astype(np.float32), **others)

    @property
    def limits(self) -> tuple[int, int]:
        """``low`` and ``high`` of STORE."""
        return (0, 0) if self.output_format is OutputFormat.INT32 else format_range(self.output_format)


class LayerProgram:
    """The program of a layer: activations once, then tile after tile of output channels.

    Tiles use the two halves of the parameter memory and of ``2 * vectors`` accumulator vectors in turn, so that a tile
    is loaded and multiplied while the one before it is stored.
    """

    def __init__(self, config: Config, layer: Layer, vectors: int):
        self.config, self.layer, self.vectors = config, layer, vectors
        self.end = 0
        self.segments: list[tuple[int, bytes]] = []
        outputs, inputs = layer.weights.shape
        self.inputs = inputs
        self.tiles = -(-outputs // config.out_cols)
        self.x = Tensor(self._place(vectors * inputs, 1), (vectors, inputs), layer.act_dtype, inputs)
        self.y = {f"y{n:03}": self._tile_output(n) for n in range(self.tiles)}
        self.writable = (self.x.end, self.end)
        instructions = [self._load_activations()]
        for n in range(self.tiles):
            instructions += self._tile(n)
        entry = self._place(len(instructions) * INSTRUCTION_BYTES, INSTRUCTION_BYTES)
        self.program = Program.assemble(config, instructions, entry=entry, segments=self.segments,
                                        memory_bytes=self.end, inputs={"x": self.x}, outputs=self.y,
                                        writable=self.writable)

    def run(self, x: np.ndarray, seed: int = 0):
        """The execution with activations ``x`` [vectors, inputs], and its results."""
        execution = execute(self.config, self.program.image({"x": x}), self.program.entry, self.program.count,
                            seed=seed)
        results = self.program.results(execution.memory)
        return execution, np.concatenate([results[name] for name in self.y], axis=1)

    def _place(self, size: int, alignment: int = 0) -> int:
        address = self.end + -self.end % (alignment or self.config.bus_bytes)
        self.end = address + size
        return address

    def _channels(self, n: int) -> slice:
        return slice(n * self.config.out_cols, min((n + 1) * self.config.out_cols, len(self.layer.weights)))

    def _tile_output(self, n: int) -> Tensor:
        dtype = {OutputFormat.INT32: "int32", OutputFormat.INT8: "int8", OutputFormat.UINT8: "uint8"}
        part = self._channels(n)
        channels = part.stop - part.start
        stride = channels * np.dtype(dtype[self.layer.output_format]).itemsize
        return Tensor(self._place(self.vectors * stride, 1), (self.vectors, channels), dtype[self.layer.output_format],
                      stride)

    def _segment(self, content: np.ndarray) -> int:
        address = self._place(content.nbytes)
        self.segments.append((address, content.tobytes()))
        return address

    def _load_activations(self) -> Instruction:
        return Instruction(Opcode.LOAD_ACTIVATIONS, {
            "address": self.x.address, "row_bytes": self.vectors * self.inputs, "rows": 1, "blocks": 1},
            signal=(COMPUTE,))

    def _tile(self, n: int) -> list[Instruction]:
        config, layer, part = self.config, self.layer, self._channels(n)
        steps = tile_steps(config, layer.weights, layer.m, layer.e, n)
        packed = np.concatenate([pack_step(config, step) for step in steps])
        channels = part.stop - part.start
        loaded = channels + -channels % (config.bus_bytes // 8)
        parameters = np.zeros((loaded, 2), np.uint32)
        parameters[:channels, 0] = layer.bias[part].view(np.uint32)
        parameters[:channels, 1] = layer.multiplier[part].view(np.uint32)
        entry, acc_vector = (n % 2) * config.out_cols, (n % 2) * self.vectors
        reuse = (STORE,) if n >= 2 else ()  # what STORE n - 2 has read may be overwritten
        reused = (LOAD, COMPUTE) if n + 2 < self.tiles else ()
        first = (LOAD,) if n == 0 else ()  # activations
        low, high = layer.limits
        y = self.y[f"y{n:03}"]
        return [
            Instruction(Opcode.LOAD_WEIGHTS, {
                "address": self._segment(packed), "beats": packed.nbytes // config.bus_bytes, "steps": len(steps)}),
            Instruction(Opcode.LOAD_PARAMETERS, {
                "address": self._segment(parameters), "channels": loaded, "channel": entry},
                wait=reuse, signal=(STORE,)),
            Instruction(Opcode.GEMM, {
                "steps": len(steps), "vectors": self.vectors, "vector_rows": 1, "acc_vector": acc_vector,
                "x_stride": self.inputs, "x_end": config.act_bytes, "y_end": 1, "tap_bytes": self.inputs, "taps": 1,
                "tap_rows": 1, "act_signed": int(layer.act_dtype == "int8"),
                "zero_point": layer.act_zero_point & 255}, wait=(*first, *reuse), signal=(STORE,)),
            Instruction(Opcode.STORE, {
                "address": y.address, "stride": y.stride, "vectors": self.vectors, "vector_rows": 1,
                "channels": channels, "acc_vector": acc_vector, "channel": entry, "format": layer.output_format,
                "release": sum(1 << queue for queue in reused), "zero_point": layer.zero_point, "low": low,
                "high": high}, wait=(LOAD, COMPUTE)),
        ]
