"""The load queue."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import Config, clog2
from ..isa import TABLE_ENTRIES, Opcode, Queue, queues
from ..layouts import PARAMETER_BYTES
from .activity import activity_layout
from .decode import command_layout, fields_of
from .fault import fault_layout
from .reader import Reader
from .receive import Receive, write_members
from .tokens import token_signature
from .weights import weights_layout
from .windows import DMA_ADDR_BITS, windows_layout


def _started_layout(config: Config) -> data.StructLayout:
    """An instruction that is not complete: whether words come for it, and the queues to give tokens to."""
    return data.StructLayout({"transfer": 1, "signal": len(queues(config))})


class Load(wiring.Component):
    """Executes LOAD_WEIGHTS, LOAD_ACTIVATIONS, LOAD_PARAMETERS and LOAD_TABLE.

    An instruction starts in one cycle and asks for one row in each of the next ones; then the next instruction starts,
    while the words of up to :attr:`INSTRUCTIONS` are on their way. Instructions complete in program order: LOAD_WEIGHTS
    after the weight stream has taken it over, the others in the cycle in which their last word is written.

    After a fault no instruction starts, nothing is written, and what waits for words does not complete.

    Members
    -------
    windows, halt, ar, r, fault
        As in :class:`~hdl.ipu.reader.Reader`; while ``halt`` is high no instruction starts.
    i_commands : In(stream)
    tokens : Out(token_signature)
    o_weights : Out(stream)
    act_write, act_address, act_mask, parameter_write, parameter_beat, table_write, table_beat, word : Out
        As in :class:`~hdl.ipu.receive.Receive`.
    activity : Out(activity_layout)
        ``busy`` when an instruction starts or completes, a row is asked for, a word comes, or the weight stream takes
        over; else ``memory`` while words are on their way; else ``token`` or ``buffer``.
    idle : Out(1)
    """

    i_commands: stream.Interface
    o_weights: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    #: Instructions that have started and are not complete.
    INSTRUCTIONS = Receive.DEPTH

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_commands": In(stream.Signature(command_layout(config, Queue.LOAD))),
            "tokens": Out(token_signature(config)),
            "o_weights": Out(stream.Signature(weights_layout())),
            **write_members(config),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = Reader(config, channel=self.channel, depth=0)
        m.submodules.receive = receive = Receive(config)
        m.submodules.started = started = SyncFIFO(width=_started_layout(config).size, depth=self.INSTRUCTIONS)
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        connect(m, reader=reader.o_words, receive=receive.i_words)
        m.d.comb += [
            reader.windows.eq(self.windows),
            reader.halt.eq(self.halt),
            self.fault.eq(reader.fault),
            *(getattr(self, name).eq(getattr(receive, name)) for name in write_members(config)),
        ]
        self._transfer(m, receive.i_transfers.payload)
        start, token, buffer = self._ask(m, reader, receive, started)
        complete = self._complete(m, receive, started)
        busy, memory = Signal(), Signal()
        m.d.comb += [
            busy.eq(start | complete | reader.o_words.valid | (reader.i_runs.valid & reader.i_runs.ready)
                    | (self.o_weights.valid & self.o_weights.ready)),
            memory.eq(~busy & started.r_rdy),
            self.activity.busy.eq(busy),
            self.activity.memory.eq(memory),
            self.activity.token.eq(~busy & ~memory & token),
            self.activity.buffer.eq(~busy & ~memory & buffer),
            self.idle.eq(~self.i_commands.valid & ~started.r_rdy),
        ]
        return m

    def _transfer(self, m, transfer):
        """What the receiving side needs of an instruction."""
        command = self.i_commands.payload
        acts = fields_of(command, Opcode.LOAD_ACTIVATIONS)
        parameters = fields_of(command, Opcode.LOAD_PARAMETERS)
        table = fields_of(command, Opcode.LOAD_TABLE)
        m.d.comb += [transfer.rows.eq(1), transfer.blocks.eq(1)]
        with m.Switch(command.opcode):
            with m.Case(Opcode.LOAD_ACTIVATIONS):
                m.d.comb += [transfer.act.eq(1), transfer.offset.eq(acts.address)]
                m.d.comb += [getattr(transfer, name).eq(getattr(acts, name)) for name in (
                    "row_bytes", "rows", "stride", "blocks", "block_stride",
                    "buffer_address", "buffer_stride", "buffer_block_stride")]
            with m.Case(Opcode.LOAD_PARAMETERS):
                m.d.comb += [transfer.parameter.eq(1),
                             transfer.row_bytes.eq(parameters.channels << clog2(PARAMETER_BYTES)),
                             transfer.buffer_address.eq(parameters.channel << clog2(PARAMETER_BYTES))]
            with m.Case(Opcode.LOAD_TABLE):
                m.d.comb += [transfer.table.eq(1), transfer.row_bytes.eq(TABLE_ENTRIES),
                             transfer.buffer_address.eq(Mux(table.table == 1, 0, TABLE_ENTRIES))]

    def _ask(self, m, reader, receive, started):
        """Starts instructions and asks for their rows. Returns whether one starts, whether one waits for tokens, and
        whether one waits for the weight stream."""
        command, transfer = self.i_commands.payload, receive.i_transfers.payload
        acts = fields_of(command, Opcode.LOAD_ACTIVATIONS)
        weights = fields_of(command, Opcode.LOAD_WEIGHTS)
        bus, within = self.config.bus_bytes, clog2(self.config.bus_bytes)
        start, token, buffer = Signal(), Signal(), Signal()
        row, block, next_row = Signal(DMA_ADDR_BITS), Signal(DMA_ADDR_BITS), Signal(DMA_ADDR_BITS)
        rows, blocks = Signal.like(transfer.rows), Signal.like(transfer.blocks)
        block_end = Signal()
        m.d.comb += [
            self.tokens.wait.eq(command.wait),
            self.tokens.take.eq(start),
            self.o_weights.payload.address.eq(weights.address),
            self.o_weights.payload.beats.eq(weights.beats),
            self.o_weights.payload.steps.eq(weights.steps),
            reader.i_runs.payload.address.eq(row[within:] << within),
            reader.i_runs.payload.beats.eq((row[:within] + transfer.row_bytes + bus - 1) >> within),
            block_end.eq(rows == 1),
            next_row.eq(Mux(block_end, block + acts.block_stride, row + acts.stride)),
        ]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [
                    start.eq(self.i_commands.valid & self.tokens.granted & started.w_rdy & ~self.halt
                             & ~self.fault.valid),
                    token.eq(self.i_commands.valid & ~self.tokens.granted),
                ]
                # The address of every load is where that of LOAD_ACTIVATIONS is.
                m.d.sync += [row.eq(acts.address), rows.eq(transfer.rows),
                             block.eq(acts.address), blocks.eq(transfer.blocks)]
                with m.If(start & (command.opcode == Opcode.LOAD_WEIGHTS)):
                    m.next = "WEIGHTS"
                with m.Elif(start):
                    m.d.comb += [started.w_en.eq(1), receive.i_transfers.valid.eq(1)]
                    m.next = "ROWS"
            with m.State("WEIGHTS"):
                m.d.comb += [self.o_weights.valid.eq(1), buffer.eq(~self.o_weights.ready)]
                with m.If(self.o_weights.ready):
                    m.d.comb += [started.w_en.eq(1), self.i_commands.ready.eq(1)]
                    m.next = "WAIT"
            with m.State("ROWS"):
                m.d.comb += reader.i_runs.valid.eq(1)
                with m.If(reader.i_runs.ready):
                    m.d.sync += [row.eq(next_row), rows.eq(rows - 1)]
                    with m.If(block_end):
                        m.d.sync += [block.eq(next_row), rows.eq(transfer.rows), blocks.eq(blocks - 1)]
                    with m.If(block_end & (blocks == 1)):
                        m.d.comb += self.i_commands.ready.eq(1)
                        m.next = "WAIT"
        return start, token, buffer

    def _complete(self, m, receive, started):
        """Gives the tokens of instructions, in order. Returns whether one completes."""
        command = self.i_commands.payload
        entry = Signal(_started_layout(self.config))
        oldest = data.View(_started_layout(self.config), started.r_data)
        received = Signal(range(self.INSTRUCTIONS + 1))  # transfers whose words have come, and that are not complete
        complete = Signal()
        m.d.comb += [
            entry.transfer.eq(command.opcode != Opcode.LOAD_WEIGHTS),
            entry.signal.eq(command.signal),
            started.w_data.eq(entry),
            complete.eq(started.r_rdy & (~oldest.transfer | (received != 0))),
            started.r_en.eq(complete),
            self.tokens.signal.eq(Mux(complete, oldest.signal, 0)),
        ]
        m.d.sync += received.eq(received + receive.finished - (complete & oldest.transfer))
        return complete
