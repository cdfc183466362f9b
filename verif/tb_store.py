"""Store: instructions of every shape against the golden model, and what the store queue promises about cycles."""

import logging
import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from amaranth.lib import data
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiResp

from hdl.config import MAX_BURST_BEATS
from hdl.csr import COUNTERS, WINDOWS, Cause
from hdl.ipu.activity import activity_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.residual import Residual
from hdl.ipu.store import Store
from hdl.ipu.windows import windows_layout
from hdl.ipu.writer import Writer
from hdl.isa import (
    QUEUES,
    TABLES,
    Instruction,
    Opcode,
    OutputFormat,
    Queue,
    ResidualFormat,
    fields_layout,
    format_range,
    illegal_fields,
    parameter_entries,
)
from sim.golden.core import Core
from sim.rtl import test_config

from .axi_memory import AxiMemory
from .axi_rules import AxiRules
from .coverage import Coverage, report
from .programs import Run, Window, bursts, residual_bytes
from .start import reset, start
from .store import StoreBlock

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

CONFIG = test_config()
BUS, LANES = CONFIG.bus_bytes, CONFIG.post_lanes

#: Bytes of the memory: residuals in the first half, results in the second.
SIZE = BUS << 13
HALF = SIZE // 2

#: Longest wait for anything, in cycles.
PATIENCE = 30_000

#: Residuals that results of each format may have.
RESIDUALS = {output: [ResidualFormat.NONE, ResidualFormat.INT32] if output == OutputFormat.INT32
             else list(ResidualFormat) for output in OutputFormat}

_STORES = Coverage("store", {
    "format": list(OutputFormat), "table": range(TABLES + 1), "residual": list(ResidualFormat), "offset": range(BUS),
    "residual_offset": range(BUS), "rows": ["1", "more"], "vectors": ["1", "more"], "channels": ["1", "all", "other"],
    "last_block": range(1, LANES + 1), "row_end": ["within a word", "at its end", "beyond it"],
    "overflow": [False, True],
    "stop": [Cause.NONE, Cause.READ_ERROR, Cause.WRITE_ERROR, Cause.READ_WINDOW, Cause.WRITE_WINDOW,
             Cause.BAD_MULTIPLIER],
    "halted": ["idle", "walking", "writing"],
}, crosses={"kind": ("format", "table", "residual")},
    impossible={"kind": [(OutputFormat.INT32, table, residual) for table in range(TABLES + 1)
                         for residual in ResidualFormat if table or residual not in RESIDUALS[OutputFormat.INT32]]})


def size_of(f: Instruction) -> int:
    """Bytes per result."""
    return 4 if f["format"] == OutputFormat.INT32 else 1


def rows_of(f: Instruction) -> list[tuple[int, int]]:
    """First byte and bytes of every row that an instruction writes."""
    if f.opcode == Opcode.STORE_COUNTERS:
        return [(f["address"], 8 * len(COUNTERS))]
    return [(f["address"] + r * f["row_stride"] + v * f["stride"], f["channels"] * size_of(f))
            for r in range(f["vector_rows"]) for v in range(f["vectors"])]


def residual_rows(f: Instruction) -> list[int]:
    """First byte of every row of the residual."""
    return [f["residual_address"] + r * f["residual_row_stride"] + v * f["residual_stride"]
            for r in range(f["vector_rows"]) for v in range(f["vectors"])]


