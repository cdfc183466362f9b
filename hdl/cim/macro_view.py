"""The simulation view of a macro: the same contract for a simulator's host.

Activations are kept bit-sliced, so that a column is nine population counts of ``plane & (word ^ sign)``, shifted and
added: what a host does in a few instructions. All columns are loops over arrays in one process, which keeps the host's
code in its cache; as a module per column (or per adder tree) Verilator specialises the code of every instance. The
adder tree's latency is a ring of its results. State that nobody can see (sums of planes that were not issued) differs
from the generic view; ports never do. ``make formal`` and the benches prove that.

Arrays are assigned with ``=`` and read by this process alone, from the last pipeline stage to the first, so that each
stage sees what the one before it held; what leaves the module is assigned with ``<=``.
"""

from amaranth.lib import data, wiring

from ..config import ACT_BITS, Config, clog2
from .column import Column
from .count_ones import COUNT_ONES_MACRO, ones
from .interfaces import bank_record_layout, bist_layout, classes, group_layout, issue_layout, record_words

#: In a column's table of shifts: the column has no such plane.
_NO_PLANE = 15


def simulation_view(config: Config, name: str, signature: wiring.Signature) -> str:
    """Verilog of module ``name`` with the ports of ``signature``, which is that of a macro."""
    members = list(signature.flatten(signature.create()))
    ports = ["clk", "rst", *("__".join(map(str, path)) for path, _, _ in members)]
    declarations = "\n".join(
        f"  {'output' if member.flow == wiring.Out else 'input'} [{len(_bits(signal)) - 1}:0] {port};"
        for port, (_, member, signal) in zip(ports[2:], members))
    columns = range(config.physical_cols)
    stages = [_scale(config), _multiply(config), _accumulate(config), _sum(config), _test_read(config), _read(config),
              _load(config), _test_write(config)]
    return f"""\
{COUNT_ONES_MACRO}module {name}({", ".join(ports)});
  input clk;
  input rst;
{declarations}
{_state(config)}
{_results(config)}
  always @(posedge clk) begin
{_control(config)}
{"".join(stages)}
    if (rst) begin
      for (c = 0; c < {len(columns)}; c = c + 1) psum_q[c] = 0;
{"".join(f"      psum_{c} <= 0; scaled_{c} <= 0;{chr(10)}" for c in columns)}      word <= 0;
    end
  end
endmodule
"""


def _bits(signal):
    from amaranth.hdl import Value
    return Value.cast(signal)


def field(layout: data.StructLayout, base: str, *path: str) -> str:
    """A field of a packed port as a part select."""
    offset = 0
    shape: data.Layout = layout
    for name in path:
        field = shape[name]
        offset, shape = offset + field.offset, field.shape
    return f"{base}[{offset} +: {field.width}]"


def _each(config: Config, body: str) -> str:
    """A loop over the physical columns; it stays one, whatever their number. The comment counts as a statement."""
    return f"/*verilator unroll_disable*/ for (c = 0; c < {config.physical_cols}; c = c + 1) begin\n{body}      end\n"


def _state(config: Config) -> str:
    columns, rows = config.physical_cols, config.rows
    issue, bist = issue_layout(config).size, bist_layout(config).size
    depth = Column.sum_latency(config)
    delays = ", ".join(f"issue_{i}" for i in range(1, depth + 1))
    acts = ", ".join(f"held_{b}" for b in range(ACT_BITS))
    return f"""\
  reg [{rows - 1}:0] cells [0:{columns * 2 * config.slots - 1}];
  reg [{rows - 1}:0] signs [0:{2 * columns - 1}];
  reg [{group_layout(config).size - 1}:0] groups [0:{2 * columns - 1}];
  reg [63:0] shifts [0:{2 * columns - 1}];
  reg [{config.constant_bits - 1}:0] constants [0:{2 * columns - 1}];
  reg [{rows - 1}:0] planes [0:{columns - 1}];
  int sums [0:{config.row_bits * columns - 1}];
  int ring;
  initial ring = 0;
  reg [63:0] late_shifts [0:{columns - 1}];
  reg [{config.constant_bits - 1}:0] late_constants [0:{columns - 1}];
  reg [{group_layout(config).size - 1}:0] late_groups [0:{columns - 1}];
  int psum_q [0:{columns - 1}];
  int products [0:{columns - 1}];
  reg [4:0] exponents [0:{columns - 1}];
  int rank;
  initial rank = 0;
  reg [{rows - 1}:0] held_plane;
  reg [{issue - 1}:0] {delays};
  reg [{rows - 1}:0] {acts};
  reg [{bist - 1}:0] bist_1;
  reg finished, multiplied;
  reg [{rows - 1}:0] word;
  int c, at, slot, total, shift;
  longint wide;
  reg [{rows - 1}:0] sign;
  reg [63:0] table_;
  reg [{group_layout(config).size - 1}:0] group;
  reg [{bank_record_layout(config).size + rows - 1}:0] record;
"""


