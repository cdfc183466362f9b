"""A stand-in for the chip: its ports and the registers of a run, and as its program one burst that is read, inverted
and written to window 1.

The first byte of the program decides: 0 is an illegal opcode, 0xEE never ends.
"""

from hdl.config import ADDR_BITS, FORMAT_VERSION, Config
from hdl.csr import CSR_ADDR_BITS, ID_VALUE, Cause, register_map
from hdl.verilog import Generated

PASS_THROUGH = "pass_through"


def axi4_ports(config: Config, prefix: str) -> dict[str, tuple[str, int]]:
    """Ports of an AXI4 master."""
    address = {"id": 2, "addr": ADDR_BITS, "len": 8, "size": 3, "burst": 2}
    ports = {}
    for channel, out, members in (
            ("aw", "output", address), ("w", "output", {"data": config.bus_bits, "strb": config.bus_bytes, "last": 1}),
            ("b", "input", {"id": 2, "resp": 2}), ("ar", "output", address),
            ("r", "input", {"id": 2, "data": config.bus_bits, "resp": 2, "last": 1})):
        ports |= {f"{prefix}{channel}{name}": (out, width) for name, width in members.items()}
        ports |= {f"{prefix}{channel}valid": (out, 1),
                  f"{prefix}{channel}ready": ("input" if out == "output" else "output", 1)}
    return ports


def pass_through(config: Config) -> Generated:
    """A chip whose AXI4 master is driven from outside: ``drive_*`` are the ports of the memory."""
    bus = axi4_ports(config, "m_axi_")
    flip = {"input": "output", "output": "input"}
    outside = {name.replace("m_axi_", "drive_"): (flip[direction], width) for name, (direction, width) in bus.items()}
    ports = {"clk": ("input", 1), "rst": ("input", 1)} | bus | outside
    lines = [f"  assign {name} = {name.replace('m_axi_', 'drive_')};" if direction == "output" else
             f"  assign {name.replace('m_axi_', 'drive_')} = {name};" for name, (direction, _) in bus.items()]
    return Generated(PASS_THROUGH, f"module {PASS_THROUGH} (\n{_declared(ports)}\n);\n" + "\n".join(lines)
                     + "\nendmodule\n", ports)


def _declared(ports: dict[str, tuple[str, int]]) -> str:
    return ",\n".join(f"  {direction} wire {f'[{width - 1}:0] ' if width > 1 else ''}{name}"
                      for name, (direction, width) in ports.items())


