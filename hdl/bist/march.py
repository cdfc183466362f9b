"""The March controller: runs programmable March tests on all macros of a core."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..cim.interfaces import bist_layout
from ..config import Config
from ..csr import BistCause, bist_registers
from .addresses import address_layout
from .background import Background
from .compare import Compare, failure_layout
from .microcode import STEP_BITS
from .registered import Registered
from .sequencer import Sequencer

#: Entries of the fail log.
LOG_DEPTH = 16


class March(Registered):
    """Executes the microcode of :class:`~hdl.bist.sequencer.Sequencer` at one operation per cycle and logs what fails.

    All macros do the same. A run takes ``steps x addresses + pauses`` cycles and :attr:`OVERHEAD` more. A run that is
    held, by ABORT or because the log is full, has finished every step that it has begun, and goes on with the next one
    when it is resumed; each hold costs :attr:`OVERHEAD` cycles too.

    Members
    -------
    <register> : In or Out(32)
        One per register of :func:`~hdl.csr.bist_registers`.
    blocked : In(1)
        A program runs: no run begins or goes on.
    computing : In(1)
        The compute self-test runs: the same.
    discard : In(1)
        The run is over, wherever it is.
    request : Out(bist_layout), data : Out(rows), words : In(ArrayLayout)
        To and from the array.
    busy : Out(1)
        The array is in use.
    active : Out(1)
        It is, or a run is held.
    stopped : Out(1)
        For one cycle: a run has ended or is held.
    """

    #: Cycles from a step's execution until a failure of its read is in the log.
    LATENCY = 2 + Compare.LATENCY + 1

    #: Cycles of a run beyond those of its steps and pauses: nothing is executed until the last failure is in the log.
    OVERHEAD = LATENCY - 1

    def __init__(self, config: Config):
        self.config = config
        super().__init__(bist_registers(config), {
            "blocked": In(1),
            "computing": In(1),
            "discard": In(1),
            "request": Out(bist_layout(config)),
            "data": Out(config.rows),
            "words": In(data.ArrayLayout(config.rows, config.macros)),
            "busy": Out(1),
            "active": Out(1),
            "stopped": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = self.sequencer = Sequencer(self.config)
        m.submodules.compare = self.compare = Compare(self.config)
        self.start, self.hold, self.held = Signal(), Signal(), Signal()
        self.log = SyncFIFO(width=failure_layout(self.config).size, depth=LOG_DEPTH)
        m.submodules.log = ResetInserter(self.start)(self.log)
        self._settings(m)
        self._states(m)
        self._request(m)
        self._results(m)
        return m

    def _settings(self, m):
        """From registers to the sequencer."""
        config, sequencer, visited = self.config, self.sequencer, self.sequencer.range
        wanted = {name: self._field("BIST_RANGE", name) for name in ("first", "last", "banks", "partner")}
        macro = self._field("BIST_MODE", "macro")
        single = self._field("BIST_MODE", "single")
        self.bad_range = Signal()
        m.d.comb += [
            visited.first.eq(wanted["first"]),
            visited.last.eq(wanted["last"]),
            visited.banks.eq(wanted["banks"]),
            visited.fast_word.eq(self._field("BIST_MODE", "fast_word")),
            sequencer.partner.eq(wanted["partner"]),
            sequencer.clear.eq(self._field("BIST_CONTROL", "clear") & ~self.active),
            sequencer.append.eq((self.bist_code_set != 0) & ~self.active),
            sequencer.code.eq(self.bist_code_set),
            self.bad_range.eq((wanted["first"] > wanted["last"]) | (wanted["last"] >= config.physical_cols)
                              | (wanted["banks"] == 0) | (wanted["partner"] & wanted["banks"].all())
                              | (single & (macro >= config.macros))),
            self.compare.select.eq(Mux(single, 1 << macro, ~0)),
        ]

    def _states(self, m):
        """The life of a run."""
        sequencer = self.sequencer
        start, abort, resume = (self._field("BIST_CONTROL", name) for name in ("start", "abort", "resume"))
        error, done, running = Signal(), Signal(), Signal()
        cause, cycles = Signal(8), Signal(64)
        ends, drain = Signal(), Signal(range(self.OVERHEAD))

        def refuse(why):
            m.d.sync += [error.eq(1), cause.eq(why)]

        m.d.comb += [
            # There is room for the reads on their way and for the next one.
            self.hold.eq(abort | self._field("BIST_MODE", "hold_full") & (self.log.level > LOG_DEPTH - self.LATENCY)),
            sequencer.run.eq(running & ~self.hold & ~self.discard),
            sequencer.restart.eq(self.start),
            self.busy.eq(running | (drain != 0)),
            self.active.eq(self.busy | self.held),
        ]
        with m.If(self.discard):
            m.d.sync += [running.eq(0), drain.eq(0), self.held.eq(0)]
        with m.Elif(running):
            with m.If(self.hold):
                m.d.sync += [running.eq(0), drain.eq(self.OVERHEAD - 1), ends.eq(0)]
            with m.Elif(sequencer.ended | (sequencer.refusal != BistCause.NONE)):
                m.d.sync += [running.eq(0), drain.eq(self.OVERHEAD - 1), ends.eq(1),
                             error.eq(sequencer.refusal != BistCause.NONE), cause.eq(sequencer.refusal)]
        with m.Elif(drain != 0):
            m.d.sync += drain.eq(drain - 1)
            with m.If(drain == 1):
                m.d.comb += self.stopped.eq(1)
                m.d.sync += [self.held.eq(~ends), done.eq(ends & ~error)]
        with m.Elif(start):
            with m.If(self.blocked):
                refuse(BistCause.PROGRAM_RUNNING)
            with m.Elif(self.computing):
                refuse(BistCause.COMPUTE_RUNNING)
            with m.Elif(self.bad_range):
                refuse(BistCause.RANGE)
            with m.Else():
                m.d.comb += self.start.eq(1)
                m.d.sync += [running.eq(1), self.held.eq(0), done.eq(0), error.eq(0), cause.eq(0)]
        with m.Elif(resume):
            with m.If(self.blocked):
                refuse(BistCause.PROGRAM_RUNNING)
            with m.Elif(self.computing):
                refuse(BistCause.COMPUTE_RUNNING)
            with m.Elif(~self.held):
                refuse(BistCause.NOT_HELD)
            with m.Else():
                m.d.sync += [running.eq(1), self.held.eq(0), error.eq(0), cause.eq(0)]
        with m.If(self.start):
            m.d.sync += cycles.eq(0)
        with m.Elif(self.busy):
            m.d.sync += cycles.eq(cycles + 1)
        self.failed, self.lost = Signal(), Signal()
        m.d.comb += [
            self._show("BIST_STATUS", running=self.busy, held=self.held, active=self.active, done=done,
                       failed=self.failed, error=error, logged=self.log.r_rdy, lost=self.lost, cause=cause,
                       step=sequencer.step),
            self.bist_length.eq(sequencer.length),
            Cat(self.bist_cycles, self.bist_cycles_high).eq(cycles),
        ]

    def _request(self, m):
        """One stage between the sequencer and the macros, in which the words are made."""
        config, operation = self.config, self.sequencer.operation
        for name in ("read", "write"):
            background = Background(config)
            m.submodules[f"{name}_background"] = background
            m.d.comb += [
                background.address.eq(operation.address),
                background.value.eq(operation[f"{name}_value"]),
                *(background.background[field].eq(self._field("BIST_MODE", field))
                  for field in ("rows", "columns", "words", "user")),
                background.background.pattern.eq(Cat(self.bist_user, self.bist_user_high)),
            ]
        request, expectation = self.request, self.compare.read
        m.d.sync += [
            request.valid.eq((operation.read | operation.write) & ~self.discard),
            *(request[name].eq(operation[name]) for name in ("read", "write", "compute", "read_bank", "write_bank")),
            request.column.eq(operation.address.column),
            request.word.eq(operation.address.word),
            self.data.eq(m.submodules.write_background.word),
        ]
        address = Signal(address_layout(config), reset_less=True)
        step, expected = Signal(STEP_BITS, reset_less=True), Signal(config.rows, reset_less=True)
        m.d.sync += [address.eq(operation.address), address.bank.eq(operation.read_bank), step.eq(operation.step),
                     expected.eq(m.submodules.read_background.word)]
        m.d.comb += [
            expectation.valid.eq(request.valid & request.read),
            expectation.address.eq(address),
            expectation.step.eq(step),
            expectation.expected.eq(expected),
            self.compare.words.eq(self.words),
            self.compare.flush.eq(self.discard),
        ]

    def _results(self, m):
        """Verdict, first failure, fail log."""
        config, log, failure = self.config, self.log, self.compare.failure
        fails = Signal(32)
        failed = Signal(config.macros)
        first, oldest = Signal(failure_layout(config)), data.View(failure_layout(config), log.r_data)
        m.d.comb += [
            log.w_en.eq(self.compare.failed.any()),
            log.w_data.eq(failure),
            log.r_en.eq(self._field("BIST_CONTROL", "next")),
            self.failed.eq(failed.any()),
            self.bist_fails.eq(fails),
            Cat(getattr(self, r.name.lower()) for r in self.map if r.name.startswith("BIST_FAILED")).eq(failed),
            *(Cat(getattr(self, r.name.lower()) for r in self.map if r.name.startswith(f"BIST_LOG_{word.upper()}")).eq(
                Mux(log.r_rdy, oldest[word], 0)) for word in ("expected", "seen")),
        ]
        for name, entry, valid in (("FIRST", first, self.failed), ("LOG", oldest, log.r_rdy)):
            with m.If(valid):
                m.d.comb += [
                    self._show(f"BIST_{name}_ADDRESS", column=entry.address.column, word=entry.address.word,
                               bank=entry.address.bank),
                    self._show(f"BIST_{name}_STEP", step=entry.step, macro=entry.macro, others=entry.others),
                ]
        with m.If(self.start):
            m.d.sync += [fails.eq(0), failed.eq(0), self.lost.eq(0)]
        with m.Elif(self.compare.failed.any()):
            m.d.sync += [fails.eq(fails + ~fails.all()), failed.eq(failed | self.compare.failed)]
            with m.If(~self.failed):
                m.d.sync += first.eq(failure)
            with m.If(~log.w_rdy):
                m.d.sync += self.lost.eq(1)
