"""Two links on a cable: the ports of ``link_pair`` by name, clocks, training, traffic."""

from random import Random
from typing import Any

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer

from hdl.config import Config
from hdl.link.formats import Cause
from hdl.link.link import (
    Link,
    LinkControl,
    LinkCounters,
    LinkInject,
    LinkState,
    LinkStatus,
    masks_layout,
)
from hdl.link.parameters import LinkParameters, link_parameters
from hdl.verilog import Generated
from sim.rtl.link_pair import link_pair

#: Simulated time of a cycle of an end whose clock has no offset.
CYCLE_PS = 10_000

HASH = 0x0123_4567_89AB_CDEF


def bench_parameters(config: Config) -> LinkParameters:
    """The link of a configuration with time-outs that a simulation reaches."""
    return link_parameters(config, lane_timeout=640, training_timeout=8192, ack_timeout=256)


def bench_link(config: Config) -> Link:
    return Link(bench_parameters(config))


def bench_pair(link: Generated, config: Config) -> Generated:
    return link_pair(link, bench_parameters(config))


class End:
    """One link with its traffic."""

    def __init__(self, dut, name: str, parameters: LinkParameters):
        self.dut, self.name, self.parameters = dut, name, parameters
        self.clk = getattr(dut, f"{name}_clk")
        self._control: dict[str, Any] = {}
        self._once: dict[str, Any] = {"transmit": {}, "receive": {}}
        self._always: dict[str, Any] = {"transmit": {}, "receive": {}}

    def drive(self, name: str, value: int):
        getattr(self.dut, f"{self.name}_{name}").value = value

    def number(self, name: str) -> int:
        return int(str(getattr(self.dut, f"{self.name}_{name}").value), 2)

    def _view(self, layout, name: str):
        return data.Layout.cast(layout).from_bits(self.number(name))

    def control(self, **changes: int):
        """Changes fields of the control port, leaves the others."""
        self._control |= changes
        self.drive("control", data.Layout.cast(LinkControl).const(self._control).as_bits())

    async def inject(self, side: str, *names: str, always: bool | None = None):
        """Injects errors once; or with ``always`` begins or ends to inject them."""
        if always is not None:
            self._always[side] = {name: int(always) for name in names}
            self.drive("inject_always", data.Layout.cast(LinkInject).const(self._always).as_bits())
            return
        self._once[side] = dict.fromkeys(names, 1)
        self.drive("inject_once", data.Layout.cast(LinkInject).const(self._once).as_bits())
        await ClockCycles(self.clk, 2)
        self._once[side] = {}
        self.drive("inject_once", 0)

    @property
    def state(self) -> LinkState:
        return LinkState(self._view(LinkStatus, "status").state)

    @property
    def status(self):
        return self._view(LinkStatus, "status")

    @property
    def counters(self) -> dict[str, int]:
        value = self._view(LinkCounters, "counters")
        return {name: value[name] for name, _ in data.Layout.cast(LinkCounters)}

    @property
    def masks(self):
        return self._view(masks_layout(self.parameters), "masks")

    def per_channel(self, name: str) -> list[int]:
        value = self.number(name)
        return [value >> 32 * v & 0xFFFF_FFFF for v in range(self.parameters.channels)]

    def lane_errors(self) -> list[int]:
        value = self.number("lane_errors")
        return [value >> 32 * lane & 0xFFFF_FFFF for lane in range(self.parameters.lanes)]

    def goal(self, *beats: int):
        """How many beats each channel shall have offered since ``clear``."""
        self.drive("goal", sum(count << 32 * v for v, count in enumerate(beats)))

    async def cycles(self, count: int):
        await ClockCycles(self.clk, count)


class Cable:
    """The settings of both channels, whose names may have a prefix; a name without a direction sets both."""

    def __init__(self, dut, parameters: LinkParameters, prefix: str = ""):
        self.dut, self.parameters, self.prefix = dut, parameters, prefix

    def set(self, way: str | None = None, **settings: int):
        for one in ("ab", "ba") if way is None else (way,):
            for name, value in settings.items():
                getattr(self.dut, f"{self.prefix}{one}_{name}").value = value

    def order(self, way: str, lanes: list[int]):
        self.set(way, order=sum(lane << 4 * n for n, lane in enumerate(lanes)))

    def skew(self, way: str, bits: list[int]):
        self.set(way, skew=sum(skew << 16 * n for n, skew in enumerate(bits)))

    def cut(self, on: bool = True):
        self.set(dead=(1 << self.parameters.lanes) - 1 if on else 0)


