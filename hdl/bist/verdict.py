"""Judges the signatures of a compute self-test."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..cim.signature import WIDTH
from ..cim.tested_macro import chain_length
from ..config import Config, clog2


def place_layout(config: Config) -> data.StructLayout:
    """A signature: of a logical column of a macro, or with ``column`` = ``cols`` of the words that it reads."""
    return data.StructLayout({"column": clog2(chain_length(config)), "macro": max(1, clog2(config.macros))})


class Verdict(wiring.Component):
    """Turns the chain of all signatures round, once or twice, and compares each that passes.

    With what is expected, in one turn; or, with ``vote``, with what most of its kind have, which the first of two turns
    finds: columns and macros that are driven alike agree unless they are faulty. The one that most have is the one that
    is left when each is paired off with a different one (Boyer, Moore, "MJRTY", 1981); without a majority many fail.

    Members
    -------
    start : In(1), discard : In(1), vote : In(1), tested : In(macros)
        ``discard`` goes before ``start``.
    expected : In(32), expected_words : In(32)
        Signature of a column's results, and of the words read.
    head : In(32), turn : Out(1)
        The chain's first one, which is behind the last one in the next cycle if it turns.
    busy : Out(1), ended : Out(1)
        From ``start`` on; in the last cycle.
    fails : Out(16), first : Out(place_layout)
        Signatures that are wrong, and the first one.
    failed : Out(macros), columns : Out(ArrayLayout)
        Macros with a wrong signature, and which ones.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "start": In(1),
            "discard": In(1),
            "vote": In(1),
            "tested": In(config.macros),
            "expected": In(WIDTH),
            "expected_words": In(WIDTH),
            "head": In(WIDTH),
            "turn": Out(1),
            "busy": Out(1),
            "ended": Out(1),
            "fails": Out(16),
            "first": Out(place_layout(config)),
            "failed": Out(config.macros),
            "columns": Out(data.ArrayLayout(chain_length(config), config.macros)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        votes, last = Signal(), Signal()
        at = Signal(place_layout(config))
        words, counts, fails = Signal(), Signal(), Signal()
        m.d.comb += [
            self.turn.eq(self.busy),
            words.eq(at.column == config.cols),
            last.eq(words & (at.macro == config.macros - 1)),
            counts.eq(self.busy & self.tested.bit_select(at.macro, 1)),
            fails.eq(counts & ~votes & (self.head != self._reference(m, words, counts & votes))),
            self.ended.eq(self.busy & last & ~votes),
        ]
        with m.If(self.busy):
            m.d.sync += at.column.eq(at.column + 1)
            with m.If(words):
                m.d.sync += [at.column.eq(0), at.macro.eq(Mux(last, 0, at.macro + 1))]
            with m.If(last):
                m.d.sync += [votes.eq(0), self.busy.eq(votes)]
        with m.If(self.busy & ~votes):
            m.d.sync += self.columns.as_value().eq(Cat(self.columns.as_value()[1:], fails))
        with m.If(fails):
            m.d.sync += [self.fails.eq(self.fails + 1), self.failed.eq(self.failed | 1 << at.macro)]
            with m.If(self.fails == 0):
                m.d.sync += self.first.eq(at)
        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), votes.eq(self.vote), at.as_value().eq(0), self.fails.eq(0), self.failed.eq(0),
                         self.first.as_value().eq(0), self.columns.as_value().eq(0)]
        with m.If(self.discard):
            m.d.sync += self.busy.eq(0)
        return m

    def _reference(self, m, words, votes):
        """What the signature should be, for results and words apart."""
        references = []
        for kind, expected in enumerate((self.expected, self.expected_words)):
            candidate = Signal(WIDTH, name=f"candidate_{kind}")
            lead = Signal(range(self.config.columns + 1), name=f"lead_{kind}")
            with m.If(votes & (words == kind)):
                with m.If(lead == 0):
                    m.d.sync += [candidate.eq(self.head), lead.eq(1)]
                with m.Else():
                    m.d.sync += lead.eq(Mux(candidate == self.head, lead + 1, lead - 1))
            with m.If(self.start):
                m.d.sync += lead.eq(0)
            references.append(Mux(self.vote, candidate, expected))
        return Mux(words, references[1], references[0])
