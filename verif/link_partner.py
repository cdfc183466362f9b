"""An RTL link and its reference (`verif.link_reference`) on two cables: clocks, payload, rules of the RTL's flits."""

from collections import deque
from collections.abc import Callable
from random import Random

import cocotb
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.link.link import Link, LinkControl, LinkCounters, LinkInject, LinkState, LinkStatus
from hdl.link.parameters import LinkParameters

from .layout import Codec
from .link_reference import Cable, Endpoint, Geometry, State
from .link_reference.format import CREDIT, Hello, Message, Trailer, Type
from .ports import ports_of

#: Simulated time of a cycle of the RTL.
CYCLE_PS = 10_000

HASH = 0x0123_4567_89AB_CDEF

#: Beats that the reference's receiver holds per channel; another number than the RTL's.
DEPTH = 24


class FlitRules:
    """What the page says of every transmitter's flits, whether a receiver depends on it or not.

    ``spoken`` tells whether the partner has sent a NULL or DATA flit. ``injecting`` says that wrong sequence numbers
    are sent on purpose: repetitions are not compared.
    """

    def __init__(self, geometry: Geometry, spoken: Callable[[], bool]):
        self.geometry, self.spoken = geometry, spoken
        self.flits = 0
        self.injecting = False
        self._since: dict[int, int] = {}
        self._sent: dict[int, tuple[Trailer, list[int]]] = {}

    def check(self, trailer: Trailer | None, flit: list[int]):
        """Takes the next flit; its trailer is None if the CRC is wrong."""
        if trailer is None:
            self._since.clear()  # nobody knows which message it had
            return
        if trailer.type == Type.HELLO:
            hello = Hello.of(flit)
            assert not hello.reserved | flit[1] >> 24, "unit 1 of HELLO: bits that are to be zero"
            assert not any(flit[2:-1]), "HELLO: units that are to be zero"
            self._since.clear()
            return
        self.flits += 1
        self._messages(trailer)
        if trailer.type == Type.NULL:
            assert trailer.beats == 0, "NULL with beats"
            return
        assert self.spoken(), "DATA before the partner's first NULL or DATA"
        before = self._sent.get(trailer.sequence)
        self._sent = {key: value for key, value in self._sent.items()
                      if (trailer.sequence - key) % 256 < 64 or (key - trailer.sequence) % 256 < 64}
        if before is not None and not self.injecting:
            same = trailer._replace(message=before[0].message, value=before[0].value, epoch=before[0].epoch)
            assert same == before[0], f"repeated as {trailer}, was {before[0]}"
            assert flit[:-1] == before[1][:-1], "repeated with another payload"
        self._sent[trailer.sequence] = trailer, flit

    def _messages(self, trailer: Trailer):
        """ACK and CREDIT of each channel once in 8 flits, unless NAK or REFUSE take their place."""
        if trailer.message in (Message.NAK, Message.REFUSE):
            self._since.clear()
            return
        for message in (Message.ACK, *range(CREDIT, CREDIT + self.geometry.channels)):
            self._since[message] = 0 if message == trailer.message else self._since.get(message, 0) + 1
            assert self._since[message] < 8, f"message {message} not in 8 flits"


