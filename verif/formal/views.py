"""The simulation view of the macro against its generic view: same random inputs, same outputs, every cycle."""

import re

from amaranth.hdl import Value
from amaranth.lib import wiring

from hdl.cim.interfaces import bist_layout, bist_words, class_members, classes, issue_layout
from hdl.cim.macro import Macro
from hdl.config import Config
from hdl.verilog import generate

#: Idle cycles that drain every pipeline of a macro.
DRAIN = 32


def miter(config: Config) -> str:
    """Verilog of ``macro_miter``: both views side by side under random inputs.

    First every word of both banks is written and one vector of each bank is issued, so that both hold the same state.
    Then loads, issues, BIST reads and repair maps are drawn at random, within the contract: a bank is not written while
    it is issued, a BIST read does not meet an issue. ``cycles`` counts compared cycles, ``mismatches`` those that
    differ.
    """
    names = {view: f"macro_{view}" for view in ("generic", "simulation")}
    texts = [_renamed(generate(Macro(config), name="macro", view="generic").text, names["generic"]),
             Macro(config).simulation_view().replace("module macro(", f"module {names['simulation']}(", 1)]
    signature = Macro(config).signature
    ports = [("__".join(map(str, path)), member.flow == wiring.Out, len(Value.cast(signal)))
             for path, member, signal in signature.flatten(signature.create())]
    inputs = [(name, width) for name, is_output, width in ports if not is_output]
    outputs = [(name, width) for name, is_output, width in ports if is_output]
    instances, wires = [], []
    for view, module in names.items():
        pins = ", ".join([".clk(clk)", ".rst(rst)", *(f".{name}({name})" for name, _ in inputs),
                          *(f".{name}({view}_{name})" for name, _ in outputs)])
        wires += [f"  wire [{width - 1}:0] {view}_{name};" for name, width in outputs]
        instances.append(f"  {module} {view} ({pins});")
    report = "\n".join(
        f"      if (generic_{name} !== simulation_{name}) "
        f'$display("cycle %0d: {name} is %h, not %h", cycles, simulation_{name}, generic_{name});'
        for name, _ in outputs)
    differs = " | ".join(f"(generic_{name} !== simulation_{name})" for name, _ in outputs)
    top = f"""\
module macro_miter(clk, rst, cycles, mismatches);
  input clk;
  input rst;
  output reg [63:0] cycles;
  output reg [63:0] mismatches;
{chr(10).join(f"  reg [{width - 1}:0] {name};" for name, width in inputs)}
{chr(10).join(wires)}
{chr(10).join(instances)}
{_stimulus(config, dict(inputs))}
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


def _renamed(text: str, name: str) -> str:
    return re.sub(r"^module macro\b", f"module {name}", text, flags=re.M)


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
      if ($urandom % 8 != 0) issue <= {_issue(config, valid=1)};
      else if ($urandom % 2 != 0) bist <= {_bist(config)};
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


def _bist(config: Config) -> str:
    return _packed(bist_layout(config), {"valid": 1, "column": f"$urandom % {config.physical_cols}",
                                         "word": f"$urandom % {bist_words(config)}"})
