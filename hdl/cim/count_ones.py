"""Population count of one unit, a leaf of the loader."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import Config

#: Verilog that counts ones in one host instruction where the simulator allows it.
COUNT_ONES_MACRO = """\
`ifndef CIMPLE_COUNT_ONES
`ifdef VERILATOR
`define CIMPLE_COUNT_ONES(x) ($c("__builtin_popcountll(", (x), ")"))
`else
`define CIMPLE_COUNT_ONES(x) $countones(x)
`endif
`endif
"""


def ones(expression: str, rows: int) -> str:
    """Verilog that counts the ones of an expression of ``rows`` bits, in pieces that a host word holds."""
    pieces = range(0, rows, 64)
    if len(pieces) == 1:
        return f"`CIMPLE_COUNT_ONES({expression})"
    return " + ".join(f"`CIMPLE_COUNT_ONES(64'(({expression}) >> {low}))" for low in pieces)


class CountOnes(wiring.Component):
    """Number of ones among ``rows`` bits. Combinational. A leaf, with a generic and a simulation view."""

    module_name = "count_ones"

    def __init__(self, config: Config):
        self.config = config
        super().__init__({"bits": In(config.rows), "count": Out(config.row_bits + 1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.count.eq(tree_sum(list(self.bits)))
        return m

    def simulation_view(self) -> str:
        rows, width = self.config.rows, self.config.row_bits + 1
        return f"""\
{COUNT_ONES_MACRO}module {self.module_name}(bits, count);
  input [{rows - 1}:0] bits;
  output [{width - 1}:0] count;
  assign count = {width}'({ones("bits", rows)});
endmodule
"""


def tree_sum(terms: list):
    """The sum of values as a balanced tree."""
    while len(terms) > 1:
        terms = [sum(terms[i:i + 2][1:], terms[i]) for i in range(0, len(terms), 2)]
    return terms[0]


def prefix_sums(terms: list) -> list:
    """Inclusive prefix sums in logarithmic depth (Sklansky, IRE Trans. EC-9, 1960)."""
    if len(terms) == 1:
        return terms
    half = len(terms) // 2
    low, high = prefix_sums(terms[:half]), prefix_sums(terms[half:])
    return low + [low[-1] + term for term in high]
