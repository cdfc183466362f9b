"""The pins of ``axi_memory`` behind a chip that passes its bus on, for cocotb tests."""

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

OUTPUTS = ("awready", "wready", "bid", "bresp", "bvalid", "arready", "rid", "rdata", "rresp", "rlast", "rvalid")


async def reset(dut):
    for handle in dut:
        if handle._name in ("load", "dump") or (handle._name.startswith("drive_") and handle._name[6:] not in OUTPUTS):
            handle.value = 0
    dut.rst.value = 1
    Clock(dut.clk, 1000, unit="ps").start()
    await ClockCycles(dut.clk, 3)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
