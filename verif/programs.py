"""Programs for the benches of IPU and chip: a builder that keeps them well synchronised, and random ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from hdl.config import BURST_BOUNDARY, INSTRUCTION_BYTES, MAX_BURST_BEATS, Config
from hdl.csr import COUNTERS
from hdl.ipu.writer import Writer
from hdl.isa import (
    POSITION_BITS,
    QUEUE_OF,
    QUEUES,
    TABLE_ENTRIES,
    TABLES,
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    ResidualFormat,
    format_range,
    parameter_entries,
)
from hdl.layouts import PARAMETER_BYTES, header_layout, scale_layout, step_beats
from sim.golden import window
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
    """Bus words that an instruction (or instruction fetch) transfers; ``channel`` is ``fetch``, ``weights``, ``load``,
    ``residual`` or ``write``."""
    channel: str
    address: int
    beats: int
    instruction: int | None = None


def vector_rows(f: Instruction, which: str = "") -> np.ndarray:
    """Addresses of the vectors of a STORE, in the order in which they are written; ``residual_`` for its residual's."""
    rows, vectors = np.divmod(np.arange(f["vectors"] * f["vector_rows"]), f["vectors"])
    return f[f"{which}address"] + rows * f[f"{which}row_stride"] + vectors * f[f"{which}stride"]


def residual_bytes(f: Instruction) -> int:
    """Bytes of the residual of a vector of a STORE."""
    return f["channels"] * {ResidualFormat.NONE: 0, ResidualFormat.INT32: 4}.get(ResidualFormat(f["residual"]), 1)


def buffer_rows(f: Instruction) -> np.ndarray:
    """Buffer addresses of the rows of a LOAD_ACTIVATIONS, in the order in which they are written."""
    blocks, rows = np.divmod(np.arange(f["rows"] * f["blocks"]), f["rows"])
    return f["buffer_address"] + blocks * f["buffer_block_stride"] + rows * f["buffer_stride"]


def transfers(config: Config, f: Instruction) -> list[tuple[str, int, int]]:
    """Channel, first byte and number of bytes of every run of bytes that an instruction transfers, in order."""
    match f.opcode:
        case Opcode.LOAD_WEIGHTS:
            return [("weights", f["address"], f["beats"] * config.bus_bytes)]
        case Opcode.LOAD_PARAMETERS:
            return [("load", f["address"], f["channels"] * PARAMETER_BYTES)]
        case Opcode.LOAD_TABLE:
            return [("load", f["address"], TABLE_ENTRIES)]
        case Opcode.LOAD_ACTIVATIONS:
            blocks, rows = np.divmod(np.arange(f["rows"] * f["blocks"]), f["rows"])
            addresses = f["address"] + blocks * f["block_stride"] + rows * f["stride"]
            return [("load", int(address), f["row_bytes"]) for address in addresses]
        case Opcode.STORE:
            size = f["channels"] * (4 if f["format"] == OutputFormat.INT32 else 1)
            found = [("write", int(address), size) for address in vector_rows(f)]
            if f["residual"]:
                found += [("residual", int(address), residual_bytes(f)) for address in vector_rows(f, "residual_")]
            return found
        case Opcode.STORE_COUNTERS:
            return [("write", f["address"], 8 * len(COUNTERS))]
    return []


