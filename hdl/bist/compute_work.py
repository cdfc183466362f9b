"""Work of the compute self-test: what a step does with the bank that it has loaded."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import bist_layout, bist_words, issue_layout
from ..config import ACT_BITS, Config, clog2
from .compute_table import Port, position_bits, step_layout
from .compute_table import Value as Activations
from .patterns import ActivationPattern, tap


class ComputeWork(wiring.Component):
    """Accesses over the test port, then vectors, one access or plane per cycle, and the generator's noise otherwise.

    Members
    -------
    row : In(step_layout)
    begin : In(1), again : In(1)
        Another repetition begins with the next cycle; of the same row, so that positions count on.
    run : In(1)
        Goes on.
    bank : In(1), word : In(64), held : In(64)
    ended : Out(1)
        With ``run``: nothing is left after this cycle.
    issue : Out(issue_layout), act : Out(rows).array(9), bist : Out(bist_layout), bist_data : Out(rows)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "row": In(step_layout()),
            "begin": In(1),
            "again": In(1),
            "run": In(1),
            "bank": In(1),
            "word": In(64),
            "held": In(64),
            "ended": Out(1),
            "issue": Out(issue_layout(config)),
            "act": Out(config.rows).array(ACT_BITS),
            "bist": Out(bist_layout(config)),
            "bist_data": Out(config.rows),
        })

    def elaborate(self, platform):
        m = Module()
        row = self.row
        ported, go, accesses, computes = (Signal(name=name) for name in ("ported", "go", "accesses", "computes"))
        m.d.comb += [
            go.eq(self.run & ~(row.wild & self.word[30] & self.word[31])),
            accesses.eq(go & (row.port != Port.NONE) & ~ported),
            computes.eq(go & ((row.port == Port.NONE) | ported)),
        ]
        accessed = self._access(m, accesses)
        computed = self._compute(m, computes)
        m.d.comb += self.ended.eq(computed | accessed & (row.port != Port.WRITE))
        with m.If(accessed):
            m.d.sync += ported.eq(1)
        with m.If(self.begin):
            m.d.sync += ported.eq(0)
        return m

    def _access(self, m, on):
        """The test port: words, then banks, then columns. Returns whether this is the last access."""
        config, row, word, bist = self.config, self.row, self.word, self.bist
        writes, words_end, ends = Signal(), Signal(), Signal()
        count, bank, column = Signal.like(bist.word), Signal(), Signal.like(bist.column)
        code = Signal.like(bist.word)
        m.d.comb += [
            writes.eq(row.port == Port.WRITE),
            code.eq(count + Mux(row.port == Port.RECORD, config.slots, 0)),
            words_end.eq(code == bist_words(config) - 1),
            ends.eq(on & words_end & (bank | writes) & (column == config.physical_cols - 1)),
            bist.valid.eq(on & (~writes | tap(self.held, 64, 13).bit_select(code, 1))),
            bist.read.eq(Mux(on, ~writes, word[38])),
            bist.write.eq(Mux(on, writes, word[39])),
            bist.compute.eq(word[19]),
            bist.read_bank.eq(Mux(on & ~writes, bank, word[40])),
            bist.write_bank.eq(Mux(on & writes, self.bank, word[42])),
            bist.column.eq(Mux(on, column, tap(word, len(column), 44))),
            bist.word.eq(Mux(on, code, tap(word, len(code), 51))),
        ]
        for r in range(config.rows):
            written = self.held[(r + 5 * (r // 64) + 37) % 64] ^ code[r % len(code)]
            if r % 7 < len(column):
                written = written ^ (row.spread & column[r % 7])
            m.d.comb += self.bist_data[r].eq(Mux(on & writes, written, tap(word, config.rows, 31)[r]))
        with m.If(on):
            m.d.sync += count.eq(Mux(words_end, 0, count + 1))
            with m.If(words_end):
                m.d.sync += bank.eq(~bank & ~writes)
                with m.If(bank | writes):
                    m.d.sync += column.eq(column + 1)
        with m.If(self.begin):
            m.d.sync += [count.eq(0), bank.eq(0), column.eq(0)]
        return ends

    def _compute(self, m, on):
        """Vectors and their planes. Returns whether this is the last plane."""
        config, row, word, issue = self.config, self.row, self.word, self.issue
        vector, plane = Signal.like(row.vectors), Signal.like(row.length)
        position, nine = Signal(position_bits(config) + 1), Signal(range(ACT_BITS))
        slot = Signal(clog2(config.slots))
        ends = Signal()
        m.submodules.activations = activations = ActivationPattern(config)
        last = plane == row.length - 1
        m.d.comb += [
            ends.eq(on & last & (vector == row.vectors - 1)),
            issue.valid.eq(on),
            issue.first.eq(Mux(on, Mux(row.wild, word[35], plane == 0), word[3])),
            issue.last.eq(Mux(on, Mux(row.wild, word[33] | word[34], last), word[4])),
            issue.step.eq(Mux(on, Mux(row.wild, word[36] & word[35], (vector == 0) & (plane == 0)), word[5])),
            issue.bank.eq(Mux(on, Mux(row.wild, word[37], self.bank), word[6])),
            issue.plane.eq(Mux(on, slot, tap(word, len(issue.plane), 8))),
            activations.value.eq(Mux(on, row.value, Activations.RANDOM)),
            activations.select.eq(row.select),
            activations.position.eq(position),
            activations.nine.eq(nine),
            activations.word.eq(word),
            *(mine.eq(made) for mine, made in zip(self.act, activations.act)),
        ]
        with m.If(on):
            m.d.sync += [slot.eq(slot + 1), plane.eq(Mux(last, 0, plane + 1))]
            with m.If(last):
                m.d.sync += [vector.eq(vector + 1), position.eq(position + 1),
                             nine.eq(Mux(nine == ACT_BITS - 1, 0, nine + 1))]
        with m.If(self.begin):
            m.d.sync += [vector.eq(0), plane.eq(0)]
            with m.If(~self.again):
                m.d.sync += [position.eq(0), nine.eq(0), slot.eq(0)]
        return ends
