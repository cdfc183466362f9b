"""A chip-to-chip port: link, receiving side, registers."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import Config, clog2
from ..csr import INJECTED, LINE_COUNTERS, SEMAPHORES, Access, link_registers
from ..ipu.windows import windows_layout
from ..link.link import Link, LinkState
from ..link.parameters import link_parameters
from .interface import port_signature
from .packet import ANSWERS, REQUESTS
from .remote import Remote


class Port(wiring.Component):
    """One :class:`~hdl.link.link.Link`, whose partner's requests :class:`~hdl.transport.remote.Remote` executes.

    Members
    -------
    <register> : In or Out(32)
        One per register of :func:`~hdl.csr.link_registers` that is this port's, in lower case; ``<name>_set`` for those
        that are written to act, for one cycle.
    tx : Out, rx : In, rx_clk : In(1)
        Line words: lane ``l`` has bits ``lane_bits * l`` and up.
    windows : In(ArrayLayout)
    engine : In(port_signature)
    aw, w, b, o_posts, full
        As in :class:`~hdl.transport.remote.Remote`.
    changed : Out(1)
        For one cycle: the link has come up, or is not up any more.
    """

    o_posts: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    def __init__(self, config: Config, *, number: int):
        self.config = config
        self.number = number
        self.map = [register for register in link_registers(config) if register.name.startswith(f"LINK{number}_")]
        directions = {Access.RO: Out, Access.RW: In, Access.W1: In}
        super().__init__({
            **{register.name.lower() + "_set" * (register.access is Access.W1): directions[register.access](32)
               for register in self.map},
            "tx": Out(config.bus_bits), "rx": In(config.bus_bits), "rx_clk": In(1),
            "windows": In(windows_layout()),
            "engine": In(port_signature(config)),
            "aw": Out(stream.Signature(axi4.address_layout(config))),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout(config))),
            "o_posts": Out(stream.Signature(clog2(SEMAPHORES))),
            "full": In(1),
            "changed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        parameters = link_parameters(self.config)
        m.submodules.link = self.link = link = Link(parameters)
        m.submodules.remote = self.remote = remote = Remote(self.config, channel=1 + self.number)
        for name in ("aw", "w", "b", "o_posts"):
            connect(m, outer=flipped(getattr(self, name)), inner=getattr(remote, name))
        connect(m, link=link.o_payload[REQUESTS], remote=remote.i_requests)
        connect(m, link=link.o_payload[ANSWERS], engine=flipped(self.engine).answers)
        connect(m, remote=remote.o_answers, link=link.i_payload[ANSWERS])
        requests = link.i_payload[REQUESTS]
        m.d.comb += [
            requests.valid.eq(self.engine.requests.valid & ~remote.closing),
            requests.payload.eq(self.engine.requests.payload),
            self.engine.requests.ready.eq(requests.ready & ~remote.closing),
            remote.windows.eq(self.windows),
            remote.full.eq(self.full),
            link.config_hash.eq(self.config.hash),
            link.receive_clock.eq(self.rx_clk),
            self.tx.eq(Cat(*link.o_lanes)),
            Cat(*link.i_lanes).eq(self.rx),
        ]
        self._state(m)
        self._settings(m)
        self._figures(m)
        return m

    def _register(self, name: str):
        return getattr(self, f"link{self.number}_{name}")

    def _state(self, m):
        status, state, up = self.link.status, self.engine.state, Signal()
        m.d.comb += [
            state.up.eq(status.state == LinkState.UP),
            state.down.eq((status.state == LinkState.DOWN) | (status.state == LinkState.TEST)),
            state.cause.eq(status.cause),
            self.changed.eq(state.up != up),
            self.remote.state.eq(state),
            self.remote.delivered.eq(status.undelivered == 0),
        ]
        m.d.sync += up.eq(state.up)

    def _settings(self, m):
        """From registers to the link."""
        link, control = self.link, self._register("control")
        enable = control[0]
        m.d.comb += [
            link.control.enable.eq(enable & ~self.remote.broken),
            *(link.control[name].eq(control[bit])
              for bit, name in enumerate(("retrain", "near_loopback", "far_loopback", "test"), start=1)),
            link.control.down_after.eq(self._register("down_after")),
            self.remote.enable.eq(enable),
        ]
        for port, register in ((link.inject_once, "inject_once_set"), (link.inject_always, "inject_always")):
            for name, (bit, _, _) in INJECTED.items():
                side, _, error = name.partition("_")
                m.d.comb += port[side][error].eq(self._register(register)[bit])

    def _figures(self, m):
        """From the link and the receiving side to registers."""
        link, status, masks = self.link, self.link.status, self.link.masks
        renamed = {"flits_refused": "refused"}
        m.d.comb += [
            self._register("status").eq(Cat(_padded(status.state, 4), _padded(status.cause, 4),
                                            _padded(status.refused, 8), status.undelivered)),
            self._register("masks").eq(Cat(_padded(masks.transmit, 16), masks.receive)),
            self._register("test_mask").eq(masks.test),
            *(self._register(name.lower()).eq(link.counters[renamed.get(name.lower(), name.lower())])
              for name in LINE_COUNTERS),
            *(self._register(f"lane_errors{lane}").eq(errors) for lane, errors in enumerate(link.lane_errors)),
            self._register("refused").eq(self.remote.refused),
            self._register("refused_cause").eq(self.remote.refused_cause),
            Cat(self._register("refused_address"), self._register("refused_address_high")).eq(
                self.remote.refused_address),
        ]


def _padded(value, bits: int):
    """A value with zeros above it."""
    return Cat(value, Const(0, bits - len(Value.cast(value))))
