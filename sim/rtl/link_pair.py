"""Two links with a channel each way and traffic at both ends, all run by the simulator itself."""

from pathlib import Path

from hdl.link.parameters import LinkParameters
from hdl.verilog import Generated

from .harness import CHANNEL_INPUTS, LINK_CHANNEL
from .netlist import instance, module, wires

#: The channel and the traffic, in Verilog: ``extra_sources`` of a build.
SOURCES = (LINK_CHANNEL, Path(__file__).with_name("link_traffic.sv"))

TOP = "link_pair"


def link_pair(link: Generated, parameters: LinkParameters) -> Generated:
    """``link_pair``: ends ``a`` and ``b`` with clocks of their own, from the Verilog of one link.

    Ports: per end ``<end>_clk``, ``<end>_rst``, the link's ports other than payload and lanes as ``<end>_<port>`` (the
    lanes' ``lane_errors`` side by side in one), and those of its ``link_traffic``, payload left out but for the
    handshake; ``ab_*`` and ``ba_*`` are the settings of the two ``link_channel``. Near loopback gives a link its own
    clock as receive clock; while ``<end>_stop_clock`` is high, an end has none. Build with :data:`SOURCES`.
    """
    p = parameters
    lanes, channels, bits = p.lanes, p.channels, p.word_bits
    own = {name: shape for name, shape in link.ports.items()
           if not name.startswith(("i_", "o_", "lane_errors")) and name not in ("clk", "rst", "receive_clock")}
    counts = 32 * channels
    ports: dict[str, tuple[str, int]] = {}
    body: list[str] = []
    for end, other, incoming in (("a", "b", "ba"), ("b", "a", "ab")):
        ports |= {f"{end}_clk": ("input", 1), f"{end}_rst": ("input", 1), f"{end}_lane_errors": ("output", 32 * lanes)}
        ports |= {f"{end}_{name}": shape for name, shape in own.items()}
        ports[f"{end}_stop_clock"] = ("input", 1)
        traffic = {"clear": ("input", 1), "goal": ("input", counts), "offer_rate": ("input", 8),
                   "take_rate": ("input", 8), "i_valid": ("output", channels), "i_ready": ("output", channels),
                   "o_valid": ("output", channels), "o_ready": ("output", channels), "sent": ("output", counts),
                   "received": ("output", counts), "lost": ("output", 32), "doubled": ("output", 32),
                   "corrupt": ("output", 32)}
        ports |= {f"{end}_{name}": shape for name, shape in traffic.items()}
        body += wires({f"{end}_{way}_lanes": lanes * p.lane_bits for way in "oi"}
                      | {f"{end}_{way}_payload": channels * bits for way in "io"})
        pins = {"clk": f"{end}_clk", "rst": f"{end}_rst",
                "receive_clock": f"({end}_control[2] ? {end}_clk : {other}_clk) & ~{end}_stop_clock"}
        pins |= {name: f"{end}_{name}" for name in own}
        for lane in range(lanes):
            for name, width in (("o_lanes", p.lane_bits), ("i_lanes", p.lane_bits), ("lane_errors", 32)):
                pins[f"{name}__{lane}"] = f"{end}_{name}[{lane * width} +: {width}]"
        for v in range(channels):
            for way in "io":
                pins |= {f"{way}_payload__{v}__valid": f"{end}_{way}_valid[{v}]",
                         f"{way}_payload__{v}__ready": f"{end}_{way}_ready[{v}]",
                         f"{way}_payload__{v}__payload": f"{end}_{way}_payload[{v * bits} +: {bits}]"}
        assert pins.keys() == link.ports.keys()
        body.append(instance(link.name, f"link_{end}", pins))
        body.append(instance("link_traffic", f"traffic_{end}",
                             {"clk": f"{end}_clk", "i_payload": f"{end}_i_payload", "o_payload": f"{end}_o_payload"}
                             | {name: f"{end}_{name}" for name in traffic}, {"WORD_BITS": bits, "CHANNELS": channels}))
        ports |= {f"{incoming}_{name}": ("input", width(lanes)) for name, width in CHANNEL_INPUTS.items()}
        ports[f"{incoming}_errors"] = ("output", 32)
        body.append(instance("link_channel", f"channel_{incoming}",
                             {"clk": f"{other}_clk", "i_lanes": f"{other}_o_lanes", "o_lanes": f"{end}_i_lanes"}
                             | {name: f"{incoming}_{name}" for name in (*CHANNEL_INPUTS, "errors")},
                             {"LANES": lanes, "LANE_BITS": p.lane_bits}))
    return module(TOP, ports, body, link.text)
