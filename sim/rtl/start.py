"""What every cocotb test of :class:`sim.session.Session` does first."""

from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from .csr_bus import CsrBus
from .run import test_config

#: Simulated time of a cycle.
CYCLE_PS = 1000


async def start(dut: Any, expected: dict[str, int]) -> tuple[CsrBus, dict[str, int], bool]:
    """Starts the clock of ``sim_top`` and resets it; returns its registers, what identifies the chip, and whether that
    is as expected."""
    csr = CsrBus(dut, test_config())
    dut.load.value = dut.dump.value = 0
    dut.rst.value = 1
    Clock(dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
    await ClockCycles(dut.clk, 4)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    identity = {name.lower(): await csr.read(name) for name in ("ID", "FORMAT_VERSION")}
    identity["config_hash"] = await csr.read64("CONFIG_HASH")
    return csr, identity, identity == expected
