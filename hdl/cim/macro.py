"""One CIM macro: columns that share an activation vector, with spare columns and a test port."""

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACT_BITS, Config, clog2
from ..verilog import once
from .column import Column
from .count_ones import tree_sum
from .interfaces import (
    bank_record_layout,
    bist_layout,
    classes,
    delivery_signature,
    issue_layout,
    load_signature,
    record_words,
    scaled_layout,
)
from .macro_view import simulation_view


class Macro(wiring.Component):
    """``cols`` columns and their spares.

    The activation vector is taken over with the first plane of each vector. ``scaled`` and ``psum`` are those of the
    logical columns. Loading and computing meet only if they name the same bank, which the caller must prevent and an
    assertion checks.

    The test port reads and writes words of physical columns, whatever the repair map says.

    Repair: ``repair[i]`` is a logical column; columns from there on move up by one physical column (``cols`` moves
    none). Only deliveries and results are switched, never planes.

    A leaf, with a generic view (one :class:`~hdl.cim.column.Column` module, instantiated) and a simulation view.

    Latency from ``issue`` to ``scaled``: :meth:`latency` cycles; throughput one plane per cycle. BIST reads take 2
    cycles and one can start every cycle in which no plane is issued; a word that is written can be read from the next
    cycle on.

    Members
    -------
    issue : In(issue_layout)
    act : In(rows).array(9)
        Bit-sliced, with ``issue.first``.
    load : In(load_signature), deliveries : In(delivery_signature).array(classes)
        ``member`` counts from this macro's first column.
    repair : In.array(spare_cols)
    bist : In(bist_layout), bist_data : In(rows)
        Test port, and what it writes.
    word : Out(rows)
        Read by it.
    psum : Out(signed).array(cols)
        One cycle after the adder tree, for observers.
    scaled : Out(scaled_layout).array(cols)

    Parameters
    ----------
    config : Config
    more : members
        Of a subclass with other columns.
    """

    module_name = "macro"

    def __init__(self, config: Config, **more):
        self.config = config
        super().__init__(more | {
            "issue": In(issue_layout(config)),
            "act": In(config.rows).array(ACT_BITS),
            "load": In(load_signature(config)),
            "deliveries": In(delivery_signature(config)).array(classes(config)),
            "repair": In(clog2(config.cols + 1)).array(config.spare_cols),
            "bist": In(bist_layout(config)),
            "bist_data": In(config.rows),
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
        columns = [self._column(number) for number in range(self.config.physical_cols)]
        for number, column in enumerate(columns):
            m.submodules[f"column_{number}"] = once(column, platform)
        self._broadcast(m, columns)
        moves = self._moves(m)
        load, offers = self._offer(m)
        self._deliver(m, columns, moves, load, offers)
        self._collect(m, columns, moves)
        self._test(m, columns)
        self._check(m)
        return m

    def _column(self, number: int):
        """A physical column."""
        return Column(self.config)

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

    def _offer(self, m):
        """What comes over the write port: a bus word and what each class brings, or the word that the BIST writes, in
        every lane and by every class."""
        config, bist = self.config, self.bist
        self.test = Signal()
        load, offers = load_signature(config).create(), []
        written = Signal(config.rows * record_words(config))
        record = data.View(bank_record_layout(config), written[:bank_record_layout(config).size])
        lane_bits = clog2(config.units_per_beat)
        m.d.comb += [
            self.test.eq(bist.valid & bist.write),
            written.eq(self.bist_data.replicate(record_words(config))),
            load.bank.eq(Mux(self.test, bist.write_bank, self.load.bank)),
            load.row.eq(Mux(self.test, bist.word[lane_bits:], self.load.row)),
            load.lanes.eq(Mux(self.test, self.bist_data.replicate(config.units_per_beat), self.load.lanes)),
        ]
        lane_mask = Mux(bist.word < config.slots, 1 << bist.word[:lane_bits], 0)
        for number, delivery in enumerate(self.deliveries):
            offer = delivery_signature(config).create(path=(f"offer_{number}",))
            m.d.comb += [
                offer.valid.eq(delivery.valid),
                offer.member.eq(delivery.member),
                offer.first.eq(delivery.first & ~self.test),
                offer.lane_mask.eq(Mux(self.test, lane_mask, delivery.lane_mask)),
                offer.sign.eq(Mux(self.test, self.bist_data, delivery.sign)),
                offer.group.eq(Mux(self.test, record.group, delivery.group)),
                offer.constant.eq(Mux(self.test, record.constant, delivery.constant)),
            ]
            offers.append(offer)
        return load, offers

    def _deliver(self, m, columns, moves, load, offers):
        """What is offered, to the physical columns. Moves choose among classes; a word of the BIST comes by any."""
        config = self.config
        count = classes(config)
        for number, column in enumerate(columns):
            sources = [(moves[logical][k], offers[logical % count], logical // count)
                       for k in range(config.spare_cols + 1) if 0 <= (logical := number - k) < config.cols]
            mine = Cat(moved & offer.valid & (offer.member[:clog2(config.cols // count)] == member)
                       for moved, offer, member in sources).any()
            m.d.comb += [
                column.bank.eq(load.bank), column.row.eq(load.row), column.lanes.eq(load.lanes),
                column.select.eq(Mux(self.test, self.bist.column == number, mine)),
            ]
            for name in ("first", "lane_mask", "sign", "group", "constant"):
                *others, value = [Value.cast(getattr(offer, name)) for _, offer, _ in sources]
                for (moved, _, _), other in zip(reversed(sources[:-1]), reversed(others)):
                    value = Mux(moved, other, value)
                m.d.comb += getattr(column, name).eq(value)

    def _collect(self, m, columns, moves):
        """Results of the physical columns, to the logical ones."""
        for logical, one_hot in enumerate(moves):
            for k in range(self.config.spare_cols + 1):
                with m.If(one_hot[k]):
                    m.d.comb += [self.psum[logical].eq(columns[logical + k].psum),
                                 self.scaled[logical].eq(columns[logical + k].scaled)]

    def _test(self, m, columns):
        config, bist = self.config, self.bist
        words = 0
        reads = Signal()
        test_words = Signal(1 + record_words(config))
        m.d.comb += reads.eq(bist.valid & bist.read)
        with m.If(self.test):
            m.d.comb += test_words.eq(Cat(bist.word == config.slots + i for i in range(len(test_words))))
        for number, column in enumerate(columns):
            here = bist.column == number
            m.d.comb += [
                column.test.eq(self.test),
                column.test_words.eq(test_words),
                column.bist_select.eq(reads & (here | bist.compute)),
                column.bist_show.eq(reads & here),
                column.bist_bank.eq(bist.read_bank),
                column.bist_word.eq(bist.word),
            ]
            words = words | column.word
        m.d.sync += self.word.eq(words)

    def _check(self, m):
        bist = self.bist
        loading = Cat(delivery.valid for delivery in self.deliveries).any()
        m.d.sync += [
            Assert(~(loading & self.issue.valid & (self.load.bank == self.issue.bank)),
                   "a bank that is being computed must not be written"),
            Assert(~(bist.valid & bist.read & self.issue.valid), "a BIST read must not meet an issued plane"),
            Assert(~(self.test & loading), "a BIST write must not meet a load"),
            Assert(~(self.test & self.issue.valid & (bist.write_bank == self.issue.bank)),
                   "a bank that is being computed must not be written by the BIST"),
            Assert(~(self.test & bist.read & (bist.read_bank == bist.write_bank)),
                   "the BIST must not read the bank that it writes"),
        ]

    def simulation_view(self) -> str:
        """See :mod:`hdl.cim.macro_view`."""
        return simulation_view(self.config, self.module_name, self.signature)
