"""The simulated system: chips, each with a memory that the simulator itself runs, and the cables between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hdl.config import ADDR_BITS, Config
from hdl.verilog import Generated

from .netlist import bits, instance, module, wires, without_repetition

#: The memory, in Verilog.
AXI_MEMORY = Path(__file__).with_name("axi_memory.sv")

#: One direction of a cable, in Verilog.
LINK_CHANNEL = Path(__file__).with_name("link_channel.sv")

#: Names of the top modules: one chip, several chips; and, in front of its own, of each of these with its memory.
TOP, CARD_TOP, NODE = "sim_top", "sim_card", "sim_node"

#: Inputs of ``link_channel`` besides clock and lanes, with their widths for a number of lanes.
CHANNEL_INPUTS = {
    "seed": lambda lanes: 64, "load": lambda lanes: 1, "delay": lambda lanes: 16, "skew": lambda lanes: 16 * lanes,
    "order": lambda lanes: 4 * lanes, "invert": lambda lanes: lanes, "dead": lambda lanes: lanes,
    "interval": lambda lanes: 64, "burst": lambda lanes: 1,
}

_BUS = "m_axi_"

#: Ports of the chip that nothing uses here.
_JTAG = "jtag_"

_LINK = "link"

_MEMORY_INPUTS = {"load": ("input", 1), "dump": ("input", 1)}


class End(NamedTuple):
    """A chip's port, where a cable ends."""
    chip: int
    port: int

    def net(self, pin: str) -> str:
        return f"chip{self.chip}_{_LINK}{self.port}_{pin}"


def harness(chip: Generated, config: Config, *, memory_bytes: int, read_latency: int = 40) -> Generated:
    """``sim_top``: ``chip`` with its AXI4 master on an ``axi_memory``, JTAG in reset, link ports in silence, all its
    other ports brought out.

    Add :data:`AXI_MEMORY` to the build's ``extra_sources``. Inputs ``load`` and ``dump`` make the memory read and
    write its files, which are plusargs as its stalls are, see ``axi_memory.sv``.

    Parameters
    ----------
    memory_bytes : int
        Size of the memory, from address 0; a multiple of the bus width.
    read_latency : int
        Cycles from a read address to its first data.
    """
    return _node(TOP, chip, config, memory_bytes, read_latency)


def card(chips: Sequence[Generated], config: Config, cables: Sequence[tuple[End, End]], *, memory_bytes: int,
         read_latency: int = 40, channels: bool = False) -> Generated:
    """``sim_card``: chips, each as in :func:`harness`, their link ports on cables, all in one clock.

    Ports of chip ``i``, its reset included, have the prefix ``chip<i>_``, and the plusargs of its memory end with its
    number, ``+image0=FILE``; ``clk``, ``load``, ``dump`` and the stalls are common.

    Add :data:`AXI_MEMORY` to the build's ``extra_sources``, and :data:`LINK_CHANNEL` with ``channels``.

    Parameters
    ----------
    chips : Generated of each chip
        Different ones have different names, and the ports of ``config``.
    cables : pairs of End
        A cable takes a cycle. A link port without one is in silence.
    channels : bool
        Each direction of cable ``n`` is a ``link_channel``, whose inputs are ports, as ``cable<n>_ab_interval``, and
        its count of errors, ``cable<n>_ab_errors``; ``ab`` goes from the first end to the second. Otherwise it is a
        wire.
    """
    ports: dict[str, tuple[str, int]] = {"clk": ("input", 1)} | _MEMORY_INPUTS
    body: list[str] = []
    heard: dict[End, str] = {}
    for number, (a, b) in enumerate(cables):
        body += wires({end.net("tx"): config.bus_bits for end in (a, b)})
        for way, sender, receiver in (("ab", a, b), ("ba", b, a)):
            if channels:
                more_ports, more_body = _channel(config, f"cable{number}_{way}", sender, receiver)
                ports |= more_ports
                body += more_body
            heard[receiver] = receiver.net("rx") if channels else sender.net("tx")
    nodes = {chip.name: _node(f"{NODE}_{chip.name}", chip, config, memory_bytes, read_latency, numbered=True)
             for chip in chips}
    for number, chip in enumerate(chips):
        node = nodes[chip.name]
        linked = {name: direction for name, (direction, _) in node.ports.items() if name.startswith(_LINK)}
        own = {name: f"chip{number}_{name}" for name in node.ports
               if name not in linked and name not in ("clk", "number", *_MEMORY_INPUTS)}
        ports |= {net: node.ports[name] for name, net in own.items()}
        pins = {name: _at_rest(name, direction) for name, direction in linked.items()}
        for end, hears in heard.items():
            if end.chip == number:
                pins |= {f"{_LINK}{end.port}_tx": end.net("tx"), f"{_LINK}{end.port}_rx": hears}
        body.append(instance(node.name, f"chip{number}", {
            "clk": "clk", "number": f"8'd{number}", **{name: name for name in _MEMORY_INPUTS}} | own | pins))
    return module(CARD_TOP, ports, body, without_repetition(node.text for node in nodes.values()))


