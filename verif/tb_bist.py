"""The self-test in the chip: by its registers, over AXI4-Lite and JTAG, and beside programs.

What the controller does is tested in ``tb_mbist``; the plan is ``verif/plans/bist.md``.
"""

from random import Random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer

from hdl.bist.compute import ComputeTest
from hdl.bist.jtag import Operation, Outcome
from hdl.bist.microcode import Kind, step_layout
from hdl.bist.tap import IDCODE_VALUE
from hdl.cim.tested_macro import chain_length
from hdl.csr import Access, BistCause, Cause, register_map, registers
from mbist.compute_pins import expand
from mbist.compute_test import Mask, TestStep, Value
from mbist.library import LIBRARY
from mbist.microcode import Run, assemble
from sim.golden.compute_test import macro_signatures
from sim.rtl import test_config

from .chip_bench import ChipBench
from .coverage import Coverage, report
from .jtag import JtagRegisters
from .programs import Image, simple_program
from .start import CYCLE_PS

CONFIG = test_config()
MAP = register_map(CONFIG)
MARCH = LIBRARY["March C-"]
COMPUTE = (TestStep(vectors=60, repeat=4), TestStep(vectors=3, value=Value.EQUAL, mask=Mask.BIT, repeat=2))
COMPUTE_CYCLES = expand(CONFIG, COMPUTE).cycles
FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: Periods of TCK, in those of the clock.
RATIOS = [0.34, 1.0, 2.86, 20.0] if FAST else [0.34, 2.86]

_BESIDE = Coverage("bist", {"program": ["refuses a run", "is refused", "ends a run"], "tck": RATIOS})


class BistBench(ChipBench):
    """A chip whose self-test is used."""

    async def prepare(self, run: Run, march=MARCH, port: Any = None):
        """Writes microcode and settings through a port, AXI4-Lite if none is given."""
        port = port or self.registers
        await port.write("BIST_CONTROL", 1 << MAP["BIST_CONTROL"].fields["clear"][0])
        code = assemble(march)
        for word in code.words:
            await port.write("BIST_CODE", word)
        assert await port.read("BIST_LENGTH") == len(code.words)
        for name, value in run.registers().items():
            await port.write(name, value)
        await port.write("IRQ_ENABLE", 7)

    async def prepare_compute(self):
        """Writes the table and the expectations of the compute self-test."""
        await self.registers.set_fields("CBIST_CONTROL", clear=1)
        for step in COMPUTE:
            await self.registers.write("CBIST_ROW", step.row & 0xFFFF_FFFF)
            await self.registers.write("CBIST_ROW_HIGH", step.row >> 32)
        golden = macro_signatures(CONFIG, COMPUTE)
        await self.registers.write("CBIST_EXPECTED", golden.columns[0])
        await self.registers.write("CBIST_EXPECTED_WORDS", golden.words)
        await self.registers.write("IRQ_ENABLE", 7)

    async def start_compute(self) -> dict[str, int]:
        """CBIST_STATUS behind the command."""
        await self.registers.set_fields("CBIST_CONTROL", start=1)
        return await self.registers.fields("CBIST_STATUS")

    async def compute_refused(self, cause: BistCause):
        status = await self.start_compute()
        assert (status["running"], status["error"], status["cause"]) == (0, 1, cause), status

    async def compute_ended(self):
        """Waits for the end of a compute self-test, which passes and takes as many cycles as it should."""
        await self.stopped()
        status = await self.registers.fields("CBIST_STATUS")
        assert (status["running"], status["done"], status["failed"], status["error"]) == (0, 1, 0, 0), status
        turns = CONFIG.macros * chain_length(CONFIG)
        assert await self.registers.read("CBIST_CYCLES") == COMPUTE_CYCLES + ComputeTest.DRAIN + turns

    async def compute_passes(self):
        await self.prepare_compute()
        assert (await self.start_compute())["running"]
        await self.compute_ended()

    async def command(self, name: str):
        await self.registers.set_fields("BIST_CONTROL", **{name: 1})

    async def status(self) -> dict[str, int]:
        return await self.registers.fields("BIST_STATUS")

    async def stopped(self) -> dict[str, int]:
        """Waits for the interrupt of the self-test, clears it, and returns the status."""
        if self.dut.irq.value != 1:
            await First(RisingEdge(self.dut.irq), Timer(100_000 * CYCLE_PS, "ps"))
        assert await self.registers.fields("IRQ_STATUS") == {"done": 0, "error": 0, "bist": 1}
        await self.registers.set_fields("IRQ_STATUS", bist=1)
        assert self.dut.irq.value == 0
        return await self.status()

    async def passes(self, run: Run):
        """A whole run, without a failure and in as many cycles as it should."""
        await self.prepare(run)
        await self.command("start")
        status = await self.stopped()
        assert (status["done"], status["failed"], status["error"], status["active"]) == (1, 0, 0, 0), status
        assert await self.registers.read64("BIST_CYCLES") == run.cycles(MARCH)
        assert await self.registers.read("BIST_FAILS") == 0


