"""cocotb test of a chip with a late memory for very long; the plan is ``verif/plans/soak.md``."""

import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from hdl.csr import COUNTERS, Cause
from sim.rtl import test_config
from sim.rtl.csr_bus import CsrBus
from sim.rtl.image import read_image, write_image

from .programs import Image, RandomProgram
from .start import CYCLE_PS

#: Cycles within programs.
CYCLES = 1_000_000 if cocotb.SIM_NAME.lower().startswith("verilator") else 20_000

#: Bytes of the memory that the simulator runs, as in ``verif/benches.py``.
MEMORY_BYTES = 1 << 18

#: Cycles without progress that no stall explains.
WATCHDOG = 5_000


class Soak:
    """A chip that runs one program after another, without a reset between them."""

    def __init__(self, dut):
        self.dut = dut
        self.config = test_config()
        self.csr = CsrBus(dut, self.config)

    async def start(self):
        self.dut.load.value = self.dut.dump.value = 0
        self.dut.rst.value = 1
        Clock(self.dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
        await ClockCycles(self.dut.clk, 4)
        await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await self.csr.write("WATCHDOG", WATCHDOG)
        await self.csr.write_fields("IRQ_ENABLE", done=1, error=1)

    async def run(self, image: Image) -> dict[str, int]:
        """Runs a program; returns the counters."""
        write_image(Path("image.hex"), image.memory, self.config.bus_bytes)
        await self._pulse(self.dut.load)
        for number, window in enumerate(image.windows):
            await self.csr.write64(f"WINDOW{number}_BASE", window.base)
            await self.csr.write64(f"WINDOW{number}_LIMIT", window.limit)
            await self.csr.write_fields(f"WINDOW{number}_FLAGS", read=window.read, write=window.write)
        await self.csr.write64("PROGRAM_ADDRESS", image.entry)
        await self.csr.write("PROGRAM_COUNT", image.count)
        await self.csr.write_fields("CONTROL", start=1)
        await First(RisingEdge(self.dut.irq), Timer(CYCLES * CYCLE_PS, unit="ps"))
        assert self.dut.irq.value == 1, f"the program has not ended after {CYCLES} cycles"
        status = await self.csr.read_fields("STATUS")
        cause = Cause((await self.csr.read_fields("CAUSE"))["cause"])
        assert status["done"], f"stopped by {cause.name} at {await self.csr.read64('ERROR_ADDRESS'):#x}"
        await self.csr.write_fields("IRQ_STATUS", done=1)
        return {name: await self.csr.read64(name) for name in COUNTERS}

    async def memory(self) -> np.ndarray:
        await self._pulse(self.dut.dump)
        return read_image(Path("dump.hex"), self.config.bus_bytes, MEMORY_BYTES)

    async def _pulse(self, pin):
        for value in (1, 0):
            pin.value = value
            await Timer(CYCLE_PS, unit="ps")


@cocotb.test()
async def test_programs_follow_one_another_for_very_long(dut):
    """Random programs with random tokens under random stalls: nothing hangs, and memory is right after each of them."""
    soak = Soak(dut)
    await soak.start()
    rng = np.random.default_rng(random.getrandbits(32))
    cycles = programs = 0
    while cycles < CYCLES:
        gemms = int(rng.integers(1, 80 if CYCLES > 100_000 else 8))
        image = RandomProgram(soak.config, rng, gemms=gemms, memory_bytes=MEMORY_BYTES).finish()
        execution = image.execute(programs)
        assert execution.cause == Cause.NONE
        counters = await soak.run(image)
        memory = await soak.memory()
        wrong = image.wrong(memory, execution)
        assert not wrong.size, f"program {programs}: {wrong.size} bytes differ, the first at {wrong[0]:#x}"
        assert counters["ARRAY_BUSY"] == execution.array_busy
        cycles += counters["CYCLES"]
        programs += 1
    cocotb.log.info("%d programs in %d cycles", programs, cycles)
