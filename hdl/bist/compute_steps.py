"""Runs the table of the compute self-test."""

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..cim.column import Column
from ..cim.interfaces import test_signature
from ..config import Config, clog2
from .compute_load import ComputeLoad
from .compute_table import STEP_BITS, TABLE_STEPS, Lanes, Mask, Port, Repair, step_layout
from .compute_table import Value as Activations
from .compute_work import ComputeWork
from .patterns import Generator


def settled(config: Config) -> int:
    """Least cycles of a step: everything that a vector needs has been taken over, and its results are out."""
    return Column.sum_latency(config) + Column.SCALED_LATENCY + 1


class _State(IntEnum):
    IDLE = 0
    PRELOAD = 1
    STEP = 2
    RESET = 3
    SETTLE = 4


class ComputeSteps(wiring.Component):
    """The table, and the pins of a macro that follow from it; :func:`mbist.compute_pins.expand` is its golden model.

    Both banks are loaded, twice, with each repair. Then each step works with its bank, while the next one's load goes
    to the other bank, or behind the work if that uses both. A step takes as many cycles as the longer of the two, at
    least :func:`settled`. Pins come one cycle after what the golden model calls their cycle.

    Members
    -------
    clear : In(1)
        Forgets the table.
    append : In(1), row : In(step_layout)
        Adds a row. ``length`` is TABLE_STEPS + 1 once a row has found no room.
    restart : In(1)
        Begins with the first row.
    discard : In(1)
        Ends at once.
    moved : In(1)
        Rows that move no column move all, and the opposite.
    length : Out, step : Out
        Rows held; the one that is loaded.
    busy : Out(1)
        Pins are driven.
    ended : Out(1)
        In the last cycle.
    illegal : Out(1)
        The row that would be loaded in this cycle has a value that means nothing: nothing else happens.
    pins : Out(test_signature)
        Without ``clear`` and ``shift``.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "clear": In(1),
            "append": In(1),
            "row": In(step_layout()),
            "restart": In(1),
            "discard": In(1),
            "moved": In(1),
            "length": Out(clog2(TABLE_STEPS + 2)),
            "step": Out(clog2(TABLE_STEPS)),
            "busy": Out(1),
            "ended": Out(1),
            "illegal": Out(1),
            "pins": Out(test_signature(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.generator = self.generator = Generator()
        m.submodules.load = self.load = ComputeLoad(self.config)
        m.submodules.work = self.work = ComputeWork(self.config)
        self.advance, self.bank = Signal(), Signal()
        self._table(m)
        self._rows(m)
        self._states(m)
        self._pins(m)
        return m

    def _table(self, m):
        """The memory: what it shows is always the row that is loaded."""
        m.submodules.memory = memory = Memory(shape=STEP_BITS, depth=TABLE_STEPS, init=[])
        write, read = memory.write_port(), memory.read_port()
        following = Signal.like(self.step)
        m.d.comb += [
            write.en.eq(self.append & (self.length < TABLE_STEPS)),
            write.addr.eq(self.length),
            write.data.eq(self.row),
            following.eq(self.step),
            read.addr.eq(following),
            self.load.row.eq(read.data),
        ]
        with m.If(self.restart):
            m.d.comb += following.eq(0)
        with m.Elif(self.advance & self.load.last):
            m.d.comb += following.eq(self.step + 1)
            with m.If(self.step == self.length - 1):
                m.d.comb += following.eq(0)
        m.d.sync += self.step.eq(following)
        with m.If(self.clear):
            m.d.sync += self.length.eq(0)
        with m.Elif(self.append & (self.length <= TABLE_STEPS)):
            m.d.sync += self.length.eq(self.length + 1)

    def _rows(self, m):
        """The row that is loaded, and the one that is worked with."""
        load, work = self.load, self.work
        row = data.View(step_layout(), load.row.as_value())
        current = Signal(step_layout())
        self.final = Signal()  # no step follows
        m.d.comb += [
            self.illegal.eq(load.run & Cat(
                *(source > max(Lanes) for source in (row.planes, row.sign, row.select)), row.mask > max(Mask),
                row.value > max(Activations), row.port > max(Port), row.repair > max(Repair),
                *(count == 0 for count in (row.vectors, row.length, row.repeat))).any()),
            load.restart.eq(self.restart),
            load.advance.eq(self.advance),
            load.word.eq(self.generator.word),
            load.bank.eq(~self.bank),
            work.row.eq(current),
            work.begin.eq(self.advance),
            work.again.eq(~load.fresh),
            work.word.eq(self.generator.word),
            work.held.eq(load.held),
            work.bank.eq(self.bank),
        ]
        with m.If(self.advance):
            m.d.sync += [current.eq(row), self.final.eq(load.last & (self.step == self.length - 1))]

    def _states(self, m):
        """Loads of both banks, steps, and some cycles in which the last results come out."""
        load, work, row = self.load, self.work, self.work.row
        shortest = settled(self.config)
        preloads = Signal(2)
        elapsed, deaf = Signal(range(shortest)), Signal(range(shortest + 1))
        # What a wild step has issued takes over mask, scale and constant of either bank when it leaves the adder tree.
        quiet = Signal(range(Column.sum_latency(self.config) + 1))
        worked, loaded, beside, over, steps = (Signal(name=name) for name in (
            "worked", "loaded", "beside", "over", "steps"))
        swept = Signal.like(self.pins.repair)
        listen, reset, sweep, preloading = (Signal(name=name) for name in ("listens", "reset", "sweep", "preloading"))
        m.d.comb += [
            beside.eq(~(row.wild | (row.port != Port.NONE) | (row.repair == Repair.SWEEP) | load.row.spread)),
            over.eq((worked | work.ended) & (loaded | load.ended) & (elapsed == shortest - 1)),
            self.generator.restart.eq(self.restart),
            self.generator.run.eq(self.busy),
            listen.eq(steps & (deaf == 0)),
            load.other_repair.eq(self.moved ^ preloading),
            sweep.eq(work.run & (row.repair == Repair.SWEEP)),
        ]
        with m.If(steps & (deaf != 0)):
            m.d.sync += deaf.eq(deaf - 1)
        state = Signal(_State)
        following = Signal.like(state)
        m.d.comb += [following.eq(state), self.busy.eq(state != _State.IDLE)]
        m.d.sync += state.eq(following)
        with m.Switch(state):
            with m.Case(_State.PRELOAD):
                m.d.comb += [load.run.eq(1), preloading.eq(~preloads[1])]
                with m.If(load.ended):
                    m.d.sync += [preloads.eq(preloads + 1), self.bank.eq(~self.bank)]
                    with m.If(preloads == 3):
                        m.d.comb += [self.advance.eq(1), following.eq(_State.STEP)]
            with m.Case(_State.STEP):
                m.d.comb += [steps.eq(1), work.run.eq(~worked), load.run.eq(~loaded & (beside | worked & (quiet == 0)))]
                m.d.sync += [worked.eq(worked | work.ended), loaded.eq(loaded | load.ended),
                             swept.eq(Mux(swept == self.config.cols, 0, swept + 1))]
                with m.If(worked & (quiet != 0)):
                    m.d.sync += quiet.eq(quiet - 1)
                with m.If(elapsed != shortest - 1):
                    m.d.sync += elapsed.eq(elapsed + 1)
                with m.If(over & row.reset):
                    m.d.comb += following.eq(_State.RESET)
                with m.Elif(over):
                    self._next(m, following)
            with m.Case(_State.RESET):
                m.d.comb += [steps.eq(1), reset.eq(1)]
                self._next(m, following)
            with m.Case(_State.SETTLE):
                m.d.comb += steps.eq(1)
                m.d.sync += elapsed.eq(elapsed + 1)
                with m.If(elapsed == shortest - 1):
                    m.d.comb += [self.ended.eq(1), following.eq(_State.IDLE)]
        with m.If(self.discard | self.illegal):
            m.d.comb += following.eq(_State.IDLE)
        with m.Elif(self.restart):
            m.d.sync += [preloads.eq(0), self.bank.eq(0), deaf.eq(shortest)]
            m.d.comb += following.eq(_State.PRELOAD)
        with m.If(self.advance):
            m.d.sync += [worked.eq(0), loaded.eq(0), swept.eq(0), elapsed.eq(0),
                         quiet.eq(Mux(load.row.wild, Column.sum_latency(self.config), 0))]
        m.d.sync += [self.pins.listen.eq(listen & ~self.discard), self.pins.reset.eq(reset),
                     self.pins.repair.eq(load.repair)]
        with m.If(sweep):
            m.d.sync += self.pins.repair.eq(swept)

    def _next(self, m, state):
        """A step is over."""
        m.d.comb += [self.advance.eq(1), state.eq(Mux(self.final, _State.SETTLE, _State.STEP))]
        m.d.sync += self.bank.eq(~self.bank)

    def _pins(self, m):
        """One stage between patterns and macros."""
        pins, load, work = self.pins, self.load, self.work
        m.d.sync += [
            *(getattr(pins, name).eq(getattr(work, name)) for name in ("issue", "bist", "bist_data")),
            *(mine.eq(made) for mine, made in zip(pins.act, work.act)),
            *(getattr(pins.load, name).eq(getattr(load.load, name)) for name in pins.load.signature.members),
            *(getattr(pins, name).eq(getattr(load, name)) for name in (
                "valid", "opposed", "member", "first", "lane_mask", "sign", "group", "constant")),
        ]
        with m.If(self.discard | self.illegal):
            m.d.sync += [pins.issue.valid.eq(0), pins.bist.valid.eq(0), pins.valid.eq(0)]
