"""One CIM macro: columns that share an activation vector, with spare columns and a test port."""

from amaranth.hdl import Assert, Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACT_BITS, Config, clog2
from ..verilog import once
from .column import Column
from .count_ones import tree_sum
from .interfaces import bist_layout, classes, delivery_signature, issue_layout, load_signature, scaled_layout
from .macro_view import simulation_view


class Macro(wiring.Component):
    """``cols`` columns and their spares.

    The activation vector is taken over with the first plane of each vector. ``scaled`` and ``psum`` are those of the
    logical columns. Loading and computing meet only if they name the same bank, which the caller must prevent and an
    assertion checks.

    Repair: ``repair[i]`` is a logical column; columns from there on move up by one physical column (``cols`` moves
    none). Only deliveries and results are switched, never planes.

    A leaf, with a generic view (one :class:`~hdl.cim.column.Column` module, instantiated) and a simulation view.

    Latency from ``issue`` to ``scaled``: :meth:`latency` cycles; throughput one plane per cycle. BIST reads take 2
    cycles and one can start every cycle in which no plane is issued.

    Members
    -------
    issue : In(issue_layout)
    act : In(rows).array(9)
        Bit-sliced, with ``issue.first``.
    load : In(load_signature), deliveries : In(delivery_signature).array(classes)
        ``member`` counts from this macro's first column.
    repair : In.array(spare_cols)
    bist : In(bist_layout)
    word : Out(rows)
    psum : Out(signed).array(cols)
        One cycle after the adder tree, for observers.
    scaled : Out(scaled_layout).array(cols)
    """

    module_name = "macro"

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "issue": In(issue_layout(config)),
            "act": In(config.rows).array(ACT_BITS),
            "load": In(load_signature(config)),
            "deliveries": In(delivery_signature(config)).array(classes(config)),
            "repair": In(clog2(config.cols + 1)).array(config.spare_cols),
            "bist": In(bist_layout(config)),
            "word": Out(config.rows),
            "psum": Out(signed(config.psum_bits)).array(config.cols),
            "scaled": Out(scaled_layout()).array(config.cols),
        })

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from ``issue`` with ``last`` set to ``scaled``."""
        return Column.sum_latency(config) + Column.SCALED_LATENCY

    def elaborate(self, platform):
        m = Module()
        columns = [Column(self.config) for _ in range(self.config.physical_cols)]
        for number, column in enumerate(columns):
            m.submodules[f"column_{number}"] = once(column, platform)
        self._broadcast(m, columns)
        moves = self._moves(m)
        self._deliver(m, columns, moves)
        self._collect(m, columns, moves)
        self._test(m, columns)
        self._check(m)
        return m

    def _broadcast(self, m, columns):
        """Issue, its echo at the adder tree's end, and the activation register."""
        accumulate = self.issue
        for cycle in range(Column.sum_latency(self.config)):
            delayed = Signal.like(self.issue, name=f"issue_{cycle + 1}")
            m.d.sync += delayed.eq(accumulate)
            accumulate = delayed
        act = [Signal(self.config.rows, name=f"act_{bit}", reset_less=True) for bit in range(ACT_BITS)]
        with m.If(self.issue.valid & self.issue.first):
            m.d.sync += [held.eq(given) for held, given in zip(act, self.act)]
        for column in columns:
            m.d.comb += [column.issue.eq(self.issue), column.accumulate.eq(accumulate)]
            m.d.comb += [mine.eq(held) for mine, held in zip(column.act, act)]

    def _moves(self, m):
        """By how many physical columns each logical column is moved, one-hot."""
        moves = []
        for column in range(self.config.cols):
            count = tree_sum([point <= column for point in self.repair] or [Const(0)])
            one_hot = Signal(self.config.spare_cols + 1, name=f"move_{column}")
            m.d.comb += one_hot.eq(1 << count)
            moves.append(one_hot)
        return moves

    def _deliver(self, m, columns, moves):
        """What the classes bring, to the physical columns."""
        config = self.config
        count = classes(config)
        for number, column in enumerate(columns):
            m.d.comb += [column.bank.eq(self.load.bank), column.row.eq(self.load.row), column.lanes.eq(self.load.lanes)]
            for k in range(config.spare_cols + 1):
                logical = number - k
                if 0 <= logical < config.cols:
                    offered = self.deliveries[logical % count]
                    mine = offered.valid & (offered.member[:clog2(config.cols // count)] == logical // count)
                    with m.If(moves[logical][k]):
                        m.d.comb += column.select.eq(mine)
                        m.d.comb += [getattr(column, name).eq(getattr(offered, name))
                                     for name in ("first", "lane_mask", "sign", "group", "constant")]

    def _collect(self, m, columns, moves):
        """Results of the physical columns, to the logical ones."""
        for logical, one_hot in enumerate(moves):
            for k in range(self.config.spare_cols + 1):
                with m.If(one_hot[k]):
                    m.d.comb += [self.psum[logical].eq(columns[logical + k].psum),
                                 self.scaled[logical].eq(columns[logical + k].scaled)]

    def _test(self, m, columns):
        words = 0
        for number, column in enumerate(columns):
            m.d.comb += [
                column.bist_select.eq(self.bist.valid & (self.bist.column == number)),
                column.bist_bank.eq(self.bist.bank),
                column.bist_word.eq(self.bist.word),
            ]
            words = words | column.word
        m.d.sync += self.word.eq(words)

    def _check(self, m):
        loading = Cat(delivery.valid for delivery in self.deliveries).any()
        m.d.sync += [
            Assert(~(loading & self.issue.valid & (self.load.bank == self.issue.bank)),
                   "a bank that is being computed must not be written"),
            Assert(~(self.bist.valid & self.issue.valid), "a BIST read must not meet an issued plane"),
        ]

    def simulation_view(self) -> str:
        """See :mod:`hdl.cim.macro_view`."""
        return simulation_view(self.config, self.module_name, self.signature)
