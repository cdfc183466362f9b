"""What the benches of the array share: clock and reset, a player of timelines, and a scoreboard by cycle.

Inputs change after the rising edge and monitors look at the falling edge: there, inputs, registers and what follows
from both belong to one cycle, on every simulator.
"""

from collections.abc import Callable, Mapping
from random import Random

import cocotb
import numpy as np
from amaranth.lib import wiring
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from .ports import ports_of
from .timeline import Timeline

#: Simulated time of a cycle.
CYCLE_PS = 1000

#: How often a port that carries noise gets new noise. Every cycle would cost time and find nothing more.
NEW_NOISE = 0.2


class Scoreboard:
    """Values that outputs must have in certain cycles: noted when due, compared at the end, all at once."""

    def __init__(self):
        self._due: dict[int, list[tuple[str, Callable]]] = {}
        self.observed: dict[str, list] = {}

    def expect(self, cycle: int, name: str, read: Callable):
        """``read()`` in a cycle is the next observation called ``name``."""
        self._due.setdefault(cycle, []).append((name, read))

    def sample(self, cycle: int):
        for name, read in self._due.pop(cycle, ()):
            self.observed.setdefault(name, []).append(read())

    def check(self, name: str, expected):
        """Compares all observations of a name, in their order, and forgets them."""
        observed, expected = np.array(self.observed.pop(name, [])), np.asarray(expected)
        assert len(observed) == len(expected), f"{name}: {len(observed)} observations, {len(expected)} expected"
        if len(expected):
            wrong = np.argwhere(observed != expected)
            assert not len(wrong), (f"{name}{wrong[0].tolist()} is {observed[tuple(wrong[0])]}, not "
                                    f"{expected[tuple(wrong[0])]}; {len(wrong)} of {expected.size} are wrong")

    def finish(self):
        """Asserts that nothing is due any more and that everything observed has been compared."""
        assert not self._due, f"still due in cycles {sorted(self._due)}"
        assert not self.observed, f"never compared: {', '.join(self.observed)}"


class Testbench:
    """A design under test whose inputs are played and whose ports are monitored every cycle.

    Parameters
    ----------
    dut : cocotb handle
    component : wiring.Component
        What the design was built from.

    Attributes
    ----------
    ports : PortGroup
        All ports by member.
    inputs : dict
        The ports that :meth:`play` drives.
    cycle : int
        Number of the current cycle, from 0 after reset.
    random, rng : Random, numpy Generator
    """

    __test__ = False

    def __init__(self, dut, component: wiring.Component):
        component._MustUse__silence = True  # it is here for its signature
        self.dut = dut
        self.ports = ports_of(dut, component.signature)
        self.inputs = {name: self.ports[name] for name, member in component.signature.members.items()
                       if member.flow == wiring.In}
        self._all_inputs = list(self.inputs.values())
        self.random = Random(cocotb.RANDOM_SEED)
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.cycle = -1
        self._noisy: set[str] = set()

    async def start(self):
        """Noise on all inputs, reset, and the monitor running."""
        if cocotb.SIM_NAME == "Verilator":
            # Inputs start at random, and assertions look before anything is driven. Icarus would keep such a value.
            for port in self._all_inputs:
                port.clear()
        for port in self.inputs.values():
            port.drive(None, self.random)
        self.dut.rst.value = 1
        Clock(self.dut.clk, CYCLE_PS, unit="ps", impl="gpi").start(start_high=False)
        for _ in range(2):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        cocotb.start_soon(self._monitor())

    async def _monitor(self):
        while True:
            await FallingEdge(self.dut.clk)
            self.cycle += 1
            self.sample(self.cycle)

    def sample(self, cycle: int):
        """Looks at the ports in a cycle."""
        raise NotImplementedError

    async def play(self, timeline: Timeline, drain: int):
        """Plays a timeline from the next cycle on, and ``drain`` cycles of noise after it."""
        unknown = set(timeline.events) - set(self.inputs)
        assert not unknown, f"there are no inputs {unknown}"
        events: list[tuple[str, Mapping]] = [(name, timeline.busy(name)) for name in self.inputs]
        for cycle in range(timeline.length + drain):
            await RisingEdge(self.dut.clk)
            for name, values in events:
                if cycle in values:
                    self.inputs[name].drive(values[cycle], self.random)
                    self._noisy.discard(name)
                elif name not in self._noisy or self.random.random() < NEW_NOISE:
                    self.inputs[name].drive(None, self.random)
                    self._noisy.add(name)
        await RisingEdge(self.dut.clk)  # the monitor has seen the last cycle
