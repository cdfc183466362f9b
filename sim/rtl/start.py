"""Clock, reset and identity of simulated chips: what every cocotb test of :mod:`sim` does first."""

from collections.abc import Sequence
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

from .csr_bus import CsrBus
from .run import test_config

#: Simulated time of a cycle.
CYCLE_PS = 1000


async def reset(dut: Any, prefixes: Sequence[str] = ("",)) -> list[CsrBus]:
    """Starts the clock of ``sim_top`` or ``sim_card`` and resets its chips, whose ports have these prefixes; returns
    their registers."""
    buses = [CsrBus(dut, test_config(), prefix) for prefix in prefixes]
    resets = [getattr(dut, f"{prefix}rst") for prefix in prefixes]
    dut.load.value = dut.dump.value = 0
    for pin in resets:
        pin.value = 1
    Clock(dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
    await ClockCycles(dut.clk, 4)
    await FallingEdge(dut.clk)
    for pin in resets:
        pin.value = 0
    return buses


async def identity(csr: CsrBus) -> dict[str, int]:
    """What identifies a chip."""
    found = {name.lower(): await csr.read(name) for name in ("ID", "FORMAT_VERSION")}
    return found | {"config_hash": await csr.read64("CONFIG_HASH")}
