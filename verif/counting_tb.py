"""cocotb test that is no test: runs the programs of :class:`verif.counting.Counting`."""

import json
import pickle
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from hdl.csr import COUNTERS, Cause
from sim.rtl import test_config
from sim.rtl.csr_bus import CsrBus
from sim.rtl.image import write_image

from .programs import Image
from .start import CYCLE_PS

#: Cycles that no program takes.
_CYCLES = 10_000_000


@cocotb.test()
async def count(dut):
    config = test_config()
    images, longest = pickle.loads(Path("images").read_bytes())
    csr = CsrBus(dut, config)
    dut.load.value = dut.dump.value = 0
    dut.rst.value = 1
    Clock(dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
    counters = []
    for number, image in enumerate(images):
        write_image(Path("image.hex"), image.memory, config.bus_bytes)
        counters.append(await _run(dut, csr, image, longest, number))
        Path("counters.json").write_text(json.dumps(counters))


async def _run(dut, csr: CsrBus, image: Image, longest: int, number: int) -> dict[str, int]:
    dut.rst.value = 1
    for value in (1, 0):
        dut.load.value = value
        await Timer(CYCLE_PS, unit="ps")
    await ClockCycles(dut.clk, 4)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    await ClockCycles(dut.clk, longest)  # the memory's first transfers are late no more
    for window, permitted in enumerate(image.windows):
        await csr.write64(f"WINDOW{window}_BASE", permitted.base)
        await csr.write64(f"WINDOW{window}_LIMIT", permitted.limit)
        await csr.write_fields(f"WINDOW{window}_FLAGS", read=permitted.read, write=permitted.write)
    await csr.write64("PROGRAM_ADDRESS", image.entry)
    await csr.write("PROGRAM_COUNT", image.count)
    await csr.write_fields("IRQ_ENABLE", done=1, error=1)
    await csr.write_fields("CONTROL", start=1)
    await First(RisingEdge(dut.irq), Timer(_CYCLES * CYCLE_PS, unit="ps"))
    assert dut.irq.value == 1, f"program {number} has not ended after {_CYCLES} cycles"
    status = await csr.read_fields("STATUS")
    cause = Cause((await csr.read_fields("CAUSE"))["cause"])
    assert status["done"], f"program {number} was stopped by {cause.name} at {await csr.read64('ERROR_ADDRESS'):#x}"
    return {name: await csr.read64(name) for name in COUNTERS}
