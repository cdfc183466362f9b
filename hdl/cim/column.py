"""One column: planes of a group times an activation vector, bit-serially, and the group's scale."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, ACT_BITS, Config, clog2
from ..verilog import once
from .interfaces import (
    bank_record_layout,
    bist_words,
    group_layout,
    issue_layout,
    record_words,
    scaled_layout,
    slot_row_bits,
)
from .plane_store import PlaneStore
from .plane_sum import PlaneSum


class Column(wiring.Component):
    """Multiplies the planes of one bank while the other bank is loaded.

    A vector takes as many cycles as the array issues planes for it; cycles beyond the column's own stored planes add
    nothing. ``psum`` is the exact integer dot product. ``issue`` reaches the column twice: when a plane is read, and
    again as ``accumulate``, :attr:`sum_latency` cycles later, when its sum leaves the adder tree.

    Latency from ``accumulate.last``: ``psum`` 1 cycle, ``scaled`` 3 cycles. Throughput: one plane per cycle, one psum
    per vector, which may be every cycle. Mask, scale and negation constant are taken over from their bank when the
    first vector of a step arrives at the accumulator, so a bank is free as soon as its last plane has been read and
    that has happened.

    Members
    -------
    issue, accumulate : In(issue_layout)
    act : In(rows).array(9)
        Bit-sliced activations, one cycle after the ``issue`` of the planes that they meet.
    select : In(1)
        The load signals below are for this column.
    first, bank, row, lane_mask, lanes, sign, group, constant : In
        As in :func:`~hdl.cim.interfaces.load_signature`.
    test, test_words : In
        With ``select``: a write of the BIST, which leaves the bank record and the sign word as they are but for the
        words among ``test_words``: bit 0 is the sign word, the others the pieces of the bank record.
    bist_select, bist_bank, bist_word : In
        Reads a stored word in place of a plane.
    bist_show : In(1)
        With ``bist_select``: shows it.
    word : Out(rows)
        The word that ``bist_word`` named one cycle before, zero if ``bist_show`` was not set.
    psum : Out(signed)
    scaled : Out(scaled_layout)
    """

    module_name = "column"

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "issue": In(issue_layout(config)),
            "accumulate": In(issue_layout(config)),
            "act": In(config.rows).array(ACT_BITS),
            "select": In(1),
            "first": In(1),
            "bank": In(1),
            "row": In(slot_row_bits(config)),
            "lane_mask": In(config.units_per_beat),
            "lanes": In(config.bus_bits),
            "sign": In(config.rows),
            "group": In(group_layout(config)),
            "constant": In(config.constant_bits),
            "test": In(1),
            "test_words": In(1 + record_words(config)),
            "bist_select": In(1),
            "bist_bank": In(1),
            "bist_word": In(clog2(bist_words(config))),
            "bist_show": In(1),
            "word": Out(config.rows),
            "psum": Out(signed(config.psum_bits)),
            "scaled": Out(scaled_layout()),
        })

    @staticmethod
    def sum_latency(config: Config) -> int:
        """Cycles from ``issue`` to the ``accumulate`` that belongs to it."""
        return 1 + config.row_bits

    #: Cycles from ``accumulate`` with ``last`` set to ``scaled``.
    SCALED_LATENCY = 3

    def elaborate(self, platform):
        m = Module()
        signs, records = self._load_banks(m)
        plane, sign = self._read(m, platform, signs, records)
        total = self._sum(m, platform, plane, sign)
        late = self._accumulate(m, records, total)
        self._scale(m, late)
        return m

    def _load_banks(self, m):
        """Sign word and bank record of each bank, written as they pass, or word by word by the BIST."""
        rows, layout = self.config.rows, bank_record_layout(self.config)
        signs = [Signal(rows, name=f"sign_{b}", reset_less=True) for b in range(2)]
        records = [Signal(layout, name=f"record_{b}", reset_less=True) for b in range(2)]
        given = Signal(layout)
        m.d.comb += [given.group.eq(self.group), given.constant.eq(self.constant)]
        group_bits = layout["constant"].offset
        for bank, (sign, record) in enumerate(zip(signs, records)):
            with m.If(self.select & (self.bank == bank)):
                with m.If(self.first | self.test_words[0]):
                    m.d.sync += sign.eq(self.sign)
                for piece in range(record_words(self.config)):
                    low, high = piece * rows, min((piece + 1) * rows, layout.size)
                    tested = self.test_words[1 + piece]
                    if low < group_bits:
                        here = slice(low, min(high, group_bits))
                        with m.If(self.first | tested):
                            m.d.sync += record.as_value()[here].eq(given.as_value()[here])
                    if high > group_bits:
                        here = slice(max(low, group_bits), high)
                        with m.If(~self.test | tested):
                            m.d.sync += record.as_value()[here].eq(given.as_value()[here])
        return signs, records

    def _read(self, m, platform, signs, records):
        """Plane and sign word of an issued plane, or the word that the BIST asks for, one cycle later."""
        config = self.config
        store = PlaneStore(config)
        m.submodules.store = once(store, platform)
        bank = Signal()
        first_slot = Mux(self.issue.bank, records[1].group.first_slot, records[0].group.first_slot)
        m.d.comb += [
            bank.eq(Mux(self.bist_select, self.bist_bank, self.issue.bank)),
            store.read_bank.eq(bank),
            store.read_slot.eq(Mux(self.bist_select, self.bist_word, first_slot + self.issue.plane)),
            store.lanes.eq(self.lanes),
            store.lane_mask.eq(Mux(self.select, self.lane_mask, 0)),
            store.row.eq(self.row),
            store.write_bank.eq(self.bank),
        ]
        sign = Signal(config.rows)
        bank_read = Signal(reset_less=True)
        m.d.sync += bank_read.eq(bank)
        m.d.comb += sign.eq(Mux(bank_read, signs[1], signs[0]))

        selected = Signal()
        word_read = Signal.like(self.bist_word, reset_less=True)
        m.d.sync += [selected.eq(self.bist_show), word_read.eq(self.bist_word)]
        record = Mux(bank_read, records[1].as_value(), records[0].as_value())
        others = Array([sign, *(record[i:i + config.rows] for i in range(0, len(record), config.rows))])
        with m.If(selected):
            m.d.comb += self.word.eq(Mux(word_read < config.slots, store.plane, others[word_read - config.slots]))
        return store.plane, sign

    def _sum(self, m, platform, plane, sign):
        plane_sum = PlaneSum(self.config)
        m.submodules.plane_sum = once(plane_sum, platform)
        m.d.comb += [plane_sum.plane.eq(plane), plane_sum.sign.eq(sign)]
        m.d.comb += [mine.eq(given) for mine, given in zip(plane_sum.act, self.act)]
        return plane_sum.sum

    def _accumulate(self, m, records, total):
        """Shifts each plane's sum by the plane's bit, ascending through the mask, and adds up.

        Returns the bank record of the step whose psum is finished in this cycle.
        """
        config = self.config
        now = self.accumulate
        late = Signal(bank_record_layout(config), reset_less=True)
        current = Signal(bank_record_layout(config))
        m.d.comb += current.eq(Mux(now.step, Mux(now.bank, records[1], records[0]), late))

        remaining = Signal(config.planes, reset_less=True)
        mask = Signal(config.planes)
        lowest = Signal(config.planes)
        shift = Signal(clog2(config.planes))
        term = Signal(signed(config.psum_bits))
        m.d.comb += [
            mask.eq(Mux(now.first, current.group.mask, remaining)),
            lowest.eq(mask & -mask),
            shift.eq(Cat(_any(lowest[b] for b in range(config.planes) if b >> i & 1) for i in range(len(shift)))),
            term.eq(Mux(mask == 0, 0, total << shift)),
        ]
        with m.If(now.valid):
            m.d.sync += [
                late.eq(current),
                remaining.eq(mask & ~lowest),
                self.psum.eq(Mux(now.first, current.constant, self.psum) + term),
            ]
        return late

    def _scale(self, m, late):
        """psum x (8 + m) x 2^e / 8, in two pipeline stages."""
        config = self.config
        finished = Signal(reset_less=True)
        product = Signal(signed(config.psum_bits + 4), reset_less=True)
        exponent = Signal(5, reset_less=True)
        m.d.sync += finished.eq(self.accumulate.valid & self.accumulate.last)
        with m.If(finished):  # the multiplier rests while planes are added up
            m.d.sync += [product.eq(self.psum * Cat(late.group.m, 1)), exponent.eq(late.group.e)]
        shifted = Signal(signed(config.psum_bits + 4 + 31 - 3))
        m.d.comb += shifted.eq((product << exponent) >> 3)
        m.d.sync += [
            self.scaled.value.eq(shifted),
            self.scaled.overflow.eq(shifted[ACC_BITS - 1:] != shifted[ACC_BITS - 1].replicate(
                len(shifted) - ACC_BITS + 1)),
        ]


def _any(bits):
    return Cat(bits).any()