def small_image(bench: ChipBench) -> Image:
    return simple_program(bench.config, bench.rng).finish()


@cocotb.test()
async def test_a_run_passes_and_programs_compute(dut):
    """Programs before and after runs over all banks and columns, in every order of addresses."""
    bench = await BistBench.start(dut)
    for fast_word in (False, True):
        await bench.run_and_check(small_image(bench))
        await bench.passes(Run(CONFIG, fast_word=fast_word, columns=True, words=True, rows=0))
    await bench.run_and_check(small_image(bench))


@cocotb.test()
async def test_no_run_while_a_program_runs(dut):
    """Start and resume are refused, the program does not notice; after an error they are until its soft reset."""
    bench = await BistBench.start(dut)
    await bench.prepare(Run(CONFIG))
    image = small_image(bench)
    bench.memory.stall(0.7)
    await bench.load(image)
    await bench.go()
    for command in ("start", "resume"):
        await bench.command(command)
        status = await bench.status()
        assert (status["running"], status["error"], status["cause"]) == (0, 1, BistCause.PROGRAM_RUNNING)
    assert (await bench.registers.fields("STATUS"))["busy"], "the program should still run"
    bench.check(image, await bench.ended())
    await bench.command("start")
    assert (await bench.stopped())["done"]

    wrong = small_image(bench)
    await bench.load(wrong)
    await bench.registers.write("WINDOW0_FLAGS", 0)
    await bench.go()
    assert (await bench.ended()).error
    await bench.command("start")
    assert (await bench.status())["cause"] == BistCause.PROGRAM_RUNNING
    _BESIDE.sample(program="refuses a run")
    await bench.soft_reset()
    await bench.passes(Run(CONFIG))


@cocotb.test()
async def test_no_program_while_a_run_is_under_way(dut):
    """A start is refused with a cause; the run goes on to its end; a soft reset, then the program runs."""
    bench = await BistBench.start(dut)
    run = Run(CONFIG)
    image = small_image(bench)
    await bench.load(image)
    await bench.prepare(run)
    await bench.command("start")
    await ClockCycles(dut.clk, int(bench.rng.integers(1, 200)))
    await bench.go()
    outcome = await bench.outcome()
    assert (outcome.error, outcome.cause, outcome.address) == (True, Cause.BIST_RUNNING, 0)
    assert dut.irq.value == 1
    await bench.registers.set_fields("IRQ_STATUS", error=1)
    _BESIDE.sample(program="is refused")
    status = await bench.stopped()
    assert (status["done"], status["failed"]) == (1, 0)
    assert await bench.registers.read64("BIST_CYCLES") == run.cycles(MARCH)
    assert bench.rules.counts["ar"] == 0, "a program that is refused must fetch nothing"
    await bench.soft_reset()
    await bench.run_and_check(image)


@cocotb.test()
async def test_a_program_ends_a_run_that_is_held(dut):
    """It runs as any; then there is nothing to resume."""
    bench = await BistBench.start(dut)
    await bench.prepare(Run(CONFIG))
    for _ in range(3 if FAST else 1):
        await bench.command("start")
        await ClockCycles(dut.clk, int(bench.rng.integers(1, 200)))
        await bench.command("abort")
        assert (await bench.stopped())["held"]
        _BESIDE.sample(program="ends a run")
        await bench.run_and_check(small_image(bench))
        await bench.command("resume")
        status = await bench.status()
        assert (status["held"], status["running"], status["cause"]) == (0, 0, BistCause.NOT_HELD)
    await bench.passes(Run(CONFIG))


@cocotb.test()
async def test_march_and_compute_self_test_refuse_each_other(dut):
    """Compute while a March run is under way or held, March and its resume while the compute self-test runs; those that
    run do not notice."""
    bench = await BistBench.start(dut)
    run = Run(CONFIG)
    await bench.prepare_compute()
    await bench.prepare(run)
    await bench.command("start")
    await bench.compute_refused(BistCause.MARCH_RUNNING)
    assert (await bench.status())["running"], "the March run should still be under way"
    await bench.command("abort")
    assert (await bench.stopped())["held"]
    await bench.compute_refused(BistCause.MARCH_RUNNING)
    await bench.command("resume")
    assert (await bench.stopped())["done"]
    assert await bench.registers.read("BIST_FAILS") == 0
    assert (await bench.start_compute())["running"]
    for command in ("start", "resume"):
        await bench.command(command)
        status = await bench.status()
        assert (status["running"], status["error"], status["cause"]) == (0, 1, BistCause.COMPUTE_RUNNING)
    assert (await bench.registers.fields("CBIST_STATUS"))["running"], "the compute self-test should still run"
    await bench.compute_ended()
    await bench.passes(run)