def toy_chip(config: Config) -> Generated:
    """The stand-in."""
    regs = register_map(config)
    ports = {"clk": ("input", 1), "rst": ("input", 1), "irq": ("output", 1)} | axi4_ports(config, "m_axi_") | {
        f"s_axil_{name}": shape for name, shape in {
            "awaddr": ("input", CSR_ADDR_BITS), "awprot": ("input", 3), "awvalid": ("input", 1),
            "awready": ("output", 1), "wdata": ("input", 32), "wstrb": ("input", 4), "wvalid": ("input", 1),
            "wready": ("output", 1), "bresp": ("output", 2), "bvalid": ("output", 1), "bready": ("input", 1),
            "araddr": ("input", CSR_ADDR_BITS), "arprot": ("input", 3), "arvalid": ("input", 1),
            "arready": ("output", 1), "rdata": ("output", 32), "rresp": ("output", 2), "rvalid": ("output", 1),
            "rready": ("input", 1)}.items()}

    def at(name: str) -> str:
        return f"{regs[name].offset >> 2}"

    text = f"""// verilator lint_off WIDTH
module chip (
{_declared(ports)}
);
  reg [31:0] regs [0:1023];
  reg [63:0] cycles;
  reg [7:0] cause;
  reg busy, done, error, stuck, b_valid, r_valid, ar_valid, aw_valid, held_valid, held_last;
  reg [31:0] r_data;
  reg [{config.bus_bits - 1}:0] held;
  reg first;
  integer i;
  assign irq = (done && regs[{at("IRQ_ENABLE")}][0]) || (error && regs[{at("IRQ_ENABLE")}][1]);

  wire write = s_axil_awvalid && s_axil_wvalid && !b_valid;
  wire start = write && s_axil_awaddr[11:2] == {at("CONTROL")} && s_axil_wdata[0] && !busy;
  assign s_axil_awready = write;
  assign s_axil_wready = write;
  assign s_axil_bvalid = b_valid;
  assign s_axil_bresp = 0;
  assign s_axil_arready = !r_valid;
  assign s_axil_rvalid = r_valid;
  assign s_axil_rresp = 0;
  assign s_axil_rdata = r_data;

  wire [7:0] beats = regs[{at("PROGRAM_COUNT")}][7:0] * {64 // config.bus_bytes} - 1;
  assign m_axi_arid = 1;
  assign m_axi_araddr = regs[{at("PROGRAM_ADDRESS")}];
  assign m_axi_arlen = beats;
  assign m_axi_arsize = {config.bus_bytes.bit_length() - 1};
  assign m_axi_arburst = 1;
  assign m_axi_arvalid = ar_valid;
  assign m_axi_rready = !held_valid || m_axi_wready;
  assign m_axi_awid = 1;
  assign m_axi_awaddr = regs[{at("WINDOW1_BASE")}];
  assign m_axi_awlen = beats;
  assign m_axi_awsize = m_axi_arsize;
  assign m_axi_awburst = 1;
  assign m_axi_awvalid = aw_valid;
  assign m_axi_wdata = held;
  assign m_axi_wstrb = -1;
  assign m_axi_wlast = held_last;
  assign m_axi_wvalid = held_valid;
  assign m_axi_bready = 1;

  always @(posedge clk) begin
    b_valid <= write || (b_valid && !s_axil_bready);
    r_valid <= (s_axil_arvalid && s_axil_arready) || (r_valid && !s_axil_rready);
    if (write) regs[s_axil_awaddr[11:2]] <= s_axil_wdata;
    if (s_axil_arvalid && s_axil_arready)
      case (s_axil_araddr[11:2])
        {at("ID")}: r_data <= 32'd{ID_VALUE};
        {at("FORMAT_VERSION")}: r_data <= {FORMAT_VERSION};
        {at("CONFIG_HASH")}: r_data <= 32'd{config.hash & 0xFFFFFFFF};
        {at("CONFIG_HASH_HIGH")}: r_data <= 32'd{config.hash >> 32};
        {at("STATUS")}: r_data <= {{29'b0, error, done, busy}};
        {at("CAUSE")}: r_data <= {{24'b0, cause}};
        {at("ERROR_ADDRESS")}: r_data <= error ? regs[{at("PROGRAM_ADDRESS")}] : 0;
        {at("CYCLES")}: r_data <= cycles[31:0];
        {at("CYCLES_HIGH")}: r_data <= cycles[63:32];
        default: r_data <= regs[s_axil_araddr[11:2]];
      endcase
    if (busy) cycles <= cycles + 1;
    if (m_axi_arready) ar_valid <= 0;
    if (m_axi_awready) aw_valid <= 0;
    if (m_axi_rready && !stuck) begin
      held_valid <= m_axi_rvalid && (!first || m_axi_rdata[7:0] != 0);
      held <= ~m_axi_rdata;
      held_last <= m_axi_rlast;
    end
    if (m_axi_rvalid && m_axi_rready) begin
      first <= 0;
      if (first && m_axi_rdata[7:0] == 8'hEE) stuck <= 1;
      if (first && m_axi_rdata[7:0] == 0) begin
        error <= 1; busy <= 0; cause <= {int(Cause.ILLEGAL_OPCODE)};
      end
    end
    if (m_axi_bvalid && !stuck && busy) begin
      done <= 1; busy <= 0;
    end
    if (start) begin
      busy <= 1; done <= 0; error <= 0; cause <= 0; cycles <= 0; first <= 1; ar_valid <= 1; aw_valid <= 1;
    end
    if (rst) begin
      {{cycles, cause, busy, done, error, stuck, b_valid, r_valid, ar_valid, aw_valid, held_valid, held_last}} <= 0;
      {{r_data, held, first}} <= 0;
      for (i = 0; i < 1024; i = i + 1) regs[i] <= 0;
    end
  end
endmodule
// verilator lint_on WIDTH
"""
    return Generated("chip", text, ports)
