"""A macro with one fault: the simulation view of the macro, and behind its cells a fault that its test port meets.

The fault is data on a port, made from the same :class:`~mbist.faults.Fault` that the fault simulator takes. What it
does is said here once more, in Verilog, beside the real cells: they hold what the fault leaves in them.
"""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from hdl.bist.addresses import address_layout
from hdl.cim.interfaces import bank_record_layout, bist_layout, bist_words, group_layout, record_words
from hdl.cim.macro import Macro
from hdl.cim.macro_view import field, simulation_view
from hdl.config import Config, clog2
from mbist.faults import CellFault, DecoderFault, Fault, StuckOpen
from mbist.primitives import FaultPrimitive, Sensitisation

#: Kinds of faults on the port; 0 is none.
_CELLS, _DECODER, _OPEN = 1, 2, 3

#: Cells of a fault: two aggressors, and the victim; of a decoder fault the first two are the words.
_VICTIM = 2

#: Bits of what happens to a cell in a cycle, as in :mod:`mbist.primitives`.
_EVENTS = 5


def _sensitisation_layout() -> data.StructLayout:
    return data.StructLayout({"state_0": 1, "state_1": 1, "events_0": _EVENTS, "events_1": _EVENTS})


def _primitive_layout() -> data.StructLayout:
    return data.StructLayout({
        "cycles": 2, "coupled": 1, "aggressor": 1, "effect": 1, "returns": 1, "returned": 1, "present": 1,
        "cell": _sensitisation_layout(), "other": _sensitisation_layout()})


def fault_layout(config: Config) -> data.StructLayout:
    """A fault. ``set`` puts the power-up values into its cells."""
    return data.StructLayout({
        "kind": 2,
        "set": 1,
        "power_up": 3,
        "places": data.ArrayLayout(data.StructLayout({
            "address": address_layout(config), "bit": clog2(config.rows)}), 3),
        "primitives": data.ArrayLayout(_primitive_layout(), 2),
        "retention": 28,
        "decoder": 2,
        "floating": 1,
        "wired_or": 1,
        "latch": 1,
    })


def fault_values(fault: Fault, address) -> dict:
    """The values of :func:`fault_layout`; ``address`` says of a word's number which column, bank and word it is."""
    def place(word: int, bit: int = 0) -> dict:
        column, bank, number = address(word)
        return {"address": {"column": column, "bank": bank, "word": number}, "bit": bit}

    match fault:
        case DecoderFault():
            return {"kind": _DECODER, "places": [place(fault.x), place(fault.y), place(fault.x)],
                    "primitives": [{}, {}], "decoder": "ABCD".index(fault.kind), "floating": fault.floating,
                    "wired_or": fault.wired_or}
        case StuckOpen():
            return {"kind": _OPEN, "places": [place(*fault.cell)] * 3, "primitives": [{}, {}], "latch": fault.latch}
        case CellFault():
            others = (fault.aggressors or (fault.victim,)) * 2
            cells = (*others[:2], fault.victim)
            held = dict(zip((*fault.aggressors, fault.victim), fault.power_up or (0,) * len(cells)))
            primitives = [_primitive(p, min(i, len(fault.aggressors) - 1)) for i, p in enumerate(fault.primitives)]
            return {"kind": _CELLS, "places": [place(*cell) for cell in cells],
                    "power_up": sum(held[cell] << i for i, cell in enumerate(cells)),
                    "primitives": [*primitives, {}][:2], "retention": fault.retention}
    raise ValueError(f"the fault must be a CellFault, DecoderFault or StuckOpen, not {fault!r}")


def _primitive(primitive: FaultPrimitive, aggressor: int) -> dict:
    values = {"present": 1, "cycles": primitive.cycles, "effect": primitive.effect,
              "returns": primitive.read is not None, "returned": primitive.read or 0,
              "cell": _sensitisation(primitive.victim)}
    if primitive.aggressor is not None:
        values |= {"coupled": 1, "aggressor": aggressor, "other": _sensitisation(primitive.aggressor)}
    return values


def _sensitisation(cell: Sensitisation) -> dict:
    states, events = cell.states(), (*cell.masks(), 0, 0)
    return {"state_0": states[0], "state_1": states[1] if len(cell.cycles) > 1 else states[0],
            "events_0": events[0], "events_1": events[1]}


class FaultyMacro(wiring.Component):
    """:class:`~hdl.cim.macro.Macro` with a port ``fault``. It has a simulation view only."""

    module_name = "faulty_macro"

    def __init__(self, config: Config):
        self.config = config
        macro = Macro(config)
        macro._MustUse__silence = True  # it is here for its signature
        super().__init__({**macro.signature.members, "fault": In(fault_layout(config))})

    def simulation_view(self) -> str:
        """The macro's, with the fault at the end of each cycle."""
        text = simulation_view(self.config, self.module_name, self.signature)
        head, rest = text.split("  always @(posedge clk) begin\n", 1)
        body, end = rest.rsplit("  end\nendmodule", 1)
        assert body.count("word <= ") > 1, "the view must assign the word that is read"
        return (head + _storage(self.config) + "  always @(posedge clk) begin\n" + body.replace("word <= ", "shown = ")
                + _fault(self.config) + "  end\nendmodule" + end)


