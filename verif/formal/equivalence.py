"""Simulation views equal generic views, by induction over all runs.

Both views see the same inputs. The claims are the relation between their states and, with it, equal outputs. Nothing is
assumed of the first contents of memories: a stored item is compared from when it was written.
"""

from types import SimpleNamespace

from amaranth.hdl import Array, Assert, Assume, Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, wiring

from hdl.cim import macro_view
from hdl.cim.column import Column
from hdl.cim.count_ones import CountOnes, tree_sum
from hdl.cim.interfaces import bank_record_layout, bist_layout, bist_words, group_layout, issue_layout
from hdl.cim.macro import Macro
from hdl.config import ACC_BITS, ACT_BITS, Config

from .design import FormalTop, opened, previous, state

#: In the simulation view's tables of shifts: no such plane.
_NO_PLANE = 15


class RegisterMemories:
    """Platform that makes memories of registers, so that claims can name every word.

    A word that is read while it is written is read as it was.
    """

    def __init__(self):
        self._words: dict[int, list[Signal]] = {}

    def get_memory(self, memory) -> Module:
        m = Module()
        words = [Signal(memory.shape, name=f"word_{i}", reset_less=True) for i in range(memory.depth)]
        self._words[id(memory)] = words
        for port in memory.write_ports:
            with m.If(port.en), m.Switch(port.addr):
                for number, word in enumerate(words):
                    with m.Case(number):
                        m.d.sync += word.eq(port.data)
        for port in memory.read_ports:
            with m.If(port.en):
                m.d.sync += port.data.eq(Array(words)[port.addr])
        return m

    def words(self, memory) -> list[Signal]:
        """Every word of a memory."""
        opened(memory, self)
        return self._words[id(memory)]


def observed_view(config: Config, view: str) -> tuple[str, dict[str, data.ArrayLayout]]:
    """The simulation view as module ``macro_simulation``, its state as further outputs, and the layouts of those."""
    columns, rows, group = config.physical_cols, config.rows, group_layout(config).size
    depth, constant = Column.sum_latency(config), config.constant_bits
    shapes = {
        "cells": (rows, 2 * columns * config.slots), "signs": (rows, 2 * columns), "groups": (group, 2 * columns),
        "shifts": (64, 2 * columns), "constants": (constant, 2 * columns), "late_shifts": (64, columns),
        "late_constants": (constant, columns), "late_groups": (group, columns), "psum_q": (32, columns),
        "products": (32, columns), "exponents": (5, columns), "planes": (rows, columns),
        "sums": (32, config.row_bits * columns),
    }
    parts = {name: [f"{name}[{i}]" for i in range(count)] for name, (_, count) in shapes.items()}
    scalars = {"ring": 32, "rank": 32, "finished": 1, "multiplied": 1, "held_plane": rows,
               "bist_1": bist_layout(config).size}
    shapes |= {name: (width, 1) for name, width in scalars.items()}
    parts |= {name: [name] for name in scalars}
    shapes |= {"scaled": (33, columns), "psum": (config.psum_bits, columns)}
    parts |= {name: [f"{name}_{c}" for c in range(columns)] for name in ("scaled", "psum")}
    shapes |= {"issues": (issue_layout(config).size, depth), "held": (rows, ACT_BITS),
               "counts": (32, ACT_BITS * columns)}
    parts |= {"issues": [f"issue_{i + 1}" for i in range(depth)], "held": [f"held_{b}" for b in range(ACT_BITS)],
              "counts": [count for c in range(columns)
                         for count in macro_view.bit_counts(config, c, macro_view.sign_word(config, c))]}
    outputs = "".join(f"  output [{width * count - 1}:0] state_{name};\n"
                      f"  assign state_{name} = {{{', '.join(reversed(parts[name]))}}};\n"
                      for name, (width, count) in shapes.items())
    head, rest = view.split("module macro(", 1)
    ports, body = rest.split(");", 1)
    names = "".join(f", state_{name}" for name in shapes)
    text = f"{head}module macro_simulation({ports}{names});{body.replace('endmodule', f'{outputs}endmodule')}"
    return text, {name: data.ArrayLayout(*shape) for name, shape in shapes.items()}


