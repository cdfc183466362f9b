"""The compute queue: from GEMM instructions to planes for the array, and tests of its macros."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..cim.array import Array, target_layout
from ..cim.interfaces import issue_layout
from ..cim.loader import plane_count_bits
from ..config import Config, clog2
from ..isa import Opcode, Queue, queues
from .activity import activity_layout
from .banks import Banks
from .decode import command_layout, fields_of
from .fault import fault_layout
from .field_test import FieldTest, field_test_signature
from .gather import Gather
from .issue import Issue
from .tokens import token_signature
from .walk import Walk


class Compute(wiring.Component):
    """Executes GEMM instructions: :class:`~hdl.ipu.walk.Walk` finds the pieces of each vector's line,
    :class:`~hdl.ipu.gather.Gather` reads them, :class:`~hdl.ipu.issue.Issue` issues the vector's planes meanwhile. A
    vector takes as many cycles as its step has planes or its line pieces, whichever are more.

    An instruction is complete when its last vector is in the accumulators.

    Members
    -------
    i_commands : In(stream), tokens : Out(token_signature), halt : In(1)
    bank_free : Out(2), commit : In(1), commit_bank : In(1), planes : In
        To and from the loader.
    read : Out(1), read_address : Out, read_line : In
        To and from the activation buffer.
    issue, target, line, act_signed, zero_point, multiplies : Out
        To the array, as in :class:`~hdl.ipu.issue.Issue`.
    retired : In(1), retired_signal : In
        From the array.
    field_test : Out(field_test_signature), testing : Out(1)
        To the compute self-test; a TEST is under way.
    fault : Out(fault_layout)
    activity : Out(activity_layout)
    idle : Out(1)
    """

    i_commands: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_commands": In(stream.Signature(command_layout(config, Queue.COMPUTE))),
            "tokens": Out(token_signature(config)),
            "halt": In(1),
            "bank_free": Out(2),
            "commit": In(1),
            "commit_bank": In(1),
            "planes": In(plane_count_bits(config)),
            "read": Out(1),
            "read_address": Out(clog2(config.act_bytes)),
            "read_line": In(8 * config.line_bytes),
            "issue": Out(issue_layout(config)),
            "target": Out(target_layout(config)),
            "line": Out(8 * config.line_bytes),
            "act_signed": Out(1),
            "zero_point": Out(8),
            "multiplies": Out(1),
            "retired": In(1),
            "retired_signal": In(len(queues(config))),
            "field_test": Out(field_test_signature()),
            "testing": Out(1),
            "fault": Out(fault_layout()),
            "activity": Out(activity_layout()),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = Walk(self.config)
        m.submodules.gather = gather = Gather(self.config)
        m.submodules.issuer = issuer = Issue(self.config)
        m.submodules.banks = banks = Banks(self.config)
        m.submodules.field_test = test = FieldTest()
        connect(m, commands=flipped(self.i_commands), walk=walk.i_commands)
        connect(m, walk=walk.o_pieces, gather=gather.i_pieces)
        connect(m, gather=gather.o_lines, issuer=issuer.i_lines)
        busy = Signal()  # vectors are on their way to the array
        in_flight = Signal(range(Array.latency(self.config) + 2))
        quiet = Signal()  # every vector is in the accumulators
        connect(m, test=test.control, control=flipped(self.field_test))
        m.d.comb += [
            self.tokens.wait.eq(walk.wait),
            walk.granted.eq(self.tokens.granted),
            self.tokens.take.eq(walk.take_tokens),
            self.tokens.signal.eq(Mux(self.retired, self.retired_signal, 0)),
            walk.halt.eq(self.halt),
            walk.tested.eq(test.done),
            test.run.eq(walk.testing & ~self.halt),
            *(getattr(test, name).eq(fields_of(self.i_commands.payload, Opcode.TEST)[name])
              for name in ("macro", "begin", "end")),
            test.quiet.eq(quiet),
            self.testing.eq(walk.testing),
            self.fault.eq(test.fault),
            walk.bank_ready.eq(banks.ready),
            walk.bank.eq(banks.bank),
            walk.bank_planes.eq(banks.ready_planes),
            banks.take.eq(walk.take),
            banks.start.eq(issuer.start),
            banks.release.eq(issuer.release | Mux(walk.skip, 1 << banks.bank, 0)),
            banks.commit.eq(self.commit),
            banks.commit_bank.eq(self.commit_bank),
            banks.planes.eq(self.planes),
            self.bank_free.eq(banks.free),
            self.read.eq(gather.read),
            self.read_address.eq(gather.read_address),
            gather.read_line.eq(self.read_line),
            *(getattr(self, name).eq(getattr(issuer, name))
              for name in ("issue", "target", "line", "act_signed", "zero_point", "multiplies")),
            busy.eq(~gather.idle | self.issue.valid),
            self.activity.token.eq(walk.wants_token & ~busy),
            self.activity.memory.eq(walk.wants_step & ~busy),
            self.activity.busy.eq(busy | ~(walk.idle | walk.wants_token | walk.wants_step)),
            quiet.eq(~busy & ~self.target.final & (in_flight == 0)),
            self.idle.eq(walk.idle & quiet),
        ]
        with m.If(busy | self.target.final):
            m.d.sync += in_flight.eq(Array.latency(self.config) + 1)
        with m.Elif(in_flight != 0):
            m.d.sync += in_flight.eq(in_flight - 1)
        return m
