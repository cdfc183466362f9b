"""The compute queue: walks the steps of GEMM instructions and issues planes to the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..cim.array import Array, target_layout
from ..cim.interfaces import issue_layout
from ..cim.loader import plane_count_bits
from ..config import Config, clog2
from ..isa import QUEUES, Opcode, Queue
from .activity import activity_layout
from .banks import Banks
from .decode import command_layout, fields_of
from .tokens import token_signature


def work_layout(config: Config) -> data.StructLayout:
    """One step of one instruction, as the issuer runs it."""
    return data.StructLayout({
        "bank": 1,
        "planes": plane_count_bits(config),
        "vectors": clog2(config.acc_vectors + 1),
        "line": clog2(config.act_lines),
        "vector_stride": 16,
        "acc_vector": clog2(config.acc_vectors),
        "start": 1,
        "final": 1,
        "keep": 1,
        "signal": len(QUEUES),
        "act_signed": 1,
        "zero_point": 8,
    })


class StepFeed(wiring.Component):
    """Prepares the next step while the current one is being issued, so that steps follow without a bubble.

    A step without planes is skipped; if nothing has been accumulated by an instruction's last step, that step is run
    with one (empty) plane per vector, which writes zeros. An instruction whose last step is skipped ends with work of
    no vectors.

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
    wants_token, wants_step : Out(1)
        There is nothing to do before tokens, or the next step, have come.
    o_work : Out(stream)
    idle : Out(1)
    """

    i_commands: stream.Interface
    o_work: stream.Interface

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
            "wants_token": Out(1),
            "wants_step": Out(1),
            "o_work": Out(stream.Signature(work_layout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        command = self.i_commands.payload
        gemm = fields_of(command, Opcode.GEMM)
        running = Signal()
        step = Signal(16)
        line = Signal(clog2(self.config.act_lines))
        fresh = Signal()
        work = Signal(work_layout(self.config))
        held = Signal()
        kept = Signal()  # the step at hand has been issued from before
        last, keep, must_run, room = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.wait.eq(command.wait),
            last.eq(step == gemm.steps - 1),
            keep.eq(last & gemm.keep),
            must_run.eq((self.bank_planes != 0) | (last & fresh) | kept),
            room.eq(~held | self.o_work.ready),
            self.o_work.valid.eq(held),
            self.o_work.payload.eq(work),
            self.idle.eq(~self.i_commands.valid & ~held),
            self.wants_token.eq(~running & self.i_commands.valid & ~self.granted),
            self.wants_step.eq(running & ~self.bank_ready),
        ]
        with m.If(self.o_work.ready):
            m.d.sync += held.eq(0)
        with m.If(~running):
            with m.If(self.i_commands.valid & self.granted & ~self.halt):
                m.d.comb += self.take_tokens.eq(1)
                m.d.sync += [running.eq(1), step.eq(0), line.eq(gemm.act_line), fresh.eq(~gemm.accumulate)]
        with m.Elif(self.bank_ready & (room | ~(must_run | last)) & ~self.halt):
            m.d.comb += [self.take.eq(~keep), self.skip.eq(~keep & ~must_run)]
            m.d.sync += [step.eq(step + 1), line.eq(line + gemm.act_step_stride), kept.eq(keep & must_run)]
            with m.If(must_run | last):
                m.d.sync += [
                    held.eq(1),
                    fresh.eq(0),
                    work.bank.eq(self.bank),
                    work.planes.eq(self.bank_planes),
                    work.vectors.eq(Mux(must_run, gemm.vectors, 0)),
                    work.line.eq(line),
                    work.vector_stride.eq(gemm.act_vector_stride),
                    work.acc_vector.eq(gemm.acc_vector),
                    work.start.eq(fresh),
                    work.final.eq(last),
                    work.keep.eq(keep),
                    work.signal.eq(command.signal),
                    work.act_signed.eq(gemm.act_signed),
                    work.zero_point.eq(gemm.zero_point),
                ]
            with m.If(last):
                m.d.comb += self.i_commands.ready.eq(1)
                m.d.sync += running.eq(0)
        return m


class Issuer(wiring.Component):
    """Issues the planes of each vector of a step, one per cycle, without a bubble between vectors or steps.

    :attr:`issue` and :attr:`target` are registered; :attr:`read` asks for the activations one cycle before the first
    plane that needs them.

    Members
    -------
    i_work : In(stream)
    read : Out(1), line : Out
    issue : Out(issue_layout), target : Out(target_layout)
    act_signed : Out(1), zero_point : Out(8)
        With :attr:`issue`.
    multiplies : Out(1)
        With :attr:`issue`: the plane is stored in some column, not the empty one that writes zeros.
    start, release : Out(2)
        To :class:`~hdl.ipu.banks.Banks`.
    busy : Out(1)
    """

    i_work: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_work": In(stream.Signature(work_layout(config))),
            "read": Out(1),
            "line": Out(clog2(config.act_lines)),
            "issue": Out(issue_layout(config)),
            "target": Out(target_layout(config)),
            "act_signed": Out(1),
            "zero_point": Out(8),
            "multiplies": Out(1),
            "start": Out(2),
            "release": Out(2),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        work = Signal(work_layout(self.config))
        offered = self.i_work.payload
        first_vector = Signal()
        plane = Signal(plane_count_bits(self.config))
        last_plane, last_vector, end, accept = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last_plane.eq(plane + 1 >= work.planes),
            last_vector.eq(work.vectors == 1),
            end.eq(self.busy & last_plane & last_vector),
            # Two instructions cannot end in the same cycle: work of no vectors waits until the one before has ended.
            self.i_work.ready.eq(~self.busy | (end & ~(work.final & (offered.vectors == 0)))),
            accept.eq(self.i_work.valid & self.i_work.ready),
        ]
        with m.If(accept):
            m.d.sync += [work.eq(offered), plane.eq(0), first_vector.eq(1), self.busy.eq(offered.vectors != 0)]
        with m.Elif(end):
            m.d.sync += self.busy.eq(0)
        with m.Elif(self.busy & last_plane):
            m.d.sync += [
                plane.eq(0), first_vector.eq(0), work.vectors.eq(work.vectors - 1),
                work.line.eq(work.line + work.vector_stride), work.acc_vector.eq(work.acc_vector + 1),
            ]
        with m.Elif(self.busy):
            m.d.sync += plane.eq(plane + 1)

        retire_only = accept & (offered.vectors == 0)
        m.d.comb += [self.read.eq(self.busy & (plane == 0)), self.line.eq(work.line)]
        m.d.sync += [
            self.issue.valid.eq(self.busy),
            self.issue.first.eq(plane == 0),
            self.issue.last.eq(last_plane),
            self.issue.step.eq(first_vector & (plane == 0)),
            self.issue.bank.eq(work.bank),
            self.issue.plane.eq(plane),
            self.target.vector.eq(work.acc_vector),
            self.target.start.eq(work.start),
            self.target.final.eq((end & work.final) | retire_only),
            self.target.signal.eq(Mux(retire_only, offered.signal, work.signal)),
            self.act_signed.eq(work.act_signed),
            self.zero_point.eq(work.zero_point),
            self.multiplies.eq(self.busy & (work.planes != 0)),
        ]
        for b in range(2):
            here = work.bank == b
            m.d.comb += [
                self.start[b].eq(here & self.busy & first_vector & (plane == 0)),
                self.release[b].eq(here & end & ~work.keep),
            ]
        return m


class Compute(wiring.Component):
    """Executes GEMM instructions. An instruction is complete when its last vector is in the accumulators.

    Members
    -------
    i_commands : In(stream), tokens : Out(token_signature), halt : In(1)
    bank_free : Out(2), commit : In(1), commit_bank : In(1), planes : In
        To and from the loader.
    read, line, issue, target, act_signed, zero_point, multiplies : Out
        To activation buffer and array, as in :class:`Issuer`.
    retired : In(1), retired_signal : In
        From the array.
    activity : Out(activity_layout)
    idle : Out(1)
    """

    i_commands: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_commands": In(stream.Signature(command_layout(Queue.COMPUTE))),
            "tokens": Out(token_signature()),
            "halt": In(1),
            "bank_free": Out(2),
            "commit": In(1),
            "commit_bank": In(1),
            "planes": In(plane_count_bits(config)),
            "read": Out(1),
            "line": Out(clog2(config.act_lines)),
            "issue": Out(issue_layout(config)),
            "target": Out(target_layout(config)),
            "act_signed": Out(1),
            "zero_point": Out(8),
            "multiplies": Out(1),
            "retired": In(1),
            "retired_signal": In(len(QUEUES)),
            "activity": Out(activity_layout()),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.feed = feed = StepFeed(self.config)
        m.submodules.issuer = issuer = Issuer(self.config)
        m.submodules.banks = banks = Banks(self.config)
        connect(m, commands=flipped(self.i_commands), feed=feed.i_commands)
        connect(m, feed=feed.o_work, issuer=issuer.i_work)
        in_flight = Signal(range(Array.latency(self.config) + 2))
        m.d.comb += [
            self.tokens.wait.eq(feed.wait),
            feed.granted.eq(self.tokens.granted),
            self.tokens.take.eq(feed.take_tokens),
            self.tokens.signal.eq(Mux(self.retired, self.retired_signal, 0)),
            feed.halt.eq(self.halt),
            feed.bank_ready.eq(banks.ready),
            feed.bank.eq(banks.bank),
            feed.bank_planes.eq(banks.ready_planes),
            banks.take.eq(feed.take),
            banks.start.eq(issuer.start),
            banks.release.eq(issuer.release | Mux(feed.skip, 1 << banks.bank, 0)),
            banks.commit.eq(self.commit),
            banks.commit_bank.eq(self.commit_bank),
            banks.planes.eq(self.planes),
            self.bank_free.eq(banks.free),
            *(getattr(self, name).eq(getattr(issuer, name))
              for name in ("read", "line", "issue", "target", "act_signed", "zero_point", "multiplies")),
            self.activity.token.eq(feed.wants_token & ~issuer.busy),
            self.activity.memory.eq(feed.wants_step & ~issuer.busy),
            self.activity.busy.eq(issuer.busy | ~(feed.idle | feed.wants_token | feed.wants_step)),
            self.idle.eq(feed.idle & ~issuer.busy & ~self.target.final & (in_flight == 0)),
        ]
        with m.If(issuer.busy | self.issue.valid | self.target.final):
            m.d.sync += in_flight.eq(Array.latency(self.config) + 1)
        with m.Elif(in_flight != 0):
            m.d.sync += in_flight.eq(in_flight - 1)
        return m