class CountOnesViews(FormalTop):
    """Both views of :class:`~hdl.cim.count_ones.CountOnes`, which has no state."""

    def __init__(self, config: Config):
        super().__init__()
        self.leaf = CountOnes(config)
        self.verilog["count_ones_simulation.sv"] = self.leaf.simulation_view().replace(
            "module count_ones(", "module count_ones_simulation(", 1)
        self.release(self.leaf.bits)

    def elaborate(self, platform):
        m = Module()
        m.submodules.generic = self.leaf
        count = Signal.like(self.leaf.count)
        m.submodules.simulation = Instance("count_ones_simulation", i_bits=self.leaf.bits, o_count=count)
        m.d.comb += Assert(count == self.leaf.count, "count is equal")
        return m


class MacroViews(FormalTop):
    """Both views of the macro, and the relation between their states.

    Assumed, as the contract of the macro allows: there is a reset at the start; everything has been written before a
    plane is issued or a word is read by the BIST; the first plane of a step is the first one of a vector; the first
    plane after a reset begins a step; the BIST names words, its reads do not meet issued planes, its writes do not meet
    loads, nor planes or reads of the bank that they go to.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.macro = Macro(config)
        self.verilog["macro_simulation.sv"], self.layouts = observed_view(config, self.macro.simulation_view())
        # Registers without a reset start with any value.
        self.flat.append("setattr -unset init w:generic.*")
        self.inputs, self.outputs = {}, {}
        for path, member, signal in self.macro.signature.flatten(self.macro):
            side = self.inputs if member.flow == wiring.In else self.outputs
            side["__".join(map(str, path))] = Value.cast(signal)
        self.release(*self.inputs.values())

    def elaborate(self, platform):
        m = Module()
        m.submodules.generic = self.macro
        memories = RegisterMemories()
        macro = opened(self.macro, memories)
        columns = [self._column(macro.submodules[f"column_{c}"], memories) for c in range(self.config.physical_cols)]
        simulation, outputs = self._simulation(m)
        self._assume(m)
        self._relate_banks(m, simulation, columns)
        self._relate_control(m, simulation, macro)
        self._relate_sums(m, simulation, columns)
        self._relate_columns(m, simulation, columns)
        for name, output in outputs.items():
            when = self.scaled_known if name.startswith("scaled") else self.age >= 1
            m.d.comb += Assert(~when | (self.outputs[name].as_unsigned() == output), f"{name} is equal")
        return m

    def _column(self, column, memories):
        """The state of a column of the generic view."""
        config = self.config
        module = opened(column, memories)
        lanes = [memories.words(opened(module.submodules.store, memories).submodules[f"lane_{lane}"])
                 for lane in range(config.units_per_beat)]
        tree = opened(module.submodules.plane_sum, memories)
        rows = config.slots // config.units_per_beat
        record = bank_record_layout(config)
        return SimpleNamespace(
            ports=column,
            cells=[[lanes[slot % config.units_per_beat][bank * rows + slot // config.units_per_beat]
                    for slot in range(config.slots)] for bank in range(2)],
            signs=[state(module, f"sign_{bank}") for bank in range(2)],
            records=[state(module, f"record_{bank}", record) for bank in range(2)],
            late=state(module, "late", record),
            store=module.submodules.store,
            tree=module.submodules.plane_sum,
            levels=[[state(tree, f"sum_{level}_{i}") for i in range(config.rows >> level + 1)]
                    for level in range(config.row_bits)],
            **{name: state(module, name) for name in ("remaining", "finished", "product", "exponent", "shifted",
                                                      "bank_read", "selected", "word_read")})

    def _simulation(self, m):
        """The simulation view: its state and its outputs."""
        outputs = {name: Signal(len(signal), name=f"simulation_{name}") for name, signal in self.outputs.items()}
        states = {name: Signal(layout, name=f"state_{name}") for name, layout in self.layouts.items()}
        m.submodules.simulation = Instance(
            "macro_simulation", i_clk=ClockSignal(), i_rst=ResetSignal(),
            **{f"i_{name}": signal for name, signal in self.inputs.items()},
            **{f"o_{name}": signal for name, signal in outputs.items()},
            **{f"o_state_{name}": Value.cast(signal) for name, signal in states.items()})
        return SimpleNamespace(**states), outputs

    def _assume(self, m):
        """What has happened so far, and which inputs may come then."""
        issue, bist = self.macro.issue, self.macro.bist
        loading = Cat(delivery.valid for delivery in self.macro.deliveries).any()
        self.age = age = Signal(range(8), reset_less=True)  # cycles since the start, up to 7
        m.d.sync += age.eq(Mux(age == 7, 7, age + 1))
        self.all_written = Signal()
        begun = Signal()
        with m.If(issue.valid & issue.step):
            m.d.sync += begun.eq(1)
        m.d.comb += [
            Assume((age != 0) | ResetSignal()),
            Assume(~(issue.valid & (self.macro.load.bank == issue.bank) & loading)),
            Assume(~issue.valid | self.all_written),
            Assume(~bist.valid | (bist.word < bist_words(self.config))),
            Assume(~(bist.valid & bist.read) | self.all_written),
            Assume(~(issue.valid & bist.valid & bist.read)),
            Assume(~(bist.valid & bist.write & (loading | (issue.valid & (bist.write_bank == issue.bank))
                                                | (bist.read & (bist.read_bank == bist.write_bank))))),
            Assume(~(issue.valid & issue.step) | issue.first),
            Assume(~issue.valid | begun | issue.step),
        ]
        self.begun = begun

    def _relate_banks(self, m, simulation, columns):
        """Stored planes, sign words, groups and constants, each from when it was written."""
        config = self.config
        written = []
        for c, column in enumerate(columns):
            ports = column.ports
            for bank in range(2):
                here = ports.select & (ports.bank == bank)
                at = len(columns) * bank + c
                known = Signal(name=f"group_known_{c}_{bank}", reset_less=True)
                with m.If(here & ports.first):
                    m.d.sync += known.eq(1)
                group = column.records[bank].group
                written.append(known)
                m.d.comb += [
                    Assert(~known | (simulation.signs[at] == column.signs[bank]), f"sign word {c}.{bank}"),
                    Assert(~known | (simulation.groups[at] == group.as_value()), f"group {c}.{bank}"),
                    Assert(~known | (simulation.shifts[at] == _shifts(group.mask)), f"shifts {c}.{bank}"),
                    Assert(~known | (simulation.constants[at] == column.records[bank].constant),
                           f"constant {c}.{bank}"),
                ]
                for slot, cell in enumerate(column.cells[bank]):
                    lane, row = slot % config.units_per_beat, slot // config.units_per_beat
                    known = Signal(name=f"cell_known_{c}_{bank}_{slot}", reset_less=True)
                    only_row = config.slots == config.units_per_beat
                    with m.If(here & ports.lane_mask[lane] & ((ports.row == row) | only_row)):
                        m.d.sync += known.eq(1)
                    written.append(known)
                    m.d.comb += Assert(~known | (simulation.cells[(2 * c + bank) * config.slots + slot] == cell),
                                       f"plane {c}.{bank}.{slot}")
        m.d.comb += self.all_written.eq(Cat(written).all())

    def _relate_control(self, m, simulation, macro):
        """Issue on its way to the accumulators, held activations, and what is known when."""
        depth = Column.sum_latency(self.config)
        issues = [state(macro, f"issue_{i + 1}", issue_layout(self.config)) for i in range(depth)]
        now = issues[-1]
        for number, (issue, mine) in enumerate(zip(issues, simulation.issues)):
            m.d.comb += [
                Assert((self.age == 0) | (mine == issue.as_value()), f"issue_{number + 1}"),
                Assert((self.age == 0) | ~issue.valid | (self.all_written & self.begun & (self.age > number + 1)
                                                         & (issue.first | ~issue.step)), "only what may be is issued"),
            ]
        for bit, mine in enumerate(simulation.held):
            m.d.comb += Assert(~self.begun | (mine == state(macro, f"act_{bit}")), f"activation bit {bit}")
        m.d.comb += Assert(simulation.ring[0] < self.config.row_bits, "ring")
        self.issues = issues
        self.late_known = Signal(reset_less=True)
        with m.If((self.age != 0) & now.valid & now.step):
            m.d.sync += self.late_known.eq(1)
        for number, issue in enumerate(issues):
            before = Cat(older.valid & older.step for older in issues[number:]).any()
            m.d.comb += Assert((self.age == 0) | ~issue.valid | self.late_known | before,
                               "a step begins with its first plane")
        begins = Cat(issue.valid & issue.step for issue in issues).any()
        m.d.comb += Assert((self.age == 0) | ~self.begun | self.late_known | begins, "a step that has begun arrives")

    def _relate_sums(self, m, simulation, columns):
        """Planes and words that have been read, and the adder tree: each of its levels holds what will be one sum.

        The simulation view keeps finished sums in a ring: where it points is the oldest, before it the newest. It adds
        bit by bit over all lanes, the tree lane by lane over all bits; counts of each bit, under each node of the tree
        and over all lanes, are what both can be compared with, one addition at a time.
        """
        config = self.config
        ring = simulation.ring[0]
        bist = data.View(bist_layout(config), simulation.bist_1[0])
        started = self.age != 0
        for c, column in enumerate(columns):
            issue = self.issues[0]
            asked = bist.valid & bist.read & (bist.column == c)
            m.d.comb += [
                Assert(~(started & issue.valid)
                       | ((simulation.planes[c] == column.store.plane) & (column.bank_read == issue.bank)
                          & ~column.selected), f"plane {c}"),
                Assert(~started | (column.selected == asked), f"word {c} asked for"),
                Assert(~(started & asked) | ((column.word_read == bist.word) & (column.bank_read == bist.read_bank)
                                             & ((bist.word >= config.slots)
                                                | (simulation.held_plane[0] == column.store.plane))), f"word {c}"),
            ]
            counts = _counts(m, column.tree, name=f"count_{c}")
            whole = simulation.counts[c * ACT_BITS:(c + 1) * ACT_BITS]
            for level, (registers, nodes) in enumerate(zip(column.levels, counts)):
                whole = [previous(m, count, name=f"whole_{c}_{level}_{bit}", reset_less=True)
                         for bit, count in enumerate(whole)]
                valid = started & self.issues[level + 1].valid
                at = Mux(ring > level, ring - 1 - level, ring + config.row_bits - 1 - level)
                total = Array(simulation.sums[i * len(columns) + c] for i in range(config.row_bits))[at]
                m.d.comb += [
                    Assert(~valid | (total == _weighted(whole)), f"sum {c} at level {level}"),
                    *(Assert(~valid | (count == tree_sum([node[bit] for node in nodes])),
                             f"count {c} of bit {bit} at level {level}") for bit, count in enumerate(whole)),
                    *(Assert((self.age <= level) | (register == _weighted(node, ACT_BITS + level + 3).as_signed()),
                             f"node {c} {number} at level {level}")
                      for number, (register, node) in enumerate(zip(registers, nodes)))]
        m.d.comb += Assert(~(started & bist.valid & bist.read) | (self.all_written & (bist.word < bist_words(config))),
                              "only what may be is read")

    def _relate_columns(self, m, simulation, columns):
        """Accumulation and scaling."""
        rank, depth = simulation.rank[0], Column.sum_latency(self.config)
        finished = columns[0].finished
        product_known = Signal(reset_less=True)
        with m.If(finished):
            m.d.sync += product_known.eq(self.late_known)
        self.scaled_known = previous(m, product_known, name="scaled_known", reset_less=True)
        m.d.comb += [
            Assert(~self.late_known | (rank <= 15), "rank"),
            Assert((self.age < 2) | (simulation.finished[0] == finished), "finished"),
            Assert(~self.late_known | (self.age > depth), "nothing is accumulated early"),
            Assert(~product_known | self.late_known, "nothing is multiplied before it is accumulated"),
        ]
        for c, column in enumerate(columns):
            late, psum = column.late, column.ports.psum
            mask = late.group.mask
            left = Cat(mask[b] & (_ones(mask[:b]) >= rank) for b in range(self.config.planes))
            known = self.late_known
            m.d.comb += [
                Assert(~known | (simulation.late_groups[c] == late.group.as_value()), f"late group {c}"),
                Assert(~known | (simulation.late_constants[c] == late.constant), f"late constant {c}"),
                Assert(~known | (simulation.late_shifts[c] == _shifts(mask)), f"late shifts {c}"),
                Assert(~known | (column.remaining == left), f"remaining planes {c}"),
                Assert((self.age == 0) | (simulation.psum_q[c].as_signed() == psum), f"psum {c}"),
                Assert((self.age == 0) | (simulation.psum[c].as_signed() == psum), f"psum {c} to be shown"),
                Assert(~product_known | (simulation.products[c].as_signed() == column.product), f"product {c}"),
                Assert(~product_known | (simulation.exponents[c] == column.exponent), f"exponent {c}"),
                Assert(column.finished == finished, "columns finish together"),
                # The generic view scales the product that it has in every cycle, the simulation view each one once.
                Assert(~product_known | (self.age < 2) | simulation.multiplied[0]
                       | (simulation.scaled[c] == _scaled(column.shifted)), f"scaled {c}"),
            ]


def _counts(m: Module, tree, *, name: str) -> list[list[list[Signal]]]:
    """Per level of the adder tree of a :class:`~hdl.cim.plane_sum.PlaneSum`, node, and activation bit: how many lanes
    under the node have the bit in their product. Registered as the tree is."""
    bits = [(word ^ tree.sign) & tree.plane for word in tree.act]
    nodes = [[bit[lane] for bit in bits] for lane in range(tree.config.rows)]
    levels = []
    while len(nodes) > 1:
        below, nodes = nodes, []
        for number, (left, right) in enumerate(zip(below[::2], below[1::2])):
            node = [Signal(len(a) + 1, name=f"{name}_{len(levels)}_{number}_{bit}", reset_less=True)
                    for bit, a in enumerate(left)]
            m.d.sync += [count.eq(a + b) for count, a, b in zip(node, left, right)]
            nodes.append(node)
        levels.append(nodes)
    return levels


def _weighted(counts, width=32):
    """The sum of two's complement numbers of whose bits there are so many, 32 bits wide as in the simulation view."""
    *positive, negative = [(count << bit)[:width] for bit, count in enumerate(counts)]
    total = positive[0]
    for term in positive[1:]:
        total = (total + term)[:width]
    return (total - negative)[:width]


def _ones(bits):
    return sum(bits, Value.cast(0))


def _scaled(shifted):
    """As the port: value, and whether it lost anything."""
    low = shifted[:ACC_BITS]
    return Cat(low, low.as_signed() != shifted)


def _shifts(mask):
    """The simulation view's table of a mask: four bits per stored plane, its bit; then :data:`_NO_PLANE`."""
    entries = []
    for rank in range(16):
        here = [mask[b] & (_ones(mask[:b]) == rank) for b in range(len(mask))]
        value = Value.cast(0)
        for b, at in enumerate(here):
            value = value | Mux(at, b, 0)
        entry = Mux(Cat(here).any(), value, _NO_PLANE)
        entries.append((entry | Value.cast(0))[:4])
    return Cat(entries)
