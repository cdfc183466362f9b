"""One lane of the receive side: bit slip, polarity, training blocks, test pattern."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import clog2
from .formats import MARKER, VERSION, ones, training_crc, training_layout
from .parameters import BLOCK_BITS, UNIT_BITS, LinkParameters
from .prbs import STATE_BITS, prbs_next

#: Blocks without a good one after which the next bit slip is tried, and after which a lane is given up.
SLIP_BLOCKS, LOST_BLOCKS = 4, 12

#: Good blocks in a row after which a lane is used. A lane with so many errors that they spoil half of all flits gets so
#: far once in thousands of attempts.
STEADY_BLOCKS = 32

#: Words of a test pattern in a row that a checker must have foreseen to follow it, and wrong bits that end it.
PATTERN_WORDS = 8


class LaneAligner(wiring.Component):
    """Finds words and training blocks in the bits of a lane. In the domain of the receive clock; latency one cycle.

    While ``search`` is high, bit slip and polarity are tried until a training block with a right CRC comes; then the
    lane is ``locked``. Trying all slips takes ``4 x 128 / lane_bits x lane_bits`` = 512 cycles.

    Members
    -------
    i_lane : In(lane_bits)
    forget : In(1)
        The lane is no longer locked.
    search, test : In(1)
        Training blocks are looked for; a test pattern is.
    word : Out(lane_bits)
    position : Out
        Lane word within the round of training blocks; goes on counting when the last round has ended.
    begin : Out(1)
        ``word`` is the first after the last round.
    locked : Out(1)
    steady : Out(1)
        Since it locked, :data:`STEADY_BLOCKS` blocks in a row were good.
    info : Out(training_layout)
        Of the last good block.
    pattern_locked : Out(1), pattern_errors : Out
        The checker follows a PRBS-31; wrong bits of ``word``.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_lane": In(p.lane_bits),
            "forget": In(1), "search": In(1), "test": In(1),
            "word": Out(p.lane_bits),
            "position": Out(clog2(p.round_words)),
            "begin": Out(1),
            "locked": Out(1),
            "steady": Out(1),
            "info": Out(training_layout()),
            "pattern_locked": Out(1), "pattern_errors": Out(range(p.lane_bits + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        # The slip counts back from the word that comes, so that a lane that needs none has no delay.
        before = Signal(p.lane_bits)
        slip = Signal(clog2(p.lane_bits))
        inverted = Signal()
        shifted = Cat(before, self.i_lane).bit_select((p.lane_bits - slip)[:clog2(p.lane_bits) + 1], p.lane_bits)
        history = Signal(BLOCK_BITS)
        m.d.sync += [
            before.eq(self.i_lane),
            history.eq(Cat(history, shifted ^ inverted.replicate(p.lane_bits))[p.lane_bits:]),
        ]
        m.d.comb += self.word.eq(history[-p.lane_bits:])

        marker, info, crc = history[:UNIT_BITS], history[UNIT_BITS:-32], history[-32:]
        marked = Signal()
        good = Signal()
        upside_down = Signal()
        seen = Signal(training_layout())
        silence = Signal(range(LOST_BLOCKS * p.block_words))  # cycles without a good block
        m.d.comb += [
            marked.eq(self.search & (marker == MARKER)),
            seen.eq(Mux(marked, info, 0)),  # so that the CRC below rests while there are no blocks
            good.eq(marked & (crc == training_crc(seen.as_value())) & (seen.version == VERSION)),
            # What came with the polarity or slip before does not count.
            upside_down.eq(self.search & ~self.locked & (silence >= p.block_words)
                           & (marker == MARKER ^ (1 << UNIT_BITS) - 1)),
        ]
        tried = silence == SLIP_BLOCKS * p.block_words - 1
        m.d.sync += silence.eq(silence + 1)
        with m.If(good):
            m.d.sync += [self.locked.eq(1), self.info.eq(info), silence.eq(0)]
        with m.Elif(~self.search):
            m.d.sync += silence.eq(0)
        with m.Elif(upside_down):
            m.d.sync += [inverted.eq(~inverted), silence.eq(0)]
        with m.Elif(~self.locked & tried):
            m.d.sync += [slip.eq(slip + 1), silence.eq(0)]
        with m.Elif(silence == LOST_BLOCKS * p.block_words - 1):
            m.d.sync += [self.locked.eq(0), silence.eq(0)]
        with m.If(self.forget):
            m.d.sync += [self.locked.eq(0), self.info.last.eq(0)]

        # A good block is the last words of its place in the round.
        here = Cat(Const(p.block_words - 1, clog2(p.block_words)), seen.count)
        m.d.sync += self.position.eq(Mux(good, here, self.position) + 1)
        m.d.comb += self.begin.eq(self.locked & self.info.last & (self.position == 0))
        self._prove(m, good)
        self._check_pattern(m)
        return m

    def _prove(self, m, good):
        """Counts good blocks in a row, until they are enough."""
        p = self.parameters
        streak = Signal(range(STEADY_BLOCKS + 1))
        due = self.position[:clog2(p.block_words)] == p.block_words - 1
        m.d.comb += self.steady.eq(streak == STEADY_BLOCKS)
        with m.If(~self.steady & good):
            m.d.sync += streak.eq(streak + 1)
        with m.Elif(~self.steady & self.search & due):
            m.d.sync += streak.eq(0)
        with m.If(~self.locked | self.forget):
            m.d.sync += streak.eq(0)

    def _check_pattern(self, m):
        """Foresees each word from the 31 bits before: received ones, or when locked its own."""
        width = self.parameters.lane_bits
        last = Signal(STATE_BITS)
        foreseen, after = prbs_next(last, width)
        errors = Signal(range(width + 1))
        streak = Signal(range(PATTERN_WORDS))
        m.d.comb += [
            errors.eq(ones(Mux(self.test, foreseen ^ self.word, 0))),
            self.pattern_errors.eq(Mux(self.pattern_locked, errors, 0)),
        ]
        with m.If(self.test):
            m.d.sync += last.eq(Mux(self.pattern_locked, after, Cat(last, self.word)[width:]))
        with m.If(~self.test):
            m.d.sync += [self.pattern_locked.eq(0), streak.eq(0)]
        with m.Elif(self.pattern_locked):
            with m.If(errors > width // 4):
                m.d.sync += streak.eq(streak - 1)
                with m.If(streak == 0):
                    m.d.sync += self.pattern_locked.eq(0)
            with m.Else():
                m.d.sync += streak.eq(PATTERN_WORDS - 1)
        with m.Else():
            # A lane of zeros follows the recurrence, too.
            with m.If((errors != 0) | (last == 0)):
                m.d.sync += streak.eq(0)
            with m.Else():
                m.d.sync += streak.eq(streak + 1)
                with m.If(streak == PATTERN_WORDS - 1):
                    m.d.sync += self.pattern_locked.eq(1)
