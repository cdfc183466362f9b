"""The compute self-test as data: a short table of steps that a small engine expands into the pins of a macro.

A step loads one bank and then computes from it, while the next step loads the other one. Weights, signs and activations
come from a few gates per lane, which turn a position or the words of a linear generator into a word with a bit per
lane. :func:`~mbist.compute_pins.expand` is the golden model of the engine, ``docs/cbist.md`` says what each step finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hdl.bist.compute_table import (
    FIELD_BITS,
    STEP_BITS,
    TABLE_STEPS,
    Lanes,
    Mask,
    Port,
    Repair,
    Value,
    position_bits,
    step_layout,
)
from hdl.config import Config

__all__ = ["FIELD_BITS", "STEP_BITS", "TABLE_STEPS", "Lanes", "Mask", "Port", "Repair", "TestStep", "Value", "check",
           "column_program"]


@dataclass(frozen=True, kw_only=True)
class TestStep:
    """One row of the table, expanded ``repeat`` times.

    Attributes
    ----------
    planes, sign : Lanes
        What the bank is loaded with; a plane's position is the number of the repetition plus the slot's.
    constant : bool
        A random negation constant, else zero.
    mask : Mask
    m, e, m_step, e_step : int
        Group scale at first, and what each repetition adds to it. The first slot grows by three.
    partial : bool
        Loads lanes, and sign word and group, or leaves them, at random.
    keep : bool
        Of four repetitions, the first and last load one random word, the others its complement, also as the group.
    spread : bool
        Loads column after column, each with words of its own, while the classes beside it offer the complement.
    value : Value, select : Lanes
        Activations; the position counts the vectors of all repetitions.
    vectors : int
        Of a repetition.
    length : int
        Planes that are issued for a vector, from slots that go on counting.
    wild : bool
        Idle cycles, and ``first``, ``last``, with ``first`` also ``step``, and bank at random in every cycle, while
        nothing is loaded.
    port : Port
    reset : bool
        Ends with a cycle of reset.
    repair : Repair
    """
    __test__ = False  # no test of pytest

    planes: Lanes = Lanes.RANDOM
    sign: Lanes = Lanes.RANDOM
    constant: bool = True
    mask: Mask = Mask.FIRST
    m: int = 0
    e: int = 0
    m_step: int = 0
    e_step: int = 0
    partial: bool = False
    keep: bool = False
    spread: bool = False
    value: Value = Value.RANDOM
    select: Lanes = Lanes.ONE
    vectors: int = 16
    length: int = 1
    wild: bool = False
    port: Port = Port.NONE
    reset: bool = False
    repair: Repair = Repair.NONE
    repeat: int = 1

    def __post_init__(self):
        for name, bits in FIELD_BITS.items():
            value, limit = int(getattr(self, name)), 1 << bits
            low = int(name in ("vectors", "length", "repeat"))
            if not low <= value < limit:
                raise ValueError(f"{name} must be from {low} to {limit - 1}, not {value}")

    @classmethod
    def of_row(cls, row: int) -> "TestStep":
        """From what the engine's table holds.

        Raises
        ------
        ValueError
            If it is no row of the table.
        """
        if row >> STEP_BITS:
            raise ValueError(f"a row must have {STEP_BITS} bits, not {row.bit_length()}")
        return cls(**{name: type(getattr(cls, name))(row >> field.offset & (1 << field.width) - 1)
                      for name, field in step_layout()})

    @property
    def row(self) -> int:
        """What the engine's table holds."""
        return sum(int(getattr(self, name)) << field.offset for name, field in step_layout())


def check(program: Sequence[TestStep]):
    """Raises :class:`ValueError` if the engine cannot hold the program."""
    if not 1 <= len(program) <= TABLE_STEPS:
        raise ValueError(f"the program must have from 1 to {TABLE_STEPS} steps, not {len(program)}")


def column_program(config: Config) -> tuple[TestStep, ...]:
    """What a column is tested with, as ``docs/cbist.md`` explains."""
    big: dict[str, Any] = {"value": Value.EQUAL, "planes": Lanes.DENSE, "sign": Lanes.ZERO}
    return (
        # Adder tree: random lanes, then sums as far from zero as they get, at every level.
        TestStep(vectors=64, repeat=2),
        TestStep(vectors=2 << position_bits(config), planes=Lanes.ONE, value=Value.EXTREME, select=Lanes.STRIPE,
                 sign=Lanes.ZERO),
        TestStep(vectors=2 << position_bits(config), planes=Lanes.ONE, value=Value.EXTREME, select=Lanes.STRIPE,
                 sign=Lanes.STRIPE, repeat=4),
        TestStep(vectors=16, planes=Lanes.POWER, value=Value.EXTREME, sign=Lanes.ZERO),
        # Scale: one bit set at every place, then one bit clear, with every exponent; large psums with every factor.
        TestStep(vectors=12, planes=Lanes.POWER, value=Value.BIT, sign=Lanes.ZERO, constant=False, mask=Mask.BIT,
                 e_step=1, repeat=32),
        TestStep(vectors=9, length=2, planes=Lanes.PAIR, value=Value.BORROW, sign=Lanes.ZERO, constant=False,
                 mask=Mask.PAIR, e=31, repeat=14),
        TestStep(vectors=6, length=2, planes=Lanes.PAIR, value=Value.BORROW, sign=Lanes.ZERO, constant=False,
                 mask=Mask.PAIR, e_step=1, repeat=31),
        TestStep(vectors=7, length=2, mask=Mask.HIGH, e_step=11, m_step=3, repeat=32, **big),
        TestStep(vectors=2, length=config.planes, mask=Mask.ALL, planes=Lanes.ONE, sign=Lanes.ZERO, value=Value.EXTREME,
                 constant=False, m=7, e=31, e_step=31, repeat=4),
        # Shifter and accumulator: each shift with random sums, then all planes in a row.
        TestStep(vectors=8, mask=Mask.BIT, m=1, m_step=3, e_step=11, repeat=32),
        TestStep(vectors=3, length=config.planes, mask=Mask.ALL, value=Value.EQUAL, planes=Lanes.POWER,
                 sign=Lanes.ZERO, m_step=3, e_step=11, repeat=8),
        # Control: any order of first, last, step and bank.
        TestStep(vectors=2, length=8, wild=True, keep=True, repeat=20),
        # Read path: every word, against the complement in the other bank and in what is not selected.
        TestStep(port=Port.RECORD, keep=True, repeat=4),
        TestStep(port=Port.ALL, keep=True, repeat=2),
        # Words that are written through the test port, and computed with.
        TestStep(port=Port.WRITE, vectors=2, length=config.planes, mask=Mask.ALL, repeat=4),
        TestStep(vectors=9, mask=Mask.BIT, reset=True, partial=True, e_step=3, m=3, repeat=12, **big),
        TestStep(),
    )
