"""Stream stability: what a source shows and its sink does not take, it goes on showing."""

from collections.abc import Callable
from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Cat, Module, Signal
from amaranth.lib import wiring

from hdl.axi import axi4
from hdl.axi.arbiter import RoundRobin
from hdl.axi.axi_lite import RegisterBus
from hdl.axi.write_arbiter import WriteArbiter
from hdl.config import Config
from hdl.ipu.burst import BurstSplitter
from hdl.ipu.decode import Decode
from hdl.ipu.fetch import Fetch
from hdl.ipu.gather import Gather
from hdl.ipu.gearbox import Gearbox
from hdl.ipu.load import Load
from hdl.ipu.reader import Reader
from hdl.ipu.store import Store
from hdl.ipu.walk import Walk
from hdl.ipu.weights import Weights
from hdl.ipu.writer import Writer
from hdl.isa import QUEUES
from hdl.transport.packetiser import Packetiser
from hdl.transport.remote import Remote

from .design import FormalTop, opened, previous, state, steady


class SteadyStreams(FormalTop):
    """A component under any inputs: its input streams are assumed to be steady, its output streams claimed to be.

    Parameters
    ----------
    component : wiring.Component
    unless : dict of str to (function of component -> Value)
        Per output stream, what takes the claim back while it is set.
    further : function of (Module, component)
        Adds assumptions about the component's surroundings, and assertions that induction needs.
    without : function of component -> list of components
        Parts whose outputs are free: the claims do not depend on them.
    """

    def __init__(self, component: wiring.Component, *, unless: dict[str, Callable] | None = None,
                 further: Callable | None = None, without: Callable | None = None):
        super().__init__()
        self.component, self.unless, self.further = component, unless or {}, further
        found: dict[str, dict] = {}
        for path, member, signal in component.signature.flatten(component):
            if member.flow == wiring.In:
                self.release(signal)
            found.setdefault("_".join(map(str, path[:-1])), {})[path[-1]] = (member.flow, signal)
        self.incoming, self.outgoing = {}, {}
        for name, members in found.items():
            if members.keys() == {"payload", "valid", "ready"}:
                side = self.outgoing if members["valid"][0] == wiring.Out else self.incoming
                side[name] = SimpleNamespace(**{member: signal for member, (_, signal) in members.items()})
        for part in without(component) if without else ():
            self.leave_out(part)

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component
        for name, source in self.incoming.items():
            m.d.comb += Assume(steady(m, source, name=name))
        for name, source in self.outgoing.items():
            released = self.unless[name](self.component) if name in self.unless else 0
            m.d.comb += Assert(steady(m, source, name=name) | released, f"{name} is steady")
        if self.further:
            self.further(m, self.component)
        return m


class SteadyResponses(FormalTop):
    """The response channels of the AXI4-Lite slave, which are flat ports."""

    def __init__(self):
        super().__init__()
        self.component = RegisterBus(8)
        self.release(*(signal for _, member, signal in self.component.signature.flatten(self.component)
                       if member.flow == wiring.In))

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = bus = self.component
        for channel, payload in (("b", bus.s_axil_bresp), ("r", Cat(bus.s_axil_rdata, bus.s_axil_rresp))):
            source = SimpleNamespace(payload=payload, valid=getattr(bus, f"s_axil_{channel}valid"),
                                     ready=getattr(bus, f"s_axil_{channel}ready"))
            m.d.comb += Assert(steady(m, source, name=channel), f"{channel} is steady")
        return m


def _address_waits(m, channel):
    """An address that is shown is that of a burst, which the splitter goes on showing."""
    shown = channel.ar.valid if isinstance(channel, Reader) else channel.aw.valid
    splitter = opened(channel).submodules.splitter
    m.d.comb += Assert(~shown | splitter.o_bursts.valid, "an address that is shown is a burst's")


def _reader_inside(m, component):
    _address_waits(m, opened(component).submodules.reader)


