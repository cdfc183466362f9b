"""The ports of the generated chip, for the integration page: a table, and a template that instantiates the chip."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring

from hdl.axi import axi4, axi_lite
from hdl.bist.jtag import jtag_pins
from hdl.config import CONFIGS, Config
from hdl.csr import CSR_ADDR_BITS

#: Widths that depend on the configuration.
_WIDTHS: dict[str, Callable[[Config], int]] = {
    "bus_bits": lambda config: config.bus_bits,
    "bus_bits / 8": lambda config: config.bus_bytes,
}

_HANDSHAKE = "handshake"

#: Meanings of AXI4 ports without their prefix ``m_axi_``.
_AXI4 = {
    "awid": "0: writes are in order; with links 3 bits, 1 + port for a partner's",
    "awaddr": "first byte, a multiple of the bus word",
    "awlen": "beats less one, at most 63",
    "awsize": "always the whole bus word",
    "awburst": "always INCR",
    "awvalid": _HANDSHAKE, "awready": _HANDSHAKE,
    "wdata": "data",
    "wstrb": "bytes to write; not all are set only where a vector's results begin or end within a bus word",
    "wlast": "with the burst's last beat",
    "wvalid": "not before the burst's address is taken", "wready": _HANDSHAKE,
    "bid": "of the request",
    "bresp": "anything but OKAY stops the program",
    "bvalid": _HANDSHAKE, "bready": "always 1",
    "arid": "0 instructions, 1 weights, 2 activations, parameters and tables, 3 residuals; with links 3 bits, 4 SENDs",
    "araddr": "first byte, a multiple of the bus word",
    "arlen": "beats less one, at most 63",
    "arsize": "always the whole bus word",
    "arburst": "always INCR",
    "arvalid": _HANDSHAKE, "arready": _HANDSHAKE,
    "rid": "of the request; data of different IDs may interleave",
    "rdata": "data",
    "rresp": "anything but OKAY stops the program",
    "rlast": "must come with the burst's last beat",
    "rvalid": _HANDSHAKE, "rready": "always 1",
}

#: Meanings of AXI4-Lite ports without their prefix ``s_axil_``.
_AXI_LITE = {
    "awaddr": "byte offset of a register; bits 1:0 are ignored", "awprot": "ignored", "awvalid": _HANDSHAKE,
    "awready": "taken together with the data",
    "wdata": "data", "wstrb": "bytes of the register to write", "wvalid": _HANDSHAKE, "wready": _HANDSHAKE,
    "bresp": "OKAY, or SLVERR where no register is", "bvalid": _HANDSHAKE, "bready": _HANDSHAKE,
    "araddr": "byte offset of a register; bits 1:0 are ignored", "arprot": "ignored", "arvalid": _HANDSHAKE,
    "arready": _HANDSHAKE,
    "rdata": "data", "rresp": "OKAY, or SLVERR where no register is", "rvalid": _HANDSHAKE, "rready": _HANDSHAKE,
}

#: Meanings of JTAG ports without their prefix ``jtag_``.
_JTAG = {
    "tck": "clock of JTAG; any frequency, may stand still",
    "trst_n": "resets JTAG while low, asynchronously; low once after power-up, always if JTAG is not used",
    "tms": "mode", "tdi": "data in",
    "tdo": "data out; changes on the falling edge of `jtag_tck`",
    "tdo_enable": "high while `jtag_tdo` is to be driven",
}


@dataclass(frozen=True)
class Port:
    """A port of the generated module; ``width`` is a number or an expression in fields of the configuration."""

    name: str
    is_output: bool
    width: str
    meaning: str


def chip_ports() -> list[Port]:
    """Every port of :class:`hdl.chip.Chip` and the clock and reset that its Verilog adds, in the order of the page."""
    ports = [Port("clk", False, "1", "everything happens on its rising edge"),
             Port("rst", False, "1", "synchronous, active high, at least two cycles"),
             Port("irq", True, "1", "high while an enabled event is set in IRQ_STATUS")]
    for prefix, meanings, members in (
            ("s_axil_", _AXI_LITE, {config: axi_lite.ports(CSR_ADDR_BITS) for config in CONFIGS.values()}),
            ("m_axi_", _AXI4, {config: axi4.ports(config) for config in CONFIGS.values()})):
        for name, member in next(iter(members.values())).items():
            short = name.removeprefix(prefix)
            widths = {config: theirs[name].shape for config, theirs in members.items()}
            ports.append(Port(name, member.flow == wiring.Out, _expression(widths), meanings[short]))
    return ports + [Port(f"jtag_{name}", member.flow == wiring.Out, str(member.shape), _JTAG[name])
                    for name, member in jtag_pins().items()]


def _expression(widths: dict[Config, object]) -> str:
    if len(set(widths.values())) == 1:
        return str(next(iter(widths.values())))
    return next(text for text, of in _WIDTHS.items() if all(of(config) == width for config, width in widths.items()))


def port_rows() -> list[tuple[str, str, str, str]]:
    """Port, direction, width, meaning."""
    return [(f"`{port.name}`", "out" if port.is_output else "in", port.width, port.meaning) for port in chip_ports()]


def instantiation(config: Config) -> str:
    """Verilog that instantiates the chip of ``config``, one line per port; only BUS_BITS changes with the
    configuration."""
    ports = chip_ports()
    declarations = [f"  wire {_range(port.width)}{port.name};" for port in ports
                    if port.name not in ("clk", "rst", "irq")]
    pins = ",\n".join(f"    .{port.name}({port.name})" for port in ports)
    return (f"module soc (\n  input  wire clk,\n  input  wire rst,\n  output wire irq\n);\n"
            f"  localparam BUS_BITS = {config.bus_bits};  // bus_bits of configuration {config.name}\n\n"
            + "\n".join(declarations)
            + f"\n\n  chip chip (\n{pins}\n  );\n\n"
            "  // Here: the interconnect that drives s_axil_*, and the memory that answers m_axi_*.\nendmodule")


def _range(width: str) -> str:
    if width.isdigit():
        return "" if width == "1" else f"[{int(width) - 1}:0] "
    return f"[{width.replace('bus_bits', 'BUS_BITS')} - 1:0] "
