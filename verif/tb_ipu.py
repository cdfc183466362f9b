"""Ipu: the engine cycle by cycle: what runs beside what, where nothing may be lost, and halts at any moment."""

import logging
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from hdl.config import INSTRUCTION_BYTES
from hdl.csr import WINDOWS, Cause
from hdl.ipu.engine import events_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.windows import windows_layout
from hdl.isa import OutputFormat
from sim.rtl import test_config

from .axi_memory import AxiMemory
from .axi_rules import AxiRules
from .coverage import Coverage, report
from .ipu import Ipu
from .programs import Builder, Image, RandomProgram, Window, simple_program
from .start import reset, start

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

_CYCLES = Coverage("ipu.cycle", {"array": [0, 1], "weights": [0, 1], "writes": [False, True]},
                   crosses={"beside": ("array", "weights", "writes")})


class IpuBench:
    """Runs programs on the engine and notes its events by cycle. Make one per test with :meth:`start`.

    Attributes
    ----------
    events : dict of list
        Cycles since ``go`` in which each event was.
    """

    def __init__(self, dut: Any):
        self.dut, self.config = dut, test_config()
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.memory = AxiMemory(dut, seed=cocotb.RANDOM_SEED)
        self.rules = AxiRules(dut, self.config)
        self._layout = events_layout(self.config)
        self.events: dict[str, list[int]] = {}
        self.overflow = False
        self.cycle = 0

    @classmethod
    async def start(cls, dut: Any) -> "IpuBench":
        await start(dut, Ipu(test_config()))
        return cls(dut)

    async def go(self, image: Image):
        """Resets, loads a program and starts it, as START does."""
        self.dut.halt.value = 0
        await reset(self.dut)
        await ClockCycles(self.dut.clk, 2)
        self.memory.load(image.memory, image.base)
        windows = image.windows + [Window(0, 0)] * (WINDOWS - len(image.windows))
        self.rules.windows = [(w.base, w.limit, w.read, w.write) for w in image.windows]
        self.rules.writable = (image.base, image.writable)
        self.rules.counts.clear()
        self.events = {name: [] for name, _ in self._layout}
        self.overflow, self.cycle = False, 0
        await FallingEdge(self.dut.clk)
        self.dut.windows.value = windows_layout().const([
            {"base": w.base, "limit": w.limit, "read": w.read, "write": w.write} for w in windows]).as_bits()
        self.dut.address.value, self.dut.count.value = image.entry, image.count
        self.dut.go.value = 1
        await FallingEdge(self.dut.clk)
        self.dut.go.value = 0

    async def step(self):
        """One cycle; notes its events."""
        await RisingEdge(self.dut.clk)
        now = int(self.dut.events.value)
        for name, field in self._layout:
            if field.width == 1 and now >> field.offset & 1:
                self.events[name].append(self.cycle)
        self.overflow |= self.dut.overflow.value == 1
        seen = self._layout.from_bits(now)
        _CYCLES.sample(array=seen.array_busy, weights=seen.weight_beat, writes=self.dut.m_axi_wvalid.value == 1)
        self.cycle += 1

    def fault(self) -> tuple[Cause, int]:
        fault = fault_layout().from_bits(int(self.dut.fault.value))
        return (Cause(fault.cause), fault.address) if fault.valid else (Cause.NONE, 0)

    async def run(self, image: Image, cycles: int = 50_000) -> bool:
        """Until the engine has finished or found a fault; whether it has finished."""
        await self.go(image)
        for _ in range(cycles):
            await self.step()
            if self.dut.finished.value == 1 or self.fault()[0] != Cause.NONE:
                return self.dut.finished.value == 1
        raise AssertionError("the program must end")

    async def run_and_check(self, image: Image):
        execution = image.execute()
        assert await self.run(image), f"stopped with {self.fault()}"
        assert (self.rules.reads_open, self.rules.writes_open) == (0, 0), "finished with the bus still busy"
        assert not image.wrong(self.memory.content, execution).size
        before = dict(self.rules.counts)
        for _ in range(50):
            await self.step()
            assert self.dut.finished.value == 1, "what has finished stays so"
        assert before == dict(self.rules.counts)
        assert self.overflow == execution.overflow
        assert len(self.events["array_busy"]) == execution.array_busy
        assert len(self.events["weight_beat"]) == execution.weight_beats
        last = image.entry + (image.count - 1) * INSTRUCTION_BYTES
        assert int(self.dut.dispatched_address.value) == last
        return execution

    async def silent(self):
        """Until the bus has been silent for some cycles."""
        still, before = 0, -1
        while still < 30 or self.rules.reads_open or self.rules.writes_open:
            await RisingEdge(self.dut.clk)
            now = sum(self.rules.counts.values())
            still, before = (still + 1, now) if now == before else (0, now)


