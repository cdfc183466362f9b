"""Simulation views against generic views: same random inputs, same outputs, every cycle."""

import re

from amaranth.hdl import Value
from amaranth.lib import wiring

from hdl.cim.count_ones import CountOnes
from hdl.cim.interfaces import bist_layout, bist_words, class_members, classes, issue_layout
from hdl.cim.macro import Macro
from hdl.config import Config
from hdl.verilog import generate

#: Idle cycles that drain every pipeline of a macro.
DRAIN = 32


def miter(config: Config) -> str:
    """Verilog of module ``miter``: both views of the macro side by side under random inputs.

    First every word of both banks is written and one vector of each bank is issued, so that both hold the same state.
    Then loads, issues, reads and writes of the BIST and repair maps are drawn at random, within the contract: a bank is
    not written while it is issued, a BIST read does not meet an issue, a BIST write no load. ``cycles`` counts
    compared cycles, ``mismatches`` those that differ.
    """
    macro = Macro(config)
    return _side_by_side(macro, "macro", _stimulus(config, dict(_ports(macro, wiring.In))), clocked=True)


def count_ones_miter(config: Config) -> str:
    """As :func:`miter`, of :class:`~hdl.cim.count_ones.CountOnes`."""
    leaf = CountOnes(config)
    stimulus = f"""\
  reg running;
  always @(posedge clk) begin
    running <= !rst;
    bits <= $urandom % 4 == 0 ? {{{config.rows}{{1'b1}}}} : {_random(config.rows)};
  end
"""
    return _side_by_side(leaf, leaf.module_name, stimulus, clocked=False)


def _ports(component: wiring.Component, flow) -> list[tuple[str, int]]:
    """Names and widths of a component's inputs or outputs."""
    return [("__".join(map(str, path)), len(Value.cast(signal)))
            for path, member, signal in component.signature.flatten(component) if member.flow == flow]


def _side_by_side(component, name: str, stimulus: str, *, clocked: bool) -> str:
    """Both views of a component under the same inputs, which ``stimulus`` draws; it compares while ``running``."""
    texts = [_renamed(text, name, f"{name}_{view}") for view, text in (
        ("generic", generate(component, name=name, view="generic").text), ("simulation", component.simulation_view()))]
    inputs, outputs = _ports(component, wiring.In), _ports(component, wiring.Out)
    instances, wires = [], []
    for view in ("generic", "simulation"):
        pins = ", ".join([*([".clk(clk)", ".rst(rst)"] if clocked else []), *(f".{port}({port})" for port, _ in inputs),
                          *(f".{port}({view}_{port})" for port, _ in outputs)])
        wires += [f"  wire [{width - 1}:0] {view}_{port};" for port, width in outputs]
        instances.append(f"  {name}_{view} {view} ({pins});")
    report = "\n".join(
        f"      if (generic_{port} !== simulation_{port}) "
        f'$display("cycle %0d: {port} is %h, not %h", cycles, simulation_{port}, generic_{port});'
        for port, _ in outputs)
    differs = " | ".join(f"(generic_{port} !== simulation_{port})" for port, _ in outputs)
    top = f"""\
module miter(clk, rst, cycles, mismatches);
  input clk;
  input rst;
  output reg [63:0] cycles;
  output reg [63:0] mismatches;
{chr(10).join(f"  reg [{width - 1}:0] {port};" for port, width in inputs)}
{chr(10).join(wires)}
{chr(10).join(instances)}
{stimulus}
  wire differs = {differs};
  always @(posedge clk) begin
    if (rst) begin cycles <= 0; mismatches <= 0; end
    else if (running) begin
      if (differs && mismatches == 0) begin
{report}
      end
      cycles <= cycles + 1; mismatches <= mismatches + {{63'd0, differs}};
    end
  end
endmodule
"""
    return "\n".join([*texts, top])


