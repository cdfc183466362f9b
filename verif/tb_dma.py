"""Dma: runs of every shape through readers and writer, with errors, windows and halts at any moment."""

import logging
import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiResp

from hdl.config import ADDR_BITS, MAX_BURST_BEATS
from hdl.csr import WINDOWS, Cause
from hdl.ipu.burst import run_layout
from hdl.ipu.burst_writer import word_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.windows import windows_layout
from hdl.ipu.writer import Writer, write_run_layout
from sim.rtl import test_config

from .axi_memory import AxiMemory
from .axi_rules import AxiRules
from .coverage import Coverage, report
from .dma import Dma
from .programs import Run, Window, bursts
from .start import reset, start

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: Bytes of the memory, some pages.
SIZE = 1 << 14

_RUNS = Coverage("dma", {"part": [0, 1, 2], "beats": ["1", "a burst", "bursts"], "crosses_page": [False, True],
                         "stop": [Cause.NONE, Cause.READ_ERROR, Cause.WRITE_ERROR, Cause.READ_WINDOW,
                                  Cause.WRITE_WINDOW], "halted_in_run": [False, True]},
                 crosses={"shape": ("part", "beats", "crosses_page")},
                 impossible={"shape": [(part, "1", True) for part in range(3)]})


class DmaBench:
    """Drives runs and words, and collects what is delivered. Make one per test with :meth:`start`."""

    @classmethod
    async def start(cls, dut: Any, base: int = 0) -> "DmaBench":
        await start(dut, Dma(test_config()))
        bench = cls(dut, base)
        await bench.reset()
        return bench

    def __init__(self, dut: Any, base: int):
        self.dut, self.config = dut, test_config()
        self.bus = self.config.bus_bytes
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.random = random.Random(cocotb.RANDOM_SEED)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        dut.o_words_1__ready.value = 1
        self.memory = AxiMemory(dut, self.rng.integers(0, 256, SIZE, dtype=np.uint8), base, seed=cocotb.RANDOM_SEED)
        self.rules = AxiRules(dut, self.config)
        self.delivered: tuple[list[int], list[int]] = ([], [])
        self.due: list[int] = []  #: what the runs given to the writer signal
        self.signalled: list[int] = []
        self.sent = 0  #: payloads taken from the bench
        self.hurry = 0.5  #: how often a delivered word is taken
        self._tasks: list = []

    async def reset(self):
        for task in self._tasks:
            task.cancel()
        for name in ("i_read_0", "i_read_1", "i_write", "i_words"):
            getattr(self.dut, f"{name}__valid").value = 0
        self.dut.halt.value = 0
        await reset(self.dut)
        self.memory.read_errors.clear()
        self.memory.write_errors.clear()
        self.set_windows([Window(self.memory.base, self.memory.base + SIZE, read=True, write=True)])
        for seen in (*self.delivered, self.due, self.signalled):
            seen.clear()
        self._tasks = [cocotb.start_soon(self._collect())]
        await RisingEdge(self.dut.clk)

    def set_windows(self, windows: list[Window]):
        filled = windows + [Window(0, 0)] * (WINDOWS - len(windows))
        self.dut.windows.value = windows_layout().const([
            {"base": w.base, "limit": w.limit, "read": w.read, "write": w.write} for w in filled]).as_bits()
        self.rules.windows = [(w.base, w.limit, w.read, w.write) for w in windows]

    async def _collect(self):
        pins = [[getattr(self.dut, f"o_words_{n}__{part}") for part in ("valid", "ready", "payload")] for n in range(2)]
        while True:
            await FallingEdge(self.dut.clk)
            pins[0][1].value = int(self.random.random() < self.hurry)
            await RisingEdge(self.dut.clk)
            for (valid, ready, payload), words in zip(pins, self.delivered):
                if valid.value == 1 and ready.value == 1:
                    words.append(int(payload.value))
            if self.dut.signal.value != 0:
                self.signalled.append(int(self.dut.signal.value))

    async def _send(self, name: str, payloads: list[int]):
        """Gives payloads to a stream, one after another, with pauses now and then."""
        valid, ready, port = (getattr(self.dut, f"{name}__{part}") for part in ("valid", "ready", "payload"))
        for payload in payloads:
            if self.random.random() < 0.2:
                await ClockCycles(self.dut.clk, self.random.randint(1, 5))
            await FallingEdge(self.dut.clk)
            port.value = payload
            valid.value = 1
            while True:
                await RisingEdge(self.dut.clk)
                if ready.value == 1:
                    break
            self.sent += 1
            await FallingEdge(self.dut.clk)
            valid.value = 0

    def begin(self, name: str, payloads: list[int]):
        self._tasks.append(cocotb.start_soon(self._send(name, payloads)))

    def begin_runs(self, name: str, runs: list[Run]):
        fields: list[dict[str, int]] = [{"address": r.address, "beats": r.beats} for r in runs]
        if name == "i_write":
            self.due = [self.random.randrange(1, 8) for _ in runs]
            fields = [f | {"signal": signal} for f, signal in zip(fields, self.due)]
        layout = write_run_layout(self.config) if name == "i_write" else run_layout()
        self.begin(name, [layout.const(f).as_bits() for f in fields])
        for run in runs:
            sizes = [beats for _, beats in bursts(self.config, run)]
            _RUNS.sample(part=("i_read_0", "i_read_1", "i_write").index(name),
                         beats="1" if run.beats == 1 else "a burst" if run.beats <= 64 else "bursts",
                         crosses_page=run.address // 4096 != (run.address + run.beats * self.bus - 1) // 4096)
            assert max(sizes) <= (Writer.MAX_BEATS if name == "i_write" else MAX_BURST_BEATS)

    def runs(self, count: int, channel: str) -> list[Run]:
        """Random runs within the memory, some about a page boundary."""
        found = []
        for _ in range(count):
            beats = int(self.rng.choice([1, 2, self.rng.integers(1, 30), self.rng.integers(60, 140)]))
            last = SIZE // self.bus - beats
            word = int(self.rng.integers(0, last + 1))
            if self.rng.random() < 0.4:
                word = min(last, max(0, 4096 // self.bus * int(self.rng.integers(1, SIZE // 4096)) -
                                     int(self.rng.integers(0, beats + 1))))
            found.append(Run(channel, self.memory.base + word * self.bus, beats))
        return found

    def words(self, runs: list[Run]) -> list[int]:
        """What memory holds there."""
        return [int.from_bytes(self.memory.word(address), "little")
                for r in runs for address in range(r.address, r.address + r.beats * self.bus, self.bus)]

    def fault(self, number: int) -> tuple[Cause, int]:
        fault = fault_layout().from_bits(int(getattr(self.dut, f"fault_{number}").value))
        return (Cause(fault.cause), fault.address) if fault.valid else (Cause.NONE, 0)

    def check_faults(self, *expected: tuple[Cause, int]):
        """The faults of readers and writer; none where nothing is given."""
        none = (Cause.NONE, 0)
        found = [self.fault(n) for n in range(3)]
        assert found == list(expected) + [none] * (3 - len(expected)), f"{found}, not {expected}"
        for cause, _ in found:
            _RUNS.sample(stop=cause)

    async def quiet(self, cycles: int = 20_000):
        """Until nothing has been going on for some cycles."""
        still = 0
        def moved() -> tuple[int, ...]:
            return self.sent, sum(self.rules.counts.values()), *map(len, self.delivered)

        for _ in range(cycles):
            before = moved()
            await ClockCycles(self.dut.clk, 20)
            still = still + 1 if before == moved() else 0
            if still >= 4 and not self.rules.reads_open and not self.rules.writes_open:
                return
        raise AssertionError("the bus must fall silent")

    def stall(self, probability: float):
        self.memory.stall(probability, 5)
        self.memory.mixing = 0.4 if probability else 0.0


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4], base=[0, (1 << ADDR_BITS) - SIZE])
async def test_runs_of_every_shape(dut, stall, base):
    """Readers deliver what memory holds, in order; the writer changes the strobed bytes and no others."""
    bench = await DmaBench.start(dut, base)
    bench.stall(stall)
    for _ in range(4 if FAST else 1):
        reads = [bench.runs(6, "load") for _ in range(2)]
        writes = bench.runs(6, "write")
        expected = bench.memory.content.copy()
        words = []
        for run in writes:
            for i in range(run.beats):
                data, strobes = bench.random.getrandbits(8 * bench.bus), bench.random.getrandbits(bench.bus)
                words.append(word_layout(bench.config).const({"data": data, "strb": strobes}).as_bits())
                at = run.address - base + i * bench.bus
                for byte in range(bench.bus):
                    if strobes >> byte & 1:
                        expected[at + byte] = data >> 8 * byte & 0xFF
        # What is written must not be read meanwhile: first one, then the other.
        for number, runs in enumerate(reads):
            bench.begin_runs(f"i_read_{number}", runs)
        await bench.quiet()
        for delivered, runs in zip(bench.delivered, reads):
            assert delivered == bench.words(runs)
        bench.begin("i_words", words)
        bench.begin_runs("i_write", writes)
        await bench.quiet()
        assert (bench.memory.content == expected).all()
        assert bench.signalled == bench.due
        assert int(dut.busy.value) == 0
        bench.check_faults()
        await bench.reset()
    report()