class Pair:
    """Both ends and the cable between them."""

    def __init__(self, dut, parameters: LinkParameters):
        self.dut, self.parameters = dut, parameters
        self.a, self.b = (End(dut, name, parameters) for name in "ab")
        self.ends = (self.a, self.b)
        self.cable = Cable(dut, parameters)
        self.random = Random(cocotb.RANDOM_SEED)

    async def start(self, *, ppm: int = 0, hashes: tuple[int, int] = (HASH, HASH), enable: bool = True):
        """Clocks, the second ``ppm`` slower; resets; everything else at rest."""
        for end, value in zip(self.ends, hashes):
            for name in ("control", "inject_once", "inject_always", "goal"):
                end.drive(name, 0)
            end.drive("config_hash", value)
            end.drive("offer_rate", 255)
            end.drive("take_rate", 255)
            end.drive("rst", 1)
            end.drive("clear", 1)
            end.drive("stop_clock", 0)
        self.cable.set(load=0, delay=0, skew=0, invert=0, dead=0, interval=0, burst=0)
        for way, salt in (("ab", 1), ("ba", 2)):
            self.cable.set(way, seed=(cocotb.RANDOM_SEED * 2 + salt) * 0x9E37_79B9_7F4A_7C15 % (1 << 64))
            self.cable.order(way, list(range(self.parameters.lanes)))
        Clock(self.a.clk, CYCLE_PS, unit="ps", impl="gpi").start()
        await Timer(self.random.randrange(CYCLE_PS) if ppm else CYCLE_PS, unit="ps")
        Clock(self.b.clk, CYCLE_PS + CYCLE_PS * ppm // 1_000_000, unit="ps", impl="gpi").start()
        self.cable.set(load=1)
        await self.a.cycles(8)
        self.cable.set(load=0)
        for end in self.ends:
            end.drive("rst", 0)
            end.drive("clear", 0)
            end.control(enable=int(enable), down_after=0)
        await self.a.cycles(2)

    async def until(self, condition, cycles: int, what: str, *, step: int = 16):
        """Waits until a condition holds; raises ``AssertionError`` if it does not within some cycles of end a."""
        for _ in range(-(-cycles // step)):
            if condition():
                return
            await self.a.cycles(step)
        states = ", ".join(f"{end.name} {end.state.name} {end.counters}" for end in self.ends)
        raise AssertionError(f"{what} not within {cycles} cycles: {states}")

    async def up(self, cycles: int = 20_000):
        await self.until(lambda: all(end.state == LinkState.UP for end in self.ends), cycles, "up")

    async def settled(self, cycles: int):
        """Waits until both ends are up, or end a is down because its partner has begun anew."""
        await self.until(lambda: self.a.state == LinkState.DOWN or self.a.state == self.b.state == LinkState.UP,
                         cycles, "up, or down")
        if self.a.state == LinkState.DOWN:
            assert Cause(self.a.status.cause) == Cause.PARTNER_RESET

    async def restart(self, low: int = 8):
        """A new session at both ends, whose ``enable`` is low for some cycles, and traffic from its beginning."""
        for end in self.ends:
            end.control(enable=0)
            end.drive("clear", 1)
            end.goal(0)
        await self.a.cycles(low)
        for end in self.ends:
            end.control(enable=1)
        await self.a.cycles(2 * self.parameters.flit_words)  # flits that had begun have ended
        for end in self.ends:
            end.drive("clear", 0)
        await self.a.cycles(2)

    def arrived(self) -> bool:
        """Whether all that was asked for has come."""
        return (self.a.number("received") == self.b.number("goal")
                and self.b.number("received") == self.a.number("goal"))

    async def deliver(self, cycles: int):
        """Waits until everything has come, and asserts that nothing else has."""
        await self.a.cycles(2)  # what was asked for last is seen
        await self.until(self.arrived, cycles, "all beats", step=64)
        self.check()

    def check(self):
        """Asserts that no beat was lost, doubled, exchanged or changed."""
        for end in self.ends:
            wrong = {name: end.number(name) for name in ("lost", "doubled", "corrupt")}
            assert not any(wrong.values()), f"end {end.name}: {wrong}"
            assert end.counters["overruns"] == 0
