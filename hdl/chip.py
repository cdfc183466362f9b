"""The chip: what an integrator instantiates."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import axi4, axi_lite
from .bist.jtag import Jtag, jtag_pins
from .config import Config, ConfigError
from .core import Core
from .csr import CSR_ADDR_BITS


class Chip(wiring.Component):
    """One core with flat, standard port names; ``docs/integration.md`` is its data sheet.

    Members
    -------
    m_axi_* : AXI4 master
    s_axil_* : AXI4-Lite slave
    irq : Out(1)
    jtag_tck, jtag_trst_n, jtag_tms, jtag_tdi : In(1), jtag_tdo, jtag_tdo_enable : Out(1)
        Access to the registers, see :class:`~hdl.bist.jtag.Jtag`.
    link<p>_tx : Out, link<p>_rx : In, link<p>_rx_clk : In(1)
        Of each of ``links`` ports, see :class:`~hdl.transport.port.Port`.

    Raises
    ------
    ConfigError
        If the configuration has more than one core; those exist as a system model only.
    """

    def __init__(self, config: Config):
        if config.cores != 1:
            raise ConfigError(f"cores must be 1 for RTL, not {config.cores!r}")
        self.config = config
        super().__init__(axi4.ports(config) | axi_lite.ports(CSR_ADDR_BITS) | {"irq": Out(1)} | {
            f"jtag_{name}": member for name, member in jtag_pins().items()} | link_ports(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = Core(self.config)
        axi4.connect_ports(m, self, core.bus, self.config)
        axi_lite.connect_ports(m, outer=self, inner=core, addr_bits=CSR_ADDR_BITS)
        m.submodules.jtag = jtag = Jtag()
        wiring.connect(m, jtag=jtag.access, core=core.aside)
        m.d.comb += self.irq.eq(core.irq)
        for name, member in jtag_pins().items():
            mine, its = getattr(self, f"jtag_{name}"), getattr(jtag, name)
            m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
        for number in range(self.config.links):
            m.d.comb += [
                getattr(self, f"link{number}_tx").eq(core.tx[number]),
                core.rx[number].eq(getattr(self, f"link{number}_rx")),
                core.rx_clk[number].eq(getattr(self, f"link{number}_rx_clk")),
            ]
        return m


def link_ports(config: Config) -> dict[str, wiring.Member]:
    """Members of a chip for its chip-to-chip ports."""
    members = {}
    for number in range(config.links):
        members |= {f"link{number}_tx": Out(config.bus_bits), f"link{number}_rx": In(config.bus_bits),
                    f"link{number}_rx_clk": In(1)}
    return members
