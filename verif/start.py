"""Clock and first reset of a design, with all its inputs driven."""

from typing import Any

from amaranth.hdl import Value
from amaranth.lib import wiring
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge

#: Simulated time of a cycle.
CYCLE_PS = 1000


def inputs_of(component: wiring.Component) -> list[str]:
    """Names of the input ports in Verilog, clock and reset not among them."""
    component._MustUse__silence = True  # it is here for its signature
    return ["__".join(map(str, path)) for path, member, signal in component.signature.flatten(component)
            if member.flow == wiring.In and len(Value.cast(signal))]


async def reset(dut: Any, cycles: int = 3):
    """Holds ``rst`` for some cycles; inputs may change after the falling edge that ends it."""
    await FallingEdge(dut.clk)
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def start(dut: Any, component: wiring.Component):
    """Starts the clock and resets the design with zeros on all inputs. Undriven they were Z on Icarus, and the outputs
    X, which the agents of cocotbext-axi cannot read: make those after this."""
    inputs = [getattr(dut, name) for name in inputs_of(component)]
    Clock(dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
    dut.rst.value = 0
    for bit in (1, 0):  # Icarus evaluates combinational logic for the first time when something changes
        for handle in inputs:
            handle.value = bit * ((1 << len(handle)) - 1)
        await ClockCycles(dut.clk, 2)
    await reset(dut)
