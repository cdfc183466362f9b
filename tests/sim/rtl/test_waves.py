"""Waves: every signal of the save file is in the waves, under the name that GTKWave looks for."""

import re
import sys

import pytest

from hdl.cim.column import Column
from hdl.config import CONFIGS
from hdl.verilog import generate
from sim.rtl import SIMULATORS, build, run
from sim.rtl.hierarchy import Hierarchy
from sim.rtl.waves import port_groups, signal_groups, write_gtkw

from .toy import Toy

CONFIG = CONFIGS["small"]

NESTED = """
module leaf(clk, data);
  input clk;
  wire clk;
  output [7:0] data;
  reg [7:0] data = 8'h00;
  wire \\$1 ;
  wire [3:0] \\odd$2 ;
  reg [15:0] store [3:0];
endmodule

module top(clk, s_data, s_valid, s__payload__x, s__payload__y);
  input clk;
  wire [2:0] count;
  leaf leaf_0 (
    .clk(clk)
  );
  \\leaf  \\leaf_1  (
    .clk(clk)
  );
endmodule
"""


def test_ports_are_grouped_by_bus():
    assert port_groups(dict.fromkeys(
        ("rst", "clk", "m_axi_araddr", "m_axi_rdata", "o_psum__valid", "o_psum__payload", "irq", "i_a", "i_b"))) == {
        "clock and reset": ["rst", "clk"], "m_axi": ["m_axi_araddr", "m_axi_rdata"],
        "o_psum": ["o_psum__valid", "o_psum__payload"], "other ports": ["irq", "i_a", "i_b"]}


def test_hierarchy_of_yosys_text():
    hierarchy = Hierarchy.of_text(NESTED)
    assert hierarchy.signals("top") == {"count": 3, "leaf_0.clk": 1, "leaf_0.data": 8, "leaf_1.clk": 1,
                                        "leaf_1.data": 8}
    assert hierarchy.matching("top", "leaf_?.data") == {"leaf_0.data": 8, "leaf_1.data": 8}
    assert hierarchy.signals("top", depth=0) == {"count": 3}


def test_a_pattern_that_matches_nothing_is_refused():
    design = generate(Toy(), name="toy")
    with pytest.raises(ValueError, match=r"^the signals .* must exist, 'no\*' of group 'x' matches none in 'toy'$"):
        signal_groups(design, {"x": ["no*"]})


def read_vcd_names(text: str) -> set[str]:
    """Full names in a VCD file as GTKWave shows them."""
    scope, names = [], set()
    for line in text.splitlines():
        if found := re.match(r"\s*\$scope \S+ (\S+)", line):
            scope.append(found[1])
        elif "$upscope" in line:
            scope.pop()
        elif found := re.match(r"\s*\$var \S+ \d+ \S+ (\S+)(?: (\[\S+\]))? \$end", line):
            names.add(".".join([*scope, found[1] + (found[2] or "")]))
    return names


def test_vcd_where_fst_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["sim.rtl.build"], "has_fst_headers", lambda: None)
    made = build(lambda config: Toy(), CONFIG, name="toy", waves=True)
    assert made.waves == "vcd"
    results = run(made, "tests.sim.rtl.toy_bench", testcase="adds", waves=True, directory=tmp_path)
    save = write_gtkw(made, results, {"sums": ["o_*"]})
    text = save.read_text()
    assert f'[dumpfile] "{tmp_path}/toy.vcd"' in text
    shown = set(re.findall(r"^toy\.\S+$", text, re.M))
    assert shown == {"toy.clk", "toy.rst", "toy.i_value[7:0]", "toy.o_total[7:0]"}
    assert shown <= read_vcd_names(results.waves.read_text())


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_waves_are_written(simulator, tmp_path):
    made = build(lambda config: Toy(), CONFIG, name="toy", waves=True, simulator=simulator)
    results = run(made, "tests.sim.rtl.toy_bench", testcase="adds", waves=True, directory=tmp_path)
    assert results.waves.stat().st_size > 200
    assert results.waves.parent == tmp_path


def test_groups_of_a_real_block():
    groups = signal_groups(generate(Column(CONFIG), name="column"), {"store": ["store.plane"]})
    assert groups["clock and reset"] == {"clk": 1, "rst": 1}
    assert groups["act"] == {f"act__{i}": CONFIG.rows for i in range(9)}
    assert "plane_sum" in groups
