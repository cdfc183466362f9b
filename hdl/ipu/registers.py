"""The register file that :mod:`hdl.csr` describes."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..axi import axi_lite
from ..config import Config
from ..csr import CSR_ADDR_BITS, Access, Register, registers


class Registers(wiring.Component):
    """Control and status registers on AXI4-Lite, and by single accesses (``aside``) from elsewhere.

    Has a member per register, named in lower case: an input for the value of a read-only or write-1-to-clear register,
    an output for the value of a writable one. A write to a write-1 register shows its ones for one cycle as
    ``<name>_set``; one to a write-1-to-clear register as ``<name>_clear``.

    Parameters
    ----------
    config : Config
    described : sequence of Register
        The registers, if not all of a chip.
    """

    def __init__(self, config: Config, *, described: Sequence[Register] | None = None):
        self.map = registers(config) if described is None else described
        members = axi_lite.ports(CSR_ADDR_BITS) | {"aside": In(axi_lite.access_signature(CSR_ADDR_BITS))}
        for register in self.map:
            name = register.name.lower()
            match register.access:
                case Access.RO:
                    members[name] = In(32)
                case Access.RW:
                    members[name] = Out(32, init=register.init)
                case Access.W1:
                    members[f"{name}_set"] = Out(32)
                case Access.W1C:
                    members |= {name: In(32), f"{name}_clear": Out(32)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bus = bus = axi_lite.RegisterBus(CSR_ADDR_BITS)
        axi_lite.connect_ports(m, outer=self, inner=bus, addr_bits=CSR_ADDR_BITS)
        wiring.connect(m, aside=wiring.flipped(self.aside), bus=bus.aside)
        m.d.comb += [bus.write_unmapped.eq(1), bus.read_unmapped.eq(1)]
        strobes = Cat(strobe.replicate(8) for strobe in bus.write_strobe)
        with m.Switch(bus.read_address[2:]):
            for register in self.map:
                with m.Case(register.offset >> 2):
                    m.d.comb += bus.read_unmapped.eq(0)
                    if register.access is not Access.W1:
                        m.d.comb += bus.read_data.eq(getattr(self, register.name.lower()))
        with m.Switch(bus.write_address[2:]):
            for register in self.map:
                name = register.name.lower()
                with m.Case(register.offset >> 2):
                    m.d.comb += bus.write_unmapped.eq(0)
                    written = bus.write_data & strobes
                    match register.access:
                        case Access.RW:
                            value = getattr(self, name)
                            locked = getattr(self, register.locked_by.lower())[2] \
                                if register.locked_by else 0
                            merged = (written | (value & ~strobes)) & register.writable
                            with m.If(bus.write):
                                m.d.sync += value.eq(Mux(locked, value, merged))
                        case Access.W1:
                            m.d.comb += getattr(self, f"{name}_set").eq(Mux(bus.write, written, 0))
                        case Access.W1C:
                            m.d.comb += getattr(self, f"{name}_clear").eq(Mux(bus.write, written, 0))
        return m


def wide(component, name: str) -> Signal:
    """The 64-bit quantity of a register pair of :class:`Registers`."""
    return Cat(getattr(component, name), getattr(component, f"{name}_high"))
