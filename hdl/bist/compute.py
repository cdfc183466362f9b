"""The compute self-test: macros calculate what a table says, and their signatures are compared."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import connect_test, test_signature
from ..cim.signature import WIDTH
from ..config import Config
from ..csr import BistCause, cbist_registers
from ..ipu.field_test import field_test_signature
from .compute_steps import ComputeSteps
from .compute_table import STEP_BITS, TABLE_STEPS
from .registered import Registered
from .verdict import Verdict


class ComputeTest(Registered):
    """Runs the table of :class:`~hdl.bist.compute_steps.ComputeSteps` on all macros at once, or on one, and judges
    their signatures.

    A run takes the cycles of the table, :attr:`DRAIN` more, and one or with a vote two turns of the chain of
    signatures.

    Members
    -------
    <register> : In or Out(32)
        One per register of :func:`~hdl.csr.cbist_registers`.
    blocked : In(1)
        A program runs: no run begins by a command.
    running : In(1)
        A program runs: a macro that it has isolated stays so until it is released.
    field_test : In(field_test_signature)
        A run on one macro, begun by a program.
    marching : In(1)
        The March controller uses the array, or is held: no run begins.
    discard : In(1)
        The run is over, wherever it is.
    isolated : Out(macros), test : Out(test_signature), i_signature : In(32), o_signature : Out(32)
        To and from the array: ``i_signature`` is the beginning of the chain, ``o_signature`` goes to its end.
    busy : Out(1)
        A run is under way.
    stopped : Out(1)
        For one cycle: a run has ended.
    """

    #: Cycles from the last cycle of the table until its results are in the signatures.
    DRAIN = 2

    def __init__(self, config: Config):
        self.config = config
        super().__init__(cbist_registers(config), {
            "blocked": In(1),
            "running": In(1),
            "field_test": In(field_test_signature()),
            "marching": In(1),
            "discard": In(1),
            "isolated": Out(config.macros),
            "test": Out(test_signature(config)),
            "i_signature": In(WIDTH),
            "o_signature": Out(WIDTH),
            "busy": Out(1),
            "stopped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = self.steps = ComputeSteps(self.config)
        m.submodules.verdict = self.verdict = Verdict(self.config)
        self.start = Signal()
        self._table(m)
        self._states(m)
        self._array(m)
        self._results(m)
        return m

    def _table(self, m):
        steps = self.steps
        m.d.comb += [
            steps.clear.eq(self._field("CBIST_CONTROL", "clear") & ~self.busy),
            steps.append.eq((self.cbist_row_high_set != 0) & ~self.busy),
            steps.row.eq(Cat(self.cbist_row, self.cbist_row_high_set)[:STEP_BITS]),
            steps.restart.eq(self.start),
            steps.moved.eq(self._field("CBIST_MODE", "moved")),
            self.cbist_length.eq(steps.length),
        ]

    def _states(self, m):
        """The life of a run."""
        steps, verdict = self.steps, self.verdict
        macro, single = self._field("CBIST_MODE", "macro"), self._field("CBIST_MODE", "single")
        field, held = self.field_test, Signal()
        error, done, discard = Signal(), Signal(), Signal()
        cause, cycles = Signal(8), Signal(32)
        drain = Signal(range(self.DRAIN + 1))
        tested = Signal(self.config.macros)

        def set_error(why):
            m.d.sync += [error.eq(1), cause.eq(why)]

        m.d.comb += [
            self.busy.eq(steps.busy | (drain != 0) | verdict.busy),
            discard.eq(self.busy & (self.discard | self._field("CBIST_CONTROL", "abort"))),
            steps.discard.eq(discard),
            verdict.discard.eq(discard),
            verdict.start.eq(drain == 1),
            verdict.tested.eq(tested),
            verdict.vote.eq(self._field("CBIST_MODE", "vote")),
        ]
        with m.If(drain != 0):
            m.d.sync += drain.eq(drain - 1)
        with m.If(discard):
            set_error(BistCause.ABORTED)
            m.d.sync += drain.eq(0)
            m.d.comb += self.stopped.eq(1)
        with m.Elif(steps.illegal):
            set_error(BistCause.ILLEGAL_ROW)
            m.d.comb += self.stopped.eq(1)
        with m.Elif(steps.ended):
            m.d.sync += drain.eq(self.DRAIN)
        with m.Elif(verdict.ended):
            m.d.sync += done.eq(1)
            m.d.comb += self.stopped.eq(1)
        with m.If(field.release | ~self.running):
            m.d.sync += held.eq(0)
        with m.If(field.begin | self._field("CBIST_CONTROL", "start") & ~self.busy):
            with m.If(field.begin & (self.busy | held)):
                set_error(BistCause.COMPUTE_RUNNING)
            with m.Elif(~field.begin & self.blocked):
                set_error(BistCause.PROGRAM_RUNNING)
            with m.Elif(self.marching):
                set_error(BistCause.MARCH_RUNNING)
            with m.Elif(~field.begin & single & (macro >= self.config.macros)):
                set_error(BistCause.RANGE)
            with m.Elif(steps.length == 0):
                set_error(BistCause.EMPTY_TABLE)
            with m.Elif(steps.length > TABLE_STEPS):
                set_error(BistCause.CODE_TOO_LONG)
            with m.Else():
                m.d.comb += self.start.eq(1)
                m.d.sync += [done.eq(0), error.eq(0), cause.eq(0), cycles.eq(0),
                             held.eq(field.begin),
                             tested.eq(Mux(field.begin, 1 << field.macro, Mux(single, 1 << macro, ~0)))]
        with m.Elif(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [
            self.isolated.eq(Mux(steps.busy | (drain != 0) | held, tested, 0)),
            field.busy.eq(self.busy),
            field.held.eq(held),
            field.failed.eq(verdict.fails != 0),
            field.cause.eq(cause),
            field.place.column.eq(verdict.first.column),
            field.place.macro.eq(verdict.first.macro),
            self._show("CBIST_STATUS", running=self.busy, active=self.busy, done=done,
                       failed=done & (verdict.fails != 0), error=error, cause=cause, step=steps.step),
            self.cbist_cycles.eq(cycles),
        ]

    def _array(self, m):
        steps, verdict = self.steps, self.verdict
        connect_test(m, source=steps.pins, sink=self.test)
        m.d.comb += [
            self.test.clear.eq(self.start),
            self.test.shift.eq(verdict.turn | self._field("CBIST_CONTROL", "next") & ~self.busy),
            self.o_signature.eq(self.i_signature),
            verdict.head.eq(self.i_signature),
            verdict.expected.eq(self.cbist_expected),
            verdict.expected_words.eq(self.cbist_expected_words),
        ]

    def _results(self, m):
        verdict = self.verdict
        columns = verdict.columns[self._field("CBIST_SELECT", "macro")]
        m.d.comb += [
            self.cbist_signature.eq(self.i_signature),
            self.cbist_fails.eq(verdict.fails),
            self._show("CBIST_FIRST", column=verdict.first.column, macro=verdict.first.macro),
            *(Cat(getattr(self, register.name.lower()) for register in self.map if register.name.startswith(name)).eq(
                value) for name, value in (("CBIST_FAILED", verdict.failed), ("CBIST_COLUMNS", columns))),
        ]
