"""Load: instructions of every shape and alignment against the golden model, overlapping, with faults and halts."""

import logging
from collections import deque
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiResp

from hdl.config import ADDR_BITS, Config
from hdl.csr import WINDOWS, Cause
from hdl.ipu.activity import activity_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.load import Load
from hdl.ipu.weights import weights_layout
from hdl.ipu.windows import windows_layout
from hdl.isa import QUEUES, TABLES, Instruction, Opcode, Queue, fields_layout, illegal_fields, parameter_entries
from hdl.layouts import PARAMETER_BYTES
from sim.golden.core import Core
from sim.rtl import test_config

from .axi_memory import AxiMemory
from .axi_rules import AxiRules
from .coverage import Coverage, report
from .load import Loading
from .programs import Run, Window, bursts
from .start import reset, start

FAST = cocotb.SIM_NAME.lower().startswith("verilator")
CONFIG = test_config()
BUS = CONFIG.bus_bytes

#: Bytes of the memory, some pages.
SIZE = 1 << 14

#: Cycles from the start of an instruction to its first address on the bus, and from its last word to its completion,
#: with nothing in the way.
FIRST_ADDRESS, COMPLETION = 4, 1

ROWS = Coverage("load.row", {"memory": range(BUS), "buffer": range(BUS), "words": [1, 2, "more"],
                             "end": ["inside", "at the end of its word"]},
                crosses={"turn": ("memory", "buffer"), "shape": ("words", "end")})
INSTRUCTIONS = Coverage("load.instruction", {
    "opcode": [Opcode.LOAD_WEIGHTS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE],
    "after": [Opcode.LOAD_WEIGHTS, Opcode.LOAD_ACTIVATIONS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE],
}, crosses={"order": ("after", "opcode")})
CYCLES = Coverage("load.cycle", {"activity": ["busy", "token", "memory", "buffer", "none"],
                                 "stop": [Cause.READ_ERROR, Cause.READ_WINDOW]})


