"""The bank hazard: a bank that is being computed is never written, an uncommitted bank is never computed.

The engine's own wiring of loader, compute queue and array, under any bus words, any legal commands, halts and resets.
What surrounds them is replaced by free inputs.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.cim.loader import Loader, plane_count_bits
from hdl.config import Config
from hdl.ipu.compute import Compute
from hdl.ipu.decode import fields_of
from hdl.ipu.engine import Engine
from hdl.ipu.gather import stage_layout
from hdl.ipu.load import Load
from hdl.ipu.store import Store
from hdl.ipu.walk import piece_layout, window_layout
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
                                ("store", Store(config, channel=3))):
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
            *(Assume(gemm[name] != 0) for name in ("steps", "vectors", "vector_rows", "tap_bytes", "taps", "tap_rows")),
            Assume((gemm.first_tap < gemm.taps) & (gemm.first_byte < gemm.tap_bytes)),
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
        macro = opened(opened(self.engine.array).submodules.macro_0_0.macro)
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
        self.walk, self.gather = compute.submodules.walk, compute.submodules.gather
        banks, walk, gather, issuer = (opened(compute.submodules[name])
                                       for name in ("banks", "walk", "gather", "issuer"))
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

        # The array's: vectors on their way, the youngest first. A bank is held until its last vector is issued; if that
        # is kept, the bank may be committed still, for the step that follows.
        issue = self.engine.compute.issue
        items = self._items(m, walk, gather, issuer)
        kept = state(walk, "kept") << compute.submodules.banks.bank
        closings = []
        for number, (valid, bank, closes) in enumerate(items):
            of_bank = Signal(2, name=f"item_{number}")
            closing = Signal(2, name=f"closing_{number}")
            m.d.comb += [of_bank.eq(valid << bank), closing.eq((valid & closes) << bank)]
            younger = Cat(*closings[:1])
            for other in closings[1:]:
                younger = younger | other
            m.d.comb += [
                Assert((of_bank & ~(younger | closing) & ~(full & kept)) == 0,
                       "a vector's bank is closed by it, by a younger one, or kept"),
                Assert((closing & ~held) == 0, "a bank that a vector on its way closes is held"),
            ]
            for other_valid, other_bank, _ in items[:number]:
                m.d.comb += Assert((closing & (other_valid << other_bank)) == 0,
                                   "nothing follows the vector that closes")
            closings.append(closing)
        closed = closings[0]
        for closing in closings[1:]:
            closed = closed | closing
        m.d.comb += [
            Assert((held & ~closed) == 0, "what is held is going to be closed"),
            Assert((full & held) == 0, "a bank is committed or held, not both"),
            Assert(((full | held) & ~self.complete) == 0, "a bank that is committed or held is complete"),
        ]
        hold = [state(banks, f"hold_{b}") for b in range(2)]
        for cycle, pending in enumerate(self.pending):
            left = Choice(hold)[pending.bank]
            m.d.comb += Assert(~(pending.valid & pending.step) | (left + cycle >= len(self.pending)),
                               "a bank is not free before its scale is taken over")
        self._walks(m, walk)
        self._order(m, gather, issue)

    def _walks(self, m, walk):
        """The walk is where its instruction allows."""
        commands = self.engine.compute.i_commands
        gemm = fields_of(commands.payload, Opcode.GEMM)
        waits = state(walk, "waiting")
        m.d.comb += [
            Assert(waits | commands.valid, "an instruction that is walked stays in its queue"),
            Assert(state(walk, "walking") | (state(walk, "lane") == 0), "lines begin with lane 0"),
            *(Assert(waits | (state(walk, name, window_layout()).byte < gemm.tap_bytes), "the walk is within a tap")
              for name in ("at", "line_start")),
        ]

    def _items(self, m, walk, gather, issuer):
        """Vectors of which a part is on its way: whether there is one, its bank, and whether it, or one that is still
        to come of the same step, gives the bank back."""
        compute = self.engine.compute
        pieces, lines = self.walk.o_pieces, self.gather.o_lines
        issue = compute.issue
        gemm = fields_of(compute.i_commands.payload, Opcode.GEMM)
        final = state(walk, "step", data.StructLayout({"bank": 1, "planes": plane_count_bits(self.config), "start": 1,
                                                       "final": 1})).final
        asked = state(gather, "piece", piece_layout(self.config))
        items = [(pieces.valid & ~pieces.payload.vector.empty, pieces.payload.vector.bank, ~(final & gemm.keep)),
                 (state(gather, "piece_valid") & ~asked.vector.empty, asked.vector.bank,
                  asked.last & asked.vector.closes)]
        for name in ("reading", "merging"):
            stage = state(gather, name, stage_layout(self.config))
            items.append((stage.valid & ~stage.vector.empty, stage.vector.bank, stage.last & stage.vector.closes))
        vector = lines.payload.vector
        items.append((lines.valid & ~vector.empty, vector.bank, vector.closes))
        items.append((issue.valid & ~issue.last, issue.bank, state(issuer, "closes")))
        return items

    def _order(self, m, gather, issue):
        """Pieces make whole vectors, and a vector that opens no step follows one of the same bank."""
        line, shown = self.gather.o_lines, self.walk.o_pieces.payload
        merging, reading = (state(gather, name, stage_layout(self.config)) for name in ("merging", "reading"))
        asked = state(gather, "piece", piece_layout(self.config))
        begun = Signal(piece_layout(self.config))  # the last piece merged
        with m.If(state(gather, "move") & merging.valid):
            m.d.sync += [begun.first.eq(1), begun.last.eq(merging.last), begun.vector.eq(merging.vector)]
        unfinished = begun.first & ~begun.last
        whole = Const(1)
        m.d.comb += [
            Assert(~issue.valid | issue.step | (self.running == issue.bank), "the step being issued has begun"),
            Assert(~(unfinished & line.valid), "one line is gathered at a time"),
        ]
        bank = Mux(issue.valid, issue.bank, self.running)
        inside, opens = Const(0), Const(0)  # of a line whose last piece has not been seen
        for where, valid, vector, first, last in (
                ("gathered", line.valid, line.payload.vector, whole, whole),
                ("begun", unfinished, begun.vector, whole, Const(0)),
                ("merged", merging.valid, merging.vector, merging.first, merging.last),
                ("read", reading.valid, reading.vector, reading.first, reading.last),
                ("asked for", state(gather, "piece_valid"), asked.vector, asked.first, asked.last),
                ("walked", self.walk.o_pieces.valid, shown.vector, shown.first, shown.last)):
            if where == "walked":
                m.d.comb += Assert(~inside | (valid & ~vector.empty), "a line that has begun is walked to its end")
            follows = Mux(inside, ~first & (vector.bank == bank) & (vector.opens == opens),
                          first & (vector.opens | (vector.bank == bank)))
            m.d.comb += Assert(~valid | Mux(vector.empty, last & ~inside, follows),
                               f"vectors come whole and in order: {where}")
            real = valid & ~vector.empty
            bank, inside, opens = Mux(real, vector.bank, bank), Mux(real, ~last, inside), Mux(real, vector.opens, opens)


def _later(m, value, *, name):
    register = Signal.like(value, name=name)
    m.d.sync += register.eq(value)
    return register
