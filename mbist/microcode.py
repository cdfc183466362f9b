"""Assembles March tests for the March controller, and says over which addresses they run.

The encoding is :mod:`hdl.bist.microcode`, the registers are :func:`hdl.csr.bist_registers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Const
from amaranth.lib import data

from hdl.bist.march import March as Controller
from hdl.bist.microcode import CODE_WORDS, PAUSE_BITS, Kind, pause_layout, step_layout
from hdl.cim.interfaces import bank_record_layout, bist_words
from hdl.config import Config
from hdl.csr import register_map

from .notation import Element, March, Operation, Order, Pause, Step

#: Longest pause of one word.
_LONGEST_PAUSE = (1 << PAUSE_BITS) - 1


class MicrocodeError(ValueError):
    """A March test or a run that the controller cannot execute; the message names the place."""


@dataclass(frozen=True)
class Code:
    """A March test in microcode.

    Attributes
    ----------
    words : tuple of int
        To be written to register BIST_CODE, in this order.
    places : tuple of (int, int)
        Per word the numbers of its element and step in the test.
    """

    words: tuple[int, ...]
    places: tuple[tuple[int, int], ...]


def assemble(march: March, *, either: Order = Order.UP) -> Code:
    """The microcode of a test; ``either`` is the order of elements that allow both.

    Raises
    ------
    MicrocodeError
        If it does not fit, or a step asks for what the two ports of a macro cannot do.
    """
    words: list[int] = []
    places: list[tuple[int, int]] = []
    for number, element in enumerate(march.elements):
        coded = _pause(element) if isinstance(element, Pause) else _steps(number, element, either)
        for position, word in enumerate(coded):
            if len(words) == CODE_WORDS:
                raise MicrocodeError(f"the March test must fit {CODE_WORDS} microcode words; element {number + 1}, "
                                     f"step {position + 1} is too many")
            words.append(word)
            places.append((number, position))
    return Code(tuple(words), tuple(places))


def _pause(pause: Pause) -> Iterator[int]:
    for begun in range(0, pause.cycles, _LONGEST_PAUSE):
        yield _bits(pause_layout(), {"kind": Kind.PAUSE, "cycles": min(pause.cycles - begun, _LONGEST_PAUSE)})


def _steps(number: int, element: Element, either: Order) -> Iterator[int]:
    order = either if element.order is Order.EITHER else element.order
    for position, step in enumerate(element.steps):
        read, write = _ports(step, f"element {number + 1}, step {position + 1} ({step})")
        yield _bits(step_layout(), {
            "kind": Kind.STEP,
            "read": read is not None,
            "read_value": read is not None and read.value,
            "read_partner": read is not None and read.partner,
            "compute": read is not None and read.compute,
            "write": write is not None,
            "write_value": write is not None and write.value,
            "write_partner": write is not None and write.partner,
            "down": order is Order.DOWN,
            "last": position == len(element.steps) - 1,
        })


def _bits(layout: data.StructLayout, values: dict[str | int, Any]) -> int:
    return Const.cast(layout.const(values)).value


def _ports(step: Step, where: str) -> tuple[Operation | None, Operation | None]:
    """The read and the write of a step. A test of one port takes the port that can do it."""
    match step.ports:
        case (operation,) if operation is not None:
            return (operation, None) if operation.read else (None, operation)
        case (read, write) if (read is None or read.read) and (write is None or not write.read):
            if read is not None and write is not None and read.partner == write.partner:
                raise MicrocodeError(f"{where} must read and write different banks of a macro")
            return read, write
    raise MicrocodeError(f"{where} must read through port 0 and write through port 1 of a macro")


@dataclass(frozen=True)
class Run:
    """How a test is run: over which addresses, in which order, with which background.

    Attributes
    ----------
    config : Config
    first, last : int
        Physical columns; ``last`` is the last one of all if not given.
    banks : tuple of int
        Visited, and overwritten.
    partner : bool
        Whether the test goes to the other bank too.
    fast_word : bool
        Words run faster than columns.
    rows, columns, words, user : int or None, bool, bool, int or None
        The background: bit of the row's number, parity of column and word, pattern of 64 rows; their XOR.
    hold_full : bool
        Hold when the fail log is full.
    macro : int or None
        The only macro that is compared.

    Raises
    ------
    MicrocodeError
        If the addresses are not all in the array.
    """

    config: Config
    first: int = 0
    last: int = -1
    banks: tuple[int, ...] = (0, 1)
    partner: bool = False
    fast_word: bool = False
    rows: int | None = None
    columns: bool = False
    words: bool = False
    user: int | None = None
    hold_full: bool = False
    macro: int | None = None

    def __post_init__(self):
        config = self.config
        end = config.physical_cols - 1
        if self.last == -1:
            object.__setattr__(self, "last", end)
        if not 0 <= self.first <= end:
            raise MicrocodeError(f"first must be a physical column from 0 to {end}, not {self.first!r}")
        if not self.first <= self.last <= end:
            raise MicrocodeError(f"last must be a physical column from {self.first} to {end}, not {self.last!r}")
        if self.banks not in ((0,), (1,), (0, 1)):
            raise MicrocodeError(f"banks must be (0,), (1,) or (0, 1), not {self.banks!r}")
        if self.partner and len(self.banks) > 1:
            raise MicrocodeError(f"banks must be one bank if its partner is used, not {self.banks!r}")
        if self.rows is not None and not 0 <= self.rows < config.row_bits:
            raise MicrocodeError(f"rows must be a bit of a row's number from 0 to {config.row_bits - 1}, "
                                 f"not {self.rows!r}")
        if self.macro is not None and not 0 <= self.macro < config.macros:
            raise MicrocodeError(f"macro must be from 0 to {config.macros - 1}, not {self.macro!r}")

    @property
    def addresses(self) -> list[tuple[int, int, int]]:
        """Physical column, bank and word of every address visited, in upward order."""
        columns, words = range(self.first, self.last + 1), range(bist_words(self.config))
        if self.fast_word:
            return [(c, b, w) for b in self.banks for c in columns for w in words]
        return [(c, b, w) for b in self.banks for w in words for c in columns]

    def background(self, column: int, word: int) -> int:
        """The word whose cells all are 0, relative to the background."""
        value = sum(((0 if self.rows is None else r >> self.rows) ^ (0 if self.user is None else self.user >> r % 64)
                     ^ (self.columns and column) ^ (self.words and word)) % 2 << r for r in range(self.config.rows))
        return value & stored_bits(self.config, word)

    def cycles(self, march: March) -> int:
        """What BIST_CYCLES is after the test."""
        return march.complexity * len(self.addresses) + march.pause_cycles + Controller.OVERHEAD

    def registers(self) -> dict[str, int]:
        """The registers to write before a start."""
        return {
            "BIST_RANGE": self._register("BIST_RANGE", first=self.first, last=self.last,
                                         banks=sum(1 << bank for bank in self.banks), partner=self.partner),
            "BIST_MODE": self._register("BIST_MODE", rows=0 if self.rows is None else self.rows + 1,
                                        columns=self.columns, words=self.words, user=self.user is not None,
                                        fast_word=self.fast_word, hold_full=self.hold_full,
                                        single=self.macro is not None, macro=self.macro or 0),
            "BIST_USER": (self.user or 0) & 0xFFFF_FFFF,
            "BIST_USER_HIGH": (self.user or 0) >> 32,
        }

    def _register(self, name: str, **fields: int) -> int:
        where = register_map(self.config)[name].fields
        return sum(int(value) << where[field][0] for field, value in fields.items())


def stored_bits(config: Config, word: int) -> int:
    """The bits of a word that exist: all, but for the last word of a bank record."""
    bits = bank_record_layout(config).size % config.rows or config.rows
    return (1 << (bits if word == bist_words(config) - 1 else config.rows)) - 1