def bytes_of(runs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Indices of all bytes of runs, given by first byte and number of bytes."""
    return np.concatenate([np.arange(0), *(np.arange(first, first + count) for first, count in runs)])


def window_bytes(config: Config, f: Instruction) -> np.ndarray:
    """Bytes of the activation buffer that a GEMM uses, ascending."""
    numbers = np.arange(1, config.act_bytes + 1)  # so that padding, which is 0, is no byte
    f = Instruction(f.opcode, f.fields | {"zero_point": 0})
    used = np.concatenate([window.line(config, numbers, f, step).ravel() for step in range(f["steps"])])
    return np.unique(used[used > 0]) - 1


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
        Bytes that a STORE or STORE_COUNTERS writes.
    timed : bool [bytes]
        Bytes that STORE_COUNTERS writes: what they hold depends on time, so the golden model does not say it.
    """
    config: Config
    instructions: list[Instruction]
    base: int
    entry: int
    memory: np.ndarray
    relocatable: np.ndarray
    windows: list[Window]
    writable: np.ndarray = field(init=False)
    timed: np.ndarray = field(init=False)

    def __post_init__(self):
        self.writable = np.zeros(len(self.memory), bool)
        self.timed = np.zeros(len(self.memory), bool)
        for f in self.instructions:
            for channel, address, count in transfers(self.config, f):
                if channel == "write":
                    self.writable[address:address + count] = True
                    self.timed[address:address + count] |= f.opcode == Opcode.STORE_COUNTERS

    @property
    def count(self) -> int:
        return len(self.instructions)

    def execute(self, seed: int = 0) -> Execution:
        """What the golden model makes of it; addresses from 0."""
        return execute(self.config, self.relocatable, self.entry - self.base, self.count, seed=seed)

    def expected(self, execution: Execution) -> np.ndarray:
        """The memory that the chip must leave, but for the bytes of :attr:`timed`."""
        code = slice(self.entry - self.base, self.entry - self.base + self.count * INSTRUCTION_BYTES)
        memory = execution.memory.copy()
        memory[code] = self.memory[code]
        return memory

    def wrong(self, memory: np.ndarray, execution: Execution) -> np.ndarray:
        """Bytes of a memory that are not as the golden model leaves them, those of :attr:`timed` left out."""
        return np.flatnonzero((memory != self.expected(execution)) & ~self.timed)

    def counters(self, memory: np.ndarray) -> dict[str, int] | None:
        """What the last STORE_COUNTERS left in a memory; None if there is none."""
        for f in reversed(self.instructions):
            if f.opcode == Opcode.STORE_COUNTERS:
                values = np.frombuffer(memory[f["address"]:f["address"] + 8 * len(COUNTERS)].tobytes(), "<u8")
                return dict(zip(COUNTERS, values.tolist(), strict=True))
        return None

    def runs(self) -> list[Run]:
        """Everything that the program transfers, in program order; fetch first."""
        bus = self.config.bus_bytes
        found = [Run("fetch", self.entry, self.count * INSTRUCTION_BYTES // bus)]
        for index, f in enumerate(self.instructions):
            for channel, address, count in transfers(self.config, f):
                first = address // bus * bus
                found.append(Run(channel, self.base + first, -(-(address + count - first) // bus), index))
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
    release: set[Queue] = field(default_factory=set)

    @property
    def queue(self) -> Queue:
        return QUEUE_OF[self.opcode]

    def instruction(self, base: int = 0) -> Instruction:
        fields = dict(self.fields)
        for name, used in (("address", True), ("residual_address", fields.get("residual"))):
            if name in fields and used:
                fields[name] += base
        if self.release:
            fields["release"] = sum(1 << queue for queue in self.release)
        return Instruction(self.opcode, fields, tuple(sorted(self.wait)), tuple(sorted(self.signal)))


class Storage:
    """Who last wrote and read each part of something, so that hazards become tokens. Parts are given by a slice or by
    indices."""

    def __init__(self, size: int):
        self.written = np.zeros(size, bool)
        self._users: list[Draft] = []
        self._last = {write: np.full((len(QUEUES), size), -1) for write in (False, True)}

    def hazards(self, parts: slice | np.ndarray, write: bool) -> list[Draft]:
        """The newest instructions of each queue that must come before these parts may be read or written."""
        kinds = (False, True) if write else (True,)
        newest = {int(n) for kind in kinds for n in self._last[kind][:, parts].max(axis=1, initial=-1)}
        return [self._users[n] for n in newest if n >= 0]

    def use(self, parts: slice | np.ndarray, draft: Draft, write: bool):
        self._last[write][draft.queue, parts] = len(self._users)
        self._users.append(draft)
        if write:
            self.written[parts] = True


class Builder:
    """Writes a program with its data, and gives each instruction the tokens that its hazards ask for.

    A token from queue A to queue B is only ever asked of a younger instruction of A than the one before, so the n-th
    wait always meets the n-th token. That needs tokens of one kind: what STORE gives to a queue of ``released`` comes
    when it has read the chip, and to another queue when it has completed. Memory that nothing was placed in is random.

    Parameters
    ----------
    memory_bytes : int
        The lower half holds what is read, the upper half what is written.
    released : set of Queue
        Must not read what a STORE wrote to memory.

    Attributes
    ----------
    pool : int
        First byte of what is written.
    counters : int
        Where :meth:`store_counters` writes; the pool ends there.
    """

    def __init__(self, config: Config, rng: np.random.Generator, memory_bytes: int = 1 << 15,
                 released: Iterable[Queue] = ()):
        self.config = config
        self.rng = rng
        self.memory = rng.integers(0, 256, memory_bytes, dtype=np.uint8)
        self.pool = memory_bytes // 2
        self.counters = memory_bytes - 8 * len(COUNTERS) - self.draw(0, config.bus_bytes)
        self.released = frozenset(released)
        self.end = 0
        self.drafts: list[Draft] = []
        self.acts = Storage(config.act_bytes)
        self.parameters = Storage(parameter_entries(config))
        self.tables = Storage(TABLES)
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

    def place_unaligned(self, content: np.ndarray) -> int:
        """Puts bytes at an address of any alignment."""
        offset = self.draw(0, self.config.bus_bytes - 1)
        return self.place(np.concatenate([self.rng.integers(0, 256, offset, dtype=np.uint8), content])) + offset

    def add(self, opcode: Opcode, fields: dict[str, int], after: Iterable[Draft] = ()) -> Draft:
        """Appends an instruction that starts when those of other queues in ``after`` have used what they share with
        it, and what it touches in memory is as it would be if there were no queues."""
        runs = transfers(self.config, Instruction(opcode, fields))
        written = bytes_of((first, count) for channel, first, count in runs if channel == "write")
        read = bytes_of((first, count) for channel, first, count in runs if channel != "write")
        draft = Draft(opcode, fields, sum(d.queue == QUEUE_OF[opcode] for d in self.drafts))
        self.drafts.append(draft)
        # Writes stay in order, but a read must not start before a write is answered, be it of the same queue.
        results = self.outputs.hazards(read, False)
        assert not results or draft.queue not in self.released, "a released queue must not read results"
        after = [d for d in (*after, *self.outputs.hazards(written, True)) if d.queue != draft.queue] + results
        for source in QUEUES:
            newest = max((d for d in after if d.queue == source), key=lambda d: d.number, default=None)
            if newest is not None:
                self._token(newest, draft)
        self.outputs.use(read, draft, False)
        self.outputs.use(written, draft, True)
        return draft

    def _token(self, giver: Draft, taker: Draft):
        pair = giver.queue, taker.queue
        if giver.number > self._matched.get(pair, -1):
            self._matched[pair] = giver.number
            released = giver.queue == Queue.STORE and taker.queue in self.released
            (giver.release if released else giver.signal).add(taker.queue)
            taker.wait.add(giver.queue)

    def needless_token(self, taker: Draft):
        """A token that no hazard asks for, from any instruction before, maybe of the same queue."""
        others = [d for d in self.drafts
                  if d is not taker and (d.opcode != Opcode.STORE_COUNTERS or taker.queue not in self.released)]
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

    def load_activations(self, buffer_address: int, row_bytes: int, *, address: int | None = None, rows: int = 1,
                         blocks: int = 1, **strides: int) -> Draft:
        """Loads from ``address``, or from random data at any alignment."""
        fields = {"row_bytes": row_bytes, "rows": rows, "blocks": blocks, "buffer_address": buffer_address} | strides
        if address is None:
            extent = (rows - 1) * strides.get("stride", 0) + (blocks - 1) * strides.get("block_stride", 0) + row_bytes
            address = self.place_unaligned(self.rng.integers(0, 256, extent, dtype=np.uint8))
        fields["address"] = address
        written = bytes_of((int(row), row_bytes) for row in buffer_rows(Instruction(Opcode.LOAD_ACTIVATIONS, fields)))
        draft = self.add(Opcode.LOAD_ACTIVATIONS, fields, self.acts.hazards(written, True))
        self.acts.use(written, draft, True)
        return draft

    def load_table(self, table: int, content: np.ndarray | None = None) -> Draft:
        """Loads table 1 or 2, with random bytes if none are given."""
        content = self.rng.integers(0, 256, TABLE_ENTRIES, dtype=np.uint8) if content is None else content
        draft = self.add(Opcode.LOAD_TABLE, {"address": self.place(content), "table": table},
                         self.tables.hazards(slice(table - 1, table), True))
        self.tables.use(slice(table - 1, table), draft, True)
        return draft

    def load_parameters(self, channel: int, bias: np.ndarray, multiplier: np.ndarray) -> Draft:
        table = np.zeros(len(bias), np.dtype([("bias", "<i4"), ("multiplier", "<f4")]))
        table["bias"], table["multiplier"] = bias, multiplier
        entries = slice(channel, channel + len(bias))
        draft = self.add(Opcode.LOAD_PARAMETERS, {
            "address": self.place(np.frombuffer(table.tobytes(), np.uint8)), "channels": len(bias), "channel": channel,
        }, self.parameters.hazards(entries, True))
        self.parameters.use(entries, draft, True)
        return draft

    def gemm(self, **fields: int) -> Draft:
        """A GEMM; fields left out are those of one row of vectors and a window of one tap."""
        fields = {"vector_rows": 1, "taps": 1, "tap_rows": 1} | fields
        f = Instruction(Opcode.GEMM, fields)
        used = window_bytes(self.config, f)
        acc = slice(f["acc_vector"], f["acc_vector"] + f["vectors"] * f["vector_rows"])
        draft = self.add(Opcode.GEMM, fields, self.acts.hazards(used, False) + self.acc.hazards(acc, True))
        self.acts.use(used, draft, False)
        self.acc.use(acc, draft, True)
        return draft

    def product(self, *, steps: int, vectors: int, line: int = 0, vector_stride: int = 0, step_stride: int = 0,
                **fields: int) -> Draft:
        """A GEMM whose step ``s`` takes for vector ``v`` line ``line + v * vector_stride + s * step_stride`` of the
        buffer; a line is what the grid consumes per vector."""
        size = self.config.line_bytes
        return self.gemm(steps=steps, vectors=vectors, act_address=line * size, x_stride=vector_stride * size,
                         x_end=self.config.act_bytes, y_end=1, tap_bytes=size, taps=steps,
                         tap_x_stride=step_stride * size, **fields)

    def store(self, **fields: int) -> Draft:
        """A STORE; fields left out are those of one row of vectors."""
        fields = {"vector_rows": 1} | fields
        f = Instruction(Opcode.STORE, fields)
        acc = slice(f["acc_vector"], f["acc_vector"] + f["vectors"] * f["vector_rows"])
        uses = [(self.acc, acc)]
        if f["format"] != OutputFormat.INT32:
            uses.append((self.parameters, slice(f["channel"], f["channel"] + f["channels"])))
        if f["table"]:
            uses.append((self.tables, slice(f["table"] - 1, f["table"])))
        draft = self.add(Opcode.STORE, fields,
                         [d for storage, parts in uses for d in storage.hazards(parts, False)])
        for storage, parts in uses:
            storage.use(parts, draft, False)
        return draft

    def store_counters(self) -> Draft:
        return self.add(Opcode.STORE_COUNTERS, {"address": self.counters})

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
        return any(address >= self.pool for d in self.drafts
                   for channel, address, _ in transfers(self.config, d.instruction()) if channel != "write")


def simple_program(config: Config, rng: np.random.Generator, *, vectors: int = 2, steps: int = 2,
                   output_format: OutputFormat = OutputFormat.INT8, multiplier: np.ndarray | None = None,
                   channel: int = 0, channels: int | None = None, memory_bytes: int = 1 << 14) -> Builder:
    """One GEMM with its loads and its store, which comes last; each kind of instruction but STORE_COUNTERS once, and
    each DMA channel used unless the results are int32.

    ``multiplier`` fills the parameter memory from its first entry on, ``channel`` is the entry of the first of
    ``channels`` results.
    """
    b = Builder(config, rng, memory_bytes)
    lines = min(config.act_lines, vectors * steps)
    multiplier = rng.uniform(-0.1, 0.1, config.out_cols) if multiplier is None else multiplier
    channels = config.out_cols if channels is None else channels
    b.load_activations(0, lines * config.line_bytes)
    b.load_parameters(0, rng.integers(-999, 999, len(multiplier)), multiplier)
    b.load_table(1)
    b.load_weights([b.step() for _ in range(steps)])
    b.product(steps=steps, vectors=vectors, vector_stride=1, step_stride=int(lines > vectors), acc_vector=0,
              act_signed=1)
    size = channels * (4 if output_format == OutputFormat.INT32 else 1)
    fields = {"address": b.pool, "stride": size, "vectors": vectors, "channels": channels, "acc_vector": 0,
              "channel": channel, "format": output_format}
    if output_format != OutputFormat.INT32:
        low, high = format_range(output_format)
        residual = b.place_unaligned(rng.integers(0, 256, vectors * channels, dtype=np.uint8))
        fields |= {"low": low, "high": high, "table": 1, "residual": ResidualFormat.UINT8, "residual_address": residual,
                   "residual_stride": channels, "residual_multiplier": binary32(0.1), "residual_zero_point": 128}
    b.store(**fields)
    return b


def binary32(value: float) -> int:
    """The bits of a number."""
    return int(np.float32(value).view(np.uint32))


class RandomProgram(Builder):
    """A random program over all instructions, shapes and token patterns.

    Parameters
    ----------
    gemms : int
        GEMM instructions.
    """

    #: Most lines of the buffer that are loaded for a GEMM.
    LINES = 24

    #: Most rows of one LOAD_ACTIVATIONS.
    ROWS = 12

    def __init__(self, config: Config, rng: np.random.Generator, *, gemms: int = 4, memory_bytes: int = 1 << 15):
        super().__init__(config, rng, memory_bytes, released=[queue for queue in QUEUES if rng.random() < 0.4])
        self._ahead = 0  # steps loaded and not yet consumed
        self.overflows = self.chance(0.1)
        for _ in range(gemms):
            self._gemm()
            for _ in range(self.draw(0, 2)):
                self._store()
            if self.chance(0.1):
                self.store_counters()
        self._store()
        if self._ahead:  # what stays in the weight stream would never end the program
            self._gemm(steps=self._ahead)

    def add(self, opcode: Opcode, fields: dict[str, int], after: Iterable[Draft] = ()) -> Draft:
        draft = super().add(opcode, fields, after)
        if self.chance(0.2):
            self.needless_token(draft)
        return draft

    def pick(self, *values: int) -> int:
        """One of these numbers."""
        return values[self.draw(0, len(values) - 1)]

    # GEMM

    def _gemm(self, steps: int | None = None):
        last = steps is not None
        steps = self.draw(1, 4) if steps is None else steps
        while self._ahead < steps:
            count = self.draw(1, 3)
            largest_e = 31 if self.overflows else 4
            self.load_weights([self.step(self.pick(0, 0, 1, 2, self.config.planes), largest_e) for _ in range(count)])
            self._ahead += count
        keep = int(self.chance(0.2) and not last)
        self._ahead -= steps - keep
        while True:
            fields = {"steps": steps} | self._vectors() | self._window(steps)
            used = window_bytes(self.config, Instruction(Opcode.GEMM, fields))
            pieces = self._pieces(used[~self.acts.written[used]])
            if len(pieces) <= 4 and sum(end - first for first, end in pieces) <= self.LINES * self.config.line_bytes:
                break
        if used.size and self.chance(0.3):  # something that was there already, too
            first = self.draw(0, used.size - 1)
            pieces.append((int(used[first]), int(used[first]) + 1))
        for first, end in pieces:
            self._load_activations(first, end - first)
        written = self.acc.written[fields["acc_vector"]:][:fields["vectors"] * fields["vector_rows"]].all()
        self.gemm(**fields, keep=keep, accumulate=int(written and self.chance(0.5)), maximum=int(self.chance(0.2)),
                  act_signed=self.draw(0, 1), zero_point=self.pick(0, 0x7F, 0x80, 0xFF, self.draw(0, 255)))

    def _pieces(self, used: np.ndarray) -> list[tuple[int, int]]:
        """Stretches of the buffer that hold these bytes, ascending, joined where little lies between them."""
        parts = np.split(used, np.flatnonzero(np.diff(used) > self.config.line_bytes) + 1)
        return [(int(part[0]), int(part[-1]) + 1) for part in parts if part.size]

    def _vectors(self) -> dict[str, int]:
        """Rows of vectors and where their results go."""
        most = self.config.acc_vectors
        total = self.draw(1, min(most, 9)) if self.chance(0.9) else most
        vectors = total if self.chance(0.5) else self.draw(1, total)
        rows = total // vectors
        return {"vectors": vectors, "vector_rows": rows, "acc_vector": self.draw(0, most - vectors * rows)}

    def _window(self, steps: int) -> dict[str, int]:
        """A window over the buffer, whatever lies there."""
        kind = self.pick(self._product_window, self._image_window, self._image_window, self._any_window)
        fields = kind(steps)
        near_end = self.config.act_bytes - self.draw(1, self.config.line_bytes)
        fields["act_address"] = self.pick(0, near_end, self.draw(0, self.config.act_bytes - 1))
        if self.acts.written.any() and self.chance(0.5):
            fields["act_address"] = int(self.rng.choice(np.flatnonzero(self.acts.written)))
        if self.chance(0.3):
            tap = self.draw(0, fields["taps"] - 1)
            column = tap * fields["tap_x_stride"]
            in_line = self.chance(0.7) and abs(column) < 1 << POSITION_BITS - 1
            fields |= {"first_tap": tap, "first_x": column if in_line else self.draw(-99, 99),
                       "first_byte": self.draw(0, fields["tap_bytes"] - 1)}
        return fields

    def _product_window(self, steps: int) -> dict[str, int]:
        """A matrix product: the lines of a vector follow one another, and perhaps end before the last step does."""
        line = self.config.line_bytes
        tap_bytes = steps * line if self.chance(0.5) else self.draw(1, (steps + 1) * line)
        x_stride = self.pick(0, line, tap_bytes, self.draw(0, 3 * line))
        return {"tap_bytes": tap_bytes, "taps": 1, "tap_rows": 1, "tap_x_stride": self.draw(-99, 99),
                "x_stride": x_stride, "y_stride": self.pick(0, 0, 1), "x_end": self.config.act_bytes,
                "y_end": self.draw(1, self.config.act_bytes)}

    def _image_window(self, steps: int) -> dict[str, int]:
        """A convolution: pixels of some channels, with padding all around, strides and dilation."""
        config = self.config
        channels, width, height = self.draw(1, config.line_bytes + 4), self.draw(1, 4), self.draw(1, 4)
        pitch = width * channels + self.draw(0, 3)
        x_stride, y_stride, dilation = self.draw(1, 2), self.draw(1, 2), self.pick(1, 1, 2)
        return {"tap_bytes": channels, "taps": self.draw(1, 3), "tap_rows": self.draw(1, 3),
                "tap_x_stride": dilation * channels, "tap_y_stride": dilation * pitch,
                "x": -channels * self.draw(0, 2), "y": -pitch * self.draw(0, 2),
                "x_stride": x_stride * channels, "y_stride": y_stride * pitch,
                "x_end": min(width * channels, config.act_bytes), "y_end": min(height * pitch, config.act_bytes)}

    def _any_window(self, steps: int) -> dict[str, int]:
        """Any numbers, mostly small ones; positions wrap around."""
        line = self.config.line_bytes
        half = 1 << POSITION_BITS - 1
        fields = {name: self.draw(-2 * line, 2 * line) if self.chance(0.9) else self.draw(-half, half - 1)
                  for name in ("x", "y", "x_stride", "y_stride", "tap_x_stride", "tap_y_stride")}
        ends = {name: self.pick(0, self.config.act_bytes, self.draw(0, min(4 * line, self.config.act_bytes)))
                for name in ("x_end", "y_end")}
        return fields | ends | {"tap_bytes": self.draw(1, line + 3), "taps": self.draw(1, 5),
                                "tap_rows": self.draw(1, 4)}

    # Loads

    def _load_activations(self, first: int, size: int):
        """Covers ``size`` bytes from ``first`` on, and perhaps some around them, by rows and blocks."""
        act_bytes = self.config.act_bytes
        while True:
            rows, blocks = (1, 1) if self.chance(0.3) else (self.draw(1, 6), self.draw(1, 3))
            row_bytes = -(-size // (rows * blocks)) + self.pick(0, 0, self.draw(0, 5))
            total = rows * blocks * row_bytes
            if rows * blocks <= self.ROWS and total <= act_bytes:
                break
        start = self.draw(max(0, first + size - total), min(first, act_bytes - total))
        outer, inner = rows * row_bytes, row_bytes
        if self.chance(0.3):  # blocks are interleaved
            outer, inner = row_bytes, blocks * row_bytes
        if rows > 1 and blocks == 1 and self.chance(0.2):  # rows overlap, and the later ones win
            row_bytes += self.draw(0, min(inner, act_bytes - start - total))
        strides = {"stride": self.draw(0, row_bytes + 9), "block_stride": self.draw(0, 2 * row_bytes + 9),
                   "buffer_stride": inner, "buffer_block_stride": outer}
        if rows == 1:
            strides |= {"stride": self.draw(0, (1 << 32) - 1), "buffer_stride": self.draw(0, (1 << 24) - 1)}
        if blocks == 1:
            strides |= {"block_stride": self.draw(0, (1 << 32) - 1), "buffer_block_stride": self.draw(0, (1 << 24) - 1)}
        extent = (rows - 1) * strides["stride"] + (blocks - 1) * strides["block_stride"] + row_bytes
        fields = {"row_bytes": row_bytes, "rows": rows, "blocks": blocks} | strides
        self.load_activations(start, address=self._source(Queue.LOAD, extent), **fields)

    def _source(self, queue: Queue, extent: int) -> int:
        """Where a queue finds ``extent`` bytes: among the results, in what was placed before, or newly placed."""
        if self.chance(0.4) and extent <= self.counters - self.pool:
            address = self._in_pool(extent)
            if queue not in self.released or not self.outputs.hazards(slice(address, address + extent), False):
                return address
        if self.chance(0.5) and extent <= self.end:
            return self.draw(0, self.end - extent)
        return self.place_unaligned(self.rng.integers(0, 256, extent, dtype=np.uint8))

    def _load_parameters(self, first: int, end: int):
        per_beat = self.config.bus_bytes // PARAMETER_BYTES
        first, end = first // per_beat * per_beat, -(-end // per_beat) * per_beat
        count = end - first
        bias = self.rng.integers(-1 << 31, 1 << 31, count) >> self.draw(0, 31)
        multiplier = self.rng.choice([-1, 1], count) * 2.0 ** -self.rng.uniform(0, 24, count)
        special = np.array([0.0, -0.0, 1e-45, 1e-38, 3.4e38, 0.5, 1.0, -0.5])
        multiplier = np.where(self.rng.random(count) < 0.1, self.rng.choice(special, count), multiplier)
        self.load_parameters(first, bias.astype(np.int32), multiplier.astype(np.float32))

    # STORE

    def _store(self):
        config = self.config
        ready = np.flatnonzero(self.acc.written)
        if not ready.size:
            return
        acc_vector = int(self.rng.choice(ready))
        total = 1
        while total < self.draw(1, 9) and acc_vector + total in ready:
            total += 1
        vectors = total if self.chance(0.5) else self.draw(1, total)
        channels = self.pick(1, config.out_cols, self.draw(1, config.out_cols))
        channel = config.post_lanes * self.draw(0, (parameter_entries(config) - channels) // config.post_lanes)
        output_format = OutputFormat(self.draw(0, 2))
        fields = {"vectors": vectors, "vector_rows": total // vectors, "channels": channels, "acc_vector": acc_vector,
                  "channel": channel, "format": output_format, "zero_point": self.draw(-300, 300)}
        size = 4 * channels if output_format == OutputFormat.INT32 else channels
        fields |= dict(zip(("stride", "row_stride"), self._strides(vectors, size), strict=True))
        fields["address"] = self._destination(
            (vectors - 1) * fields["stride"] + (fields["vector_rows"] - 1) * fields["row_stride"] + size)
        if output_format == OutputFormat.INT32:
            fields |= {"low": self.draw(-1 << 15, (1 << 15) - 1), "high": self.draw(-1 << 15, (1 << 15) - 1)}
        else:
            fields |= self._requantised(output_format, channel, channels)
        self.store(**fields | self._residual(fields))

    def _strides(self, vectors: int, size: int) -> tuple[int, int]:
        """Strides of vectors and of rows of vectors: tight, apart, or one over another."""
        bus = self.config.bus_bytes
        stride = self.pick(size, -(-size // bus) * bus, size + self.draw(0, 2 * bus))
        if self.chance(0.1):
            stride = self.draw(0, size)
        row = vectors * stride
        return stride, self.draw(0, row) if self.chance(0.1) else row + self.draw(0, 2 * bus)

    def _in_pool(self, extent: int) -> int:
        """Where ``extent`` bytes lie among the results, often such that they meet some."""
        last = self.counters - extent
        results = np.flatnonzero(self.outputs.written[self.pool:self.counters])
        if results.size and self.chance(0.7):
            return min(max(self.pool + int(self.rng.choice(results)) - self.draw(0, extent - 1), self.pool), last)
        return self.draw(self.pool, last)

    def _destination(self, extent: int) -> int:
        if self.chance(0.3):
            return self._in_pool(extent)
        if self.chance(0.3) and self.pool + BURST_BOUNDARY + extent < self.counters:  # meets a page boundary
            page = self.draw(self.pool // BURST_BOUNDARY + 1, (self.counters - extent) // BURST_BOUNDARY)
            return page * BURST_BOUNDARY - self.draw(0, extent)
        return self.draw(self.pool, self.counters - extent)

    def _requantised(self, output_format: OutputFormat, channel: int, channels: int) -> dict[str, int]:
        """Fields of 8-bit results; loads the parameters and the table that they ask for."""
        low, high = least, most = format_range(output_format)
        if self.chance(0.3):
            low, high = sorted((self.draw(least, most), self.draw(least, most)))
        if not self.parameters.written[channel:channel + channels].all() or self.chance(0.3):
            self._load_parameters(channel, channel + channels)
        table = self.draw(1, TABLES) if self.chance(0.4) else 0
        if table and (not self.tables.written[table - 1] or self.chance(0.3)):
            self.load_table(table)
        return {"low": low, "high": high, "table": table}

    def _residual(self, store: dict[str, int]) -> dict[str, int]:
        """Fields of the residual of a STORE, which may be what it overwrites: each result is then added to what lies
        where it is written."""
        if self.chance(0.6):
            return {}
        wide_results = store["format"] == OutputFormat.INT32
        kind = ResidualFormat.INT32 if wide_results else ResidualFormat(self.draw(1, 3))
        wide = kind == ResidualFormat.INT32
        size = residual_bytes(Instruction(Opcode.STORE, store | {"residual": kind}))
        stride, row_stride = self._strides(store["vectors"], size)
        extent = (store["vectors"] - 1) * stride + (store["vector_rows"] - 1) * row_stride + size
        address = self._source(Queue.STORE, extent)
        first, end = self._extent_of(store)
        if address < end and first < address + extent:  # no order is promised between vectors of one instruction
            address = self.place_unaligned(self.rng.integers(0, 256, extent, dtype=np.uint8))
        in_place = np.sort(vector_rows(Instruction(Opcode.STORE, store)))
        apart = wide == wide_results and (np.diff(in_place) >= size).all()
        free = Queue.STORE not in self.released or not self.outputs.hazards(slice(first, end), False)
        if self.chance(0.2) and apart and free:
            address, stride, row_stride = store["address"], store["stride"], store["row_stride"]
        fields = {"residual": kind, "residual_address": address, "residual_stride": stride,
                  "residual_row_stride": row_stride}
        if wide:
            return fields
        multiplier = self.pick(0, binary32(-0.5), binary32(1), binary32(3e-40), binary32(self.rng.uniform(-2, 2)),
                               self.draw(0, 190) << 23 | self.draw(0, (1 << 23) - 1))
        return fields | {"residual_multiplier": multiplier, "residual_zero_point": self.draw(0, 255)}

    def _extent_of(self, store: dict[str, int]) -> tuple[int, int]:
        """First byte and end of what a STORE writes."""
        runs = transfers(self.config, Instruction(Opcode.STORE, store))
        return min(address for _, address, _ in runs), max(address + size for _, address, size in runs)