def _storage(config: Config) -> str:
    """State of the fault, and access to the cells by column, bank and word."""
    columns, rows, slots = config.physical_cols, config.rows, config.slots
    record, group = bank_record_layout(config).size, group_layout(config).size
    pieces = [(slots + 1 + p, f"copy[{p * rows} +: {rows}]") for p in range(record_words(config))]
    stores = "".join(f"        {number}: {piece} = value;\n" for number, piece in pieces)
    loads = "".join(f"        {number}: stored = {piece};\n" for number, piece in pieces)
    return f"""\
  reg [{rows - 1}:0] shown, forced, forced_to, forced_1, forced_to_1, one_word, both;
  reg [{record + rows - 1}:0] copy;
  reg [2:0] held, was;
  reg [{rows - 1}:0] held_x, held_y;
  reg [{_EVENTS - 1}:0] events [0:2];
  reg armed_0, armed_1, arm_0, arm_1, hit_0, hit_1, latch, active, waits, reaches_x, reaches_y;
  int idle;
  function [{rows - 1}:0] stored(input int column, input bank, input int number);
    begin
      copy = {{constants[{columns} * 32'(bank) + column], groups[{columns} * 32'(bank) + column]}};
      case (number)
        {slots}: stored = signs[{columns} * 32'(bank) + column];
{loads}        default: stored = cells[(column * 2 + 32'(bank)) * {slots} + number];
      endcase
    end
  endfunction
  task store(input int column, input bank, input int number, input [{rows - 1}:0] value);
    begin
      copy = {{constants[{columns} * 32'(bank) + column], groups[{columns} * 32'(bank) + column]}};
      case (number)
        {slots}: signs[{columns} * 32'(bank) + column] = value;
{stores}        default: cells[(column * 2 + 32'(bank)) * {slots} + number] = value;
      endcase
      groups[{columns} * 32'(bank) + column] = copy[0 +: {group}];
      constants[{columns} * 32'(bank) + column] = copy[{group} +: {config.constant_bits}];
    end
  endtask
"""


def _fault(config: Config) -> str:
    """What the fault does at the end of a cycle: the operations of this cycle have reached the cells; a read of it is
    shown in the next one."""
    bist = {name: field(bist_layout(config), "bist", name) for name, _ in bist_layout(config)}
    kind = _at(config, "kind")
    places = [[_at(config, "places", i, "address", name) for name in ("column", "bank", "word")] for i in range(3)]
    bits = [_at(config, "places", i, "bit") for i in range(3)]

    def is_at(i: int, bank: str) -> str:
        column, its_bank, word = places[i]
        return f"({bist['column']} == {column} && {bist[bank]} == {its_bank} && {bist['word']} == {word})"

    def word_of(i: int) -> str:
        return f"stored(32'({places[i][0]}), {places[i][1]}, 32'({places[i][2]}))"

    def put(i: int, value: str) -> str:
        return f"store(32'({places[i][0]}), {places[i][1]}, 32'({places[i][2]}), {value});"

    def put_bit(i: int, value: str) -> str:
        one = f"({config.rows}'d1 << {bits[i]})"
        return f"one_word = {word_of(i)}; {put(i, f'{value} ? one_word | {one} : one_word & ~{one}')}"

    reads = f"({bist['valid']} & {bist['read']})"
    writes = f"({bist['valid']} & {bist['write']})"
    sensed = "".join(f"""\
      events[{i}] = {{waits, {reads} & {bist["compute"]} && {is_at(i, "read_bank")}, {reads} && {is_at(i, "read_bank")},
                   {writes} && {is_at(i, "write_bank")} && bist_data[{bits[i]}],
                   {writes} && {is_at(i, "write_bank")} && !bist_data[{bits[i]}]}};
      one_word = {word_of(i)};
      held[{i}] = one_word[{bits[i]}];
""" for i in range(3))
    primitives = "".join(f"""\
      arm_{p} = {_present(config, p)} && {_cycles(config, p)} == 2 && {_sensitised(config, p, 0)};
      hit_{p} = {_present(config, p)} && ({_cycles(config, p)} == 1 && {_sensitised(config, p, 0)}
                || armed_{p} && {_sensitised(config, p, 1)});
      armed_{p} = arm_{p};
""" for p in range(2))
    effects = "".join(f"""\
      if (hit_{p}) begin
        held[{_VICTIM}] = {_at(config, "primitives", p, "effect")};
        if ({_at(config, "primitives", p, "returns")}) was[{_VICTIM}] = {_at(config, "primitives", p, "returned")};
      end
""" for p in range(2))
    states = "".join(
        f"      if ({_present(config, p)} && {_cycles(config, p)} == 0 && {_held(config, p, 'held')}) "
        f"held[{_VICTIM}] = {_at(config, 'primitives', p, 'effect')};\n" for p in range(2))
    shows = "".join(f"""\
      if ({reads} && {is_at(i, "read_bank")}) begin
        forced = forced | ({config.rows}'d1 << {bits[i]});
        forced_to = (forced_to & ~({config.rows}'d1 << {bits[i]})) | ({config.rows}'(was[{i}]) << {bits[i]});
      end
""" for i in range(3))
    return f"""\
    word <= rst ? 0 : (shown & ~forced_1) | (forced_to_1 & forced_1);
    forced = 0; forced_to = 0;
    active = {bist["valid"]};
    idle = active ? 0 : idle + 1;
    waits = !active && idle == 32'({_at(config, "retention")});
    if ({kind} == {_CELLS}) begin
      was = held;
{sensed}{primitives}{effects}{states}{shows}      if ({_at(config, "set")}) begin
        held = {_at(config, "power_up")}; armed_0 = 0; armed_1 = 0; idle = 1 << 29;
{states}      end
      {put_bit(0, "held[0]")}
      {put_bit(1, "held[1]")}
      {put_bit(2, "held[2]")}
    end
    if ({kind} == {_DECODER}) begin
{_decoder(config, reads, writes, is_at)}      if ({_at(config, "set")}) begin held_x = 0; held_y = 0; end
      if ({_at(config, "decoder")} != 0) begin {put(1, "held_y")} end
      {put(0, "held_x")}
    end
    if ({kind} == {_OPEN}) begin
      if ({reads}) begin
        one_word = stored(32'({bist["column"]}), {bist["read_bank"]}, 32'({bist["word"]}));
        if ({is_at(0, "read_bank")}) begin
          forced = {config.rows}'d1 << {bits[0]};
          forced_to = latch ? forced : 0;
        end else latch = one_word[{bits[0]}];
      end
      if ({_at(config, "set")}) latch = {_at(config, "latch")};
    end
    forced_1 = forced; forced_to_1 = forced_to;
"""