class Meeting:
    """The device under test, the reference, and what each has sent and has still to receive.

    ``to_partner`` and ``to_link`` are the cables. ``offer`` and ``take`` are how likely, per cycle, the RTL's user
    offers a beat and takes one; ``read`` is how likely the reference's user does the latter.
    """

    def __init__(self, dut, parameters: LinkParameters):
        p = parameters
        link = Link(p)
        link._MustUse__silence = True  # it is here for its signature
        self.dut, self.parameters = dut, p
        self.ports = ports_of(dut, link.signature)
        self.random = Random(cocotb.RANDOM_SEED)
        self.geometry = Geometry(p.lanes, p.lane_bits, p.channels)
        self.to_partner = Cable(self.geometry, self.random)
        self.to_link = Cable(self.geometry, self.random)
        self.offer = self.take = self.read = 0.7
        self._control: dict[str, int] = {}
        self.offered: list[deque[int]] = [deque() for _ in range(p.channels)]  #: to the RTL, not taken yet
        self._new_partner(HASH)

    def _new_partner(self, configuration: int):
        self.partner = Endpoint(self.geometry, configuration, depth=DEPTH, patience=self.parameters.lane_timeout)
        self.rules = FlitRules(self.geometry, lambda: self.partner.spoken)
        self.partner.witness = lambda trailer, flit: self.rules.check(trailer, flit)

    def forget(self):
        """A new session is to begin: nothing has been sent, and what the RTL has not taken is still offered."""
        channels = range(self.parameters.channels)
        self.from_link: list[list[int]] = [[] for _ in channels]  #: taken by the RTL
        self.at_partner: list[list[int]] = [[] for _ in channels]
        self.from_partner: list[list[int]] = [[] for _ in channels]
        self.at_link: list[list[int]] = [[] for _ in channels]
        self.rules = FlitRules(self.geometry, lambda: self.partner.spoken)

    # Signals

    def drive(self, name: str, value):
        self.ports[name].drive(value, self.random)

    def control(self, **changes: int):
        """Changes fields of the control port, leaves the others."""
        self._control |= changes
        self.drive("control", Codec(data.Layout.cast(LinkControl)).pack(self._control))

    def inject(self, port: str, side: str | None = None, name: str = ""):
        """Drives ``inject_once`` or ``inject_always`` with one error, or none."""
        bits = 0
        if side is not None:
            field = data.Layout.cast(LinkInject)[side]
            bits = Codec(data.Layout.cast(field.shape)).pack({name: 1}) << field.offset
        self.drive(port, bits)

    async def inject_once(self, side: str, name: str):
        self.inject("inject_once", side, name)
        await self.cycles(2)
        self.inject("inject_once")

    def _fields(self, layout, port: str) -> dict[str, int]:
        layout = data.Layout.cast(layout)
        bits = self.ports[port].read()
        return {name: bits >> field.offset & (1 << field.width) - 1 for name, field in layout}

    @property
    def state(self) -> LinkState:
        return LinkState(self.status["state"])

    @property
    def status(self) -> dict[str, int]:
        return self._fields(LinkStatus, "status")

    @property
    def counters(self) -> dict[str, int]:
        return self._fields(LinkCounters, "counters")

    @property
    def masks(self) -> dict[str, int]:
        return self.ports["masks"].read()

    # Running

    async def start(self, *, ppm: int = 0, configuration: int = HASH, enable: bool = True):
        """Clocks, the reference's ``ppm`` slower; reset; sessions at both ends if ``enable``."""
        self._new_partner(configuration)
        self.forget()
        self.control(**dict.fromkeys(self._control, 0))
        self.inject("inject_once")
        self.inject("inject_always")
        self.drive("config_hash", HASH)
        self.drive("i_lanes", [0] * self.parameters.lanes)
        for stream in self.ports["i_payload"]:
            stream.drive({"valid": 0, "payload": 0}, self.random)
        for stream in self.ports["o_payload"]:
            stream.drive({"ready": 0}, self.random)
        self.dut.rst.value = 1
        Clock(self.dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
        period = CYCLE_PS + CYCLE_PS * ppm // 1_000_000
        Clock(self.dut.receive_clock, period, unit="ps", impl="gpi").start()
        for _ in range(8):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        cocotb.start_soon(self._link())
        cocotb.start_soon(self._partner())
        if enable:
            self.begin()
        await self.cycles(4)

    def begin(self):
        """A new session at both ends."""
        self.control(enable=1)
        self.partner.enable()

    async def _link(self):
        """Cycles of the RTL: its lanes go to the reference, its streams to and from the user."""
        streams = list(zip(self.ports["i_payload"], self.ports["o_payload"], strict=True))
        while True:
            await FallingEdge(self.dut.clk)
            self.partner.receive(self.to_partner.step(self.ports["o_lanes"].read()))
            taken, came = [], []
            for channel, (into, out) in enumerate(streams):
                taken.append(into["valid"].read() and into["ready"].read())
                came.append(out["valid"].read() and out["ready"].read())
                if taken[-1]:
                    self.from_link[channel].append(self.offered[channel].popleft())
                if came[-1]:
                    self.at_link[channel].append(out["payload"].read())
            await RisingEdge(self.dut.clk)
            for channel, (into, out) in enumerate(streams):
                offering = taken[channel] or not into["valid"].read()
                if offering:
                    valid = bool(self.offered[channel]) and self.random.random() < self.offer
                    into.drive({"valid": valid, "payload": self.offered[channel][0]} if valid else {"valid": 0},
                               self.random)
                out.drive({"ready": self.random.random() < self.take}, self.random)

    async def _partner(self):
        """Cycles of the reference, whose clock is the RTL's receive clock."""
        while True:
            await RisingEdge(self.dut.receive_clock)
            self.drive("i_lanes", self.to_link.step(self.partner.transmit()))
            for channel, arrived in enumerate(self.partner.receiver.arrived):
                if arrived and self.random.random() < self.read:
                    self.at_partner[channel].append(self.partner.read(channel))

    async def cycles(self, count: int):
        """Waits for cycles of the RTL; returns after the falling edge, where its outputs can be read."""
        for _ in range(count):
            await FallingEdge(self.dut.clk)

    async def until(self, condition: Callable[[], bool], cycles: int, what: str):
        """Raises ``AssertionError`` if the condition does not hold within some cycles."""
        for _ in range(cycles // 8 + 1):
            if condition():
                return
            await self.cycles(8)
        raise AssertionError(f"{what} not within {cycles} cycles: RTL {self.status} {self.counters}, "
                             f"reference {self.partner.state.name} {self.partner.cause.name}")

    async def up(self, cycles: int = 20_000):
        await self.until(lambda: self.state == LinkState.UP and self.partner.state is State.UP, cycles, "up")

    def traffic(self, beats: int):
        """So many beats more on each channel, both ways."""
        for channel in range(self.parameters.channels):
            for _ in range(beats):
                self.offered[channel].append(self.random.getrandbits(self.parameters.word_bits))
                beat = self.random.getrandbits(self.parameters.word_bits)
                self.from_partner[channel].append(beat)
                self.partner.send(channel, beat)

    def arrived(self) -> bool:
        """Whether all that was asked for has come and is acknowledged."""
        return (not any(self.offered) and self.at_partner == self.from_link and self.at_link == self.from_partner
                and not self.partner.undelivered and not self.status["undelivered"])

    def check(self):
        """Asserts that what has come is the beginning of what was sent."""
        for sent, came in ((self.from_link, self.at_partner), (self.from_partner, self.at_link)):
            for channel, (all_sent, all_came) in enumerate(zip(sent, came, strict=True)):
                wrong = [n for n, beat in enumerate(all_came) if n >= len(all_sent) or beat != all_sent[n]]
                assert not wrong, f"channel {channel}: beat {wrong[0]} of {len(all_came)} is not what was sent"

    async def deliver(self, cycles: int = 20_000):
        """Waits until all beats have come, unchanged and in order."""
        try:
            await self.until(self.arrived, cycles, "all beats")
        finally:
            self.check()