def chained(bench: IpuBench, steps: int, vectors: int) -> tuple[Image, list[int]]:
    """One GEMM of full steps; and the bus words of each step."""
    config = bench.config
    b = Builder(config, bench.rng, 1 << 16)
    b.load_activations(0, vectors * config.line_bytes)
    images = [b.step(full=True) for _ in range(steps)]
    b.load_weights(images)
    b.product(steps=steps, vectors=vectors, vector_stride=1, acc_vector=0)
    return b.finish(), [len(image) // config.bus_bytes for image in images]


@cocotb.test()
@cocotb.parametrize(stall=[0, 0.4])
async def test_random_programs_finish(dut, stall):
    """Finished comes when all is written and answered, and not before; events count what the golden model counts."""
    bench = await IpuBench.start(dut)
    bench.memory.stall(stall)
    bench.memory.mixing = stall
    for _ in range(12 if FAST else 2):
        await bench.run_and_check(RandomProgram(bench.config, bench.rng, gemms=3 if FAST else 1).finish())
    report()


@cocotb.test()
async def test_weights_of_the_next_step_come_during_the_gemm(dut):
    bench = await IpuBench.start(dut)
    steps = 6
    image, beats = chained(bench, steps, bench.config.acc_vectors)
    execution = await bench.run_and_check(image)
    busy, words = bench.events["array_busy"], bench.events["weight_beat"]
    ends = np.cumsum([s.cycles for s in execution.steps])
    starts = np.cumsum(beats) - beats
    for i in range(1, steps - 1):
        first, last = busy[ends[i - 1]], busy[ends[i] - 1]
        loaded = [w for w in words[starts[i + 1]:starts[i + 1] + beats[i + 1]] if first <= w <= last]
        assert loaded, f"no word of step {i + 1} came while step {i} was computed, in cycles {first} to {last}"
    report()


@cocotb.test()
async def test_steps_follow_without_a_bubble(dut):
    """While weights come faster than they are used, the array multiplies in every cycle, also across a bank swap."""
    bench = await IpuBench.start(dut)
    image, beats = chained(bench, 6, bench.config.acc_vectors)
    execution = await bench.run_and_check(image)
    assert min(s.cycles for s in execution.steps) > max(beats), "the program must be limited by the array"
    busy = bench.events["array_busy"]
    idle = busy[-1] - busy[0] + 1 - len(busy)
    assert not idle, f"the array stood still for {idle} cycles between its first and its last plane"


@cocotb.test()
async def test_a_store_runs_beside_the_next_gemm(dut):
    bench = await IpuBench.start(dut)
    config = bench.config
    b = Builder(config, bench.rng, 1 << 16)
    half = config.acc_vectors // 2
    b.load_activations(0, half * config.line_bytes)
    size = 4 * config.out_cols
    for tile in range(4):
        b.load_weights([b.step()])
        b.product(steps=1, vectors=half, vector_stride=1, acc_vector=tile % 2 * half)
        b.store(address=b.pool + tile * half * size, stride=size, vectors=half, channels=config.out_cols,
                acc_vector=tile % 2 * half, channel=0, format=OutputFormat.INT32)
    written: list[int] = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            if dut.m_axi_wvalid.value == 1 and dut.m_axi_wready.value == 1:
                written.append(bench.cycle)

    task = cocotb.start_soon(watch())
    await bench.run_and_check(b.finish())
    task.cancel()
    busy = bench.events["array_busy"]
    assert any(busy[0] < cycle < busy[-1] for cycle in written), "no word was written before the last plane"
    report()


@cocotb.test()
async def test_a_halt_at_any_moment_leaves_the_bus_in_order(dut):
    """What has begun ends, nothing else begins; after a reset the same program is right."""
    bench = await IpuBench.start(dut)
    for _ in range(16 if FAST else 2):
        image = RandomProgram(bench.config, bench.rng, gemms=2 if FAST else 1).finish()
        bench.memory.stall(float(bench.rng.choice([0, 0.5])))
        await bench.go(image)
        for _ in range(int(bench.rng.integers(1, 400))):
            await bench.step()
        await FallingEdge(dut.clk)
        dut.halt.value = 1
        before = dict(bench.rules.counts)
        await bench.silent()
        assert bench.rules.counts["ar"] - before.get("ar", 0) <= 4  # what each channel had shown
        assert bench.rules.counts["aw"] - before.get("aw", 0) <= 1
        changed = bench.memory.content != image.memory
        assert not (changed & ~image.writable).any()
        await bench.run_and_check(image)


@cocotb.test()
async def test_the_first_fault_stays(dut):
    """An illegal instruction behind one that fails on the bus: the one that comes first is kept."""
    bench = await IpuBench.start(dut)
    for _ in range(4 if FAST else 1):
        b = simple_program(bench.config, bench.rng)
        records = [d.instruction().encode() for d in b.drafts]
        broken = int(bench.rng.integers(len(records)))
        records[broken] = bytes(INSTRUCTION_BYTES)
        image = b.finish(records=records)
        image.windows[0] = Window(0, image.windows[0].limit, read=True)
        image.windows[1] = Window(image.windows[1].base, image.windows[1].base + 1, write=True)
        assert not await bench.run(image)
        first = bench.fault()
        assert first in ((Cause.ILLEGAL_OPCODE, image.entry + broken * INSTRUCTION_BYTES),
                         (Cause.WRITE_WINDOW, len(image.memory) // 2))
        for _ in range(400):
            await bench.step()
            assert bench.fault() == first