def _renamed(text: str, name: str, new: str) -> str:
    return re.sub(rf"^module {name}\b", f"module {new}", text, flags=re.M)


def _random(width: int) -> str:
    """An expression of fresh random bits."""
    return "{" + ", ".join(["$urandom"] * -(-width // 32)) + "}"


def _stimulus(config: Config, inputs: dict[str, int]) -> str:
    """Phase 0 writes everything, phase 1 issues a vector of each bank and drains, phase 2 is random."""
    rows = config.slots // config.units_per_beat
    members = class_members(config) // config.macros
    writes = 2 * 2 * rows * members  # once for the columns, once more moved up, for the spares
    count = classes(config)
    drawn = "\n".join(f"    {name} <= {_random(width)};" for name, width in inputs.items()
                      if name not in ("issue", "bist", "load__bank") and not name.startswith("repair"))
    directed = "\n".join(f"      deliveries__{c}__valid <= 1; deliveries__{c}__first <= 1; "
                         f"deliveries__{c}__lane_mask <= ~0; deliveries__{c}__member <= (at / {2 * rows}) % {members};"
                         for c in range(count))
    vector = _issue(config, valid=1, first=1, last=1, step=1, bank=f"(at / {DRAIN}) % 2", plane=0)
    quiet = " ".join(f"deliveries__{c}__valid <= 0;" for c in range(count))
    sparse = "\n".join(f"      deliveries__{c}__valid <= ($urandom % 4) == 0; deliveries__{c}__member <= "
                       f"$urandom % {members};" for c in range(count))
    repair = [name for name in inputs if name.startswith("repair")]
    identity = " ".join(f"{name} <= {config.cols};" for name in repair)
    moved = " ".join(f"{name} <= 0;" for name in repair)
    some = " ".join(f"{name} <= $urandom % {config.cols + 1};" for name in repair)
    return f"""\
  int at;
  reg running, bank;
  reg [1:0] drawn;
  initial begin issue = 0; bist = 0; {quiet.replace("<=", "=")} end  // nothing is asserted before reset
  always @(posedge clk) begin
    drawn <= $urandom;
    bank <= ($urandom % 16) == 0 ? ~bank : bank;
{drawn}
    issue <= 0; bist <= 0; load__bank <= ~bank;
    at <= at + 1;
    if (rst) begin at <= 0; running <= 0; bank <= 0; {quiet} {identity} end
    else if (at < {writes}) begin
{directed}
      if (at == {writes // 2}) begin {moved} end
      load__bank <= at % 2; load__row <= (at / 2) % {rows};
    end else if (at < {writes + 4 * DRAIN}) begin
      {quiet}
      if (at % {DRAIN} == {DRAIN} - 1) issue <= {vector};
      {identity}
    end else begin
      running <= 1;
      if ($urandom % 256 == 0) begin {some} end
{sparse}
      case ($urandom % 16)
        0: bist <= {_bist(config, read=1, write=0)};
        1: begin bist <= {_bist(config, read="drawn[0]", write=1, read_bank="bank", write_bank="!bank")}; {quiet} end
        2: ;
        default: issue <= {_issue(config, valid=1)};
      endcase
    end
  end
"""


def _packed(layout, values: dict[str, object]) -> str:
    """A Verilog concatenation of a struct's fields; those that are not given are random."""
    fields = [f"{field.width}'({values.get(name, '$urandom')})" for name, field in layout if field.width]
    return "{" + ", ".join(reversed(fields)) + "}"


def _issue(config: Config, **values) -> str:
    return _packed(issue_layout(config), {"bank": "bank", "plane": f"$urandom % {config.planes}", "first": "drawn[0]",
                                          "step": "&drawn[1:0]"} | values)


def _bist(config: Config, **values) -> str:
    return _packed(bist_layout(config), {"valid": 1, "column": f"$urandom % {config.physical_cols}",
                                         "word": f"$urandom % {bist_words(config)}"} | values)
