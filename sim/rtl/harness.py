"""The simulated system: a chip with the memory that the simulator itself runs."""

from pathlib import Path

from hdl.config import ADDR_BITS, Config
from hdl.verilog import Generated

#: The memory, in Verilog.
AXI_MEMORY = Path(__file__).with_name("axi_memory.sv")

#: Name of the simulated system's top module.
TOP = "sim_top"

_BUS = "m_axi_"

#: Ports of the chip that nothing uses here.
_JTAG = "jtag_"


def harness(chip: Generated, config: Config, *, memory_bytes: int, read_latency: int = 40) -> Generated:
    """``sim_top``: ``chip`` with its AXI4 master on an ``axi_memory``, JTAG in reset, all its other ports brought out.

    Add :data:`AXI_MEMORY` to the build's ``extra_sources``. Inputs ``load`` and ``dump`` make the memory read and
    write its files, which are plusargs as its stalls are, see ``axi_memory.sv``.

    Parameters
    ----------
    memory_bytes : int
        Size of the memory, from address 0; a multiple of the bus width.
    read_latency : int
        Cycles from a read address to its first data.
    """
    if memory_bytes % config.bus_bytes or memory_bytes < 2 * config.bus_bytes:
        raise ValueError(f"memory_bytes must be a multiple of the bus's {config.bus_bytes} bytes and at least two bus "
                         f"words, not {memory_bytes!r}")
    bus = {port: shape for port, shape in chip.ports.items() if port.startswith(_BUS)}
    if not bus:
        raise ValueError(f"the chip must have ports {_BUS}*, {chip.name!r} has none")
    unused = [port for port in chip.ports if port.startswith(_JTAG)]
    ports = {port: shape for port, shape in chip.ports.items() if port not in bus and port not in unused} | {
        "load": ("input", 1), "dump": ("input", 1)}
    width = {"DATA_BITS": config.bus_bits, "ADDR_BITS": ADDR_BITS, "ID_BITS": bus[f"{_BUS}arid"][1],
             "DEPTH": memory_bytes // config.bus_bytes, "READ_LATENCY": read_latency}
    parameters = ", ".join(f".{name}({value})" for name, value in width.items())
    pins = {port: "1'b0" if chip.ports[port][0] == "input" else "" for port in unused}
    chip_pins = ", ".join(f".{port}({pins.get(port, port)})" for port in chip.ports)
    memory_pins = ", ".join([".clk(clk)", ".rst(rst)", ".load(load)", ".dump(dump)",
                             *(f".s_axi_{port.removeprefix(_BUS)}({port})" for port in bus)])
    declarations = ",\n".join(f"  {direction} wire {_range(bits)}{port}" for port, (direction, bits) in ports.items())
    wires = "\n".join(f"  wire {_range(bits)}{port};" for port, (_, bits) in bus.items())
    top = (f"module {TOP} (\n{declarations}\n);\n{wires}\n  {chip.name} chip ({chip_pins});\n"
           f"  axi_memory #({parameters}) memory ({memory_pins});\nendmodule\n")
    return Generated(TOP, f"{chip.text}\n{top}", ports)


def _range(bits: int) -> str:
    """A scalar is declared without a range: simulators show ``[0:0]`` as an array."""
    return f"[{bits - 1}:0] " if bits > 1 else ""
