"""Decoding: every rule of :func:`hdl.isa.illegal_fields`, then to the queue that executes it."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ADDR_BITS, Config
from ..csr import SEMAPHORES, Cause
from ..isa import (
    ADDRESSES,
    ALIGNED,
    FIELDS,
    QUEUE_OF,
    RESIDUAL_EXPONENT_END,
    TABLES,
    Opcode,
    OutputFormat,
    Queue,
    ResidualFormat,
    body_layout,
    fields_layout,
    format_range,
    head_layout,
    opcodes,
    parameter_entries,
    queues,
)
from ..layouts import PARAMETER_BYTES
from .fault import fault_layout, raise_fault
from .fetch import record_layout


def command_layout(config: Config, queue: Queue) -> data.StructLayout:
    """A legal instruction in its queue; :func:`fields_of` gives its fields."""
    body = max(fields_layout(opcode).size for opcode in Opcode if QUEUE_OF[opcode] == queue)
    mask = len(queues(config))
    return data.StructLayout({"opcode": 8, "wait": mask, "signal": mask, "body": body})


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
    o_load, o_compute, o_store, with links o_link, o_receive : Out(stream)
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
            **{f"o_{queue.name.lower()}": Out(stream.Signature(command_layout(config, queue)))
               for queue in queues(config)},
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
        bodies = {opcode: data.View(body_layout(opcode), record.bits[64:])
                  for opcode in opcodes(self.config)}
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
                present = (1 << len(queues(self.config))) - 1
                with m.Switch(head.opcode):
                    for opcode, rule in rules.items():
                        with m.Case(opcode):
                            m.d.comb += [known.eq(1), legal.eq(Cat(
                                rule, ~head.reserved.any(), ((head.wait | head.signal) & ~present) == 0).all())]
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

    def _product(self, m, count, factor):
        """A register of ``count x factor``."""
        product = Signal(len(count) + len(factor))
        m.d.sync += product.eq(count * factor)
        return product

    def _end(self, m, count, stride):
        """A register of ``(count - 1) x stride``."""
        return self._product(m, (count - 1)[:len(count)], stride)

    def _rules(self, m, opcode: Opcode, f):
        """One bit, set if every rule of :func:`hdl.isa.illegal_fields` holds."""
        config = self.config
        bus = config.bus_bytes
        rules = [~f.reserved.any()]
        if opcode in ALIGNED:
            rules.append(f.address % bus == 0)
        rules += [~f[name][ADDR_BITS:].any() for name in ADDRESSES if name in FIELDS[opcode]]
        match opcode:
            case Opcode.LOAD_WEIGHTS:
                rules += [f.steps != 0, f.beats != 0]
            case Opcode.LOAD_ACTIVATIONS:
                end = (f.buffer_address + self._end(m, f.rows, f.buffer_stride)
                       + self._end(m, f.blocks, f.buffer_block_stride) + f.row_bytes)
                rules += [f.row_bytes != 0, f.rows != 0, f.blocks != 0, end <= config.act_bytes]
            case Opcode.LOAD_PARAMETERS:
                per_beat = bus // PARAMETER_BYTES
                rules += [f.channels != 0, f.channels % per_beat == 0, f.channel % per_beat == 0,
                          f.channel + f.channels <= parameter_entries(config)]
            case Opcode.LOAD_TABLE:
                rules += [f.table != 0, f.table <= TABLES]
            case Opcode.GEMM:
                rules += [count != 0 for count in (f.steps, f.vectors, f.vector_rows, f.tap_bytes, f.taps, f.tap_rows)]
                rules += [f.acc_vector + self._product(m, f.vectors, f.vector_rows) <= config.acc_vectors,
                          f.act_address < config.act_bytes, f.x_end <= config.act_bytes, f.y_end <= config.act_bytes,
                          f.first_tap < f.taps, f.first_byte < f.tap_bytes, f.padding == 0]
            case Opcode.TEST:
                rules += [f.macro < config.macros, f.begin | f.end, f.padding == 0]
            case Opcode.STORE:
                rules += [f.vectors != 0, f.vector_rows != 0, f.channels != 0, f.channels <= config.out_cols,
                          f.acc_vector + self._product(m, f.vectors, f.vector_rows) <= config.acc_vectors,
                          f.channel % config.post_lanes == 0, f.channel + f.channels <= parameter_entries(config),
                          f.table <= TABLES, f.residual <= ResidualFormat.INT32, f.padding == 0,
                          f.release < 1 << len(queues(config)), f.residual_multiplier[23:31] < RESIDUAL_EXPONENT_END,
                          (f.residual != ResidualFormat.INT32)
                          | (f.residual_multiplier == 0) & (f.residual_zero_point == 0)]
                ranged = ((f.format == OutputFormat.INT32) & (f.table == 0)
                          & ((f.residual == ResidualFormat.NONE) | (f.residual == ResidualFormat.INT32)))
                for output_format in (OutputFormat.INT8, OutputFormat.UINT8):
                    low, high = format_range(output_format)
                    ranged |= ((f.format == output_format) & (f.low >= low) & (f.low <= f.high) & (f.high <= high))
                rules.append(ranged)
            case Opcode.SEND:
                rules += [(f.row_bytes != 0) | (f.rows == 0),
                          (f.remote_address - f.address) % bus == 0, (f.remote_stride - f.stride) % bus == 0,
                          f.port < config.links, f.post <= 1, f.semaphore < SEMAPHORES,
                          f.release < 1 << len(queues(config))]
            case Opcode.RECV:
                rules += [f.count != 0, f.port < config.links, f.padding == 0, f.semaphore < SEMAPHORES]
        return Cat(rules).all()
