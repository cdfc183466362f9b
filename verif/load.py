"""The load queue alone, with a flat bus: what ``tb_load`` tests."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.axi import axi4
from hdl.config import Config
from hdl.ipu.activity import activity_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.load import Load
from hdl.ipu.receive import write_members
from hdl.ipu.tokens import token_signature
from hdl.ipu.weights import weights_layout
from hdl.ipu.windows import windows_layout
from hdl.isa import Queue


class Loading(wiring.Component):
    """:class:`~hdl.ipu.load.Load` on an AXI4 port of which it only reads.

    Members
    -------
    m_axi_* : AXI4 master
    windows, halt, i_commands, tokens, o_weights, activity, idle, fault, buffer writes
    """

    CHANNEL = 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(axi4.ports(config) | write_members(config) | {
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_commands": In(stream.Signature(command_layout(config, Queue.LOAD))),
            "tokens": Out(token_signature(config)),
            "o_weights": Out(stream.Signature(weights_layout())),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.load = load = Load(self.config, channel=self.CHANNEL)
        bus = axi4.Signature(self.config).create()
        axi4.connect_ports(m, self, bus, self.config)
        connect(m, load=load.ar, bus=flipped(bus.ar))
        connect(m, bus=flipped(bus.r), load=load.r)
        m.d.comb += bus.b.ready.eq(1)
        connect(m, outer=flipped(self.i_commands), load=load.i_commands)
        connect(m, outer=flipped(self.tokens), load=load.tokens)
        connect(m, outer=flipped(self.o_weights), load=load.o_weights)
        m.d.comb += [load.windows.eq(self.windows), load.halt.eq(self.halt)]
        m.d.comb += [getattr(self, name).eq(getattr(load, name))
                     for name in ("activity", "idle", "fault", *write_members(self.config))]
        return m
