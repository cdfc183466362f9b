"""The engine of the IPU alone, with a flat bus: what ``tb_ipu`` tests."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.axi import axi4
from hdl.config import ADDR_BITS, Config
from hdl.ipu.engine import Engine, events_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.windows import windows_layout


class Ipu(wiring.Component):
    """:class:`~hdl.ipu.engine.Engine` without repair and BIST.

    Members
    -------
    m_axi_* : AXI4 master
    go, address, count, halt, windows : In
    finished, fault, dispatched_address, overflow, events : Out
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__(axi4.ports(config) | {
            "go": In(1),
            "address": In(ADDR_BITS),
            "count": In(32),
            "halt": In(1),
            "windows": In(windows_layout()),
            "finished": Out(1),
            "fault": Out(fault_layout()),
            "dispatched_address": Out(ADDR_BITS),
            "overflow": Out(1),
            "events": Out(events_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.engine = engine = Engine(config)
        axi4.connect_ports(m, self, engine.bus, config)
        m.d.comb += [point.eq(config.cols) for macro in engine.repair for point in macro]
        m.d.comb += [getattr(engine, name).eq(getattr(self, name))
                     for name in ("go", "address", "count", "halt", "windows")]
        m.d.comb += [getattr(self, name).eq(getattr(engine, name))
                     for name in ("finished", "fault", "dispatched_address", "overflow", "events")]
        return m
