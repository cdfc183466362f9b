"""Programs for the benches of IPU and chip: a builder that keeps them well synchronised, and random ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from hdl.config import BURST_BOUNDARY, INSTRUCTION_BYTES, MAX_BURST_BEATS, Config
from hdl.ipu.writer import Writer
from hdl.isa import QUEUE_OF, QUEUES, Instruction, Opcode, OutputFormat, Queue, format_range, parameter_entries
from hdl.layouts import PARAMETER_BYTES, header_layout, scale_layout, step_beats
from sim.golden.executor import Execution, execute

#: Longest burst of instruction fetch, in beats: what its FIFO holds.
FETCH_BURST_BEATS = 16


@dataclass(frozen=True)
class Window:
    """A DMA window: first byte, first byte after it, and what it allows."""
    base: int
    limit: int
    read: bool = False
    write: bool = False


@dataclass(frozen=True)
class Run:
    """Bus words that an instruction (or instruction fetch) transfers; ``channel`` is ``fetch``, ``weights``, ``load``
    or ``write``."""
    channel: str
    address: int
    beats: int
    instruction: int | None = None


@dataclass
class Image:
    """A program in memory, ready to run.

    Attributes
    ----------
    base : int
        Address of the first byte of ``memory``; the instructions are encoded for it.
    relocatable : uint8 [bytes]
        The same memory with its instructions encoded for base 0, as the golden model takes it.
    writable : bool [bytes]
        Bytes that a STORE writes.
    """
    config: Config
    instructions: list[Instruction]
    base: int
    entry: int
    memory: np.ndarray
    relocatable: np.ndarray
    windows: list[Window]
    writable: np.ndarray = field(init=False)

    def __post_init__(self):
        self.writable = np.zeros(len(self.memory), bool)
        for f in self.instructions:
            if f.opcode == Opcode.STORE:
                size = f["channels"] * (4 if f["format"] == OutputFormat.INT32 else 1)
                for v in range(f["vectors"]):
                    at = f["address"] + v * f["stride"]
                    self.writable[at:at + size] = True

    @property
    def count(self) -> int:
        return len(self.instructions)

    def execute(self, seed: int = 0) -> Execution:
        """What the golden model makes of it; addresses from 0."""
        return execute(self.config, self.relocatable, self.entry - self.base, self.count, seed=seed)

    def expected(self, execution: Execution) -> np.ndarray:
        """The memory that the chip must leave."""
        code = slice(self.entry - self.base, self.entry - self.base + self.count * INSTRUCTION_BYTES)
        memory = execution.memory.copy()
        memory[code] = self.memory[code]
        return memory

    def runs(self) -> list[Run]:
        """Everything that the program transfers, in program order; fetch first."""
        bus = self.config.bus_bytes
        found = [Run("fetch", self.entry, self.count * INSTRUCTION_BYTES // bus)]
        for index, f in enumerate(self.instructions):
            at = self.base + f["address"]
            match f.opcode:
                case Opcode.LOAD_WEIGHTS:
                    found.append(Run("weights", at, f["beats"], index))
                case Opcode.LOAD_PARAMETERS:
                    found.append(Run("load", at, f["channels"] * PARAMETER_BYTES // bus, index))
                case Opcode.LOAD_ACTIVATIONS:
                    found += [Run("load", at + r * f["stride"], f["row_beats"], index) for r in range(f["rows"])]
                case Opcode.STORE:
                    size = f["channels"] * (4 if f["format"] == OutputFormat.INT32 else 1)
                    found += [Run("write", at + v * f["stride"], -(-size // bus), index) for v in range(f["vectors"])]
        return found


def bursts(config: Config, run: Run) -> Iterator[tuple[int, int]]:
    """Address and beats of the bursts of a run."""
    longest = {"fetch": FETCH_BURST_BEATS, "write": Writer.MAX_BEATS}.get(run.channel, MAX_BURST_BEATS)
    at, left = run.address, run.beats
    while left:
        beats = min(left, longest, (BURST_BOUNDARY - at % BURST_BOUNDARY) // config.bus_bytes)
        yield at, beats
        at, left = at + beats * config.bus_bytes, left - beats


@dataclass(eq=False)
class Draft:
    """An instruction whose tokens may still grow; ``number`` counts within its queue."""
    opcode: Opcode
    fields: dict[str, int]
    number: int
    wait: set[Queue] = field(default_factory=set)
    signal: set[Queue] = field(default_factory=set)

    @property
    def queue(self) -> Queue:
        return QUEUE_OF[self.opcode]

    def instruction(self, base: int = 0) -> Instruction:
        fields = dict(self.fields)
        if "address" in fields:
            fields["address"] += base
        return Instruction(self.opcode, fields, tuple(sorted(self.wait)), tuple(sorted(self.signal)))


class Storage:
    """Who last wrote and read which part of something, so that hazards become tokens."""

    def __init__(self, size: int):
        self.written = np.zeros(size, bool)
        self._uses: list[tuple[int, int, Draft, bool]] = []

    def hazards(self, first: int, end: int, write: bool) -> list[Draft]:
        """Instructions that must be complete before ``[first, end)`` may be read or written."""
        return [draft for a, b, draft, wrote in self._uses if a < end and first < b and (wrote or write)]

    def use(self, first: int, end: int, draft: Draft, write: bool):
        self._uses.append((first, end, draft, write))
        if write:
            self.written[first:end] = True


class Builder:
    """Writes a program with its data, and gives each instruction the tokens that its hazards ask for.

    A token from queue A to queue B is only ever asked of a younger instruction of A than the one before, so the n-th
    wait always meets the n-th signal. Memory that nothing was placed in is random.

    Parameters
    ----------
    memory_bytes : int
        The lower half holds what is read, the upper half what is written.
    """

    def __init__(self, config: Config, rng: np.random.Generator, memory_bytes: int = 1 << 15):
        self.config = config
        self.rng = rng
        self.memory = rng.integers(0, 256, memory_bytes, dtype=np.uint8)
        self.pool = memory_bytes // 2  #: first byte of what is written
        self.end = 0
        self.drafts: list[Draft] = []
        self.acts = Storage(config.act_bytes // config.bus_bytes)
        self.parameters = Storage(parameter_entries(config))
        self.acc = Storage(config.acc_vectors)
        self.outputs = Storage(memory_bytes)
        self._matched: dict[tuple[Queue, Queue], int] = {}

    def draw(self, low: int, high: int) -> int:
        """A random number from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def place(self, content: np.ndarray, align: int = 0) -> int:
        """Puts bytes at the next address that is a multiple of ``align``, at least of the bus width."""
        align = align or self.config.bus_bytes
        address = -(-self.end // align) * align
        self.end = address + len(content)
        if self.end > self.pool:
            raise ValueError(f"memory_bytes must hold {self.end} bytes of what is read in its lower half, "
                             f"not {self.pool}")
        self.memory[address:self.end] = content
        return address

    def add(self, opcode: Opcode, fields: dict[str, int], after: Iterable[Draft] = ()) -> Draft:
        """Appends an instruction that starts when those of ``after`` are complete."""
        draft = Draft(opcode, fields, sum(d.queue == QUEUE_OF[opcode] for d in self.drafts))
        self.drafts.append(draft)
        for source in QUEUES:
            newest = max((d for d in after if d.queue == source and (source != draft.queue)),
                         key=lambda d: d.number, default=None)
            if newest is not None:
                self._token(newest, draft)
        return draft

    def _token(self, giver: Draft, taker: Draft):
        pair = giver.queue, taker.queue
        if giver.number > self._matched.get(pair, -1):
            self._matched[pair] = giver.number
            giver.signal.add(taker.queue)
            taker.wait.add(giver.queue)

    def needless_token(self, taker: Draft):
        """A token that no hazard asks for, from any instruction before, maybe of the same queue."""
        others = [d for d in self.drafts if d is not taker]
        if others:
            giver = others[self.draw(max(0, len(others) - 4), len(others) - 1)]
            if giver.queue not in taker.wait:
                self._token(giver, taker)

    def step(self, planes: int | None = None, largest_e: int = 4, full: bool = False) -> np.ndarray:
        """The bytes of a random step: at most ``planes`` planes per column, or all if ``full``, which may have no bit
        set; lanes that no unit fills are random too."""
        config, rng = self.config, self.rng
        planes = config.planes if planes is None else planes
        masks = rng.integers((1 << config.planes) - 1 if full else 0, 1 << config.planes, config.columns)
        for column in np.flatnonzero(np.bitwise_count(masks) > planes):
            bits = rng.permutation(np.flatnonzero(masks[column] >> np.arange(config.planes) & 1))
            masks[column] = sum(1 << int(b) for b in bits[:planes])
        m, e = rng.integers(0, 8, config.columns), rng.integers(0, largest_e + 1, config.columns)
        layout = header_layout(config)
        scale = layout["scale"].offset
        headers = (masks.astype(np.uint64) << np.uint64(layout["mask"].offset)
                   | m.astype(np.uint64) << np.uint64(scale + scale_layout()["m"].offset)
                   | e.astype(np.uint64) << np.uint64(scale + scale_layout()["e"].offset))
        unit_beats = step_beats(config, masks) - config.header_beats
        units = rng.integers(0, 256, unit_beats * config.bus_bytes, dtype=np.uint8)
        units[rng.random(len(units)) < rng.choice([0, 0.5, 0.95])] = 0
        return np.concatenate([headers.astype(f"<u{config.header_bits // 8}").view(np.uint8), units])

    def load_weights(self, steps: list[np.ndarray]) -> Draft:
        image = np.concatenate(steps)
        return self.add(Opcode.LOAD_WEIGHTS, {"address": self.place(image), "steps": len(steps),
                                              "beats": len(image) // self.config.bus_bytes})

    def load_activations(self, beat: int, rows: int, row_beats: int, buffer_stride: int, stride: int,
                         address: int | None = None) -> Draft:
        """Loads from ``address``, or from random data."""
        bus = self.config.bus_bytes
        extent = (rows - 1) * stride + row_beats * bus
        if address is None:
            address = self.place(self.rng.integers(0, 256, extent, dtype=np.uint8))
        parts = [(beat + r * buffer_stride, beat + r * buffer_stride + row_beats) for r in range(rows)]
        after = [d for a, b in parts for d in self.acts.hazards(a, b, True)]
        after += self.outputs.hazards(address, address + extent, False)
        draft = self.add(Opcode.LOAD_ACTIVATIONS, {
            "address": address, "stride": stride, "rows": rows, "row_beats": row_beats, "buffer_beat": beat,
            "buffer_stride": buffer_stride}, after)
        for a, b in parts:
            self.acts.use(a, b, draft, True)
        self.outputs.use(address, address + extent, draft, False)
        return draft

    def load_parameters(self, channel: int, bias: np.ndarray, multiplier: np.ndarray) -> Draft:
        table = np.zeros(len(bias), np.dtype([("bias", "<i4"), ("multiplier", "<f4")]))
        table["bias"], table["multiplier"] = bias, multiplier
        end = channel + len(bias)
        draft = self.add(Opcode.LOAD_PARAMETERS, {
            "address": self.place(np.frombuffer(table.tobytes(), np.uint8)), "channels": len(bias), "channel": channel,
        }, self.parameters.hazards(channel, end, True))
        self.parameters.use(channel, end, draft, True)
        return draft

    def gemm(self, **fields: int) -> Draft:
        line_beats = self.config.line_bytes // self.config.bus_bytes
        first = fields["act_line"] * line_beats
        last = (fields["act_line"] + (fields["vectors"] - 1) * fields.get("act_vector_stride", 0)
                + (fields["steps"] - 1) * fields.get("act_step_stride", 0) + 1) * line_beats
        acc = fields["acc_vector"], fields["acc_vector"] + fields["vectors"]
        draft = self.add(Opcode.GEMM, fields, self.acts.hazards(first, last, False) + self.acc.hazards(*acc, True))
        self.acts.use(first, last, draft, False)
        self.acc.use(*acc, draft, True)
        return draft

    def store(self, **fields: int) -> Draft:
        size = fields["channels"] * (4 if fields["format"] == OutputFormat.INT32 else 1)
        acc = fields["acc_vector"], fields["acc_vector"] + fields["vectors"]
        entries = fields["channel"], fields["channel"] + fields["channels"]
        extent = fields["address"], fields["address"] + (fields["vectors"] - 1) * fields["stride"] + size
        after = self.acc.hazards(*acc, False) + self.outputs.hazards(*extent, True)
        if fields["format"] != OutputFormat.INT32:
            after += self.parameters.hazards(*entries, False)
        draft = self.add(Opcode.STORE, fields, after)
        self.acc.use(*acc, draft, False)
        self.outputs.use(*extent, draft, True)
        if fields["format"] != OutputFormat.INT32:
            self.parameters.use(*entries, draft, False)
        return draft

    def finish(self, base: int = 0, records: list[bytes] | None = None) -> Image:
        """The program at ``base``; ``records`` instead of the instructions' own encodings, if given."""
        instructions = [draft.instruction() for draft in self.drafts]
        code = b"".join(records if records is not None else [d.instruction(base).encode() for d in self.drafts])
        entry = self.place(np.frombuffer(code, np.uint8), INSTRUCTION_BYTES)
        relocatable = self.memory.copy()
        plain = b"".join(records if records is not None else [i.encode() for i in instructions])
        relocatable[entry:entry + len(plain)] = np.frombuffer(plain, np.uint8)
        bus = self.config.bus_bytes
        windows = [Window(base, base + -(-self.end // bus) * bus, read=True),
                   Window(base + self.pool, base + len(self.memory), write=True, read=self._reads_outputs())]
        return Image(self.config, instructions, base, base + entry, self.memory.copy(), relocatable, windows)

    def _reads_outputs(self) -> bool:
        return any(d.queue == Queue.LOAD and d.fields["address"] >= self.pool for d in self.drafts)


def simple_program(config: Config, rng: np.random.Generator, *, vectors: int = 2, steps: int = 2,
                   output_format: OutputFormat = OutputFormat.INT8, multiplier: np.ndarray | None = None,
                   channel: int = 0, channels: int | None = None, memory_bytes: int = 1 << 14) -> Builder:
    """One GEMM with its loads and its store; each kind of instruction once.

    ``multiplier`` fills the parameter memory from its first entry on, ``channel`` is the entry of the first of
    ``channels`` results.
    """
    b = Builder(config, rng, memory_bytes)
    line_beats = config.line_bytes // config.bus_bytes
    lines = min(config.act_lines, vectors * steps)
    multiplier = rng.uniform(-0.1, 0.1, config.out_cols) if multiplier is None else multiplier
    channels = config.out_cols if channels is None else channels
    b.load_activations(0, 1, lines * line_beats, 0, 0)
    b.load_parameters(0, rng.integers(-999, 999, len(multiplier)), multiplier)
    b.load_weights([b.step() for _ in range(steps)])
    b.gemm(steps=steps, vectors=vectors, act_line=0, act_vector_stride=1, act_step_stride=int(lines > vectors),
           acc_vector=0, act_signed=1)
    size = channels * (4 if output_format == OutputFormat.INT32 else 1)
    low, high = (0, 0) if output_format == OutputFormat.INT32 else format_range(output_format)
    b.store(address=b.pool, stride=-(-size // config.bus_bytes) * config.bus_bytes, vectors=vectors, channels=channels,
            acc_vector=0, channel=channel, format=output_format, low=low, high=high)
    return b


class RandomProgram(Builder):
    """A random program over all instructions, shapes and token patterns.

    Parameters
    ----------
    gemms : int
        GEMM instructions.
    """

    def __init__(self, config: Config, rng: np.random.Generator, *, gemms: int = 4, memory_bytes: int = 1 << 15):
        super().__init__(config, rng, memory_bytes)
        self._ahead = 0  # steps loaded and not yet consumed
        self.overflows = self.chance(0.1)
        for _ in range(gemms):
            self._gemm()
            for _ in range(self.draw(0, 2)):
                self._store()
        self._store()
        if self._ahead:  # what stays in the weight stream would never end the program
            self._gemm(steps=self._ahead)

    def add(self, opcode: Opcode, fields: dict[str, int], after: Iterable[Draft] = ()) -> Draft:
        draft = super().add(opcode, fields, after)
        if self.chance(0.2):
            self.needless_token(draft)
        return draft

    def _lines(self, steps: int) -> tuple[int, int, int, int]:
        """Vectors, first line and strides of a GEMM within the buffer, few enough lines to load."""
        lines = self.config.act_lines
        while True:
            vectors = self.draw(1, min(self.config.acc_vectors, 9)) if self.chance(0.9) else self.config.acc_vectors
            vector_stride, step_stride = self.draw(0, 3), self.draw(0, 3)
            extent = (vectors - 1) * vector_stride + (steps - 1) * step_stride + 1
            if extent <= min(lines, 24):
                return vectors, self.draw(0, lines - extent), vector_stride, step_stride

    def _gemm(self, steps: int | None = None):
        config = self.config
        last = steps is not None
        steps = self.draw(1, 4) if steps is None else steps
        vectors, line, vector_stride, step_stride = self._lines(steps)
        extent = (vectors - 1) * vector_stride + (steps - 1) * step_stride + 1
        line_beats = config.line_bytes // config.bus_bytes
        first, end = line * line_beats, (line + extent) * line_beats
        if not self.acts.written[first:end].all() or self.chance(0.3):
            self._load_activations(first, end - first)
        while self._ahead < steps:
            count = self.draw(1, 3)
            largest_e = 31 if self.overflows else 4
            self.load_weights([self.step(int(self.rng.choice([0, 0, 1, 2, config.planes])), largest_e)
                               for _ in range(count)])
            self._ahead += count
        keep = int(self.chance(0.2) and not last)
        self._ahead -= steps - keep
        acc_vector = self.draw(0, config.acc_vectors - vectors)
        written = bool(self.acc.written[acc_vector:acc_vector + vectors].all())
        self.gemm(steps=steps, vectors=vectors, act_line=line, act_vector_stride=vector_stride,
                  act_step_stride=step_stride, acc_vector=acc_vector, keep=keep,
                  accumulate=int(written and self.chance(0.5)), act_signed=self.draw(0, 1),
                  zero_point=int(self.rng.choice([0, 0x7F, 0x80, 0xFF, self.draw(0, 255)])))

    def _load_activations(self, first: int, beats: int):
        """Covers ``beats`` bus words from ``first`` on, in one or two instructions."""
        bus = self.config.bus_bytes
        row_beats = int(self.rng.choice([d for d in range(1, beats + 1) if beats % d == 0]))
        rows = beats // row_beats
        stride = bus * self.draw(0, row_beats + 3)
        address = None
        extent = (rows - 1) * stride + row_beats * bus
        if self.chance(0.3) and self.outputs.written.any() and extent < self.pool // 2:
            address = self.pool + bus * self.draw(0, (self.pool - extent) // bus)
        if rows % 2 == 0 and self.chance(0.3):
            for odd in range(2):
                self.load_activations(first + odd * row_beats, rows // 2, row_beats, 2 * row_beats, stride, address)
        else:
            self.load_activations(first, rows, row_beats, row_beats if rows > 1 else self.draw(0, 99), stride, address)

    def _load_parameters(self, first: int, end: int):
        per_beat = self.config.bus_bytes // PARAMETER_BYTES
        first, end = first // per_beat * per_beat, -(-end // per_beat) * per_beat
        count = end - first
        bias = self.rng.integers(-1 << 31, 1 << 31, count) >> self.draw(0, 31)
        multiplier = self.rng.choice([-1, 1], count) * 2.0 ** -self.rng.uniform(0, 24, count)
        special = np.array([0.0, -0.0, 1e-45, 1e-38, 3.4e38, 0.5, 1.0, -0.5])
        multiplier = np.where(self.rng.random(count) < 0.1, self.rng.choice(special, count), multiplier)
        self.load_parameters(first, bias.astype(np.int32), multiplier.astype(np.float32))

    def _store(self):
        config = self.config
        ready = np.flatnonzero(self.acc.written)
        if not ready.size:
            return
        acc_vector = int(self.rng.choice(ready))
        vectors = 1
        while vectors < self.draw(1, 9) and acc_vector + vectors in ready:
            vectors += 1
        channels = int(self.rng.choice([1, config.out_cols, self.draw(1, config.out_cols)]))
        blocks = (parameter_entries(config) - channels) // config.post_lanes
        channel = config.post_lanes * self.draw(0, blocks)
        output_format = OutputFormat(self.draw(0, 2))
        bus = config.bus_bytes
        low, high, size = self.draw(-1 << 15, (1 << 15) - 1), self.draw(-1 << 15, (1 << 15) - 1), 4 * channels
        if output_format != OutputFormat.INT32:
            size = channels
            least, most = format_range(output_format)
            low, high = sorted((self.draw(least, most), self.draw(least, most))) if self.chance(0.3) else (least, most)
            if not self.parameters.written[channel:channel + channels].all() or self.chance(0.3):
                self._load_parameters(channel, channel + channels)
        stride = bus * self.draw(0 if self.chance(0.1) else -(-size // bus), -(-size // bus) + 2)
        address = self.pool + bus * self.draw(0, (self.pool - (vectors - 1) * stride - size) // bus)
        if self.chance(0.2) and self.pool + 4096 < len(self.memory):  # meets a page boundary
            address = min(address // 4096 * 4096 + 4096, len(self.memory) - 4096) - bus
        self.store(address=address, stride=stride, vectors=vectors, channels=channels, acc_vector=acc_vector,
                   channel=channel, format=output_format, zero_point=self.draw(-300, 300), low=low, high=high)