@cocotb.test()
async def test_no_compute_self_test_while_a_program_runs(dut):
    """A start is refused, the program does not notice; after an error it is until its soft reset."""
    bench = await BistBench.start(dut)
    await bench.prepare_compute()
    image = small_image(bench)
    bench.memory.stall(0.7)
    await bench.load(image)
    await bench.go()
    await bench.compute_refused(BistCause.PROGRAM_RUNNING)
    assert (await bench.registers.fields("STATUS"))["busy"], "the program should still run"
    bench.check(image, await bench.ended())
    await bench.compute_passes()

    await bench.load(small_image(bench))
    await bench.registers.write("WINDOW0_FLAGS", 0)
    await bench.go()
    assert (await bench.ended()).error
    await bench.compute_refused(BistCause.PROGRAM_RUNNING)
    await bench.soft_reset()
    await bench.compute_passes()


@cocotb.test()
async def test_no_program_while_a_compute_self_test_runs(dut):
    """A start is refused with a cause; the run goes on to its end; a soft reset, then the program runs."""
    bench = await BistBench.start(dut)
    image = small_image(bench)
    await bench.load(image)
    await bench.prepare_compute()
    assert (await bench.start_compute())["running"]
    await bench.go()
    outcome = await bench.outcome()
    assert (outcome.error, outcome.cause, outcome.address) == (True, Cause.BIST_RUNNING, 0)
    await bench.registers.set_fields("IRQ_STATUS", error=1)
    await bench.compute_ended()
    assert bench.rules.counts["ar"] == 0, "a program that is refused must fetch nothing"
    await bench.soft_reset()
    await bench.run_and_check(image)