def _decoder(config: Config, reads: str, writes: str, is_at) -> str:
    """Which of the words x and y an access to x or to y reaches; others reach theirs."""
    kind = _at(config, "decoder")

    def reached(bank: str) -> str:
        x, y = is_at(0, bank), f"({is_at(1, bank)} && {kind} != 0)"
        return f"""\
      reaches_x = {x} ? {kind} == 3 : {y} && {kind} == 1;
      reaches_y = {x} ? {kind} >= 2 : {y};
"""

    word = field(bist_layout(config), "bist", "word")
    ones = f"({bist_words(config) - 1} == 32'({word}) ? {_last_bits(config)} : ~0)"
    return f"""\
      if ({reads} && ({is_at(0, "read_bank")} || {is_at(1, "read_bank")} && {kind} != 0)) begin
{reached("read_bank")}        both = {_at(config, "wired_or")} ? held_x | held_y : held_x & held_y;
        forced = ~0;
        forced_to = reaches_x && reaches_y ? both : reaches_x ? held_x : reaches_y ? held_y
                    : {_at(config, "floating")} ? {ones} : 0;
      end
      if ({writes}) begin
{reached("write_bank")}        if (reaches_x) held_x = bist_data;
        if (reaches_y) held_y = bist_data;
      end
"""


def _last_bits(config: Config) -> str:
    """The bits that exist of the last word."""
    bits = bank_record_layout(config).size % config.rows or config.rows
    return f"{config.rows}'d{(1 << bits) - 1}"


def _at(config: Config, *path) -> str:
    return field(fault_layout(config), "fault", *path)


def _present(config: Config, p: int) -> str:
    return _at(config, "primitives", p, "present")


def _cycles(config: Config, p: int) -> str:
    return _at(config, "primitives", p, "cycles")


def _held(config: Config, p: int, held: str, cycle: int = 0) -> str:
    """Both cells hold what a primitive asks for before a cycle."""
    state = f"state_{cycle}"
    cell, other = (_at(config, "primitives", p, part, state) for part in ("cell", "other"))
    coupled, aggressor = (_at(config, "primitives", p, name) for name in ("coupled", "aggressor"))
    return f"({held}[{_VICTIM}] == {cell} && (!{coupled} || {held}[{aggressor}] == {other}))"


def _sensitised(config: Config, p: int, cycle: int) -> str:
    """And both see the operations of that cycle."""
    cell, other = (_at(config, "primitives", p, part, f"events_{cycle}") for part in ("cell", "other"))
    coupled, aggressor = (_at(config, "primitives", p, name) for name in ("coupled", "aggressor"))
    return (f"({_held(config, p, 'was', cycle)} && (events[{_VICTIM}] & {cell}) == {cell} "
            f"&& (!{coupled} || (events[{aggressor}] & {other}) == {other}))")