def _fetch(m, fetch):
    """The engine starts one program after a reset, and memory answers what it was asked: nothing comes before."""
    module = opened(fetch)
    reader = module.submodules.reader
    _address_waits(m, reader)
    inside = opened(reader)
    in_flight = state(inside, "in_flight")
    started = Signal()
    with m.If(fetch.start):
        m.d.sync += started.eq(1)
    nothing = Cat(~state(module, "request"), state(module, "word") == 0, inside.submodules.splitter.idle,
                  in_flight == 0, inside.submodules.fifo.level == 0).all()
    m.d.comb += [
        Assume(~(fetch.start & started)),
        Assume(~fetch.r.valid | (in_flight != 0)),
        Assert(started | nothing, "nothing is fetched before the start"),
    ]


def _load(m, load):
    _reader_inside(m, load)
    m.d.comb += Assert(~load.o_weights.valid | load.i_commands.valid, "an instruction that asks stays in its queue")


def _walk(m, walk):
    waiting = state(opened(walk), "waiting")
    m.d.comb += Assert(waiting | walk.i_commands.valid, "an instruction that is walked stays in its queue")


def _store(m, store):
    parts = opened(store).submodules
    _address_waits(m, parts.writer)
    _reader_inside(m, parts.residual)


def _write_arbiter(m, arbiter):
    """Writers always take their responses."""
    m.d.comb += [Assume(response.ready) for response in arbiter.o_b]


def _packetiser(m, packetiser):
    """Only what is taken leaves the FIFO in front of it."""
    words = packetiser.i_words
    left = previous(m, packetiser.level - (words.valid & words.ready), name="left")
    between = state(opened(packetiser), "left") == 0
    m.d.comb += [
        Assume((packetiser.level >= left) & (~words.valid | (packetiser.level != 0))),
        Assert(between | packetiser.i_sends.valid, "a packet belongs to a SEND"),
    ]


def _remote(m, remote):
    parts = opened(remote).submodules
    m.d.comb += Assert(~remote.aw.valid | parts.bursts.r_rdy, "an address that is shown is a burst's")


def _linked(config: Config) -> Config:
    return config.with_(links=2)


def _halt(component):
    return component.halt


def _fault(component):
    return component.fault.valid


def _requantise(store):
    return [opened(store).submodules[f"requantise_{lane}"] for lane in range(store.config.post_lanes)]


#: Formal tops by name. Bursts and FIFOs are shorter than in any configuration where a parameter allows it.
STREAMS: dict[str, Callable[[Config], FormalTop]] = {
    "RoundRobin": lambda config: SteadyStreams(RoundRobin(axi4.address_layout(config), 3)),
    "BurstSplitter": lambda config: SteadyStreams(BurstSplitter(config, permission="read", max_beats=4)),
    "Reader": lambda config: SteadyStreams(Reader(config, channel=1, depth=4), further=_address_waits),
    "Writer": lambda config: SteadyStreams(Writer(config), further=_address_waits),
    "Walk": lambda config: SteadyStreams(Walk(config), further=_walk),
    "Gather": lambda config: SteadyStreams(Gather(config)),
    # Its sinks are FIFOs beside it. A halt is for good: what it withdraws is not going to be executed.
    "Decode": lambda config: SteadyStreams(Decode(config), unless={
        f"o_{queue.name.lower()}": _halt for queue in QUEUES}),
    "Fetch": lambda config: SteadyStreams(Fetch(config, channel=0), further=_fetch),
    "Load": lambda config: SteadyStreams(Load(config, channel=2), further=_load),
    # After a fault no word reaches the loader.
    "Weights": lambda config: SteadyStreams(Weights(config, channel=1), further=_reader_inside,
                                            unless={"o_words": _fault}),
    "Gearbox": lambda config: SteadyStreams(Gearbox(config)),
    "Store": lambda config: SteadyStreams(Store(config, channel=3), further=_store, without=_requantise),
    "RegisterBus": lambda config: SteadyResponses(),
    "WriteArbiter": lambda config: SteadyStreams(WriteArbiter(_linked(config), 2), further=_write_arbiter),
    # A port whose session is over takes nothing any more.
    "Packetiser": lambda config: SteadyStreams(Packetiser(_linked(config), depth=64), further=_packetiser, unless={
        f"o_requests_{port}": lambda packetiser, port=port: packetiser.lost[port] for port in range(2)}),
    "Remote": lambda config: SteadyStreams(Remote(_linked(config), channel=1), further=_remote, unless={
        "o_answers": lambda remote: state(opened(remote), "over")}),
}