def _results(config: Config) -> str:
    """Registers per physical column, and the repair multiplexers behind them."""
    lines = [f"  reg [{config.psum_bits - 1}:0] psum_{c}; reg [32:0] scaled_{c};" for c in range(config.physical_cols)]
    for logical in range(config.cols):
        count = " + ".join(["2'd0", *(f"(repair__{i} <= {logical})" for i in range(config.spare_cols))])
        for result in ("psum", "scaled"):
            chosen = f"{result}_{logical + config.spare_cols}"
            for k in reversed(range(config.spare_cols)):
                chosen = f"(moved_{logical} == {k}) ? {result}_{logical + k} : {chosen}"
            lines.append(f"  assign {result}__{logical} = {chosen};")
        lines.append(f"  wire [2:0] moved_{logical} = {count};")
    return "\n".join(sorted(lines, key=lambda line: "assign" in line))


def _control(config: Config) -> str:
    issue = issue_layout(config)
    depth = Column.sum_latency(config)
    last = f"issue_{depth}"
    delays = "\n".join(f"    issue_{i + 1} <= {'issue' if i == 0 else f'issue_{i}'};" for i in range(depth))
    resets = " ".join(f"issue_{i + 1} <= 0;" for i in range(depth))
    held = "\n".join(f"      held_{b} <= act__{b};" for b in range(ACT_BITS))
    return f"""\
{delays}
    bist_1 <= bist;
    if (rst) begin {resets} bist_1 <= 0; end
    finished <= {field(issue, last, "valid")} & {field(issue, last, "last")};
    multiplied <= finished | rst;
    if ({field(issue, "issue", "valid")} & {field(issue, "issue", "first")}) begin
{held}
    end
"""


def _scale(config: Config) -> str:
    outputs = "".join(f"""\
      wide = (longint'(products[{c}]) <<< exponents[{c}]) >>> 3;
      scaled_{c} <= {{wide != longint'($signed(wide[31:0])), wide[31:0]}};
""" for c in range(config.physical_cols))
    return f"    if (multiplied) begin\n{outputs}    end\n"


def _multiply(config: Config) -> str:
    group = group_layout(config)
    body = f"""\
        products[c] = psum_q[c] * {{29'd1, {field(group, "late_groups[c]", "m")}}};
        exponents[c] = {field(group, "late_groups[c]", "e")};
"""
    return f"    if (finished) begin\n      {_each(config, body)}    end\n"


def _accumulate(config: Config) -> str:
    issue, now = issue_layout(config), f"issue_{Column.sum_latency(config)}"
    columns = config.physical_cols
    take_over = f"""\
        at = {columns} * {field(issue, now, "bank")} + c;
        late_shifts[c] = shifts[at];
        late_constants[c] = constants[at];
        late_groups[c] = groups[at];
"""
    add = f"""\
        shift = 32'(late_shifts[c] >> (4 * rank)) & 15;
        total = shift == {_NO_PLANE} ? 0 : sums[ring * {columns} + c] << shift;
        psum_q[c] = $signed((({field(issue, now, "first")} ? 32'(late_constants[c]) : psum_q[c]) + total)
                            << {32 - config.psum_bits}) >>> {32 - config.psum_bits};
"""
    outputs = "".join(f"      psum_{c} <= {config.psum_bits}'(psum_q[{c}]);\n" for c in range(columns))
    return f"""\
    if ({field(issue, now, "valid")}) begin
      if ({field(issue, now, "first")}) rank = 0;
      if ({field(issue, now, "step")}) begin {_each(config, take_over)}
      end
      {_each(config, add)}
{outputs}
      if (rank < 15) rank = rank + 1;
    end
"""


def sign_word(config: Config, column: str | int) -> str:
    """Verilog of the sign word that goes with the plane of a column."""
    return f"signs[{config.physical_cols} * {field(issue_layout(config), 'issue_1', 'bank')} + {column}]"


def bit_counts(config: Config, column: str | int, sign: str) -> list[str]:
    """Verilog that counts, per activation bit, the lanes of a column whose product has it."""
    return [ones(f"planes[{column}] & (held_{bit} ^ {sign})", config.rows) for bit in range(ACT_BITS)]


def _sum(config: Config) -> str:
    issue, columns = issue_layout(config), config.physical_cols
    *positive, negative = [f"32'(({count}) << {bit})" for bit, count in enumerate(bit_counts(config, "c", "sign"))]
    terms = "\n              + ".join(positive)
    body = f"""\
        sign = {sign_word(config, "c")};
        sums[ring * {columns} + c] = {terms}
              - {negative};
"""
    return f"""\
    if ({field(issue, "issue_1", "valid")}) begin
      {_each(config, body)}    end
    ring = ring == {config.row_bits - 1} ? 0 : ring + 1;
"""


