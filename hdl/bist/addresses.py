"""The addresses of a March test: physical column, bank and word, in any of the orders."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import bist_words
from ..config import Config, clog2


def address_layout(config: Config) -> data.StructLayout:
    """One word of every macro."""
    return data.StructLayout({"column": clog2(config.physical_cols), "bank": 1, "word": clog2(bist_words(config))})


def range_layout(config: Config) -> data.StructLayout:
    """Which addresses a test visits, and in which order: all words of columns ``first`` to ``last`` of ``banks``.

    Banks follow one another; within a bank columns run fastest, with ``fast_word`` words do.
    """
    return data.StructLayout({
        "first": clog2(config.physical_cols),
        "last": clog2(config.physical_cols),
        "banks": 2,
        "fast_word": 1,
    })


class Addresses(wiring.Component):
    """Visits every address of a range over and over, without a bubble between two rounds.

    It counts upwards; ``down`` mirrors each part of the address, which is exactly the reverse order, so that the next
    round may take the other direction.

    Members
    -------
    range : In(range_layout)
    restart : In(1)
        The first address comes next.
    advance : In(1)
    down : In(1)
        Direction of this round; combinational.
    address : Out(address_layout)
    final : Out(1)
        It is the last one of the round.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "range": In(range_layout(config)),
            "restart": In(1),
            "advance": In(1),
            "down": In(1),
            "address": Out(address_layout(config)),
            "final": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        limits = self.range
        last_word = bist_words(self.config) - 1
        column, bank, word = (Signal.like(getattr(self.address, name)) for name in ("column", "bank", "word"))
        low_bank, high_bank = ~limits.banks[0], limits.banks[1]
        columns_end, words_end, banks_end = (Signal(name=name) for name in ("columns_end", "words_end", "banks_end"))
        m.d.comb += [
            columns_end.eq(column == limits.last),
            words_end.eq(word == last_word),
            banks_end.eq(bank == high_bank),
            self.final.eq(columns_end & words_end & banks_end),
            self.address.column.eq(Mux(self.down, limits.first + limits.last - column, column)),
            self.address.word.eq(Mux(self.down, last_word - word, word)),
            self.address.bank.eq(bank ^ (self.down & limits.banks.all())),
        ]
        with m.If(self.advance):
            with m.If(~limits.fast_word | words_end):
                m.d.sync += column.eq(Mux(columns_end, limits.first, column + 1))
            with m.If(limits.fast_word | columns_end):
                m.d.sync += word.eq(Mux(words_end, 0, word + 1))
            with m.If(columns_end & words_end):
                m.d.sync += bank.eq(Mux(banks_end, low_bank, high_bank))
        with m.If(self.restart):
            m.d.sync += [column.eq(limits.first), word.eq(0), bank.eq(low_bank)]
        return m