@cocotb.test()
async def test_reads_and_writes_run_at_once(dut):
    """All three channels are served, none starves, and a ready memory is kept busy."""
    bench = await DmaBench.start(dut)
    half = SIZE // 2
    beats = half // bench.bus
    bench.hurry = 1.0
    bench.begin_runs("i_read_0", [Run("load", 0, beats)])
    bench.begin_runs("i_read_1", [Run("load", 0, beats)])
    bench.begin_runs("i_write", [Run("write", half, 100)])
    bench.begin("i_words", [0] * 100)
    while min(map(len, bench.delivered)) < beats // 2:
        await ClockCycles(dut.clk, 10)
    assert min(map(len, bench.delivered)) > 0.3 * max(map(len, bench.delivered))
    before, cycles = bench.rules.counts["r"], 100
    await ClockCycles(dut.clk, cycles)
    assert bench.rules.counts["r"] - before > 0.9 * cycles, "the memory must be kept busy"
    await bench.quiet()
    assert bench.delivered[0] == bench.delivered[1] == bench.words([Run("load", 0, beats)])


@cocotb.test()
@cocotb.parametrize(number=[0, 1], response=[AxiResp.SLVERR, AxiResp.DECERR])
async def test_words_after_a_read_error_are_not_delivered(dut, number, response):
    bench = await DmaBench.start(dut)
    for _ in range(4 if FAST else 1):
        bench.stall(float(bench.rng.choice([0, 0.4])))
        runs = bench.runs(3, "load")
        addresses = [r.address + i * bench.bus for r in runs for i in range(r.beats)]
        bad = int(bench.rng.integers(len(addresses)))
        bench.memory.read_errors[addresses[bad]] = response
        bench.begin_runs(f"i_read_{number}", runs)
        await bench.quiet()
        first = addresses.index(addresses[bad])
        assert bench.delivered[number] == bench.words(runs)[:first]
        bench.check_faults(*[(Cause.NONE, 0)] * number, (Cause.READ_ERROR, addresses[bad]))
        await bench.reset()
    report()