def _test_read(config: Config) -> str:
    """The BIST port: the word asked for one cycle before, then the plane asked for now."""
    bist = bist_layout(config)
    columns, rows, slots = config.physical_cols, config.rows, config.slots
    pieces = record_words(config)
    others = "".join(
        f"        {slots + 1 + piece}: word <= record[{piece * rows} +: {rows}];\n" for piece in range(pieces - 1))
    last = f"        default: word <= record[{(pieces - 1) * rows} +: {rows}];\n"
    word = field(bist, "bist_1", "word")
    return f"""\
    word <= 0;
    if ({_tested(config, "bist_1", "read")}) begin
      at = {columns} * {field(bist, "bist_1", "read_bank")} + {field(bist, "bist_1", "column")};
      record = {{constants[at], groups[at]}};
      if ({word} < {slots}) word <= held_plane;
      else case ({word})
        {slots}: word <= signs[at];
{others}{last}      endcase
    end
    if ({_tested(config, "bist", "read")})
      held_plane = cells[({field(bist, "bist", "column")} * 2 + {field(bist, "bist", "read_bank")}) * {slots}
                         + ({field(bist, "bist", "word")} & {slots - 1})];
"""


def _tested(config: Config, base: str, operation: str) -> str:
    """Whether the BIST does something to a column that exists."""
    bist = bist_layout(config)
    return (f'{field(bist, base, "valid")} & {field(bist, base, operation)} && '
            f'{field(bist, base, "column")} < {config.physical_cols}')


def _test_write(config: Config) -> str:
    """The BIST port: a word of a bank, wherever it is kept here."""
    bist, group = bist_layout(config), group_layout(config)
    columns, rows, slots = config.physical_cols, config.rows, config.slots
    column, bank, word = (field(bist, "bist", name) for name in ("column", "write_bank", "word"))
    pieces = "".join(f"        {slots + 1 + piece}: record[{piece * rows} +: {rows}] = bist_data;\n"
                     for piece in range(record_words(config)))
    return f"""\
    if ({_tested(config, "bist", "write")}) begin
      at = {columns} * {bank} + {column};
      record = {{constants[at], groups[at]}};
      case ({word})
        {slots}: signs[at] = bist_data;
{pieces}        default: cells[({column} * 2 + {bank}) * {slots} + ({word} & {slots - 1})] = bist_data;
      endcase
      groups[at] = record[0 +: {group.size}];
      constants[at] = record[{group.size} +: {config.constant_bits}];
{_shifts(config, "record")}    end
"""


def _shifts(config: Config, group: str) -> str:
    """The table of shifts that follows from a group's mask, its lowest bits."""
    entries = "".join(
        f"        if ({group}[{bit}]) begin table_ = table_ ^ (64'd{_NO_PLANE ^ bit} << (4 * total)); "
        f"total = total + 1; end\n" for bit in range(config.planes))
    return f"""\
        table_ = ~64'd0;
        total = 0;
{entries}        shifts[at] = table_;
"""


def _read(config: Config) -> str:
    issue, group = issue_layout(config), group_layout(config)
    columns, slots = config.physical_cols, config.slots
    body = f"""\
        group = groups[{columns} * {field(issue, "issue", "bank")} + c];
        slot = ({field(group, "group", "first_slot")} + {field(issue, "issue", "plane")}) & {slots - 1};
        planes[c] = cells[(c * 2 + {field(issue, "issue", "bank")}) * {slots} + slot];
"""
    return f"    if ({field(issue, 'issue', 'valid')}) begin\n      {_each(config, body)}    end\n"


def _load(config: Config) -> str:
    """Each class has one column at most; only that one is touched."""
    columns, rows, slots, units = config.physical_cols, config.rows, config.slots, config.units_per_beat
    count = classes(config)
    member_bits = clog2(config.cols // count)
    parts = []
    for number in range(count):
        port = f"deliveries__{number}__"
        member = f"{port}member[{member_bits - 1}:0]" if member_bits else "0"
        moved = " + ".join([f"32'({member}) * {count} + {number}",
                            *(f"(repair__{i} <= 32'({member}) * {count} + {number} ? 1 : 0)"
                              for i in range(config.spare_cols))])
        row = f"32'(load__row) * {units}" if slots > units else "0"
        writes = "".join(
            f"      if ({port}lane_mask[{u}]) cells[at + {u}] = load__lanes[{u * rows} +: {rows}];\n"
            for u in range(units))
        parts.append(f"""\
    if ({port}valid) begin
      c = {moved};
      at = (c * 2 + 32'(load__bank)) * {slots} + {row};
{writes}      at = {columns} * 32'(load__bank) + c;
      constants[at] = {port}constant;
      if ({port}first) begin
        signs[at] = {port}sign;
        groups[at] = {port}group;
{_shifts(config, f"{port}group")}      end
    end
""")
    return "".join(parts)
