"""Values of expressions, in Amaranth's own simulator."""

from amaranth.hdl import Module, Signal, Value
from amaranth.sim import Simulator


def evaluate(expression: Value) -> int:
    m = Module()
    result = Signal(len(expression))
    m.d.comb += result.eq(expression)
    found = []

    async def look(ctx):
        found.append(ctx.get(result))

    simulator = Simulator(m)
    simulator.add_testbench(look)
    simulator.run()
    return found[0]