@cocotb.test()
async def test_a_write_error_names_its_burst(dut):
    bench = await DmaBench.start(dut)
    for response in (AxiResp.SLVERR, AxiResp.DECERR):
        bench.stall(0.3)
        runs = bench.runs(3, "write")
        pieces = [piece for run in runs for piece in bursts(bench.config, run)]
        address, beats = pieces[int(bench.rng.integers(len(pieces)))]
        word = address + int(bench.rng.integers(beats)) * bench.bus
        bench.memory.write_errors[word] = response
        bench.begin("i_words", [word_layout(bench.config).const({"data": 0, "strb": -1}).as_bits()]
                    * sum(r.beats for r in runs))
        bench.begin_runs("i_write", runs)
        await bench.quiet()
        hit = next(i for i, (a, n) in enumerate(pieces) if a <= word < a + n * bench.bus)
        first = pieces[hit][0]
        ends = np.cumsum([sum(1 for _ in bursts(bench.config, run)) for run in runs])
        assert bench.signalled == bench.due[:int((ends <= hit).sum())], "only runs before the error are signalled"
        bench.check_faults((Cause.NONE, 0), (Cause.NONE, 0), (Cause.WRITE_ERROR, first))
        await bench.reset()
    report()


@cocotb.test()
async def test_a_burst_begins_when_its_words_have_come(dut):
    """So that a burst that has begun ends, whatever becomes of what makes the words."""
    bench = await DmaBench.start(dut)
    beats = Writer.MAX_BEATS
    bench.begin_runs("i_write", [Run("write", 0, 2 * beats)])
    bench.begin("i_words", [0] * (2 * beats - 1))
    await bench.quiet()
    assert (bench.rules.counts["aw"], bench.rules.counts["w"]) == (1, beats)
    assert bench.signalled == []
    bench.begin("i_words", [0])
    await bench.quiet()
    assert (bench.rules.counts["aw"], bench.rules.counts["w"]) == (2, 2 * beats)
    assert bench.signalled == bench.due


