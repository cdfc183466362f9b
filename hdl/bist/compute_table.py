"""The table of the compute self-test: a row per step, and what its fields mean.

A step loads one bank and then computes from it, while the next step loads the other one. Weights, signs and activations
come from a few gates per lane, which turn a position or the words of a linear generator into a word with a bit per
lane. ``docs/cbist.md`` says what each step is for.
"""

from enum import IntEnum

from amaranth.lib import data

from ..config import Config, clog2

#: Rows of the table.
TABLE_STEPS = 32

#: The generator's state at the start.
SEED = 0x9E3779B97F4A7C15


class Lanes(IntEnum):
    """A bit per lane, from a position ``p`` or at random. Positions have as many bits as ``row_bits``."""
    ZERO = 0
    ONE = 1
    STRIPE = 2
    """Bit ``p / 2`` of the lane's number, inverted if ``p`` is odd: operands of one level's adders differ. Zero where
    the number has no such bit."""
    POWER = 3
    """The first ``2^p`` lanes."""
    PAIR = 4
    """Planes in even slots: the last lane; in odd ones the first ``2^p`` lanes."""
    RANDOM = 5
    DENSE = 6
    """Seven lanes in eight."""


class Value(IntEnum):
    """Activations, from a position ``p`` or at random: the value of the selected lanes, whose complement the others
    have."""
    RANDOM = 0
    """Every lane its own; nothing is selected."""
    EQUAL = 1
    """Random, but one value."""
    BIT = 2
    """``2^(p mod 9)``; the highest bit is the sign."""
    EXTREME = 3
    """255 if ``p`` is odd, else -256."""
    BORROW = 4
    """``-2^(p mod 9)``, and -1 in the last lane; nothing is selected."""


class Mask(IntEnum):
    """Stored magnitude bits, by the number ``i`` of the repetition."""
    FIRST = 0
    """Bit 0: the psum is the sum of a plane."""
    BIT = 1
    """Bit ``i mod planes``."""
    PAIR = 2
    """Bit 0 and one of the others in turn."""
    HIGH = 3
    """The highest two."""
    ALL = 4
    RANDOM = 5


class Port(IntEnum):
    """What goes over the test port, column after column."""
    NONE = 0
    RECORD = 1
    """Reads sign word and bank record, of both banks, in place of computing."""
    ALL = 2
    """Reads every word, of both banks, in place of computing."""
    WRITE = 3
    """Before computing, writes some words of the bank, chosen at random, every time others."""


class Repair(IntEnum):
    """The macro's repair inputs from the beginning of the step's load."""
    NONE = 0
    ALL = 1
    """Every column is moved by all the spares."""
    SWEEP = 2
    """None at first; while the step computes, the first column that is moved goes up by one in each cycle."""


#: Bits of each field of a row, lowest first.
FIELD_BITS = {
    "planes": 3, "sign": 3, "constant": 1, "mask": 3, "m": 3, "e": 5, "m_step": 3, "e_step": 5, "partial": 1,
    "keep": 1, "spread": 1, "value": 3, "select": 3, "vectors": 9, "length": 4, "wild": 1, "port": 2, "reset": 1,
    "repair": 2, "repeat": 7,
}

#: Bits of a row. It is written by two registers, of which the second is never 0, since it has ``repeat``.
STEP_BITS = sum(FIELD_BITS.values())


def step_layout() -> data.StructLayout:
    """A row of the table. ``vectors``, ``length`` and ``repeat`` are at least 1; what the fields do is said in
    :class:`mbist.compute_test.TestStep`."""
    return data.StructLayout(FIELD_BITS)


def position_bits(config: Config) -> int:
    """Width of ``p`` of :attr:`Lanes.POWER`; that of :attr:`Lanes.STRIPE` has one more."""
    return clog2(config.row_bits + 1)


def turn(config: Config) -> int:
    """By how many places the word that is held turns with each row of slots, so that their planes differ. After all
    rows it stands as before."""
    return 64 // (config.slots // config.units_per_beat) % 64
