"""The receive side up to the clock crossing: lanes in, descrambled line words out."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import clog2
from .formats import MARKER, Entry, lane_errors_layout, largest_power, ones, report_layout, training_layout
from .lane_aligner import LaneAligner
from .parameters import UNIT_BITS, LinkParameters
from .prbs import STATE_BITS, prbs_next, seed

#: Cycles between two lanes' reports of a test pattern.
PATTERN_REPORT_CYCLES = 16


def entry_layout(parameters: LinkParameters) -> data.StructLayout:
    """What crosses from the receive clock to the core's."""
    return data.StructLayout({"kind": Entry, "payload": parameters.word_bits})


class LineReceiver(wiring.Component):
    """Trains by itself when told to, then delivers line words until told to train again.

    Lanes may come in any order, of any polarity, shifted by any number of bits, and apart by up to ``skew_words - 2``
    lane words. When the first lane is steady, the others have ``lane_timeout`` cycles; then the lanes that are, the
    lowest by the partner's numbers that are a power of two, are used. Of lanes that say one number the first counts.

    In the domain of the receive clock. From ``i_lanes`` to ``entry``: 3 cycles at full width.

    Members
    -------
    i_lanes : In(lane_bits), per lane
    hunt : In(1)
        Forgets all lanes; training begins when it goes low.
    hunting : Out(1)
        ``hunt`` has been seen.
    test : In(1)
        Lanes carry a test pattern.
    entry : Out(entry_layout), entry_valid : Out(1)
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_lanes": In(p.lane_bits).array(p.lanes),
            "hunt": In(1), "hunting": Out(1), "test": In(1),
            "entry": Out(entry_layout(p)), "entry_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        self.aligners = [LaneAligner(p) for _ in range(p.lanes)]
        for lane, aligner in enumerate(self.aligners):
            m.submodules[f"aligner_{lane}"] = aligner
            m.d.comb += [aligner.i_lane.eq(self.i_lanes[lane]), aligner.test.eq(self.test)]
        # Of the lanes here: which are used, and which part of a word each carries.
        self.used = Signal(p.lanes)
        self.rank = [Signal(range(p.lanes), name=f"rank_{lane}") for lane in range(p.lanes)]
        self.mask = Signal(p.lanes)  # the same by the partner's numbers
        self.position = Signal(clog2(p.round_words))
        self.reading = Signal()
        self.running = Signal()
        aligned = self._select(m)
        words, begin = self._deskew(m, aligned)
        self._words(m, words, begin)
        self._report(m)
        self._report_patterns(m)
        return m

    def _select(self, m):
        """Which lanes are used. Returns whether all of them have come to the begin of a round."""
        p = self.parameters
        steady = Cat(a.steady for a in self.aligners)
        timer = Signal(range(p.lane_timeout + 1))
        claims = [Signal(p.lanes, name=f"claims_{n}") for n in range(p.lanes)]  # lanes that say the partner's number n
        present = Signal(p.lanes)  # by the partner's numbers
        chosen = Signal(p.lanes)
        used = Signal(p.lanes)
        m.d.comb += [claim.eq(Cat(a.steady & (a.info.lane == n) for a in self.aligners))
                     for n, claim in enumerate(claims)]
        m.d.comb += [
            present.eq(Cat(claim.any() for claim in claims)), chosen.eq(largest_power(present)),
            used.eq(reduce(or_, (Mux(bit, (claim & -claim)[:p.lanes], 0) for bit, claim in zip(chosen, claims)))),
        ]
        arrived = Signal(p.lanes)
        all_arrived = Signal()
        late = Signal()
        now = Cat(a.position == 0 for a in self.aligners)
        m.d.comb += [
            all_arrived.eq(((arrived | now) & self.used) == self.used),
            late.eq((Cat(a.position == p.skew_words - 1 for a in self.aligners) & self.used).any()),
        ]
        aligned = Signal()
        m.d.sync += self.hunting.eq(0)
        with m.FSM(name="select"):
            with m.State("HUNT"):
                m.d.sync += self.hunting.eq(self.hunt)
                m.d.sync += timer.eq(Mux(steady.any(), timer + 1, 0))
                with m.If(self.hunt):
                    m.d.sync += timer.eq(0)
                with m.Elif(steady.all() | steady.any() & (timer == p.lane_timeout)):
                    m.d.sync += [self.mask.eq(chosen), self.used.eq(used), arrived.eq(0)]
                    for a, rank in zip(self.aligners, self.rank):
                        below = [chosen & (1 << n) - 1 for n in range(p.lanes)]
                        m.d.sync += rank.eq(ones(Array(below)[a.info.lane[:max(1, clog2(p.lanes))]]))
                    m.next = "ALIGN"
            with m.State("ALIGN"):
                m.d.sync += arrived.eq(Mux(late, 0, arrived | now))
                with m.If(all_arrived & ~late):
                    m.d.comb += aligned.eq(1)
                    m.next = "READ"
                with m.If(self.hunt):
                    m.next = "HUNT"
            with m.State("READ"):
                m.d.comb += self.reading.eq(1)
                with m.If(self.hunt):
                    m.next = "HUNT"
        for a in self.aligners:
            m.d.comb += [a.forget.eq(self.hunt), a.search.eq(~self.hunt & ~self.running & ~self.test)]
        return aligned

    def _deskew(self, m, aligned):
        """Lanes that are read at one place; and whether a line word begins there. A buffer per lane is written at the
        lane's place in the round, so the lanes' places agree when they are read."""
        p = self.parameters
        place_bits = clog2(p.skew_words)
        m.d.sync += self.position.eq(Mux(aligned, 0, self.position + 1))
        words, begins = [], []
        for lane, a in enumerate(self.aligners):
            memory = m.submodules[f"deskew_{lane}"] = Memory(shape=p.lane_bits + 1, depth=p.skew_words, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(a.position[:place_bits]), write.data.eq(Cat(a.word, a.begin)), write.en.eq(1),
                read.addr.eq(self.position[:place_bits]),
            ]
            words.append(read.data[:-1])
            begins.append(read.data[-1] & self.used[lane])
        return words, self.reading & (self.position == 0) & Cat(begins).any()

    def _words(self, m, lanes, begin):
        """Line words of what the lanes carry; skip words are looked at and end here, which compensates the clocks."""
        p = self.parameters
        ordered = [Signal(p.lane_bits, name=f"ordered_{rank}") for rank in range(p.lanes)]
        for rank, out in enumerate(ordered):
            m.d.comb += out.eq(_select_one(lanes, self.used, self.rank, rank))
        part = Signal(range(p.lanes))
        last_part = Signal()
        gathered = Signal(p.word_bits)
        word = Signal(p.word_bits)
        now = Signal()  # the lanes carry a part of a line word
        running = Signal()
        m.d.comb += [now.eq(running | begin), self.running.eq(now)]
        m.d.sync += running.eq(now & ~self.hunt)
        base = Signal(range(p.lanes))  # number of the part's first lane word
        with m.Switch(ones(self.used)):
            for power in range(clog2(p.lanes) + 1):
                with m.Case(1 << power):
                    bits = p.lane_bits << power
                    m.d.comb += [
                        word.eq(Cat(gathered[bits:], Cat(ordered)[:bits])),
                        last_part.eq(part == (p.lanes >> power) - 1),
                        base.eq(part << power),
                    ]
        with m.If(now):
            m.d.sync += [gathered.eq(word), part.eq(Mux(last_part, 0, part + 1))]
        with m.Else():
            m.d.sync += part.eq(0)

        slot = Signal(5)
        flits = Signal(range(p.skip_flits + 1))
        skip = Signal()
        complete = Signal()
        last = slot == p.flit_words - 1
        m.d.comb += [skip.eq(flits == p.skip_flits), complete.eq(now & last_part)]
        with m.If(~now):
            m.d.sync += [slot.eq(0), flits.eq(0)]
        with m.Elif(complete):
            m.d.sync += [slot.eq(Mux(last | skip, 0, slot + 1)), flits.eq(Mux(skip, 0, flits + last))]
        keystream = []
        for unit in range(p.units):
            lfsr = Signal(STATE_BITS, init=seed(unit), name=f"scrambler_{unit}")
            bits, after = prbs_next(lfsr, UNIT_BITS)
            keystream.append(bits)
            with m.If(~now):
                m.d.sync += lfsr.eq(seed(unit))
            with m.Elif(complete & ~skip):
                m.d.sync += lfsr.eq(after)
        wrong = self._skip_errors(m, lanes, base, now & skip, complete)
        errors = Signal(lane_errors_layout())
        m.d.comb += errors.errors.eq(wrong)
        m.d.sync += self.entry_valid.eq(complete & (~skip | (wrong != 0)))
        with m.If(complete):
            m.d.sync += [
                self.entry.kind.eq(Mux(skip, Entry.LANES, Mux(last, Entry.LAST_WORD, Entry.WORD))),
                self.entry.payload.eq(Mux(skip, errors.as_value(), word ^ Cat(keystream))),
            ]

    def _skip_errors(self, m, lanes, base, looking, complete):
        """Lanes whose parts of a skip word are wrong, up to this cycle."""
        p = self.parameters
        before = Signal(p.lanes)
        wrong = Signal(p.lanes)
        pieces = UNIT_BITS // p.lane_bits
        for lane, word in enumerate(lanes):
            index = (base + self.rank[lane])[:clog2(pieces)] if pieces > 1 else Const(0, 1)
            right = Const(MARKER, UNIT_BITS).word_select(index, p.lane_bits)
            m.d.comb += wrong[lane].eq(looking & (before[lane] | self.used[lane] & (word != right)))
        m.d.sync += before.eq(Mux(complete, 0, wrong))
        return wrong

    def _report(self, m):
        """Once per round of training: the partner's state, and the lanes that are received."""
        report = Signal(report_layout())
        info = Signal(training_layout())
        for a, used in zip(self.aligners, self.used):
            with m.If(used):
                m.d.comb += info.eq(a.info)
        m.d.comb += [report.state.eq(info.state), report.partner_mask.eq(info.mask), report.mask.eq(self.mask)]
        with m.If(self.reading & ~self.running & (self.position == self.parameters.round_words - 1)):
            m.d.sync += [
                self.entry_valid.eq(1), self.entry.kind.eq(Entry.TRAINING), self.entry.payload.eq(report),
            ]

    def _report_patterns(self, m):
        """In a test, the lanes' errors in turn."""
        p = self.parameters
        timer = Signal(range(PATTERN_REPORT_CYCLES))
        lane = Signal(range(p.lanes))
        errors = Signal(lane_errors_layout())
        wrong = Signal.like(errors.errors)
        locked = Signal()
        m.d.comb += [errors.test.eq(1), errors.lane.eq(lane), errors.locked.eq(locked), errors.errors.eq(wrong)]
        with m.If(self.test):
            m.d.sync += timer.eq(timer + 1)
            with m.If(timer == PATTERN_REPORT_CYCLES - 1):
                m.d.sync += [
                    lane.eq(Mux(lane == p.lanes - 1, 0, lane + 1)),
                    self.entry_valid.eq(1), self.entry.kind.eq(Entry.LANES), self.entry.payload.eq(errors),
                ]
        for n, a in enumerate(self.aligners):
            count = Signal(16, name=f"wrong_bits_{n}")
            total = (count + a.pattern_errors)[:17]
            told = self.test & (timer == PATTERN_REPORT_CYCLES - 1) & (lane == n)
            with m.If(lane == n):
                m.d.comb += [wrong.eq(count), locked.eq(a.pattern_locked)]
            m.d.sync += count.eq(Mux(told | ~self.test, a.pattern_errors, Mux(total[16], 0xFFFF, total)))


def _select_one(lanes, used, ranks, rank):
    """The word of the lane that is used with a rank."""
    chosen = Const(0, len(lanes[0]))
    for lane, is_used, its_rank in zip(lanes, used, ranks):
        chosen = chosen | Mux(is_used & (its_rank == rank), lane, 0)
    return chosen
