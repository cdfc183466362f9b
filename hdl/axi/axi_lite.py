"""An AXI4-Lite slave for registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Responses.
OKAY, SLVERR = 0, 2


def ports(addr_bits: int) -> dict[str, wiring.Member]:
    """Members of a component for a flat 32-bit AXI4-Lite slave port, by their standard names under ``s_axil_``."""
    channels = {
        "aw": (In, {"addr": addr_bits, "prot": 3}),
        "w": (In, {"data": 32, "strb": 4}),
        "b": (Out, {"resp": 2}),
        "ar": (In, {"addr": addr_bits, "prot": 3}),
        "r": (Out, {"data": 32, "resp": 2}),
    }
    members = {}
    for channel, (forward, signals) in channels.items():
        backward = In if forward is Out else Out
        members |= {f"s_axil_{channel}{name}": forward(width) for name, width in signals.items()}
        members |= {f"s_axil_{channel}valid": forward(1), f"s_axil_{channel}ready": backward(1)}
    return members


def connect_ports(m, *, outer, inner, addr_bits: int):
    """Hands the port of a component on to a part of it."""
    for name, member in ports(addr_bits).items():
        mine, its = getattr(outer, name), getattr(inner, name)
        m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)


def access_signature(addr_bits: int) -> wiring.Signature:
    """An access from beside the bus, for one cycle; ``read_data`` and ``error`` in that cycle. It takes the registers
    at once, and the bus waits."""
    return wiring.Signature({"valid": Out(1), "write": Out(1), "address": Out(addr_bits), "data": Out(32),
                             "read_data": In(32), "error": In(1)})


class RegisterBus(wiring.Component):
    """One access at a time, as seen by the registers.

    ``write`` comes for one cycle with address, data and strobes; ``read`` for one cycle, with ``read_data`` in that
    cycle. ``unmapped`` in the same cycle answers SLVERR.

    Members
    -------
    s_axil_* : the AXI4-Lite port
    aside : In(access_signature)
    write, write_address, write_data, write_strobe : Out, write_unmapped : In
    read, read_address : Out, read_data, read_unmapped : In
    """

    def __init__(self, addr_bits: int):
        super().__init__(ports(addr_bits) | {
            "aside": In(access_signature(addr_bits)),
            "write": Out(1), "write_address": Out(addr_bits), "write_data": Out(32), "write_strobe": Out(4),
            "write_unmapped": In(1),
            "read": Out(1), "read_address": Out(addr_bits), "read_data": In(32), "read_unmapped": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        aside_writes, aside_reads = Signal(), Signal()
        write, read = Signal(), Signal()
        m.d.comb += [
            aside_writes.eq(self.aside.valid & self.aside.write),
            aside_reads.eq(self.aside.valid & ~self.aside.write),
            write.eq(self.s_axil_awvalid & self.s_axil_wvalid & (~self.s_axil_bvalid | self.s_axil_bready)
                     & ~aside_writes),
            read.eq(self.s_axil_arvalid & (~self.s_axil_rvalid | self.s_axil_rready) & ~aside_reads),
            self.s_axil_awready.eq(write),
            self.s_axil_wready.eq(write),
            self.s_axil_arready.eq(read),
            self.write.eq(write | aside_writes),
            self.write_address.eq(Mux(aside_writes, self.aside.address, self.s_axil_awaddr)),
            self.write_data.eq(Mux(aside_writes, self.aside.data, self.s_axil_wdata)),
            self.write_strobe.eq(Mux(aside_writes, 0xF, self.s_axil_wstrb)),
            self.read.eq(read | aside_reads),
            self.read_address.eq(Mux(aside_reads, self.aside.address, self.s_axil_araddr)),
            self.aside.read_data.eq(self.read_data),
            self.aside.error.eq(Mux(self.aside.write, self.write_unmapped, self.read_unmapped)),
        ]
        with m.If(self.s_axil_bready):
            m.d.sync += self.s_axil_bvalid.eq(0)
        with m.If(write):
            m.d.sync += [self.s_axil_bvalid.eq(1), self.s_axil_bresp.eq(_response(self.write_unmapped))]
        with m.If(self.s_axil_rready):
            m.d.sync += self.s_axil_rvalid.eq(0)
        with m.If(read):
            m.d.sync += [self.s_axil_rvalid.eq(1), self.s_axil_rdata.eq(self.read_data),
                         self.s_axil_rresp.eq(_response(self.read_unmapped))]
        return m


def _response(unmapped: Signal):
    return unmapped << 1
