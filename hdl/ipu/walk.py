"""Walks instructions of the compute queue: steps, vectors, and the pieces of taps that make up each vector's line."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..cim.loader import plane_count_bits
from ..config import Config, clog2
from ..isa import POSITION_BITS, QUEUES, Opcode, Queue
from .decode import command_layout, fields_of


def vector_layout(config: Config) -> data.StructLayout:
    """What the array does with a line.

    ``opens`` and ``closes`` mark the first and the last vector that are issued from a bank; ``final`` the last one of
    an instruction, with the queues that it signals. ``empty`` is no vector: it only ends an instruction.
    """
    return data.StructLayout({
        "empty": 1,
        "bank": 1,
        "planes": plane_count_bits(config),
        "acc_vector": clog2(config.acc_vectors),
        "start": 1,
        "maximum": 1,
        "opens": 1,
        "closes": 1,
        "final": 1,
        "signal": len(QUEUES),
        "act_signed": 1,
        "zero_point": 8,
    })


def piece_layout(config: Config) -> data.StructLayout:
    """Consecutive bytes of the window that go to consecutive lanes of a line: ``bytes`` of them, from lane ``lane`` on,
    from position (``x``, ``y``). ``first`` and ``last`` frame the pieces of a line; a line of padding is one piece of
    no bytes."""
    lanes = clog2(config.line_bytes + 1)
    return data.StructLayout({
        "x": signed(POSITION_BITS),
        "y": signed(POSITION_BITS),
        "x_end": 24,
        "y_end": 24,
        "act_address": clog2(config.act_bytes),
        "lane": lanes,
        "bytes": lanes,
        "first": 1,
        "last": 1,
        "vector": vector_layout(config),
    })


def window_layout() -> data.StructLayout:
    """A place in the list of bytes of a window: its tap's position, how many bytes of the tap come before it, and how
    many taps of its row and rows of taps are left, this one included."""
    return data.StructLayout({
        "x": signed(POSITION_BITS),
        "y": signed(POSITION_BITS),
        "byte": 24,
        "taps": 8,
        "tap_rows": 8,
    })


class Walk(wiring.Component):
    """One piece per cycle; no cycle is lost between vectors or between the steps of an instruction, two between
    instructions.

    A step without planes is skipped: its line is walked once, without vectors, to find where the next one begins. If
    nothing has been accumulated by an instruction's last step, that step is run with one (empty) plane per vector,
    which writes zeros; and so is every step without planes where the maximum is taken, since zero may be the largest.
    An instruction whose last step is skipped ends with an empty vector.

    A TEST ends with an empty vector, too, when it is done.

    A step that an instruction keeps is not taken; the next instruction finds it again. If planes were issued from it,
    it is not skipped then, so that the bank is given back in order, after everything that was issued from it.

    Members
    -------
    i_commands : In(stream), halt : In(1)
    wait : Out, granted : In(1), take_tokens : Out(1)
    bank_ready, bank, bank_planes : In
        The next committed step.
    take : Out(1), skip : Out(1)
        The step is taken; it is skipped.
    testing : Out(1), tested : In(1)
        A TEST waits until it is done.
    wants_token, wants_step : Out(1)
        There is nothing to do before tokens, or the next step, have come.
    o_pieces : Out(stream)
    idle : Out(1)
    """

    i_commands: stream.Interface
    o_pieces: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_commands": In(stream.Signature(command_layout(Queue.COMPUTE))),
            "granted": In(1),
            "wait": Out(len(QUEUES)),
            "take_tokens": Out(1),
            "halt": In(1),
            "bank_ready": In(1),
            "bank": In(1),
            "bank_planes": In(plane_count_bits(config)),
            "take": Out(1),
            "skip": Out(1),
            "testing": Out(1),
            "tested": In(1),
            "wants_token": Out(1),
            "wants_step": Out(1),
            "o_pieces": Out(stream.Signature(piece_layout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        command = self.i_commands.payload
        self.gemm = fields_of(command, Opcode.GEMM)

        # The step being walked
        self.steps_left = Signal(16)
        self.fresh = Signal()  # nothing has been accumulated by this instruction
        self.kept = Signal()  # the step at hand has been issued from before
        self.silent = Signal()  # the step is skipped
        self.step = Signal(data.StructLayout({"bank": 1, "planes": plane_count_bits(config), "start": 1, "final": 1}))
        self.line_start = Signal(window_layout())

        # The vector being walked
        self.at = Signal(window_layout())
        self.lane = Signal(clog2(config.line_bytes))
        self.x = Signal(signed(POSITION_BITS))
        self.y = Signal(signed(POSITION_BITS))
        self.vectors_left = Signal(16)
        self.rows_left = Signal(16)
        self.acc_vector = Signal(clog2(config.acc_vectors))
        self.opens = Signal()

        self.waiting = Signal()  # for an instruction
        self.walking = Signal()
        self.only_ends = Signal()  # an instruction without vectors
        self.begins = Signal()  # the next step is wanted
        self.takes = Signal()  # and it is there
        self.steps_ahead = Signal(16)  # it and those after it
        last_vector = (self.vectors_left == 1) & (self.rows_left == 1)
        step_end = Signal()
        advance = Signal()  # the piece at hand is handed on
        self._piece(m, last_vector)
        m.d.comb += [
            self.wait.eq(command.wait),
            step_end.eq(self.line_end & (last_vector | self.silent)),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [
                    self.waiting.eq(1),
                    self.idle.eq(~self.i_commands.valid),
                    self.wants_token.eq(self.i_commands.valid & ~self.granted),
                ]
                with m.If(self.i_commands.valid & self.granted & ~self.halt):
                    m.d.comb += self.take_tokens.eq(1)
                    self._begin_instruction(m)
                    m.next = "STEP"
                    with m.If(command.opcode == Opcode.TEST):
                        m.next = "TEST"
            with m.State("TEST"):
                m.d.comb += self.testing.eq(1)
                with m.If(self.tested):
                    m.next = "TESTED"
            with m.State("TESTED"):
                m.d.comb += [self.only_ends.eq(1), self.o_pieces.valid.eq(1)]
                with m.If(self.o_pieces.ready):
                    m.d.comb += self.i_commands.ready.eq(1)
                    m.next = "WAIT"
            with m.State("STEP"):
                m.d.comb += [self.wants_step.eq(~self.bank_ready), self.begins.eq(1),
                             self.steps_ahead.eq(self.steps_left)]
                with m.If(self.takes):
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += [
                    self.walking.eq(1),
                    # Of a step that is skipped nothing is handed on, unless it ends the instruction.
                    self.o_pieces.valid.eq(~self.silent | (self.line_end & self.step.final)),
                    advance.eq(self.o_pieces.ready | ~self.o_pieces.valid),
                    self.steps_ahead.eq(self.steps_left - 1),
                ]
                with m.If(advance):
                    self._advance(m, last_vector)
                with m.If(advance & step_end):
                    m.d.sync += self.steps_left.eq(self.steps_ahead)
                    with m.If(self.step.final):
                        m.d.comb += self.i_commands.ready.eq(1)
                        m.next = "WAIT"
                    with m.Else():
                        m.d.comb += self.begins.eq(1)
                        with m.If(~self.takes):
                            m.next = "STEP"
        self._begin_step(m)
        return m

    def _begin_instruction(self, m):
        gemm = self.gemm
        start = Signal(window_layout())
        m.d.comb += [
            start.x.eq(gemm.first_x), start.y.eq(0), start.byte.eq(gemm.first_byte),
            start.taps.eq(gemm.taps - gemm.first_tap), start.tap_rows.eq(gemm.tap_rows),
        ]
        m.d.sync += [self.steps_left.eq(gemm.steps), self.fresh.eq(~gemm.accumulate), self.at.eq(start),
                     self.line_start.eq(start)]

    def _begin_step(self, m):
        """Takes the next step of the instruction if it is there, and goes to its first vector."""
        gemm = self.gemm
        last = Signal()
        keep = Signal()
        must_run = Signal()
        m.d.comb += [
            self.takes.eq(self.begins & self.bank_ready & ~self.halt),
            last.eq(self.steps_ahead == 1),
            keep.eq(last & gemm.keep),
            must_run.eq((self.bank_planes != 0) | gemm.maximum | (last & self.fresh) | self.kept),
            self.take.eq(self.takes & ~keep),
            self.skip.eq(self.takes & ~keep & ~must_run),
        ]
        with m.If(self.takes):
            m.d.sync += [
                self.kept.eq(keep & must_run),
                self.silent.eq(~must_run),
                self.step.bank.eq(self.bank),
                self.step.planes.eq(self.bank_planes),
                self.step.start.eq(self.fresh),
                self.step.final.eq(last),
                self.x.eq(gemm.x),
                self.y.eq(gemm.y),
                self.vectors_left.eq(gemm.vectors),
                self.rows_left.eq(gemm.vector_rows),
                self.acc_vector.eq(gemm.acc_vector),
                self.opens.eq(1),
            ]
            with m.If(must_run):
                m.d.sync += self.fresh.eq(0)

    def _piece(self, m, last_vector):
        """The piece at hand, and where the window goes on after it."""
        config, gemm, at = self.config, self.gemm, self.at
        lanes_left = Signal(clog2(config.line_bytes + 1))
        tap_left = Signal(24)
        ends_tap = Signal()
        more = Signal()  # the window has not ended
        self.line_end = Signal()
        self.after = after = Signal(window_layout())
        piece = self.o_pieces.payload
        m.d.comb += [
            more.eq(at.tap_rows != 0),
            lanes_left.eq(config.line_bytes - self.lane),
            tap_left.eq(gemm.tap_bytes - at.byte),
            ends_tap.eq(tap_left <= lanes_left),
            piece.bytes.eq(Mux(more, Mux(ends_tap, tap_left, lanes_left), 0)),
            after.eq(at),
        ]
        with m.If(more & ends_tap):
            m.d.comb += [after.byte.eq(0), after.x.eq(at.x + gemm.tap_x_stride), after.taps.eq(at.taps - 1)]
            with m.If(at.taps == 1):
                m.d.comb += [after.x.eq(0), after.y.eq(at.y + gemm.tap_y_stride), after.taps.eq(gemm.taps),
                             after.tap_rows.eq(at.tap_rows - 1)]
        with m.Elif(more):
            m.d.comb += after.byte.eq(at.byte + lanes_left)
        m.d.comb += [
            self.line_end.eq((tap_left >= lanes_left) | (after.tap_rows == 0)),
            piece.x.eq(self.x + at.x + at.byte),
            piece.y.eq(self.y + at.y),
            piece.x_end.eq(gemm.x_end),
            piece.y_end.eq(gemm.y_end),
            piece.act_address.eq(gemm.act_address),
            piece.lane.eq(self.lane),
            piece.first.eq(self.lane == 0),
            piece.last.eq(self.line_end),
            piece.vector.empty.eq(self.silent),
            piece.vector.bank.eq(self.step.bank),
            piece.vector.planes.eq(self.step.planes),
            piece.vector.acc_vector.eq(self.acc_vector),
            piece.vector.start.eq(self.step.start),
            piece.vector.maximum.eq(gemm.maximum),
            piece.vector.opens.eq(self.opens),
            piece.vector.closes.eq(last_vector & ~(self.step.final & gemm.keep)),
            piece.vector.final.eq(self.step.final & (last_vector | self.silent)),
            piece.vector.signal.eq(self.i_commands.payload.signal),
            piece.vector.act_signed.eq(gemm.act_signed),
            piece.vector.zero_point.eq(gemm.zero_point),
        ]
        with m.If(self.only_ends):
            m.d.comb += [piece.last.eq(1), piece.vector.empty.eq(1), piece.vector.final.eq(1)]

    def _advance(self, m, last_vector):
        """To the next piece: of this line, of the next vector's, or of the next step's."""
        gemm = self.gemm
        with m.If(~self.line_end):
            m.d.sync += [self.at.eq(self.after), self.lane.eq(self.lane + self.o_pieces.payload.bytes)]
        with m.Else():
            m.d.sync += [self.lane.eq(0), self.opens.eq(0), self.at.eq(self.line_start)]
            with m.If(last_vector | self.silent):
                m.d.sync += [self.at.eq(self.after), self.line_start.eq(self.after)]
            with m.Else():
                m.d.sync += [self.vectors_left.eq(self.vectors_left - 1), self.x.eq(self.x + gemm.x_stride),
                             self.acc_vector.eq(self.acc_vector + 1)]
                with m.If(self.vectors_left == 1):
                    m.d.sync += [self.vectors_left.eq(gemm.vectors), self.rows_left.eq(self.rows_left - 1),
                                 self.x.eq(gemm.x), self.y.eq(self.y + gemm.y_stride)]