def run_of(channel: str, address: int, size: int) -> Run:
    """The bus words that hold some bytes."""
    first = address // BUS * BUS
    return Run(channel, first, -(-(address + size - first) // BUS))


def slots_of(f: Instruction) -> int:
    """Cycles that an instruction takes in the pipeline: its blocks, and one for each row whose last block reaches
    beyond a bus word."""
    total = 0
    for address, size in rows_of(f):
        blocks = -(-f["channels"] // LANES)
        last = address + (blocks - 1) * LANES * size_of(f)
        total += blocks + ((last % BUS) + (address + size - last) > BUS)
    return total


def masks(queues: int) -> tuple[Queue, ...]:
    return tuple(q for q in QUEUES if queues >> q & 1)


class StoreBench:
    """Runs instructions and notes what happens in every cycle. Make one per test with :meth:`start`.

    Attributes
    ----------
    core : Core
        The golden model, with the same contents in its storage and memory.
    signals, releases : list of (cycle, mask)
    starts, fetches : list of cycle
    overflow : bool
        Whether it was reported since the reset.
    """

    @classmethod
    async def start(cls, dut: Any) -> "StoreBench":
        await start(dut, StoreBlock(CONFIG))
        bench = cls(dut)
        await bench.reset()
        return bench

    def __init__(self, dut: Any):
        self.dut = dut
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.random = random.Random(cocotb.RANDOM_SEED)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.memory = AxiMemory(dut, self.rng.integers(0, 256, SIZE, dtype=np.uint8), seed=cocotb.RANDOM_SEED)
        self.rules = AxiRules(dut, CONFIG)
        self.pending: deque[Instruction] = deque()  #: not yet taken
        self.free = HALF
        self.checks: deque[tuple[int, list[tuple[int, int]]]] = deque()
        self._tasks: list = []

    async def reset(self):
        """Resets the design and gives its storage new contents."""
        dut = self.dut
        for task in self._tasks:
            task.cancel()
        for name in ("halt", "i_commands__valid", "give", "give_release", "counters"):
            getattr(dut, name).value = 0
        await reset(dut)
        self.memory.stall(0)
        self.memory.read_errors.clear()
        self.memory.write_errors.clear()
        self.set_windows([Window(0, SIZE, read=True, write=True)])
        self.pending.clear()
        self.checks.clear()
        self.rules.counts.clear()
        self.rules.writable = None
        self.cycle = 0
        self.signals: list[tuple[int, int]] = []
        self.releases: list[tuple[int, int]] = []
        self.starts: list[int] = []
        self.fetches: list[int] = []
        self.overflow = False
        self.activities: list[str] = []
        self.core = Core(CONFIG, self.memory.content.copy(), self.rng)
        await self._fill()
        self._tasks = [cocotb.start_soon(self._drive()), cocotb.start_soon(self._watch())]
        self.new_batch()

    def new_batch(self):
        """Results go to fresh memory from here on."""
        self.free = HALF
        self.core.memory[:] = self.memory.content
        self.rules.writable = (0, np.zeros(SIZE, bool))

    def set_windows(self, windows: list[Window]):
        filled = windows + [Window(0, 0)] * (WINDOWS - len(windows))
        self.dut.windows.value = windows_layout().const([
            {"base": w.base, "limit": w.limit, "read": w.read, "write": w.write} for w in filled]).as_bits()
        self.rules.windows = [(w.base, w.limit, w.read, w.write) for w in windows]

    async def _fill(self):
        """Random accumulators, parameters and tables; multipliers that leave results within range more often than
        not."""
        count = parameter_entries(CONFIG)
        scale = np.ldexp(self.rng.uniform(1, 2, count), self.rng.integers(-28, -21, count))
        self.core.multiplier[:] = np.where(self.rng.random(count) < 0.5, -scale, scale)
        rare = np.array([0, 1e-45, 3e38, -3e38, 1], np.float32)
        self.core.multiplier[:] = np.where(self.rng.random(count) < 0.1, self.rng.choice(rare, count),
                                           self.core.multiplier)
        self.core.bias[:] >>= self.rng.integers(0, 31, count)
        await self.write_accumulators(range(CONFIG.acc_vectors * CONFIG.out_cols // LANES))
        await self.write_parameters()
        await self._write_words("table", self.core.tables.tobytes())

    async def write_accumulators(self, blocks):
        dut = self.dut
        values = self.core.acc.reshape(-1, LANES)
        dut.acc_write.value = 1
        for block in blocks:
            dut.acc_block.value, dut.acc_values.value = block, int.from_bytes(values[block].tobytes(), "little")
            await RisingEdge(dut.clk)
        dut.acc_write.value = 0

    async def write_parameters(self):
        pairs = np.stack([self.core.bias.view(np.uint32), self.core.multiplier.view(np.uint32)], axis=1)
        await self._write_words("parameter", pairs.tobytes())

    async def _write_words(self, name: str, content: bytes):
        write, beat = getattr(self.dut, f"{name}_write"), getattr(self.dut, f"{name}_beat")
        write.value = 1
        for at in range(0, len(content), BUS):
            beat.value, self.dut.word.value = at // BUS, int.from_bytes(content[at:at + BUS], "little")
            await RisingEdge(self.dut.clk)
        write.value = 0

    async def _drive(self):
        """Gives instructions one after another, each as soon as the one before is taken."""
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            if dut.i_commands__valid.value == 1 and dut.i_commands__ready.value == 1:
                self.pending.popleft()
            dut.i_commands__valid.value = int(bool(self.pending))
            if self.pending:
                dut.i_commands__payload.value = command(self.pending[0])
            dut.counters.value = self.random.getrandbits(64 * len(COUNTERS))

    async def _watch(self):
        dut = self.dut
        names = [name for name, _ in activity_layout()]
        while True:
            await FallingEdge(dut.clk)
            self.cycle += 1
            for port, seen in ((dut.signal, self.signals), (dut.released, self.releases)):
                if port.value != 0:
                    seen.append((self.cycle, int(port.value)))
            if dut.signal.value != 0:
                self._completed(int(dut.signal.value))
            if dut.taken.value == 1:
                self._started()
            if dut.post_fetch.value == 1:
                self.fetches.append(self.cycle)
            self.overflow |= dut.overflow.value == 1
            activity = activity_layout().from_bits(int(dut.activity.value))
            active = [name for name in names if getattr(activity, name)]
            assert len(active) <= 1, f"a queue does one thing at a time, not {active}"
            if self.fault()[0] == Cause.NONE:
                assert bool(active) == (dut.idle.value == 0), f"idle is {dut.idle.value} while {active}"
            self.activities.append(active[0] if active else "")

    def _started(self):
        self.starts.append(self.cycle)
        f = self.pending[0]
        if f.opcode == Opcode.STORE_COUNTERS:
            snapshot = int(self.dut.counters.value).to_bytes(8 * len(COUNTERS), "little")
            self.core.memory[f["address"]:f["address"] + len(snapshot)] = np.frombuffer(snapshot, np.uint8)

    def _completed(self, mask: int):
        """What is signalled is in memory, and as it must be."""
        signal, rows = self.checks.popleft()
        assert mask == signal, f"tokens {mask:#b} were given, {signal:#b} are due"
        for address, size in rows:
            here = slice(address, address + size)
            assert (self.memory.content[here] == self.core.memory[here]).all(), f"row {address:#x} is not yet written"

    def fault(self, name: str = "fault") -> tuple[Cause, int]:
        fault = fault_layout().from_bits(int(getattr(self.dut, name).value))
        return (Cause(fault.cause), fault.address) if fault.valid else (Cause.NONE, 0)

    # Instructions

    def place(self, rows: int, vectors: int, size: int, at: int, end: int) -> tuple[int, int, int]:
        """Address, stride and row stride of rows that do not overlap: row by row, or rows of vectors interleaved."""
        gap = int(self.rng.choice([0, 1, self.rng.integers(0, 2 * BUS)]))
        inner, outer = size + gap, int(self.rng.integers(0, BUS))
        if self.rng.random() < 0.5:
            stride, row_stride = inner, vectors * inner + outer
        else:
            stride, row_stride = rows * inner + outer, inner
        used = (rows - 1) * row_stride + (vectors - 1) * stride + size
        assert at + used + BUS <= end, "the memory must be larger"
        return at + int(self.rng.integers(0, BUS)), stride, row_stride

    def store(self, *, aligned: bool = False, wait: int = 0, signal: int | None = None, **fixed: int) -> Instruction:
        """A random STORE; ``aligned``: its rows begin bus words."""
        rng = self.rng
        output = OutputFormat(fixed.get("format", rng.integers(3)))
        f: dict[str, int] = {"format": output}
        most = CONFIG.acc_vectors
        rows = fixed.get("vector_rows", int(rng.integers(1, min(4, most) + 1)))
        vectors = fixed.get("vectors", int(rng.integers(1, min(8, most // rows) + 1)))
        f |= {"vector_rows": rows, "vectors": vectors, "acc_vector": int(rng.integers(0, most - rows * vectors + 1))}
        everything = CONFIG.out_cols
        f["channels"] = fixed.get("channels", int(rng.choice([1, everything, rng.integers(1, everything + 1)])))
        f["channel"] = int(rng.integers(0, (parameter_entries(CONFIG) - f["channels"]) // LANES + 1)) * LANES
        size = f["channels"] * (4 if output == OutputFormat.INT32 else 1)
        if aligned:
            f["stride"] = -(-size // BUS) * BUS
            f["row_stride"] = vectors * f["stride"]
            f["address"] = -(-self.free // BUS) * BUS
        else:
            f["address"], f["stride"], f["row_stride"] = self.place(rows, vectors, size, self.free, SIZE)
        f["release"] = int(rng.integers(1 << len(QUEUES)))
        if output != OutputFormat.INT32:
            least, largest = format_range(output)
            f["low"], f["high"] = ((least, largest) if rng.random() < 0.7 else
                                   sorted(int(x) for x in rng.integers(least, largest + 1, 2)))
            f["zero_point"] = int(rng.integers(-130, 256))
            f["table"] = int(rng.integers(TABLES + 1))
        f["residual"] = int(rng.choice(RESIDUALS[output]))
        f |= fixed
        if f["residual"]:
            if f["residual"] != ResidualFormat.INT32:
                f["residual_zero_point"] = int(rng.integers(256))
                multiplier = np.float32(rng.choice([-1, 1]) * np.ldexp(rng.uniform(1, 2), rng.integers(-8, 2)))
                f["residual_multiplier"] = int(multiplier.view(np.uint32))
            size = residual_bytes(Instruction(Opcode.STORE, f))
            if aligned:
                f["residual_address"] = int(rng.integers(0, 8)) * BUS
                f["residual_stride"] = -(-size // BUS) * BUS
                f["residual_row_stride"] = vectors * f["residual_stride"]
            else:
                f["residual_address"], f["residual_stride"], f["residual_row_stride"] = self.place(
                    rows, vectors, size, int(rng.integers(0, HALF // 4)), HALF)
        return self._made(Instruction(Opcode.STORE, f, masks(wait), masks(
            int(rng.integers(1, 1 << len(QUEUES))) if signal is None else signal)))

    def store_counters(self) -> Instruction:
        return self._made(Instruction(Opcode.STORE_COUNTERS, {"address": self.free + int(self.rng.integers(BUS))},
                                      signal=masks(int(self.rng.integers(1, 1 << len(QUEUES))))))

    def _made(self, f: Instruction) -> Instruction:
        assert illegal_fields(CONFIG, f) == []
        self.free = max(address + size for address, size in rows_of(f))
        return f

    def give(self, instructions: list[Instruction]):
        """To the queue, and to the golden model."""
        assert self.rules.writable is not None
        for f in instructions:
            self.pending.append(f)
            self.core.execute(0, f)
            for address, size in rows_of(f):
                self.rules.writable[1][address:address + size] = True
            self.checks.append((sum(1 << q for q in f.signal), rows_of(f)))
            if f.opcode == Opcode.STORE:
                self._sample(f)

    def _sample(self, f: Instruction):
        for address, size in rows_of(f):
            last = address + ((f["channels"] - 1) // LANES) * LANES * size_of(f)
            beyond = last % BUS + address + size - last - BUS
            _STORES.sample(
                format=OutputFormat(f["format"]), table=f["table"], residual=ResidualFormat(f["residual"]),
                offset=address % BUS,
                rows="1" if f["vector_rows"] == 1 else "more", vectors="1" if f["vectors"] == 1 else "more",
                channels="1" if f["channels"] == 1 else "all" if f["channels"] == CONFIG.out_cols else "other",
                last_block=(f["channels"] - 1) % LANES + 1,
                row_end="within a word" if beyond < 0 else "beyond it" if beyond else "at its end")
        if f["residual"]:
            for address in residual_rows(f):
                _STORES.sample(residual_offset=address % BUS)

    async def finished(self):
        """Until everything given is done."""
        for _ in range(PATIENCE):
            await FallingEdge(self.dut.clk)
            if not self.pending and self.dut.idle.value == 1:
                break
            assert self.fault() == (Cause.NONE, 0), f"stopped with {self.fault()}"
        else:
            raise AssertionError("the instructions must end")
        assert (self.rules.reads_open, self.rules.writes_open) == (0, 0), "idle with the bus still busy"

    async def run(self, instructions: list[Instruction]):
        """Runs instructions and checks everything that they leave."""
        self.signals.clear()
        self.releases.clear()
        self.give(instructions)
        await self.finished()
        wrong = np.flatnonzero(self.memory.content != self.core.memory)
        assert not len(wrong), f"{len(wrong)} bytes are wrong, the first at {wrong[0]:#x}"
        assert self.overflow == self.core.overflow, f"overflow must be {self.core.overflow}"
        _STORES.sample(overflow=self.overflow)
        signals, releases = deque(self.signals), deque(self.releases)
        for f in instructions:
            done, mask = signals.popleft()
            assert mask == sum(1 << q for q in f.signal)
            if f.release:
                read, mask = releases.popleft()
                assert mask == f.release
                assert read < done, "release comes before signal"
        assert not signals
        assert not releases

    async def silent(self):
        """Until the bus has been silent for some cycles."""
        still, before = 0, -1
        while still < 60 or self.rules.reads_open or self.rules.writes_open:
            await RisingEdge(self.dut.clk)
            now = sum(self.rules.counts.values())
            still, before = (still + 1, now) if now == before else (0, now)

    async def stopped(self, *expected: tuple[Cause, int]):
        """Until a fault has come, which is one of those expected; the bus falls silent and nothing begins any more."""
        for _ in range(PATIENCE):
            await FallingEdge(self.dut.clk)
            if self.fault()[0] != Cause.NONE:
                break
        else:
            raise AssertionError("a fault must come")
        first = self.fault()
        assert first in expected, f"stopped with {first}, not {expected}"
        await FallingEdge(self.dut.clk)
        self.dut.halt.value = 1  # as control does
        shown = dict(self.rules.counts)
        await self.silent()
        for name in ("aw", "ar"):
            assert self.rules.counts[name] - shown.get(name, 0) <= 1
        assert self.fault() == first, "the first fault stays"
        assert self.dut.idle.value == 0, "what has failed never is complete"
        _STORES.sample(stop=first[0])


def command(f: Instruction) -> int:
    """The bits of an instruction in its queue."""
    return command_layout(CONFIG, Queue.STORE).const({
        "opcode": f.opcode, "wait": sum(1 << q for q in f.wait), "signal": sum(1 << q for q in f.signal),
        "body": fields_layout(f.opcode).const({name: int(v) for name, v in f.fields.items()}).as_bits()}).as_bits()


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4])
async def test_stores_equal_the_golden_model(dut, stall):
    """Any alignment, shape, format, table and residual, one after another at once; only the bytes of the rows."""
    bench = await StoreBench.start(dut)
    for _ in range(10 if FAST else 2):
        bench.memory.stall(stall, 5)
        await bench.run([bench.store() if bench.rng.random() < 0.9 else bench.store_counters()
                         for _ in range(12 if FAST else 6)])
        bench.new_batch()
    _STORES.sample(stop=Cause.NONE)
    report()


@cocotb.test()
async def test_every_offset_of_every_kind(dut):
    """Rows that begin with every byte of a bus word, and residuals too, in every format."""
    bench = await StoreBench.start(dut)
    channels = CONFIG.out_cols - 1
    size = 4 * CONFIG.out_cols
    for output, residual in ((OutputFormat.INT32, ResidualFormat.INT32), (OutputFormat.INT8, ResidualFormat.INT8),
                             (OutputFormat.UINT8, ResidualFormat.UINT8), (OutputFormat.INT8, ResidualFormat.INT32)):
        instructions = []
        for offset in range(0, BUS, 1 if FAST else 3):
            other = (offset * 5 + 1) % BUS
            f = bench.store(format=output, residual=residual, channels=channels, vectors=2, vector_rows=1,
                            address=bench.free // BUS * BUS + BUS + offset, stride=size + 1,
                            residual_address=0)
            fields = f.fields | {"residual_address": other, "residual_stride": residual_bytes(f) + 3}
            instructions.append(Instruction(f.opcode, fields, f.wait, f.signal))
        for i in range(0, len(instructions), 16):
            await bench.run(instructions[i:i + 16])
        bench.new_batch()
    report()


@cocotb.test()
async def test_sums_that_wrap_around_are_flagged(dut):
    """One sum at the end of the range or one beyond it, in any lane: stored as it wraps, and flagged if it is beyond;
    not flagged in a channel that is not stored, nor what an 8-bit residual would be as int32."""
    bench = await StoreBench.start(dut)
    blocks, largest = CONFIG.out_cols // LANES, (1 << 31) - 1
    for output in OutputFormat:
        for acc, residual, wraps in ((largest - 5, 5, False), (largest - 5, 6, True), (5 - largest, -6, False),
                                     (5 - largest, -7, True), (-1, -largest, False), (largest, largest, True)):
            vector = int(bench.rng.integers(CONFIG.acc_vectors))
            channel = int(bench.rng.integers(1, CONFIG.out_cols))
            for channels, kind in ((CONFIG.out_cols, ResidualFormat.INT32), (channel, ResidualFormat.INT32),
                                   (CONFIG.out_cols, ResidualFormat.INT8)):
                if kind not in RESIDUALS[output]:
                    continue
                bench.overflow = bench.core.overflow = False
                bench.core.acc[vector] = bench.rng.integers(-1 << 30, 1 << 30, CONFIG.out_cols)
                bench.core.acc[vector, channel] = acc
                await bench.write_accumulators(range(vector * blocks, (vector + 1) * blocks))
                f = bench.store(format=output, residual=kind, channels=channels, vectors=1, vector_rows=1,
                                acc_vector=vector)
                values = bench.rng.integers(-1 << 30, 1 << 30, CONFIG.out_cols, dtype=np.int32)
                values[channel] = residual
                row = slice(f["residual_address"], f["residual_address"] + 4 * CONFIG.out_cols)
                bench.memory.content[row] = bench.core.memory[row] = values.view(np.uint8)
                await bench.run([f])
                assert bench.overflow == (wraps and channels > channel and kind == ResidualFormat.INT32)
    report()


@cocotb.test()
async def test_counters_are_a_snapshot(dut):
    """Of the cycle in which the instruction starts, at any byte, also between other stores and under stalls."""
    bench = await StoreBench.start(dut)
    for stall in (0, 0.5):
        bench.memory.stall(stall, 5)
        for _ in range(4):
            await bench.run([bench.store(), bench.store_counters(), bench.store_counters(), bench.store()])
        bench.new_batch()


@cocotb.test()
async def test_rows_follow_without_a_bubble(dut):
    """Aligned rows take a cycle per block; a row that ends in a begun word takes one more; no matter the residual, also
    if each of its blocks is a bus word. If each is in two words, every row of it takes one more."""
    bench = await StoreBench.start(dut)
    blocks = CONFIG.out_cols // LANES
    for output in OutputFormat:
        for residual in RESIDUALS[output] if blocks >= 4 else [ResidualFormat.NONE]:
            for aligned, shift in ((True, 0), (True, 5), (False, 0)):
                if (residual and not aligned) or (shift and residual != ResidualFormat.INT32):
                    continue  # the gearbox takes a cycle for some rows, but not in the same places
                vectors = max(1, min(CONFIG.acc_vectors // 2, 64))
                f = bench.store(aligned=aligned, format=output, residual=residual, channels=CONFIG.out_cols,
                                vectors=vectors // 2, vector_rows=2)
                f.fields["residual_address"] = f["residual_address"] + shift
                bench.fetches.clear()
                await bench.run([f])
                slots = slots_of(f)
                assert aligned <= (slots == 2 * (vectors // 2) * blocks)
                assert len(bench.fetches) == 2 * (vectors // 2) * blocks
                span = bench.fetches[-1] - bench.fetches[0] + 1
                last = slots_of(Instruction(Opcode.STORE, f.fields | {
                    "vectors": 1, "vector_rows": 1,
                    "address": rows_of(f)[-1][0]})) - blocks  # the end of the last row is no fetch
                between = 2 * (vectors // 2) - 1 if shift else 0
                assert span == slots - last + between, f"{slots} slots took {span} cycles"
                bench.new_batch()


@cocotb.test()
async def test_instructions_follow_without_a_bubble(dut):
    """The next one starts while the results of the one before are in the pipeline and on the bus; short ones wait until
    the last but one has left the pipeline."""
    bench = await StoreBench.start(dut)
    count = 4
    blocks = CONFIG.out_cols // LANES
    for vectors in {1, min(CONFIG.acc_vectors, Store.PIPELINE // blocks + 1)}:
        await follow(bench, count, vectors, vectors * blocks)


async def follow(bench: StoreBench, count: int, vectors: int, slots: int):
    """Gives some instructions of so many vectors and slots at once, and checks when each enters the pipeline."""
    dut = bench.dut
    await bench.reset()
    dut.halt.value = 1
    instructions = [bench.store(aligned=True, format=OutputFormat.INT8, residual=0, channels=CONFIG.out_cols,
                                vectors=vectors, vector_rows=1, acc_vector=0) for _ in range(count)]
    bench.give(instructions)
    await ClockCycles(dut.clk, 3)
    dut.halt.value = 0
    await bench.finished()
    assert len(bench.fetches) == count * slots
    ends = [bench.fetches[n * slots + slots - 1] for n in range(count)]
    for n in range(1, count):
        starts = ends[n - 1]
        if n > 1:
            starts = max(starts, ends[n - 2] + Store.PIPELINE + 1)
        assert bench.starts[n] == starts, f"instruction {n} started in cycle {bench.starts[n]}, not {starts}"
        assert bench.fetches[n * slots:(n + 1) * slots] == list(range(starts + 1, starts + 1 + slots))
    if slots > Store.PIPELINE:
        assert bench.fetches == list(range(bench.fetches[0], bench.fetches[0] + count * slots))
    assert bench.starts[1] < bench.signals[0][0], "the second must start before the first is complete"


@cocotb.test()
async def test_what_is_released_may_be_overwritten(dut):
    """Accumulators, parameters and tables change from the cycle of the release on, the last ones read first."""
    bench = await StoreBench.start(dut)
    last_block = CONFIG.acc_vectors * CONFIG.out_cols // LANES - 1
    for output in OutputFormat:
        f = bench.store(format=output, vectors=1, vector_rows=2, acc_vector=CONFIG.acc_vectors - 2,
                        channels=CONFIG.out_cols, channel=CONFIG.out_cols, release=1)
        bench.give([f])
        expected = bench.core.memory.copy()
        while not bench.releases:
            await FallingEdge(dut.clk)
        assert not bench.signals, "release comes before signal"
        bench.core.acc[:] = bench.rng.integers(-1 << 31, 1 << 31, bench.core.acc.shape)
        bench.core.tables[:] ^= 0xFF
        await bench.write_accumulators(range(last_block, last_block - 3, -1))
        await bench._write_words("table", bench.core.tables.tobytes())
        await bench.finished()
        assert (bench.memory.content == expected).all()
        await bench.reset()


@cocotb.test()
async def test_instructions_wait_for_their_tokens(dut):
    """Tokens of any queue, its own too, come late: nothing starts, is fetched or written before; the queue says so."""
    bench = await StoreBench.start(dut)
    own = 1 << Queue.STORE
    first = bench.store(wait=1 << Queue.LOAD | 1 << Queue.COMPUTE, signal=own, release=0)
    second = bench.store(wait=own, signal=1, release=own)
    third = bench.store(wait=own, signal=2, release=0)
    bench.give([first, second, third])
    for source in (Queue.COMPUTE, Queue.LOAD):
        await ClockCycles(dut.clk, 20)
        assert not bench.starts
        assert bench.activities[-15:] == ["token"] * 15
        assert not bench.rules.counts
        await RisingEdge(dut.clk)
        dut.give.value = data.ArrayLayout(len(QUEUES), len(QUEUES) - 1).const(
            [own if q == source else 0 for q in QUEUES[:-1]]).as_bits()
        await RisingEdge(dut.clk)
        dut.give.value = 0
    await bench.finished()
    assert (bench.memory.content == bench.core.memory).all()
    assert len(bench.starts) == 3
    assert bench.signals[0][0] < bench.starts[1], "the second waits until the first is complete"
    assert bench.releases[0][0] < bench.starts[2], "the third waits for the release of the second"


@cocotb.test()
async def test_token_counters_overflow_exactly(dut):
    """By one and by two in a cycle: 255 tokens are held, one more is a fault, unless one is taken in that cycle."""
    bench = await StoreBench.start(dut)
    own = 1 << Queue.STORE
    layout = data.ArrayLayout(len(QUEUES), len(QUEUES) - 1)
    one = layout.const([own, 0]).as_bits()

    async def give(signals: int, releases: int):
        dut.give.value, dut.give_release.value = signals * one, releases * one
        await RisingEdge(dut.clk)
        dut.give.value, dut.give_release.value = 0, 0
        await ClockCycles(dut.clk, 2)

    overflow = (Cause.TOKEN_OVERFLOW, 8 * Queue.LOAD + Queue.STORE)
    for steps, last in (([(1, 1)] * 127, (1, 1)), ([(1, 1)] * 127 + [(1, 0)], (0, 1)),
                        ([(1, 1)] * 127 + [(0, 1)], (1, 1))):
        for step in steps:
            await give(*step)
        assert bench.fault("token_fault") == (Cause.NONE, 0)
        await give(*last)
        assert bench.fault("token_fault") == overflow
        await bench.reset()

    for extra, faulty in ((0, False), (1, True)):  # 254 or 255 tokens, and two that come as one is taken
        for _ in range(127):
            await give(1, 1)
        if extra:
            await give(1, 0)
        bench.give([bench.store(wait=1 << Queue.LOAD, release=0)])
        while dut.i_commands__valid.value == 0:
            await RisingEdge(dut.clk)
            if bench.pending:
                dut.give.value, dut.give_release.value = one, one
        await RisingEdge(dut.clk)
        dut.give.value, dut.give_release.value = 0, 0
        await ClockCycles(dut.clk, 2)
        assert bench.fault("token_fault") == (overflow if faulty else (Cause.NONE, 0))
        await bench.finished()
        await bench.reset()


@cocotb.test()
async def test_a_halt_at_any_moment(dut):
    """What has begun on the bus ends, nothing new begins or starts; afterwards everything goes on and is right."""
    bench = await StoreBench.start(dut)
    for _ in range(20 if FAST else 3):
        bench.memory.stall(float(bench.rng.choice([0, 0.5])), 5)
        instructions = [bench.store() for _ in range(4)]
        bench.give(instructions)
        await ClockCycles(dut.clk, int(bench.rng.integers(1, bench.rng.choice([40, 150, 600]))))
        await FallingEdge(dut.clk)
        dut.halt.value = 1
        shown, started = dict(bench.rules.counts), len(bench.starts)
        _STORES.sample(halted="walking" if bench.activities[-1] == "busy" else "writing" if bench.rules.writes_open
                       else "idle" if not bench.activities[-1] else None)
        await bench.silent()
        for name in ("aw", "ar"):
            assert bench.rules.counts[name] - shown.get(name, 0) <= 1
        assert len(bench.starts) == started
        await FallingEdge(dut.clk)
        dut.halt.value = 0
        await bench.finished()
        assert (bench.memory.content == bench.core.memory).all()
        bench.new_batch()
    report()


@cocotb.test()
@cocotb.parametrize(response=[AxiResp.SLVERR, AxiResp.DECERR])
async def test_a_write_error_ends_the_signals(dut, response):
    """The burst is named; the instructions before it are signalled, it and those after it are not."""
    bench = await StoreBench.start(dut)
    for _ in range(6 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.4])), 5)
        instructions = [bench.store() for _ in range(4)]
        hit = int(bench.rng.integers(len(instructions)))
        address, size = rows_of(instructions[hit])[int(bench.rng.integers(len(rows_of(instructions[hit]))))]
        run = run_of("write", address, size)
        word = run.address + BUS * int(bench.rng.integers(run.beats))
        bench.memory.write_errors[word] = response
        bench.give(instructions)
        touching = [(number, at) for number, f in enumerate(instructions) for row in rows_of(f)
                    for at, beats in bursts(CONFIG, run_of("write", *row)) if at <= word < at + beats * BUS]
        number, at = touching[0]  # neighbouring rows share words
        await bench.stopped((Cause.WRITE_ERROR, at))
        assert len(bench.signals) == number
        await bench.reset()
    report()


@cocotb.test()
async def test_writes_outside_of_windows_are_refused(dut):
    """A window that ends or begins within a row of some instruction: the burst is named."""
    bench = await StoreBench.start(dut)
    for _ in range(6 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.4])), 5)
        instructions = [bench.store() for _ in range(3)]
        hit = int(bench.rng.integers(len(instructions)))
        address, _ = rows_of(instructions[hit])[-1]
        limit = address // BUS * BUS + int(bench.rng.integers(1, BUS))
        bench.set_windows([Window(0, HALF, read=True), Window(HALF, limit, write=True)])
        bench.give(instructions)
        refused = [at for f in instructions for row in rows_of(f) for at, beats in bursts(CONFIG, run_of("write", *row))
                   if at + beats * BUS > limit]
        await bench.stopped((Cause.WRITE_WINDOW, refused[0]))
        assert len(bench.signals) <= hit
        await bench.reset()
    report()


@cocotb.test()
@cocotb.parametrize(response=[None, AxiResp.SLVERR])
async def test_residuals_that_cannot_be_read(dut, response):
    """An error response names its word, a window the burst; the instruction is not signalled, and writes that have
    begun get their words."""
    bench = await StoreBench.start(dut)
    for _ in range(6 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.4])), 5)
        before = bench.store(residual=0)
        f = bench.store(format=OutputFormat.INT8, residual=int(bench.rng.integers(1, 4)))
        rows, size = residual_rows(f), residual_bytes(f)
        run = run_of("read", rows[int(bench.rng.integers(len(rows)))], size)
        word = run.address + BUS * int(bench.rng.integers(run.beats))
        if response is None:
            bench.set_windows([Window(0, word, read=True), Window(word + BUS, SIZE, read=True),
                               Window(HALF, SIZE, write=True)])
        else:
            bench.memory.read_errors[word] = response
        bench.give([before, f, bench.store()])
        bad = [at for row in rows for at, beats in bursts(CONFIG, run_of("read", row, size))
               for at, beats in reader_bursts(at, beats) if at <= word < at + beats * BUS]
        await bench.stopped((Cause.READ_WINDOW, bad[0]) if response is None else (Cause.READ_ERROR, word))
        assert len(bench.signals) <= 1
        await bench.reset()
    report()


def reader_bursts(address: int, beats: int) -> list[tuple[int, int]]:
    """A burst, cut to what the FIFO of the residuals holds."""
    longest = min(MAX_BURST_BEATS, Residual.DEPTH)
    return [(address + n * BUS, min(longest, beats - n)) for n in range(0, beats, longest)]


@cocotb.test()
async def test_bad_multipliers_stop_the_store(dut):
    """The lowest entry is named, and only if a result uses it: not by int32 results, nor beyond the channels."""
    bench = await StoreBench.start(dut)
    for _ in range(6 if FAST else 2):
        f = bench.store(format=OutputFormat.UINT8)
        wide = bench.store(format=OutputFormat.INT32, channel=f["channel"], channels=f["channels"])
        used = f["channel"] + bench.rng.choice(f["channels"], min(2, f["channels"]), replace=False)
        beyond = f["channel"] + f["channels"]
        good = bench.core.multiplier.copy()
        bench.give([f, wide])
        await bench.finished()
        for entry in {beyond} & set(range(parameter_entries(CONFIG))):
            bench.core.multiplier[entry] = np.inf
        await bench.write_parameters()
        bench.give([f])
        await bench.finished()
        assert (bench.memory.content == bench.core.memory).all()
        bench.core.multiplier[:] = good
        bench.give([bench.store(residual=0), wide, f])
        bench.core.multiplier[used] = bench.rng.choice(np.array([np.inf, -np.inf, np.nan], np.float32), len(used))
        bench.pending.clear()
        await bench.write_parameters()
        bench.pending += [wide, f]
        bench.checks.clear()
        bench.checks += [(sum(1 << q for q in g.signal), []) for g in (wide, f)]
        before = len(bench.signals)
        await bench.stopped((Cause.BAD_MULTIPLIER, int(used.min())))
        assert len(bench.signals) - before <= 1, "what has failed is not signalled"
        await bench.reset()
    report()


@cocotb.test()
async def test_a_memory_that_hangs_is_waited_for(dut):
    """While the bus takes nothing the queue waits for memory, holds its words, and loses none."""
    bench = await StoreBench.start(dut)
    for channel in ("aw", "w", "ar"):
        instructions = [bench.store(format=OutputFormat.INT8, residual=1, channels=CONFIG.out_cols) for _ in range(3)]
        await bench.memory.hang(channel)
        bench.give(instructions)
        await ClockCycles(dut.clk, 4 * Writer.WORDS * BUS // LANES if channel != "ar" else 100)
        assert bench.activities[-10:] == ["memory"] * 10
        assert not bench.signals
        bench.memory.resume()
        await bench.finished()
        assert (bench.memory.content == bench.core.memory).all()
        bench.signals.clear()
        bench.new_batch()
