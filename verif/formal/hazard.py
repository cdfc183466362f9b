"""The bank hazard: a bank that is being computed is never written, an uncommitted bank is never computed.

The engine's own wiring of loader, compute queue and array, under any bus words, any legal commands, halts and resets.
What surrounds them is replaced by free inputs.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Assert, Assume, Cat, Module, Signal

from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.cim.loader import Loader
from hdl.config import Config
from hdl.ipu.activation_buffer import ActivationBuffer
from hdl.ipu.compute import Compute, work_layout
from hdl.ipu.decode import fields_of
from hdl.ipu.engine import Engine
from hdl.ipu.load import Load
from hdl.ipu.parameter_memory import ParameterMemory
from hdl.ipu.store import Store
from hdl.ipu.weights import Weights
from hdl.isa import Opcode

from .design import FormalTop, opened, state, steady


def _ports_only(component):
    """A component that is here for its ports: nothing behind them is elaborated."""
    component._MustUse__silence = True
    return component


class BankHazard(FormalTop):
    """Loader, compute queue and array, wired by :class:`~hdl.ipu.engine.Engine` itself, and what is claimed of them."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.engine = _ports_only(Engine(config))
        for name, component in (("weights", Weights(config, channel=1)), ("load", Load(config, channel=2)),
                                ("store", Store(config, channel=3)), ("activation_buffer", ActivationBuffer(config)),
                                ("parameter_memory", ParameterMemory(config))):
            setattr(self.engine, name, _ports_only(component))
        for name in ("loader", "compute", "array"):
            setattr(self.engine, name, {"loader": Loader, "compute": Compute, "array": Array}[name](config))
        words, commands = self.engine.weights.o_words, self.engine.compute.i_commands
        self.release(words.valid, words.payload, commands.valid, commands.payload, self.engine.compute.tokens.granted,
                     self.engine.compute.halt)

    def elaborate(self, platform):
        m = Module()
        for name in ("loader", "compute", "array"):
            m.submodules[name] = getattr(self.engine, name)
        self.engine._array(m)
        self._environment(m)
        self._claims(m)
        self._cells(m)
        self._invariants(m)
        return m

    def _environment(self, m):
        """Streams that keep to their rule, and commands that :func:`hdl.isa.illegal_fields` allows."""
        words, commands = self.engine.weights.o_words, self.engine.compute.i_commands
        gemm = fields_of(commands.payload, Opcode.GEMM)
        m.d.comb += [
            Assume(steady(m, words, name="words")),
            Assume(steady(m, commands, name="commands")),
            Assume((gemm.steps != 0) & (gemm.vectors != 0) & (gemm.vectors <= self.config.acc_vectors)),
        ]

    def _claims(self, m):
        """What users of the array rely on, of its ports alone."""
        loader, issue = self.engine.loader, self.engine.compute.issue
        writing = Cat(delivery.valid for delivery in loader.deliveries).any()
        written = loader.load.bank
        m.d.comb += Assert(~(writing & issue.valid & (written == issue.bank)), "a bank being computed is not written")

        # The columns take scale and constant over when the first plane of a step arrives at the accumulator.
        pending = issue
        self.pending = [issue]
        for cycle in range(1, Column.sum_latency(self.config) + 1):
            pending = _later(m, pending, name=f"issue_{cycle}")
            self.pending.append(pending)
            m.d.comb += Assert(~(writing & pending.valid & pending.step & (written == pending.bank)),
                               f"a bank whose scale is taken over in {Column.sum_latency(self.config) - cycle} cycles "
                               "is not written")

        complete = Signal(2)
        running = Signal()
        with m.If(writing):
            m.d.sync += complete.bit_select(written, 1).eq(0)
        with m.If(loader.commit):
            m.d.sync += complete.bit_select(loader.commit_bank, 1).eq(1)
        with m.If(issue.valid & issue.step):
            m.d.sync += running.eq(issue.bank)
        with m.If(issue.valid):
            m.d.comb += [
                Assert(complete.bit_select(issue.bank, 1), "an uncommitted bank is not computed"),
                Assert(issue.step | (running == issue.bank), "a step stays with its bank"),
            ]
        self.complete, self.running = complete, running

    def _cells(self, m):
        """The same where the bits are: at the write enables of every column's planes, sign word and record."""
        macro = opened(opened(self.engine.array).submodules.macro_0_0)
        for number in range(self.config.physical_cols):
            column = macro.submodules[f"column_{number}"]
            store = opened(column).submodules.store
            m.d.comb += [
                Assert(~(column.issue.valid & store.lane_mask.any() & (store.write_bank == store.read_bank)),
                       f"column {number}: planes of a bank being computed are not written"),
                Assert(~(column.select & column.issue.valid & (column.bank == column.issue.bank)),
                       f"column {number}: sign word and record of a bank being computed are not written"),
            ]

    def _invariants(self, m):
        """What induction needs to know of states that can be reached, by the owner of each bank."""
        loader, compute = (opened(component) for component in (self.engine.loader, self.engine.compute))
        banks, feed, issuer = (opened(compute.submodules[name]) for name in ("banks", "feed", "issuer"))
        full = state(banks, "full")
        held = Cat(state(banks, f"held_{b}") for b in range(2))
        free = compute.submodules.banks.free

        # The loader's: what is on its way to a bank goes to a free one, and nothing follows the last word.
        load = self.engine.loader
        stages = [(state(loader, f"stage_{i}_valid"), state(loader, f"stage_{i}_commit"),
                   state(loader, f"stage_{i}_bank")) for i in (1, 2)]
        stages.append((Cat(delivery.valid for delivery in load.deliveries).any() | load.commit, load.commit,
                       load.load.bank))
        m.d.comb += Assert(~load.commit | (load.commit_bank == load.load.bank), "the bank committed is the one written")
        newer, expected_bank = state(loader, "units"), load.bank
        for valid, commit, bank in stages:
            ends = valid & commit
            expected_bank = expected_bank ^ ends
            m.d.comb += [
                Assert(~valid | free.bit_select(bank, 1), "the loader writes free banks"),
                Assert(~valid | (bank == expected_bank), "the loader takes the banks in turn"),
                Assert(~(ends & newer), "headers come between the units of two steps"),
            ]
            newer = valid

        # The array's: a step waits in the feed or is being issued. Its bank is held; if it is kept, it may be committed
        # still, for the step that follows.
        waiting, work = state(feed, "held"), state(feed, "work", work_layout(self.config))
        busy, running = compute.submodules.issuer.busy, state(issuer, "work", work_layout(self.config))
        waits, waits_for_good = Signal(2), Signal(2)
        with m.If(waiting & (work.vectors != 0)):
            m.d.comb += [waits.bit_select(work.bank, 1).eq(1),
                         waits_for_good.bit_select(work.bank, 1).eq(~work.keep)]
        runs, runs_for_good = Signal(2), Signal(2)
        with m.If(busy):
            m.d.comb += [runs.bit_select(running.bank, 1).eq(1),
                         runs_for_good.bit_select(running.bank, 1).eq(~running.keep)]
        m.d.comb += [
            Assert((waits & runs_for_good) == 0, "a step waits for another bank, or for one that is kept"),
            Assert(held == (waits_for_good | runs_for_good), "a bank is held if its last step waits or runs"),
            Assert((full & held) == 0, "a bank is committed or held, not both"),
            Assert(((waits | runs) & ~(full | held)) == 0, "steps have banks"),
            Assert(((waits | runs) & full & ~(state(feed, "kept") << compute.submodules.banks.bank)) == 0,
                   "a step whose bank is still committed is kept"),
            Assert(((full | held) & ~self.complete) == 0, "a bank that is committed or held is complete"),
        ]
        issue = self.engine.compute.issue
        begins = state(issuer, "first_vector") & (state(issuer, "plane") == 0)
        hold = [state(banks, f"hold_{b}") for b in range(2)]
        for cycle, pending in enumerate(self.pending):
            left = Choice(hold)[pending.bank]
            m.d.comb += Assert(~(pending.valid & pending.step) | (left + cycle >= len(self.pending)),
                               "a bank is not free before its scale is taken over")
        begun_now = issue.valid & issue.step & (issue.bank == running.bank)
        with m.If(busy):
            m.d.comb += Assert(begins | begun_now | (self.running == running.bank), "the step being issued has begun")


def _later(m, value, *, name):
    register = Signal.like(value, name=name)
    m.d.sync += register.eq(value)
    return register