def transfers(config: Config, instruction: Instruction) -> list[Run]:
    """The rows of an instruction as runs of bus words; none of LOAD_WEIGHTS."""
    f, bus = instruction, config.bus_bytes
    match f.opcode:
        case Opcode.LOAD_WEIGHTS:
            return []
        case Opcode.LOAD_ACTIVATIONS:
            rows = [(f["address"] + block * f["block_stride"] + row * f["stride"], f["row_bytes"])
                    for block in range(f["blocks"]) for row in range(f["rows"])]
        case Opcode.LOAD_PARAMETERS:
            rows = [(f["address"], f["channels"] * PARAMETER_BYTES)]
        case _:
            rows = [(f["address"], 256)]
    return [Run("load", at // bus * bus, -(-(at % bus + size) // bus)) for at, size in rows]


class Buffers:
    """What the writes of the DUT make of the buffers of a golden core."""

    def __init__(self, core: Core):
        pairs = np.stack([core.bias.view(np.uint32), core.multiplier.view(np.uint32)], axis=1)
        self.act = core.act_buffer.copy()
        self.parameters = pairs.view(np.uint8).flatten()
        self.tables = core.tables.flatten()

    def __eq__(self, other) -> bool:
        return bool((self.act == other.act).all() and (self.parameters == other.parameters).all()
                    and (self.tables == other.tables).all())


class LoadBench:
    """Gives instructions to the DUT, and notes what it does. Make one per test with :meth:`start`.

    Attributes
    ----------
    taken, signals : list of int
        ``wait`` of the instructions that have started, ``signal`` of those that have completed and signal anything.
    writes : int
        Bus words written.
    weights : list of (address, beats, steps)
        What the weight stream has taken over.
    grant, hurry : float
        How often tokens are there, and the weight stream takes over, in a cycle.
    """

    @classmethod
    async def start(cls, dut: Any, base: int = 0, *, memory: bool = True) -> "LoadBench":
        await start(dut, Loading(CONFIG))
        bench = cls(dut, base, memory)
        await bench.reset()
        return bench

    def __init__(self, dut: Any, base: int, memory: bool):
        self.dut, self.base = dut, base
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.content = self.rng.integers(0, 256, SIZE, dtype=np.uint8)
        self.memory = AxiMemory(dut, self.content, base, seed=cocotb.RANDOM_SEED) if memory else None
        self.rules = AxiRules(dut, CONFIG)
        self.grant = self.hurry = 0.5
        self._tasks: list = []

    async def reset(self):
        for task in self._tasks:
            task.cancel()
        self.dut.i_commands__valid.value = 0
        self.dut.halt.value = 0
        await reset(self.dut)
        if self.memory:
            self.memory.read_errors.clear()
        self.set_windows([Window(self.base, self.base + SIZE, read=True)])
        self.core = Core(CONFIG, self.content.copy(), self.rng)
        self.buffers = Buffers(self.core)
        self.given: list[Instruction] = []
        self.commands: deque[int] = deque()
        self.taken: list[int] = []
        self.signals: list[tuple[int, int]] = []
        self.weights: list[tuple[int, int, int]] = []
        self.writes = self.cycle = 0
        self.activities = dict.fromkeys(["busy", "token", "memory", "buffer", "none"], 0)
        self._tasks = [cocotb.start_soon(self._drive()), cocotb.start_soon(self._watch())]

    def set_windows(self, windows: list[Window]):
        filled = windows + [Window(0, 0)] * (WINDOWS - len(windows))
        self.dut.windows.value = windows_layout().const([
            {"base": w.base, "limit": w.limit, "read": w.read, "write": w.write} for w in filled]).as_bits()
        self.rules.windows = [(w.base, w.limit, w.read, w.write) for w in windows]

    def give(self, instructions: list[Instruction]):
        """Queues instructions whose addresses count from 0."""
        for f in instructions:
            assert not illegal_fields(CONFIG, f)
            fields = f.fields | {"address": f["address"] + self.base}
            self.commands.append(command_layout(CONFIG, Queue.LOAD).const({
                "opcode": f.opcode, "wait": sum(1 << q for q in f.wait), "signal": sum(1 << q for q in f.signal),
                "body": fields_layout(f.opcode).const(fields).as_bits()}).as_bits())
        for before, f in pairwise(instructions):
            INSTRUCTIONS.sample(opcode=f.opcode, after=before.opcode)
        for f in instructions:
            if f.opcode == Opcode.LOAD_ACTIVATIONS:
                self._sample_rows(f)
        self.given += instructions

    def _sample_rows(self, f: Instruction):
        for block in range(f["blocks"]):
            for row in range(f["rows"]):
                at = f["address"] + block * f["block_stride"] + row * f["stride"]
                to = f["buffer_address"] + block * f["buffer_block_stride"] + row * f["buffer_stride"]
                words = -(-(at % BUS + f["row_bytes"]) // BUS)
                ROWS.sample(memory=at % BUS, buffer=to % BUS, words=words if words <= 2 else "more",
                            end="inside" if (at + f["row_bytes"]) % BUS else "at the end of its word")

    async def _drive(self):
        """Instructions, tokens and the weight stream's readiness."""
        dut, rng = self.dut, self.rng
        while True:
            await FallingEdge(dut.clk)
            dut.i_commands__valid.value = int(bool(self.commands))
            if self.commands:
                dut.i_commands__payload.value = self.commands[0]
            # Tokens that are there stay until they are taken.
            dut.tokens__granted.value = int(rng.random() < self.grant or self._granted)
            dut.o_weights__ready.value = int(rng.random() < self.hurry)
            await RisingEdge(dut.clk)
            self._granted = dut.tokens__granted.value == 1 and dut.tokens__take.value == 0
            if self.commands and dut.i_commands__ready.value == 1:
                self.commands.popleft()

    _granted = False

    async def _watch(self):
        dut = self.dut
        layout = activity_layout()
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            self._write()
            if dut.o_weights__valid.value == 1 and dut.o_weights__ready.value == 1:
                seen = weights_layout().from_bits(int(dut.o_weights__payload.value))
                self.weights.append((seen.address, seen.beats, seen.steps))
            if dut.tokens__signal.value != 0:
                self.signals.append((int(dut.tokens__signal.value), self.writes))
            if dut.tokens__take.value == 1:
                assert dut.tokens__granted.value == 1, "tokens are taken only if they are there"
                assert dut.halt.value == 0, "nothing starts during a halt"
                self.taken.append(int(dut.tokens__wait.value))
            now = layout.from_bits(int(dut.activity.value))
            active = [name for name, _ in layout if getattr(now, name)]
            assert len(active) <= 1, f"a cycle counts once, not as {active}"
            assert not (active and dut.idle.value == 1), "what has no instruction is not active"
            self.activities[active[0] if active else "none"] += 1
            CYCLES.sample(activity=active[0] if active else "none")

    def _write(self):
        dut = self.dut
        writing = [int(getattr(dut, f"{name}_write").value) for name in ("act", "parameter", "table")]
        assert sum(writing) <= 1
        if not any(writing):
            return
        self.writes += 1
        word = np.frombuffer(int(dut.word.value).to_bytes(BUS, "little"), np.uint8)
        if writing[0]:
            mask = int(dut.act_mask.value)
            assert mask, "a word has a byte of a row"
            lanes = np.flatnonzero(mask >> np.arange(BUS, dtype=object) & 1)
            self.buffers.act[(int(dut.act_address.value) + lanes) % CONFIG.act_bytes] = word[lanes]
        elif writing[1]:
            at = int(dut.parameter_beat.value) * BUS
            self.buffers.parameters[at:at + BUS] = word
        else:
            at = int(dut.table_beat.value) * BUS
            self.buffers.tables[at:at + BUS] = word

    def fault(self) -> tuple[Cause, int]:
        fault = fault_layout().from_bits(int(self.dut.fault.value))
        return (Cause(fault.cause), fault.address - self.base) if fault.valid else (Cause.NONE, 0)

    async def finish(self, cycles: int = 40_000):
        """Until nothing is left to do."""
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            if self.dut.idle.value == 1 and not self.commands:
                return
        raise AssertionError("the instructions must complete")

    async def silent(self):
        """Until nothing has happened for some cycles."""
        still = 0
        while still < 60:
            before = self.writes, len(self.taken), len(self.signals), self.rules.counts["r"], self.rules.counts["ar"]
            await RisingEdge(self.dut.clk)
            now = self.writes, len(self.taken), len(self.signals), self.rules.counts["r"], self.rules.counts["ar"]
            still = still + 1 if now == before and not self.rules.reads_open else 0

    def complete(self) -> int:
        """Instructions up to the last one that has given tokens."""
        signalling = [n + 1 for n, f in enumerate(self.given) if f.signal]
        return signalling[len(self.signals) - 1] if self.signals else 0

    def check(self, complete: int | None = None):
        """The first ``complete`` instructions, or all, have done what they do in the golden model, and no other has
        given a token; every token came with the last word before it."""
        complete = len(self.given) if complete is None else complete
        words = 0
        signals = []
        for f in self.given[:complete]:
            words += sum(run.beats for run in transfers(CONFIG, f))
            if f.signal:
                signals.append((sum(1 << q for q in f.signal), words))
        assert [mask for mask, _ in self.signals] == [mask for mask, _ in signals]
        late = any(f.opcode == Opcode.LOAD_WEIGHTS for f in self.given)  # each takes a cycle of its own to complete
        for (_, written), (_, due) in zip(self.signals, signals):
            assert written == due or (late and written > due), f"a token after {written} words, not {due}"
        weights = [(f["address"] + self.base, f["beats"], f["steps"]) for f in self.given
                   if f.opcode == Opcode.LOAD_WEIGHTS]
        assert self.weights == weights[:len(self.weights)]

    def check_all(self):
        """Every instruction has done what it does in the golden model, and nothing else."""
        for index, f in enumerate(self.given):
            if f.opcode != Opcode.LOAD_WEIGHTS:
                self.core.execute(index, f)
        assert self.buffers == Buffers(self.core)
        assert self.writes == self.core.read_beats
        self.check()
        assert len(self.weights) == sum(f.opcode == Opcode.LOAD_WEIGHTS for f in self.given)
        assert self.taken == [sum(1 << q for q in f.wait) for f in self.given]
        assert self.fault() == (Cause.NONE, 0)

    async def check_stopped(self):
        """After a fault nothing starts, and it is not idle."""
        taken, self.grant = len(self.taken), 1.0
        self.give([self.activations()])
        await ClockCycles(self.dut.clk, 20)
        assert len(self.taken) == taken
        assert self.dut.idle.value == 0

    # Instructions

    def draw(self, low: int, high: int) -> int:
        """A random number from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def tokens(self) -> dict[str, tuple[Queue, ...]]:
        wait, signal = (tuple(q for q in QUEUES if self.rng.random() < 0.5) for _ in range(2))
        return {"wait": wait, "signal": signal}

    def activations(self, **fixed: int) -> Instruction:
        """A random LOAD_ACTIVATIONS within memory and buffer; rows may overlap in both."""
        long = self.rng.random() < 0.2
        size = self.draw(1, min(CONFIG.act_bytes, SIZE // 2 if long else self.draw(1, 6) * BUS))
        rows, blocks = (1 if self.rng.random() < 0.3 else self.draw(1, 2 if long else 6) for _ in range(2))

        def strides(room: int) -> tuple[int, int, int]:
            """First byte, and the strides of rows and blocks; those that mean nothing are noise."""
            shares = np.sort(self.rng.integers(0, room + 1, 2))
            row = int(shares[0]) // (rows - 1) if rows > 1 else None
            block = int(shares[1] - shares[0]) // (blocks - 1) if blocks > 1 else None
            used = (row or 0) * (rows - 1) + (block or 0) * (blocks - 1)
            noise = [self.draw(0, (1 << 24) - 1) for _ in range(2)]
            return self.draw(0, room - used), noise[0] if row is None else row, noise[1] if block is None else block

        address, stride, block_stride = strides(SIZE - size)
        buffer_address, buffer_stride, buffer_block_stride = strides(CONFIG.act_bytes - size)
        return Instruction(Opcode.LOAD_ACTIVATIONS, {
            "address": address, "row_bytes": size, "rows": rows, "stride": stride, "blocks": blocks,
            "block_stride": block_stride, "buffer_address": buffer_address, "buffer_stride": buffer_stride,
            "buffer_block_stride": buffer_block_stride} | fixed, **self.tokens())

    def instruction(self) -> Instruction:
        kind = self.rng.random()
        aligned = {"address": self.draw(0, SIZE // BUS // 2) * BUS}
        if kind < 0.6:
            return self.activations()
        if kind < 0.75:
            return Instruction(Opcode.LOAD_WEIGHTS, aligned | {"beats": self.draw(1, 1 << 32) - 1 or 1,
                                                               "steps": self.draw(1, 1 << 31)}, **self.tokens())
        if kind < 0.9:
            per_beat = BUS // PARAMETER_BYTES
            first = self.draw(0, parameter_entries(CONFIG) // per_beat - 1)
            count = self.draw(1, min(SIZE // BUS // 2, parameter_entries(CONFIG) // per_beat - first))
            return Instruction(Opcode.LOAD_PARAMETERS, aligned | {"channel": first * per_beat,
                                                                  "channels": count * per_beat}, **self.tokens())
        return Instruction(Opcode.LOAD_TABLE, aligned | {"table": self.draw(1, TABLES)}, **self.tokens())

    def instructions(self, count: int) -> list[Instruction]:
        return [self.instruction() for _ in range(count)]


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4], base=[0, (1 << ADDR_BITS) - SIZE])
async def test_instructions_of_every_shape(dut, stall, base):
    """Buffers, weight stream and tokens as in the golden model, whatever waits for what."""
    bench = await LoadBench.start(dut, base)
    bench.memory.stall(stall, 5)
    for round_ in range(8 if FAST else 2):
        bench.grant, bench.hurry = [(0.5, 0.5), (1.0, 1.0), (0.05, 1.0), (1.0, 0.05)][round_ % 4]
        bench.give(bench.instructions(25 if FAST else 8))
        await bench.finish()
        bench.check_all()
        await bench.reset()
    report()


@cocotb.test()
async def test_every_alignment(dut):
    """Each offset in memory to each offset in the buffer, rows of one byte to three words."""
    bench = await LoadBench.start(dut)
    bench.grant = 1.0
    offsets = [(a, b) for a in range(BUS) for b in range(BUS)]
    if not FAST:
        offsets = [offsets[i] for i in bench.rng.permutation(len(offsets))[:12]]
    for memory, buffer in offsets:
        size = bench.draw(1, min(3 * BUS, CONFIG.act_bytes - BUS))
        bench.give([bench.activations(
            address=bench.draw(0, SIZE // 2 // BUS) * BUS + memory, row_bytes=size, rows=1, blocks=1,
            buffer_address=bench.draw(0, (CONFIG.act_bytes - size - buffer) // BUS) * BUS + buffer)])
    await bench.finish()
    bench.check_all()
    report()


@cocotb.test()
@cocotb.parametrize(response=[AxiResp.SLVERR, AxiResp.DECERR])
async def test_nothing_is_written_after_a_read_error(dut, response):
    """What was complete is; the instruction that read the word and those after it give no token."""
    bench = await LoadBench.start(dut)
    for _ in range(8 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.4])))
        bench.grant = bench.hurry = float(bench.rng.choice([0.3, 1.0]))
        given = bench.instructions(8)
        words = [(index, address) for index, f in enumerate(given) for run in transfers(CONFIG, f)
                 for address in range(run.address, run.address + run.beats * BUS, BUS)]
        if not words:
            continue
        _, address = words[bench.draw(0, len(words) - 1)]
        first = next(n for n, (_, a) in enumerate(words) if a == address)
        bench.memory.read_errors[address] = response
        bench.give(given)
        await bench.silent()
        assert bench.fault() == (Cause.READ_ERROR, address)
        assert bench.writes == first
        bench.check(words[first][0])
        await bench.check_stopped()
        CYCLES.sample(stop=Cause.READ_ERROR)
        await bench.reset()
    report()


@cocotb.test()
async def test_rows_outside_of_windows_are_refused(dut):
    """A burst that no window allows, in any row: nothing is asked for after it."""
    bench = await LoadBench.start(dut)
    for _ in range(8 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.4])))
        bench.grant = bench.hurry = 1.0
        given = bench.instructions(8)
        pieces = [(index, *piece) for index, f in enumerate(given) for run in transfers(CONFIG, f)
                  for piece in bursts(CONFIG, run)]
        if not pieces:
            continue
        _, hole, _ = pieces[bench.draw(0, len(pieces) - 1)]
        hole += int(bench.rng.choice([0, BUS - 1]))  # a byte that no window holds
        bench.set_windows([Window(hole + 1, SIZE, read=True), Window(0, SIZE), Window(0, hole, read=True)])
        index, address, _ = next(p for p in pieces if p[1] <= hole < p[1] + p[2] * BUS)
        bench.give(given)
        await bench.silent()
        assert bench.fault() == (Cause.READ_WINDOW, address)
        complete = bench.complete()
        assert complete <= index
        bench.check(complete)
        await bench.check_stopped()
        CYCLES.sample(stop=Cause.READ_WINDOW)
        await bench.reset()
    report()


@cocotb.test()
async def test_a_halt_starts_nothing(dut):
    """At any moment: no instruction starts, no burst begins but the one that is shown; then it goes on."""
    bench = await LoadBench.start(dut)
    for _ in range(10 if FAST else 2):
        bench.memory.stall(float(bench.rng.choice([0, 0.5])))
        bench.give(bench.instructions(10))
        await ClockCycles(dut.clk, bench.draw(5, 150))
        await FallingEdge(dut.clk)
        dut.halt.value = 1
        taken, asked = len(bench.taken), bench.rules.counts["ar"]
        await bench.silent()
        assert len(bench.taken) == taken
        assert bench.rules.counts["ar"] - asked <= 1
        await FallingEdge(dut.clk)
        dut.halt.value = 0
        await bench.finish()
        bench.check_all()
        await bench.reset()
    report()


@cocotb.test()
async def test_activity_says_what_is_waited_for(dut):
    """Tokens, the weight stream, memory; and nothing while there is no instruction."""
    bench = await LoadBench.start(dut)
    signal = (Queue.COMPUTE,)
    weights = Instruction(Opcode.LOAD_WEIGHTS, {"address": 0, "beats": 1, "steps": 1}, signal=signal)
    table = Instruction(Opcode.LOAD_TABLE, {"address": 0, "table": 1}, signal=signal)

    async def waiting(instruction: Instruction) -> str:
        """What it waits for, if it does."""
        bench.give([instruction])
        await ClockCycles(dut.clk, 30)
        before = dict(bench.activities)
        await ClockCycles(dut.clk, 20)
        found = [name for name, count in bench.activities.items() if count != before[name]]
        assert len(found) == 1, f"it waits for one thing, not {found}"
        return found[0]

    bench.grant, bench.hurry = 0.0, 0.0
    assert await waiting(weights) == "token"
    bench.grant = 1.0
    await ClockCycles(dut.clk, 30)
    before = bench.activities["buffer"]
    await ClockCycles(dut.clk, 20)
    assert bench.activities["buffer"] == before + 20
    bench.hurry = 1.0
    bench.memory.answering.clear()
    assert await waiting(table) == "memory"
    bench.grant = 0.0
    assert await waiting(weights) == "memory", "what is under way comes first"
    bench.memory.answering.set()
    bench.grant = 1.0
    await bench.finish()
    before = dict(bench.activities)
    await ClockCycles(dut.clk, 20)
    assert bench.activities == before | {"none": before["none"] + 20}
    bench.check_all()


class Latency:
    """A memory that takes an address in every cycle, answers ``cycles`` later, and has a word in every cycle."""

    def __init__(self, bench: LoadBench, cycles: int):
        self._bench, self._cycles = bench, cycles
        self._due: deque[tuple[int, int, bool]] = deque()
        cocotb.start_soon(self._serve())

    async def _serve(self):
        dut, now = self._bench.dut, 0
        dut.m_axi_arready.value = 1
        while True:
            await RisingEdge(dut.clk)
            now += 1
            if dut.m_axi_arvalid.value == 1:
                address, length = int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value)
                self._due += [(now + self._cycles - 1, address + n * BUS, n == length) for n in range(length + 1)]
            await FallingEdge(dut.clk)
            answers = bool(self._due) and self._due[0][0] <= now
            dut.m_axi_rvalid.value = int(answers)
            if answers:
                _, address, last = self._due.popleft()
                dut.m_axi_rdata.value = int.from_bytes(self._bench.content[address:address + BUS].tobytes(), "little")
                dut.m_axi_rid.value, dut.m_axi_rlast.value, dut.m_axi_rresp.value = Loading.CHANNEL, int(last), 0


async def cycles_of(bench: LoadBench, instructions: list[Instruction]) -> int:
    """Cycles from the start of the first instruction to the completion of the last."""
    await RisingEdge(bench.dut.clk)
    bench.give(instructions)
    while not bench.taken:
        await FallingEdge(bench.dut.clk)
    first = bench.cycle
    await bench.finish()
    bench.check_all()
    return bench.cycle - 1 - first  # idle follows in the next cycle


@cocotb.test()
@cocotb.parametrize(latency=[1, 10, 40])
async def test_rows_of_one_word_follow_one_another(dut, latency):
    """A word per cycle, unless as many bursts as may be are in flight."""
    bench = await LoadBench.start(dut, memory=False)
    Latency(bench, latency)
    bench.grant = 1.0
    count, in_flight = 200, CONFIG.outstanding_reads
    rows = bench.activations(address=BUS - 1, row_bytes=1, rows=count // 4, stride=BUS, blocks=4, block_stride=50 * BUS,
                             buffer_address=3, buffer_stride=0, buffer_block_stride=1)
    cycles = await cycles_of(bench, [rows])
    # When the last burst is asked for, counted from the first one.
    last = count - 1 if in_flight > latency else (count - 1) // in_flight * (latency + 1) + (count - 1) % in_flight
    assert cycles == FIRST_ADDRESS + last + latency + COMPLETION


@cocotb.test()
async def test_latency_is_paid_once(dut):
    """A stream of instructions, so short that as many as may be do not always fill the latency."""
    latency, count = 40, 20
    bench = await LoadBench.start(dut, memory=False)
    Latency(bench, latency)
    bench.grant = 1.0
    for words in (4, 16):
        size = min(words * BUS, CONFIG.act_bytes)
        small = [bench.activations(address=(n * size) % (SIZE // 2), row_bytes=size, rows=1, blocks=1, buffer_address=0)
                 for n in range(count)]
        cycles = await cycles_of(bench, small)
        alone = FIRST_ADDRESS + latency + size // BUS - 1 + COMPLETION
        together = min(Load.INSTRUCTIONS, CONFIG.outstanding_reads)
        cocotb.log.info("%d instructions of %d words: %d cycles, one by one %d", count, size // BUS, cycles,
                        count * alone)
        assert cycles <= max(count * size // BUS + alone, -(-count // together) * (alone + 2 * together))
        await bench.reset()
