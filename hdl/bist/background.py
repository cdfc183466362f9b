"""Data backgrounds: what a value 0 of a March test means in each cell."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import bank_record_layout, bist_words
from ..config import Config
from .addresses import address_layout

#: Width of the user's pattern, which is repeated along a word.
USER_BITS = 64


def background_layout() -> data.StructLayout:
    """The background of a cell is the XOR of the terms chosen.

    ``rows``: 0 none, else bit ``rows - 1`` of the number of its row; ``columns``, ``words``: the lowest bit of its
    column's or word's number; ``user``: bit ``row mod 64`` of ``pattern``.
    """
    return data.StructLayout({"rows": 4, "columns": 1, "words": 1, "user": 1, "pattern": USER_BITS})


class Background(wiring.Component):
    """The word that has a value in all its cells, relative to the background; combinational.

    Bits of a bank record's last word that are not stored are zero.

    Members
    -------
    background : In(background_layout), address : In(address_layout), value : In(1)
    word : Out(rows)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "background": In(background_layout()),
            "address": In(address_layout(config)),
            "value": In(1),
            "word": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        rows, given = self.config.rows, self.background
        stripes = Array([Const(0, rows), *(Const(sum(1 << r for r in range(rows) if r >> bit & 1), rows)
                                           for bit in range(self.config.row_bits))])
        inverse = Signal()
        last_bits = bank_record_layout(self.config).size % rows or rows
        stored = Mux(self.address.word == bist_words(self.config) - 1, (1 << last_bits) - 1, (1 << rows) - 1)
        user = given.pattern.replicate(-(-rows // USER_BITS))[:rows]
        m.d.comb += [
            inverse.eq(self.value ^ (given.columns & self.address.column[0]) ^ (given.words & self.address.word[0])),
            self.word.eq((stripes[given.rows] ^ Mux(given.user, user, 0) ^ inverse.replicate(rows)) & stored),
        ]
        return m
