"""The load queue."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import Config, clog2
from ..isa import Opcode, Queue, parameter_entries
from ..layouts import PARAMETER_BYTES
from .activity import activity_layout
from .decode import command_layout, fields_of
from .fault import fault_layout
from .reader import Reader
from .tokens import token_signature
from .weights import weights_layout
from .windows import DMA_ADDR_BITS, windows_layout


class Load(wiring.Component):
    """Executes LOAD_WEIGHTS, LOAD_ACTIVATIONS and LOAD_PARAMETERS in order.

    LOAD_WEIGHTS is complete when the weight stream has taken it over; the others when their last word is written.

    Members
    -------
    windows, halt, ar, r, fault
        As in :class:`~hdl.ipu.reader.Reader`.
    i_commands : In(stream)
    tokens : Out(token_signature)
    o_weights : Out(stream)
    act_write, act_beat, parameter_write, parameter_beat : Out
        Buffer writes of ``word``, by bus word.
    activity : Out(activity_layout), idle : Out(1)
    """

    i_commands: stream.Interface
    o_weights: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout())),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_commands": In(stream.Signature(command_layout(Queue.LOAD))),
            "tokens": Out(token_signature()),
            "o_weights": Out(stream.Signature(weights_layout())),
            "act_write": Out(1),
            "act_beat": Out(clog2(config.act_bytes // config.bus_bytes)),
            "parameter_write": Out(1),
            "parameter_beat": Out(clog2(parameter_entries(config) * PARAMETER_BYTES // config.bus_bytes)),
            "word": Out(config.bus_bits),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = Reader(config, channel=self.channel, depth=0)
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        m.d.comb += [reader.windows.eq(self.windows), reader.halt.eq(self.halt), self.fault.eq(reader.fault)]

        command = self.i_commands.payload
        acts = fields_of(command, Opcode.LOAD_ACTIVATIONS)
        parameters = fields_of(command, Opcode.LOAD_PARAMETERS)
        weights = fields_of(command, Opcode.LOAD_WEIGHTS)
        address = Signal(DMA_ADDR_BITS)
        rows_to_ask = Signal(16)
        m.d.comb += [
            self.tokens.wait.eq(command.wait),
            self.o_weights.payload.address.eq(weights.address),
            self.o_weights.payload.beats.eq(weights.beats),
            self.o_weights.payload.steps.eq(weights.steps),
            reader.i_runs.payload.address.eq(address),
            reader.o_words.ready.eq(1),
        ]
        writing = Signal()
        is_acts = command.opcode == Opcode.LOAD_ACTIVATIONS
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [
                    self.idle.eq(~self.i_commands.valid),
                    self.activity.token.eq(self.i_commands.valid & ~self.tokens.granted),
                    self.activity.busy.eq(self.i_commands.valid & self.tokens.granted),
                ]
                with m.If(self.i_commands.valid & self.tokens.granted & ~self.halt):
                    m.d.comb += self.tokens.take.eq(1)
                    with m.If(command.opcode == Opcode.LOAD_WEIGHTS):
                        m.next = "WEIGHTS"
                    with m.Else():
                        m.d.sync += [address.eq(acts.address), rows_to_ask.eq(1)]
                        with m.If(is_acts):
                            m.d.sync += rows_to_ask.eq(acts.rows)
                        m.next = "TRANSFER"
            with m.State("WEIGHTS"):
                m.d.comb += [self.o_weights.valid.eq(1), self.activity.busy.eq(self.o_weights.ready),
                             self.activity.buffer.eq(~self.o_weights.ready)]
                with m.If(self.o_weights.ready):
                    self._complete(m)
            with m.State("TRANSFER"):
                m.d.comb += [writing.eq(1), reader.i_runs.valid.eq(rows_to_ask != 0),
                             self.activity.busy.eq(reader.o_words.valid),
                             self.activity.memory.eq(~reader.o_words.valid)]
                with m.If(is_acts):
                    m.d.comb += reader.i_runs.payload.beats.eq(acts.row_beats)
                with m.Else():
                    m.d.comb += reader.i_runs.payload.beats.eq(
                        parameters.channels >> clog2(config.bus_bytes // PARAMETER_BYTES))
                with m.If(reader.i_runs.valid & reader.i_runs.ready):
                    m.d.sync += [address.eq(address + acts.stride), rows_to_ask.eq(rows_to_ask - 1)]
                with m.If((rows_to_ask == 0) & ~reader.busy & ~reader.fault.valid):
                    self._complete(m)
        self._write(m, reader.o_words, writing, is_acts, acts, parameters)
        return m

    def _complete(self, m):
        m.d.comb += [self.i_commands.ready.eq(1), self.tokens.signal.eq(self.i_commands.payload.signal)]
        m.next = "WAIT"

    def _write(self, m, words, writing, is_acts, acts, parameters):
        """Follows the words of the transfer through the buffer."""
        config = self.config
        beat, row_start, in_row = Signal(32), Signal(32), Signal(16)
        with m.If(~writing):
            first = parameters.channel >> clog2(config.bus_bytes // PARAMETER_BYTES)
            m.d.sync += [beat.eq(first), in_row.eq(0)]
            with m.If(is_acts):
                m.d.sync += [beat.eq(acts.buffer_beat), row_start.eq(acts.buffer_beat)]
        with m.Elif(words.valid):
            m.d.sync += [beat.eq(beat + 1), in_row.eq(in_row + 1)]
            with m.If(is_acts & (in_row == acts.row_beats - 1)):
                next_row = row_start + acts.buffer_stride
                m.d.sync += [beat.eq(next_row), row_start.eq(next_row), in_row.eq(0)]
        m.d.comb += [
            self.word.eq(words.payload),
            self.act_write.eq(writing & words.valid & is_acts),
            self.act_beat.eq(beat),
            self.parameter_write.eq(writing & words.valid & ~is_acts),
            self.parameter_beat.eq(beat),
        ]
