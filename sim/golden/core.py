"""A core's storage, and what each instruction does to it and to memory."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hdl.config import Config
from hdl.csr import COUNTERS, Cause
from hdl.isa import TABLE_ENTRIES, TABLES, Instruction, Opcode, OutputFormat, ResidualFormat, parameter_entries
from hdl.layouts import PARAMETER_BYTES, Step, header_layout, step_beats, unpack_step

from . import array, post, window


class Stop(Exception):
    """An instruction stopped the program: the contents of CAUSE and ERROR_ADDRESS."""

    def __init__(self, cause: Cause, address: int):
        super().__init__(cause, address)
        self.cause = cause
        self.address = address


@dataclass(frozen=True)
class LoadedStep:
    """A step between LOAD_WEIGHTS and GEMM.

    Attributes
    ----------
    step : Step
    planes : int
        Stored planes of the column that has most: cycles per vector. A stored plane counts even if it has no bit set.
    beats : int
        Bus words it took in memory.
    """

    step: Step
    planes: int
    beats: int


@dataclass(frozen=True)
class StepIssue:
    """One step multiplied with its vectors by the GEMM at index ``instruction`` of the program."""

    instruction: int
    vectors: int
    planes: int
    beats: int

    @property
    def cycles(self) -> int:
        """Cycles in which the array multiplies a plane; none for a step without planes."""
        return self.vectors * self.planes


def header_masks(config: Config, image: np.ndarray) -> np.ndarray:
    """uint16 [columns]: the masks in the headers of the step that begins an image."""
    layout = header_layout(config)
    header_bytes = config.header_beats * config.bus_bytes
    headers = np.ascontiguousarray(image[:header_bytes]).view(f"<u{config.header_bits // 8}")
    return ((headers >> layout["mask"].offset) & ((1 << config.planes) - 1)).astype(np.uint16)


class Core:
    """Activation buffer, parameter memory, accumulators and the weights that wait for a GEMM.

    Parameters
    ----------
    config : Config
    memory : uint8 [bytes]
        Changed in place by STORE. An instruction that leaves it raises ``ValueError``; windows and bus errors are not
        modelled.
    rng : numpy Generator
        Draws what the storage holds before anything is written.

    Attributes
    ----------
    overflow : bool
        Sticky, as in STATUS.
    weights : deque of LoadedStep
        Oldest first, without a limit.
    issues : list of StepIssue
    weight_beats, read_beats, write_beats : int
        Bus words of weights given to the array, of all loads, of all stores.
    """

    def __init__(self, config: Config, memory: np.ndarray, rng: np.random.Generator):
        self.config = config
        self.memory = memory
        entries = parameter_entries(config)
        self.act_buffer = rng.integers(0, 256, config.act_bytes, dtype=np.uint8)
        self.acc = rng.integers(-1 << 31, 1 << 31, (config.acc_vectors, config.out_cols), dtype=np.int32)
        self.bias = rng.integers(-1 << 31, 1 << 31, entries, dtype=np.int32)
        self.multiplier = rng.integers(0, 1 << 32, entries, dtype=np.uint32).view(np.float32)
        self.tables = rng.integers(0, 256, (TABLES, TABLE_ENTRIES), dtype=np.uint8)
        self.weights: deque[LoadedStep] = deque()
        self.overflow = False
        self.issues: list[StepIssue] = []
        self.weight_beats = 0
        self.read_beats = 0
        self.write_beats = 0

    def execute(self, index: int, f: Instruction):
        """Carries out instruction ``index`` of the program. Raises :class:`Stop` if it ends the program."""
        match f.opcode:
            case Opcode.LOAD_WEIGHTS:
                self._load_weights(f)
            case Opcode.LOAD_ACTIVATIONS:
                self._load_activations(f)
            case Opcode.LOAD_PARAMETERS:
                self._load_parameters(f)
            case Opcode.LOAD_TABLE:
                self.tables[f["table"] - 1] = self._read(f, f["address"], TABLE_ENTRIES)
            case Opcode.GEMM:
                self._gemm(index, f)
            case Opcode.TEST:
                pass  # it changes nothing that a program sees
            case Opcode.STORE:
                self._store(f)
            case Opcode.STORE_COUNTERS:
                # What they count depends on time, which this model does not have.
                self._write(f, f["address"], np.zeros(8 * len(COUNTERS), np.uint8))

    def sent(self, f: Instruction) -> Iterator[np.ndarray]:
        """Each row, uint8 [row_bytes], that a SEND reads."""
        for row in range(f["rows"]):
            yield self._read(f, f["address"] + row * f["stride"], f["row_bytes"])

    def _memory(self, f: Instruction, address: int, length: int) -> np.ndarray:
        if address + length > len(self.memory):
            raise ValueError(f"{f.opcode.name} must stay in the memory's {len(self.memory)} bytes, "
                             f"not reach {address + length}")
        return self.memory[address:address + length]

    def _bus_words(self, address: int, length: int) -> int:
        """Bus words that hold ``length`` bytes from ``address`` on."""
        bus = self.config.bus_bytes
        return -(-(address % bus + length) // bus)

    def _read(self, f: Instruction, address: int, length: int) -> np.ndarray:
        self.read_beats += self._bus_words(address, length)
        return self._memory(f, address, length)

    def _write(self, f: Instruction, address: int, content: np.ndarray):
        self.write_beats += self._bus_words(address, len(content))
        self._memory(f, address, len(content))[:] = content

    def _load_weights(self, f: Instruction):
        bus = self.config.bus_bytes
        image = self._read(f, f["address"], f["beats"] * bus)
        header_bytes = self.config.header_beats * bus
        at = 0
        for _ in range(f["steps"]):
            masks = header_masks(self.config, image[at:]) if len(image) - at >= header_bytes else None
            if masks is None or at + step_beats(self.config, masks) * bus > len(image):
                raise Stop(Cause.WEIGHT_STREAM, f["address"] + len(image) - bus)
            step, length = unpack_step(self.config, image[at:])
            self.weights.append(LoadedStep(step, int(np.bitwise_count(masks).max()), length // bus))
            at += length
        if at != len(image):
            raise Stop(Cause.WEIGHT_STREAM, f["address"] + at - bus)

    def _load_activations(self, f: Instruction):
        for block in range(f["blocks"]):
            for row in range(f["rows"]):
                at = f["buffer_address"] + block * f["buffer_block_stride"] + row * f["buffer_stride"]
                address = f["address"] + block * f["block_stride"] + row * f["stride"]
                self.act_buffer[at:at + f["row_bytes"]] = self._read(f, address, f["row_bytes"])

    def _load_parameters(self, f: Instruction):
        words = self._read(f, f["address"], f["channels"] * PARAMETER_BYTES)
        pairs = np.ascontiguousarray(words).view("<u4").reshape(-1, 2)
        entries = slice(f["channel"], f["channel"] + f["channels"])
        self.bias[entries] = pairs[:, 0].view(np.int32)
        self.multiplier.view(np.uint32)[entries] = pairs[:, 1]

    def _gemm(self, index: int, f: Instruction):
        vectors = f["vectors"] * f["vector_rows"]
        rows = slice(f["acc_vector"], f["acc_vector"] + vectors)
        zero_point = _byte(f["zero_point"], bool(f["act_signed"]))
        for s in range(f["steps"]):
            loaded = self.weights[0]
            lines = window.line(self.config, self.act_buffer, f, s)
            act = array.grid_lanes(self.config, lines, bool(f["act_signed"]), zero_point)
            scaled, scale_overflow = array.scaled_psums(self.config, loaded.step, act)
            initialise = s == 0 and not f["accumulate"]
            self.acc[rows], acc_overflow = array.accumulate(
                None if initialise else self.acc[rows], scaled, maximum=bool(f["maximum"]))
            self.overflow |= bool(scale_overflow.any()) or acc_overflow
            self.issues.append(StepIssue(index, vectors, loaded.planes, loaded.beats))
            if not (f["keep"] and s == f["steps"] - 1):
                self.weights.popleft()
                self.weight_beats += loaded.beats

    def _store(self, f: Instruction):
        output_format = OutputFormat(f["format"])
        dtype = {OutputFormat.INT32: "<i4", OutputFormat.INT8: "i1", OutputFormat.UINT8: "u1"}[output_format]
        for v in range(f["vectors"] * f["vector_rows"]):
            row, vector = divmod(v, f["vectors"])
            results = self.acc[f["acc_vector"] + v, :f["channels"]]
            residual = self._residual(f, row, vector)
            if residual is not None and f["residual"] == ResidualFormat.INT32:
                results, wrapped = post.add_residual(results, residual)
                self.overflow |= wrapped
                residual = None
            if output_format is not OutputFormat.INT32:
                results = self._requantise(f, results, residual)
            content = np.ascontiguousarray(results.astype(dtype)).view(np.uint8)
            if f["table"]:
                content = self.tables[f["table"] - 1][content]
            self._write(f, f["address"] + row * f["row_stride"] + vector * f["stride"], content)

    def _residual(self, f: Instruction, row: int, vector: int) -> np.ndarray | None:
        """The residual of a vector, int8, uint8 or int32; None if there is none."""
        if f["residual"] == ResidualFormat.NONE:
            return None
        dtype = np.dtype({ResidualFormat.INT8: "i1", ResidualFormat.UINT8: "u1", ResidualFormat.INT32: "<i4"}[
            ResidualFormat(f["residual"])])
        address = f["residual_address"] + row * f["residual_row_stride"] + vector * f["residual_stride"]
        return self._read(f, address, f["channels"] * dtype.itemsize).copy().view(dtype)

    def _requantise(self, f: Instruction, acc: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
        """The 8-bit results of a vector with an 8-bit residual or none, before the table."""
        entries = slice(f["channel"], f["channel"] + f["channels"])
        bad = post.bad_multiplier(self.multiplier[entries])
        if bad is not None:
            raise Stop(Cause.BAD_MULTIPLIER, f["channel"] + bad)
        scaled = None
        if residual is not None:
            zero_point = _byte(f["residual_zero_point"], residual.dtype == np.int8)
            multiplier = np.uint32(f["residual_multiplier"]).view(np.float32)
            scaled = post.scale_residual(residual, zero_point, multiplier)
        return post.requantise(acc, self.bias[entries], self.multiplier[entries], f["zero_point"], f["low"],
                               f["high"], scaled)


def _byte(bits: int, signed: bool) -> int:
    """The number that eight bits are."""
    return bits - 256 if signed and bits > 127 else bits