@cocotb.test()
async def test_a_soft_reset_ends_a_compute_self_test(dut):
    """At any moment of its table, with the cause ABORTED; its registers stay, programs and runs follow."""
    bench = await BistBench.start(dut)
    for _ in range(4 if FAST else 1):
        await bench.prepare_compute()
        assert (await bench.start_compute())["running"]
        await ClockCycles(dut.clk, int(bench.rng.integers(COMPUTE_CYCLES // 2)))
        await bench.soft_reset()
        status = await bench.registers.fields("CBIST_STATUS")
        assert (status["running"], status["done"], status["error"], status["cause"]) == (0, 0, 1, BistCause.ABORTED)
        assert await bench.registers.read("CBIST_LENGTH") == len(COMPUTE)
        await bench.registers.set_fields("IRQ_STATUS", bist=1)
        await bench.run_and_check(small_image(bench))
        assert (await bench.start_compute())["running"]
        await bench.compute_ended()


@cocotb.test()
@cocotb.parametrize(hard=[False, True])
async def test_a_reset_at_any_moment(dut, hard):
    """Of a run, a soft and a hard reset leave nothing but the registers that they keep; programs and runs follow."""
    bench = await BistBench.start(dut)
    for _ in range(4 if FAST else 1):
        await bench.prepare(Run(CONFIG))
        await bench.command("start")
        await ClockCycles(dut.clk, int(bench.rng.integers(1, 400)))
        if hard:
            await bench.reset()
            assert await bench.registers.read("BIST_RANGE") == MAP["BIST_RANGE"].init
            assert await bench.registers.read("BIST_LENGTH") == 0
        else:
            await bench.soft_reset()
            assert await bench.registers.read("BIST_RANGE") == Run(CONFIG).registers()["BIST_RANGE"]
            assert await bench.registers.read("BIST_LENGTH") == len(assemble(MARCH).words)
        status = await bench.status()
        assert not any(status[name] for name in ("running", "held", "active", "done", "failed")), status
        assert dut.irq.value == 0
        await bench.run_and_check(small_image(bench))
        await bench.passes(Run(CONFIG))


@cocotb.test()
async def test_registers_are_locked_during_a_run(dut):
    """Settings and microcode keep their values while a run is under way or held, and can be written after it."""
    bench = await BistBench.start(dut)
    run = Run(CONFIG, user=0x1234_5678_9ABC_DEF0)
    locked = [r.name for r in registers(CONFIG) if r.locked_by == "BIST_STATUS"]
    assert set(locked) == set(run.registers())
    await bench.prepare(run)
    length = await bench.registers.read("BIST_LENGTH")
    await bench.command("start")
    for moment in ("running", "held"):
        if moment == "held":
            await bench.command("abort")
            assert (await bench.stopped())["held"]
        for name in locked:
            await bench.registers.write(name, 0)
            assert await bench.registers.read(name) == run.registers()[name]
        await bench.command("clear")
        await bench.registers.write("BIST_CODE", step_layout().const({"kind": Kind.STEP, "read": 1}).as_bits())
        assert await bench.registers.read("BIST_LENGTH") == length
    await bench.command("resume")
    status = await bench.stopped()
    assert (status["done"], status["failed"], status["error"]) == (1, 0, 0)
    for name in locked:
        await bench.registers.write(name, 0)
        assert await bench.registers.read(name) == 0


@cocotb.test()
async def test_nothing_is_asked_for_after_a_reset(dut):
    """No bank is named until software does so: a start is refused."""
    bench = await BistBench.start(dut)
    await bench.registers.write("BIST_CODE", assemble(MARCH).words[0])
    await bench.command("start")
    status = await bench.status()
    assert (status["running"], status["error"], status["cause"]) == (0, 1, BistCause.RANGE)


@cocotb.test()
@cocotb.parametrize(ratio=RATIOS)
async def test_jtag(dut, ratio):
    """IDCODE, BYPASS, every register as AXI4-Lite shows it, addresses without a register, and a run; TCK of any
    frequency, scans with pauses."""
    bench = await BistBench.start(dut)
    jtag = JtagRegisters(dut, CONFIG, 2 * round(ratio * CYCLE_PS / 2))
    await jtag.reset()
    assert await jtag.driver.read("IDCODE") == IDCODE_VALUE
    assert await jtag.driver.read("BYPASS") == 0
    for register in registers(CONFIG):
        if FAST or register.offset % 0x40 == 0:
            assert await jtag.read(register.name) == await bench.registers.read(register.name), register.name
    for register in registers(CONFIG):
        if register.access is Access.RW and register.locked_by is None and register.writable and (
                FAST or register.offset % 0x20 == 0):
            value = int(bench.rng.integers(1 << 32)) & register.writable
            await jtag.write(register.name, value)
            assert await bench.registers.read(register.name) == value, register.name
    await bench.registers.write("IRQ_ENABLE", 0)
    for operation in (Operation.READ, Operation.WRITE):
        outcome, _ = await jtag.access(operation, 0x3FC)
        assert outcome is Outcome.FAILED
    run = Run(CONFIG, last=1)
    await bench.prepare(run, port=jtag)
    await jtag.write("BIST_CONTROL", 1)
    while (status := await jtag.read("BIST_STATUS")) & 1:
        pass
    assert status >> MAP["BIST_STATUS"].fields["done"][0] & 1
    assert await jtag.read("BIST_CYCLES") == run.cycles(MARCH)
    _BESIDE.sample(tck=ratio)


@cocotb.test()
async def test_jtag_beside_the_bus(dut):
    """Both ports write their registers and read them back at the same time, and neither disturbs the other."""
    bench = await BistBench.start(dut)
    jtag = JtagRegisters(dut, CONFIG, 2 * round(0.34 * CYCLE_PS / 2))
    await jtag.reset()
    bench.registers.stall(Random(int(bench.rng.integers(1 << 32))), 0.2)

    async def by_jtag():
        for value in range(20 if FAST else 5):
            await jtag.write("BIST_USER", value)
            assert await jtag.read("BIST_USER") == value

    task = cocotb.start_soon(by_jtag())
    count = 0
    while not task.done():
        count += 1
        await bench.registers.write("WATCHDOG", count)
        assert await bench.registers.read("WATCHDOG") == count
    await task


@cocotb.test()
async def test_resets_of_jtag_and_chip(dut):
    """TRST in the middle of a scan, and a reset of the chip between two scans: no access is lost or repeated."""
    bench = await BistBench.start(dut)
    jtag = JtagRegisters(dut, CONFIG, 2 * round(2.86 * CYCLE_PS / 2))
    await jtag.reset()
    await jtag.write("WATCHDOG", 77)
    await bench.reset()
    await ClockCycles(dut.clk, 20)
    assert await bench.registers.read("WATCHDOG") == MAP["WATCHDOG"].init, "the write must not be repeated"
    assert await jtag.read("WATCHDOG") == MAP["WATCHDOG"].init
    for _ in range(3):
        scan = cocotb.start_soon(jtag.scan(Operation.WRITE, MAP["WATCHDOG"].offset, 5))
        await ClockCycles(dut.clk, int(bench.rng.integers(10, 100)))
        scan.cancel()
        dut.jtag_tms.value = 1
        await jtag.reset()
        await ClockCycles(dut.clk, 20)
        assert await bench.registers.read("WATCHDOG") == MAP["WATCHDOG"].init
        assert await jtag.driver.read("IDCODE") == IDCODE_VALUE
    report()
