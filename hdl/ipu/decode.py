"""Decoding: every rule of :func:`hdl.isa.illegal_fields`, then to the queue that executes it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ADDR_BITS, Config
from ..csr import Cause
from ..isa import (
    QUEUE_OF,
    QUEUES,
    Opcode,
    OutputFormat,
    Queue,
    body_layout,
    fields_layout,
    format_range,
    head_layout,
    parameter_entries,
)
from ..layouts import PARAMETER_BYTES
from .fault import fault_layout, raise_fault
from .fetch import record_layout


def command_layout(queue: Queue) -> data.StructLayout:
    """A legal instruction in its queue; :func:`fields_of` gives its fields."""
    body = max(fields_layout(opcode).size for opcode in Opcode if QUEUE_OF[opcode] == queue)
    return data.StructLayout({"opcode": 8, "wait": len(QUEUES), "signal": len(QUEUES), "body": body})


def fields_of(command, opcode: Opcode) -> data.View:
    """The fields of a command, read as those of ``opcode``."""
    layout = fields_layout(opcode)
    return data.View(layout, command.body[:layout.size])


class Decode(wiring.Component):
    """Checks instructions and hands them to their queues, in order, one in three cycles.

    An instruction that breaks a rule raises ``fault`` with its address and is the last one taken.

    Members
    -------
    i_records : In(stream)
    halt : In(1)
        Take no more.
    o_load, o_compute, o_store : Out(stream)
    address : Out
        Of the youngest instruction dispatched, 0 if there is none.
    idle : Out(1)
    fault : Out(fault_layout)
    """

    i_records: stream.Interface
    o_load: stream.Interface
    o_compute: stream.Interface
    o_store: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_records": In(stream.Signature(record_layout())),
            "halt": In(1),
            **{f"o_{queue.name.lower()}": Out(stream.Signature(command_layout(queue))) for queue in QUEUES},
            "address": Out(ADDR_BITS),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def output(self, queue: Queue) -> stream.Interface:
        """The stream of a queue."""
        return getattr(self, f"o_{queue.name.lower()}")

    def elaborate(self, platform):
        m = Module()
        record = Signal(record_layout())
        head = data.View(head_layout(), record.bits[:64])
        known = Signal()
        legal = Signal()
        bodies = {opcode: data.View(body_layout(opcode), record.bits[64:]) for opcode in Opcode}
        rules = {opcode: self._rules(m, opcode, body) for opcode, body in bodies.items()}
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.i_records.ready.eq(~self.halt & ~self.fault.valid), self.idle.eq(1)]
                with m.If(self.i_records.valid & self.i_records.ready):
                    m.d.sync += record.eq(self.i_records.payload)
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):  # the rules' products are registers
                m.next = "CHECK"
            with m.State("CHECK"):
                queues = (1 << len(QUEUES)) - 1
                with m.Switch(head.opcode):
                    for opcode, rule in rules.items():
                        with m.Case(opcode):
                            m.d.comb += [known.eq(1), legal.eq(Cat(
                                rule, ~head.reserved.any(), ((head.wait | head.signal) & ~queues) == 0).all())]
                with m.If(self.halt):
                    m.next = "TAKE"
                with m.Elif(~known):
                    raise_fault(m, self.fault, Cause.ILLEGAL_OPCODE, record.address)
                    m.next = "TAKE"
                with m.Elif(~legal):
                    raise_fault(m, self.fault, Cause.ILLEGAL_FIELD, record.address)
                    m.next = "TAKE"
                with m.Else():
                    self._dispatch(m, record, head, bodies)
        return m

    def _dispatch(self, m, record, head, bodies):
        for opcode, body in bodies.items():
            output = self.output(QUEUE_OF[opcode])
            with m.If(head.opcode == opcode):
                m.d.comb += [
                    output.valid.eq(1),
                    output.payload.opcode.eq(head.opcode),
                    output.payload.wait.eq(head.wait),
                    output.payload.signal.eq(head.signal),
                    output.payload.body.eq(body.as_value()),
                ]
                with m.If(output.ready):
                    m.d.sync += self.address.eq(record.address)
                    m.next = "TAKE"

    def _product(self, m, count, stride):
        """A register of ``(count - 1) x stride``."""
        product = Signal(len(count) + len(stride))
        m.d.sync += product.eq((count - 1)[:len(count)] * stride)
        return product

    def _rules(self, m, opcode: Opcode, f):
        """One bit per rule of :func:`hdl.isa.illegal_fields`, set if it holds."""
        config = self.config
        bus = config.bus_bytes
        rules = [~f.reserved.any()]
        if "address" in fields_layout(opcode).members:
            rules.append((f.address % bus == 0) & ~f.address[ADDR_BITS:].any())
        match opcode:
            case Opcode.LOAD_WEIGHTS:
                rules += [f.steps != 0, f.beats != 0]
            case Opcode.LOAD_ACTIVATIONS:
                last = f.buffer_beat + self._product(m, f.rows, f.buffer_stride) + f.row_beats
                rules += [f.stride % bus == 0, f.rows != 0, f.row_beats != 0, last <= config.act_bytes // bus]
            case Opcode.LOAD_PARAMETERS:
                per_beat = bus // PARAMETER_BYTES
                rules += [f.channels != 0, f.channels % per_beat == 0, f.channel % per_beat == 0,
                          f.channel + f.channels <= parameter_entries(config)]
            case Opcode.GEMM:
                last = (f.act_line + self._product(m, f.vectors, f.act_vector_stride)
                        + self._product(m, f.steps, f.act_step_stride))
                rules += [f.steps != 0, f.vectors != 0, f.acc_vector + f.vectors <= config.acc_vectors,
                          last < config.act_lines, f.padding == 0]
            case Opcode.STORE:
                rules += [f.stride % bus == 0, f.vectors != 0, f.channels != 0, f.channels <= config.out_cols,
                          f.acc_vector + f.vectors <= config.acc_vectors, f.channel % config.post_lanes == 0,
                          f.channel + f.channels <= parameter_entries(config), f.padding == 0]
                is_int32 = f.format == OutputFormat.INT32
                ranged = is_int32
                for output_format in (OutputFormat.INT8, OutputFormat.UINT8):
                    low, high = format_range(output_format)
                    ranged |= ((f.format == output_format) & (f.low >= low) & (f.low <= f.high) & (f.high <= high))
                rules.append(ranged)
        return Cat(rules).all()
