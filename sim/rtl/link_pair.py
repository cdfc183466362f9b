"""Two links with a channel each way and traffic at both ends, all run by the simulator itself."""

from pathlib import Path

from hdl.link.parameters import LinkParameters
from hdl.verilog import Generated

#: The channel and the traffic, in Verilog: ``extra_sources`` of a build.
SOURCES = (Path(__file__).with_name("link_channel.sv"), Path(__file__).with_name("link_traffic.sv"))

TOP = "link_pair"

#: Inputs of the channel that are ports of the pair, with their widths for a number of lanes.
CHANNEL_INPUTS = {
    "seed": lambda lanes: 64, "load": lambda lanes: 1, "delay": lambda lanes: 16, "skew": lambda lanes: 16 * lanes,
    "order": lambda lanes: 4 * lanes, "invert": lambda lanes: lanes, "dead": lambda lanes: lanes,
    "interval": lambda lanes: 64, "burst": lambda lanes: 1,
}


def link_pair(link: Generated, parameters: LinkParameters) -> Generated:
    """``link_pair``: ends ``a`` and ``b`` with clocks of their own, from the Verilog of one link.

    Ports: per end ``<end>_clk``, ``<end>_rst``, the link's ports other than payload and lanes as ``<end>_<port>`` (the
    lanes' ``lane_errors`` side by side in one), and those of its ``link_traffic``, payload left out but for the
    handshake; ``ab_*`` and ``ba_*`` are the settings of the two ``link_channel``. Near loopback gives a link its own
    clock as receive clock. Build with :data:`SOURCES`.
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
        traffic = {"clear": ("input", 1), "goal": ("input", counts), "offer_rate": ("input", 8),
                   "take_rate": ("input", 8), "i_valid": ("output", channels), "i_ready": ("output", channels),
                   "o_valid": ("output", channels), "o_ready": ("output", channels), "sent": ("output", counts),
                   "received": ("output", counts), "lost": ("output", 32), "doubled": ("output", 32),
                   "corrupt": ("output", 32)}
        ports |= {f"{end}_{name}": shape for name, shape in traffic.items()}
        body += [f"  wire [{lanes * p.lane_bits - 1}:0] {end}_o_lanes, {end}_i_lanes;",
                 f"  wire [{channels * bits - 1}:0] {end}_i_payload, {end}_o_payload;"]
        pins = {"clk": f"{end}_clk", "rst": f"{end}_rst",
                "receive_clock": f"{end}_control[2] ? {end}_clk : {other}_clk"}
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
        body.append(_instance(link.name, f"link_{end}", pins))
        body.append(_instance(f"link_traffic #(.WORD_BITS({bits}), .CHANNELS({channels}))", f"traffic_{end}",
                              {"clk": f"{end}_clk", "i_payload": f"{end}_i_payload", "o_payload": f"{end}_o_payload"}
                              | {name: f"{end}_{name}" for name in traffic}))
        ports |= {f"{incoming}_{name}": ("input", width(lanes)) for name, width in CHANNEL_INPUTS.items()}
        ports[f"{incoming}_errors"] = ("output", 32)
        body.append(_instance(f"link_channel #(.LANES({lanes}), .LANE_BITS({p.lane_bits}))", f"channel_{incoming}",
                              {"clk": f"{other}_clk", "i_lanes": f"{other}_o_lanes", "o_lanes": f"{end}_i_lanes"}
                              | {name: f"{incoming}_{name}" for name in (*CHANNEL_INPUTS, "errors")}))
    declarations = ",\n".join(f"  {direction} wire {_range(width)}{name}" for name, (direction, width) in ports.items())
    text = f"module {TOP} (\n{declarations}\n);\n" + "\n".join(body) + "\nendmodule\n"
    return Generated(TOP, f"{link.text}\n{text}", ports)


def _instance(module: str, name: str, pins: dict[str, str]) -> str:
    return f"  {module} {name} ({', '.join(f'.{port}({net})' for port, net in pins.items())});"


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""