def _node(name: str, chip: Generated, config: Config, memory_bytes: int, read_latency: int,
          numbered: bool = False) -> Generated:
    """A chip with its memory. If it is ``numbered``, it has the input ``number``, which distinguishes its plusargs, and
    the chip's link ports, which receive a cycle later; Verilator may build it once for all its instances."""
    if memory_bytes % config.bus_bytes or memory_bytes < 2 * config.bus_bytes:
        raise ValueError(f"memory_bytes must be a multiple of the bus's {config.bus_bytes} bytes and at least two bus "
                         f"words, not {memory_bytes!r}")
    bus = {port: width for port, (_, width) in chip.ports.items() if port.startswith(_BUS)}
    if not bus:
        raise ValueError(f"the chip must have ports {_BUS}*, {chip.name!r} has none")
    unused = {port: _at_rest(port, direction) for port, (direction, _) in chip.ports.items()
              if port.startswith(_JTAG if numbered else (_JTAG, _LINK))}
    ports = {port: shape for port, shape in chip.ports.items() if port not in bus and port not in unused}
    ports |= _MEMORY_INPUTS | ({"number": ("input", 8)} if numbered else {})
    parameters: dict[str, int | str] = {
        "DATA_BITS": config.bus_bits, "ADDR_BITS": ADDR_BITS, "ID_BITS": bus[f"{_BUS}arid"],
        "DEPTH": memory_bytes // config.bus_bytes, "READ_LATENCY": read_latency, "NUMBERED": int(numbered)}
    memory_pins = {name: name for name in ("clk", "rst", "load", "dump")} | {
        "number": "number" if numbered else "8'd0"} | {f"s_axi_{port.removeprefix(_BUS)}": port for port in bus}
    # Verilator evaluates what depends on an input several times in a cycle: on the links' lines that is but a register.
    late = {port: f"{port}_late" for port in ports if port.startswith(_LINK) and port.endswith("_rx")}
    return module(name, ports, [
        *(["  /*verilator hier_block*/"] if numbered else []), *wires(bus),
        *(f"  reg {bits(ports[port][1])}{held}; always @(posedge clk) {held} <= {port};"
          for port, held in late.items()),
        instance(chip.name, "chip", {port: unused.get(port, late.get(port, port)) for port in chip.ports}),
        instance("axi_memory", "memory", memory_pins, parameters)], chip.text)


def _at_rest(port: str, direction: str) -> str:
    """What a port is on that nothing uses. A link without a partner still gets a clock."""
    return "" if direction == "output" else "clk" if port.endswith("_clk") else "'0"


def _channel(config: Config, name: str, sender: End, receiver: End) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Ports and lines of one direction of a cable."""
    lanes = config.link_lanes
    settings = {f"{name}_{key}": ("input", width(lanes)) for key, width in CHANNEL_INPUTS.items()}
    pins = {"clk": "clk", "i_lanes": sender.net("tx"), "o_lanes": receiver.net("rx")} | {
        key: f"{name}_{key}" for key in (*CHANNEL_INPUTS, "errors")}
    return settings | {f"{name}_errors": ("output", 32)}, [
        *wires({receiver.net("rx"): config.bus_bits}),
        instance("link_channel", name, pins, {"LANES": lanes, "LANE_BITS": config.bus_bits // lanes})]