@cocotb.test()
async def test_bursts_outside_of_windows_are_refused(dut):
    """Limits and bases a byte off, gaps between windows that touch a burst from both sides, permissions, 2^40."""
    bench = await DmaBench.start(dut)
    page = 4096
    first, end = page - 8 * bench.bus, page + 8 * bench.bus
    run = Run("load", first, 16)  # one burst of 8 up to the page, one of 8 after it
    beyond = Run("load", 1 << ADDR_BITS, 1)
    both = {"read": True, "write": True}
    # windows, run, what reads and what writes are refused at
    cases: list[tuple[list[Window], Run, int | None, int | None]] = [
        ([Window(first, end, **both)], run, None, None),
        ([Window(first, page, **both), Window(page, end, **both)], run, None, None),
        ([Window(first + 1, end, **both)], run, first, first),
        ([Window(first, end - 1, **both)], run, page, page),
        ([Window(first, page - 1, **both), Window(page - 1, end, **both)], run, first, first),
        ([Window(first, page, **both), Window(page + 1, end, **both)], run, page, page),
        ([Window(first, end, read=True)], run, None, first),
        ([Window(first, end, write=True)], run, first, None),
        ([Window(first, page, read=True), Window(first, end, write=True)], run, page, None),
        ([Window(first, end)], run, first, first),
        ([Window(0, 0, **both)], run, first, first),
        ([Window(end, first, **both)], run, first, first),
        ([Window(0, (1 << ADDR_BITS + 1) - 1, **both)], beyond, beyond.address, beyond.address),
        ([Window(0, 1 << ADDR_BITS, **both)], beyond, beyond.address, beyond.address),
    ]
    for windows, asked, *refused in cases:
        order = [windows[i] for i in bench.rng.permutation(len(windows))]
        bench.set_windows([Window(0, 0)] * int(bench.rng.integers(0, WINDOWS - len(order) + 1)) + order)
        for number in range(2):
            bench.begin_runs(f"i_read_{number}", [asked])
        bench.begin_runs("i_write", [asked])
        bench.begin("i_words", [0] * asked.beats)
        await bench.quiet()
        read, wrote = ((Cause.NONE, 0) if address is None else (cause, address)
                       for cause, address in zip((Cause.READ_WINDOW, Cause.WRITE_WINDOW), refused))
        bench.check_faults(read, read, wrote)
        await bench.reset()
    report()


@cocotb.test()
async def test_a_halt_begins_nothing_new(dut):
    """At any moment: addresses that are shown stay until taken, bursts that have begun end, no other begins."""
    bench = await DmaBench.start(dut)
    for _ in range(12 if FAST else 2):
        bench.stall(float(bench.rng.choice([0, 0.5])))
        reads, writes = bench.runs(5, "load"), bench.runs(5, "write")
        bench.begin_runs("i_read_0", reads)
        bench.begin_runs("i_read_1", reads)
        bench.begin("i_words", [0] * sum(r.beats for r in writes))  # without strobes
        bench.begin_runs("i_write", writes)
        await ClockCycles(dut.clk, int(bench.rng.integers(5, 200)))
        await FallingEdge(dut.clk)
        dut.halt.value = 1
        before = dict(bench.rules.counts)
        await bench.quiet()
        for name in ("ar", "aw"):  # at most what each channel had shown
            assert bench.rules.counts[name] - before.get(name, 0) <= (2 if name == "ar" else 1)
        counts = dict(bench.rules.counts)
        await ClockCycles(dut.clk, 100)
        assert counts == dict(bench.rules.counts)
        expected = bench.words(reads)
        for delivered in bench.delivered:
            assert delivered == expected[:len(delivered)]
        _RUNS.sample(halted_in_run=len(bench.delivered[0]) < len(expected))
        await FallingEdge(dut.clk)
        dut.halt.value = 0
        await bench.quiet()  # and it goes on as if nothing had been
        assert bench.delivered[0] == bench.delivered[1] == expected
        bench.check_faults()
        await bench.reset()
    report()
