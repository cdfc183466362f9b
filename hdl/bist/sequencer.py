"""Executes microcode, one step per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..csr import BistCause
from .addresses import Addresses, address_layout, range_layout
from .microcode import CODE_WORDS, STEP_BITS, Kind, pause_layout, step_layout


def operation_layout(config: Config) -> data.StructLayout:
    """What a step does: at most a read of ``read_bank`` and a write of ``write_bank``, at one column and word, of
    values relative to the background. ``address`` is the one visited, ``step`` the number of the microcode word."""
    return data.StructLayout({
        "read": 1,
        "read_value": 1,
        "read_bank": 1,
        "compute": 1,
        "write": 1,
        "write_value": 1,
        "write_bank": 1,
        "address": address_layout(config),
        "step": STEP_BITS,
    })


class Sequencer(wiring.Component):
    """The microcode memory, and what steps through it.

    In every cycle with ``run`` one step is executed, or one cycle of a pause, unless the code has ended or the word is
    refused; without ``run`` everything stands still. There is no bubble between steps, addresses and elements, so a run
    takes as many cycles as the test has steps, times the addresses, plus its pauses. ``operation`` comes one cycle
    after its step.

    A read is refused unless the same run has written what it reads: in an earlier element, which writes all addresses,
    or in an earlier step of this visit. So nothing can be read that was there before.

    Members
    -------
    clear : In(1)
        Forgets the microcode.
    append : In(1), code : In(32)
        Adds a word to it. ``length`` is CODE_WORDS + 1 once a word has found no room.
    range : In(range_layout), partner : In(1)
        Addresses, and whether operations at the partner are allowed. Steady during a run.
    restart : In(1)
        The next step is the first one, of the first address.
    run : In(1)
    length : Out, step : Out
        Words held; the word that comes next.
    ended : Out(1)
        There is no next word.
    refusal : Out(8)
        The :class:`~hdl.csr.BistCause` for which the next word is not executed.
    operation : Out(operation_layout)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "clear": In(1),
            "append": In(1),
            "code": In(32),
            "range": In(range_layout(config)),
            "partner": In(1),
            "restart": In(1),
            "run": In(1),
            "length": Out(clog2(CODE_WORDS + 2)),
            "step": Out(STEP_BITS),
            "ended": Out(1),
            "refusal": Out(8),
            "operation": Out(operation_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.addresses = self.addresses = Addresses(self.config)
        self.first = Signal(STEP_BITS)  # of the element
        self.down = Signal()  # as its first step says
        self.here = Signal(2)  # the visited address and its partner have been written in this visit
        self.known = Signal(2)  # the same of all addresses, in earlier elements
        self.elapsed = Signal(pause_layout()["cycles"].width)
        word = self._memory(m)
        self._judge(m, word)
        self._execute(m, word)
        return m

    def _memory(self, m):
        m.submodules.memory = memory = Memory(shape=32, depth=CODE_WORDS, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        room = self.length < CODE_WORDS
        m.d.comb += [
            write.en.eq(self.append & room),
            write.addr.eq(self.length),
            write.data.eq(self.code),
            read.addr.eq(self.step),
            self.ended.eq(self.step == self.length),
        ]
        with m.If(self.clear):
            m.d.sync += self.length.eq(0)
        with m.Elif(self.append & (self.length <= CODE_WORDS)):
            m.d.sync += self.length.eq(self.length + 1)
        return read.data

    def _judge(self, m, word):
        """Whether the next word may be executed."""
        step, pause = data.View(step_layout(), word), data.View(pause_layout(), word)
        begins = self.step == self.first
        m.d.comb += self.addresses.down.eq(Mux(begins, step.down, self.down))
        reads_unknown = step.read & ~(self.here | self.known).bit_select(step.read_partner, 1)
        with m.If(self.length > CODE_WORDS):
            m.d.comb += self.refusal.eq(BistCause.CODE_TOO_LONG)
        with m.Elif(self.ended):
            with m.If(~begins):
                m.d.comb += self.refusal.eq(BistCause.ILLEGAL_CODE)
        with m.Elif(step.kind == Kind.STEP):
            with m.If((step.padding != 0) | ~(step.read | step.write) | (step.down != self.addresses.down)):
                m.d.comb += self.refusal.eq(BistCause.ILLEGAL_CODE)
            with m.Elif((step.read & step.read_partner | step.write & step.write_partner) & ~self.partner):
                m.d.comb += self.refusal.eq(BistCause.PARTNER)
            with m.Elif(step.read & step.write & (step.read_partner == step.write_partner)):
                m.d.comb += self.refusal.eq(BistCause.SAME_BANK)
            with m.Elif(reads_unknown):
                m.d.comb += self.refusal.eq(BistCause.READ_BEFORE_WRITE)
        with m.Elif((pause.kind != Kind.PAUSE) | (pause.padding != 0) | (pause.cycles == 0) | ~begins):
            m.d.comb += self.refusal.eq(BistCause.ILLEGAL_CODE)

    def _execute(self, m, word):
        step, pause = data.View(step_layout(), word), data.View(pause_layout(), word)
        addresses, operation = self.addresses, self.operation
        go = Signal()
        here = Signal(2)
        m.d.comb += [
            addresses.range.eq(self.range),
            addresses.restart.eq(self.restart),
            go.eq(self.run & ~self.ended & (self.refusal == BistCause.NONE)),
            here.eq(self.here | Cat(step.write & ~step.write_partner, step.write & step.write_partner)),
        ]
        m.d.sync += [
            operation.read.eq(0), operation.write.eq(0),
            operation.read_value.eq(step.read_value),
            operation.read_bank.eq(addresses.address.bank ^ step.read_partner),
            operation.compute.eq(step.compute),
            operation.write_value.eq(step.write_value),
            operation.write_bank.eq(addresses.address.bank ^ step.write_partner),
            operation.address.eq(addresses.address),
            operation.step.eq(self.step),
        ]
        with m.If(go & (step.kind == Kind.STEP)):
            m.d.comb += addresses.advance.eq(step.last)
            m.d.sync += [
                operation.read.eq(step.read), operation.write.eq(step.write),
                self.step.eq(Mux(step.last & ~addresses.final, self.first, self.step + 1)),
                self.down.eq(addresses.down),
                self.here.eq(Mux(step.last, 0, here)),
            ]
            with m.If(step.last & addresses.final):
                m.d.sync += [self.first.eq(self.step + 1), self.known.eq(self.known | here)]
        with m.If(go & (step.kind == Kind.PAUSE)):
            m.d.sync += self.elapsed.eq(self.elapsed + 1)
            with m.If(self.elapsed == pause.cycles - 1):
                m.d.sync += [self.elapsed.eq(0), self.step.eq(self.step + 1), self.first.eq(self.step + 1)]
        with m.If(self.restart):
            m.d.sync += [self.step.eq(0), self.first.eq(0), self.here.eq(0), self.known.eq(0), self.elapsed.eq(0)]
