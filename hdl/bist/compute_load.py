"""Loads of the compute self-test: what a step puts into a bank."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import classes, delivery_signature, group_layout, load_signature
from ..config import Config, clog2
from .compute_table import Lanes, Mask, Repair, step_layout, turn
from .patterns import LanePattern, tap

#: Taps of the random words.
PLANES, SIGN, LANE_MASK, FIRST, GROUP, CONSTANT = 3, 29, 5, 60, 50, 23

#: Between the taps of neighbouring planes.
BETWEEN_PLANES = 11


class ComputeLoad(wiring.Component):
    """Offers the words of one bank, one bus word per cycle, and the generator's noise otherwise.

    A load begins with a cycle in which nothing is offered and the generator's word is held for the words that follow,
    or the word of the load before is held on. With ``spread`` there is such a cycle before each column.

    Members
    -------
    row : In(step_layout)
    restart : In(1)
        A table begins: ``row`` is at its first repetition.
    advance : In(1)
        The row's next repetition comes next, or after ``last`` the first one of another row.
    fresh : Out(1), last : Out(1)
        First and last of the row's repetitions.
    run : In(1)
        Goes on with the load of this repetition.
    bank : In(1), word : In(64)
    other_repair : In(1)
        All columns are moved if the row moves none, and the opposite.
    ended : Out(1)
        With ``run``: this is the load's last cycle. Another ``run`` begins the load anew.
    held : Out(64)
    repair : Out
        As the load under way has set it.
    load : Out(load_signature), valid, opposed : Out(classes), member, first, lane_mask, sign, group, constant : Out
        As in :func:`~hdl.cim.interfaces.test_signature`.
    """

    def __init__(self, config: Config):
        self.config = config
        delivery = delivery_signature(config).members
        super().__init__({
            "row": In(step_layout()),
            "restart": In(1),
            "advance": In(1),
            "fresh": Out(1),
            "last": Out(1),
            "run": In(1),
            "bank": In(1),
            "word": In(64),
            "other_repair": In(1),
            "ended": Out(1),
            "held": Out(64),
            "repair": Out(clog2(config.cols + 1)),
            "load": Out(load_signature(config)),
            **{name: member for name, member in delivery.items() if name != "valid"},
            "valid": Out(classes(config)),
            "opposed": Out(classes(config)),
        })

    def elaborate(self, platform):
        m = Module()
        self._repeat(m)
        self._count(m)
        self._words(m)
        self._group(m)
        return m

    def _repeat(self, m):
        """The number of the repetition, and what grows with it."""
        row, planes = self.row, self.config.planes
        self.repetition = Signal(row.repeat.shape())
        self.m, self.e = Signal(3), Signal(5)
        self.mask_bit, self.pair_bit = Signal(planes), Signal(max(1, planes - 1))
        next_m, next_e = Signal(3), Signal(5)
        next_mask_bit, next_pair_bit = Signal.like(self.mask_bit), Signal.like(self.pair_bit)
        m.d.comb += [
            self.fresh.eq(self.repetition == 0),
            self.last.eq(self.repetition == row.repeat - 1),
            self.m.eq(Mux(self.fresh, row.m, next_m)),
            self.e.eq(Mux(self.fresh, row.e, next_e)),
            self.mask_bit.eq(Mux(self.fresh, 1, next_mask_bit)),
            self.pair_bit.eq(Mux(self.fresh, 1, next_pair_bit)),
        ]
        with m.If(self.advance):
            m.d.sync += [
                self.repetition.eq(Mux(self.last, 0, self.repetition + 1)),
                next_m.eq(self.m + row.m_step),
                next_e.eq(self.e + row.e_step),
                next_mask_bit.eq(self.mask_bit.rotate_left(1)),
                next_pair_bit.eq(self.pair_bit.rotate_left(1)),
            ]
        with m.If(self.restart):
            m.d.sync += self.repetition.eq(0)

    def _count(self, m):
        """Bus words of a column, and columns: all classes at once, or one after another."""
        config, row = self.config, self.row
        rows, count = config.slots // config.units_per_beat, classes(config)
        members = config.cols // count
        self.slot_row, number, member = (Signal(max(1, clog2(n)), name=name) for n, name in (
            (rows, "slot_row"), (count, "number"), (members, "member_count")))
        draws, takes, beat, column_ends = (Signal(name=name) for name in ("draws", "takes", "beat", "column_ends"))
        self.drawing = Signal(init=1)
        m.d.comb += [
            draws.eq(self.run & self.drawing),
            takes.eq(row.spread | ~row.keep | (self.repetition[:2] == 0)),
            beat.eq(self.run & ~self.drawing),
            column_ends.eq(self.slot_row == rows - 1),
            self.ended.eq(beat & column_ends & (member == members - 1) & (~row.spread | (number == count - 1))),
            self.valid.eq(Mux(beat, Mux(row.spread, 1 << number, ~0), 0)),
            self.opposed.eq(Mux(beat & row.spread, Mux(number[0], *(
                Const(sum(1 << k for k in range(count) if k % 2 == odd), count) for odd in (0, 1))), 0)),
            self.member.eq(Mux(beat, member, 0)),
            self.load.bank.eq(Mux(beat, self.bank, self.word[1])),
            self.load.row.eq(Mux(beat, self.slot_row, tap(self.word, len(self.load.row), 2))),
        ]
        with m.If(draws):
            m.d.sync += [self.drawing.eq(0), self.repair.eq(
                Mux((row.repair == Repair.ALL) ^ self.other_repair, 0, config.cols))]
            with m.If(takes):
                m.d.sync += self.held.eq(self.word)
        with m.If(beat):
            m.d.sync += [self.held.eq(self.held.rotate_right(turn(config))),
                         self.slot_row.eq(Mux(column_ends, 0, self.slot_row + 1))]
            with m.If(column_ends):
                m.d.sync += self.drawing.eq(row.spread | self.ended)
                with m.If(row.spread & (number != count - 1)):
                    m.d.sync += number.eq(number + 1)
                with m.Else():
                    m.d.sync += [number.eq(0), member.eq(Mux(member == members - 1, 0, member + 1))]
        with m.If(self.restart):
            m.d.sync += [self.drawing.eq(1), self.repair.eq(0), self.slot_row.eq(0), number.eq(0), member.eq(0)]
        self.beat = beat

    def _words(self, m):
        """Planes and sign word."""
        config, row = self.config, self.row
        self.source = Signal(64)
        complement = row.keep & (self.repetition[0] ^ self.repetition[1])
        m.d.comb += self.source.eq(Mux(self.beat, self.held ^ complement.replicate(64), self.word))
        units = config.units_per_beat
        for unit in range(units):
            m.submodules[f"plane_{unit}"] = plane = LanePattern(config, BETWEEN_PLANES * unit + PLANES)
            m.d.comb += [
                plane.source.eq(Mux(self.beat, row.planes, Lanes.RANDOM)),
                plane.position.eq(self.repetition + unit + self.slot_row * units),
                plane.odd.eq(unit % 2 if units > 1 else self.slot_row[0]),
                plane.word.eq(self.source),
                self.load.lanes.word_select(unit, config.rows).eq(plane.lanes),
            ]
        m.submodules.sign_word = sign = LanePattern(config, SIGN)
        m.d.comb += [
            sign.source.eq(Mux(self.beat, row.sign, Lanes.RANDOM)),
            sign.position.eq(self.repetition),
            sign.word.eq(self.source),
            self.sign.eq(sign.lanes),
        ]

    def _group(self, m):
        """What comes with them."""
        config, row, planes = self.config, self.row, self.config.planes
        group = Signal(group_layout(config))
        with m.Switch(row.mask):
            with m.Case(Mask.FIRST):
                m.d.comb += group.mask.eq(1)
            with m.Case(Mask.BIT):
                m.d.comb += group.mask.eq(self.mask_bit)
            with m.Case(Mask.PAIR):
                m.d.comb += group.mask.eq(Cat(1, self.pair_bit))
            with m.Case(Mask.HIGH):
                m.d.comb += group.mask.eq(3 << planes - 2 if planes > 1 else 1)
            with m.Case(Mask.ALL):
                m.d.comb += group.mask.eq(~0)
            with m.Case(Mask.RANDOM):
                m.d.comb += group.mask.eq(tap(self.source, planes, GROUP))
        m.d.comb += [
            group.m.eq(self.m),
            group.e.eq(self.e),
            group.first_slot.eq(3 * self.repetition),
            self.group.eq(Mux(self.beat & ~row.keep, group.as_value(), tap(self.source, len(group.as_value()), GROUP))),
            self.first.eq(Mux(self.beat, (~row.partial | self.source[FIRST]) & (self.slot_row == 0),
                              self.source[FIRST])),
            self.lane_mask.eq(Mux(self.beat & ~row.partial, ~0, tap(self.source, config.units_per_beat, LANE_MASK))),
            self.constant.eq(Mux(self.beat & ~row.constant, 0, tap(self.source, config.constant_bits, CONSTANT))),
        ]
