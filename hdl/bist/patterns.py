"""Pattern sources of the compute self-test: a linear generator, and a few gates per lane behind it."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACT_BITS, Config
from .compute_table import SEED, Lanes, position_bits
from .compute_table import Value as Activations


def tap(word: Value, width: int, offset: int) -> Value:
    """``width`` bits of a word of 64 bits, from ``offset`` on; wires."""
    return Cat(word[(i + 5 * (i // 64) + offset) % 64] for i in range(width))


class Generator(wiring.Component):
    """Marsaglia's xorshift (Journal of Statistical Software 8, 2003): three rows of XOR gates, period 2^64 - 1.

    Members
    -------
    restart : In(1)
        The first word comes next.
    run : In(1)
        The next word comes next.
    word : Out(64)
    """

    def __init__(self):
        super().__init__({"restart": In(1), "run": In(1), "word": Out(64, init=self.step(SEED))})

    @staticmethod
    def step(state: int) -> int:
        """The word after a word."""
        limit = (1 << 64) - 1
        state ^= state << 13 & limit
        state ^= state >> 7
        return state ^ (state << 17 & limit)

    def elaborate(self, platform):
        m = Module()
        first = self.word ^ (self.word << 13)[:64]
        second = first ^ (first >> 7)
        with m.If(self.restart):
            m.d.sync += self.word.eq(self.step(SEED))
        with m.Elif(self.run):
            m.d.sync += self.word.eq(second ^ (second << 17)[:64])
        return m


class LanePattern(wiring.Component):
    """A bit per lane, as :class:`~hdl.bist.compute_table.Lanes` says. Combinational.

    Parameters
    ----------
    config : Config
    offset : int
        Where random words are tapped.

    Members
    -------
    source : In(Lanes), position : In, odd : In(1)
        ``odd`` is that of the slot, for pairs.
    word : In(64)
    lanes : Out(rows)
    """

    def __init__(self, config: Config, offset: int):
        self.config = config
        self.offset = offset
        super().__init__({"source": In(3), "position": In(position_bits(config) + 1), "odd": In(1), "word": In(64),
                          "lanes": Out(config.rows)})

    def elaborate(self, platform):
        m = Module()
        rows, bits = self.config.rows, position_bits(self.config)
        stripe, power = Signal(rows), Signal(rows)
        first, second, third = (tap(self.word, rows, self.offset + more) for more in (0, 17, 41))
        with m.Switch(self.position[1:]):
            for bit in range(self.config.row_bits):
                with m.Case(bit):
                    m.d.comb += stripe.eq(Const(sum(1 << r for r in range(rows) if r >> bit & 1), rows))
        m.d.comb += power.eq(Cat(self.position[:bits] >= r.bit_length() for r in range(rows)))
        with m.Switch(self.source):
            with m.Case(Lanes.ONE):
                m.d.comb += self.lanes.eq(~0)
            with m.Case(Lanes.STRIPE):
                m.d.comb += self.lanes.eq(stripe ^ self.position[0].replicate(rows))
            with m.Case(Lanes.POWER):
                m.d.comb += self.lanes.eq(power)
            with m.Case(Lanes.PAIR):
                m.d.comb += self.lanes.eq(Mux(self.odd, power, 1 << rows - 1))
            with m.Case(Lanes.RANDOM):
                m.d.comb += self.lanes.eq(first)
            with m.Case(Lanes.DENSE):
                m.d.comb += self.lanes.eq(first | second | third)
        return m


class ActivationPattern(wiring.Component):
    """Bit-sliced activations, as :class:`~hdl.bist.compute_table.Value` says. Combinational.

    Members
    -------
    value : In(Value), select : In(Lanes)
    position : In, nine : In(4)
        The position, and the same modulo nine.
    word : In(64)
    act : Out(rows).array(9)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({"value": In(3), "select": In(3), "position": In(position_bits(config) + 1), "nine": In(4),
                          "word": In(64), "act": Out(config.rows).array(ACT_BITS)})

    def elaborate(self, platform):
        m = Module()
        rows = self.config.rows
        m.submodules.select = select = LanePattern(self.config, 0)
        value, chosen, forced = Signal(ACT_BITS), Signal(rows), Signal()
        m.d.comb += [select.source.eq(self.select), select.position.eq(self.position), select.word.eq(self.word),
                     chosen.eq(select.lanes)]
        with m.Switch(self.value):
            with m.Case(Activations.EQUAL):
                m.d.comb += value.eq(self.word)
            with m.Case(Activations.BIT):
                m.d.comb += value.eq(1 << self.nine)
            with m.Case(Activations.EXTREME):
                m.d.comb += value.eq(Mux(self.position[0], (1 << ACT_BITS - 1) - 1, 1 << ACT_BITS - 1))
            with m.Case(Activations.BORROW):
                m.d.comb += [value.eq(Const(-1, ACT_BITS) << self.nine), chosen.eq(~0), forced.eq(1)]
        for bit, act in enumerate(self.act):
            lanes = ~(value[bit].replicate(rows) ^ chosen)
            m.d.comb += act.eq(Mux(self.value == Activations.RANDOM, tap(self.word, rows, 7 * bit),
                                   lanes | forced << rows - 1))
        return m
