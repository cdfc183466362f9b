"""The store queue: accumulators to memory, requantised or as they are."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ACC_BITS, Config, clog2
from ..csr import Cause
from ..isa import Opcode, OutputFormat, Queue, parameter_entries
from ..layouts import parameter_layout
from ..verilog import once
from .activity import activity_layout
from .decode import command_layout, fields_of
from .fault import fault_layout, raise_fault
from .pack import Pack
from .requantise import Requantise
from .tokens import token_signature
from .windows import DMA_ADDR_BITS, windows_layout
from .writer import Writer, word_layout


class Store(wiring.Component):
    """Executes STORE instructions: ``post_lanes`` results per cycle, one run of bus words per vector.

    An instruction is complete when memory has answered all its writes.

    Members
    -------
    windows, halt : In, aw, w : Out(stream), b : In(stream), fault : Out(fault_layout)
        As in :class:`~hdl.ipu.writer.Writer`.
    i_commands : In(stream), tokens : Out(token_signature)
    post_fetch : Out(1), post_vector, post_block : Out, post_values : In(ArrayLayout)
        Accumulators, as in :class:`~hdl.cim.array.Array`.
    parameter_block : Out, parameters : In(ArrayLayout)
        Parameter memory, read with ``post_fetch``.
    activity : Out(activity_layout), idle : Out(1)
    """

    i_commands: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    #: Bus words between post-processing and the bus; more than the pipeline holds.
    FIFO_WORDS = 32

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "aw": Out(stream.Signature(axi4.address_layout())),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout())),
            "i_commands": In(stream.Signature(command_layout(Queue.STORE))),
            "tokens": Out(token_signature()),
            "post_fetch": Out(1),
            "post_vector": Out(clog2(config.acc_vectors)),
            "post_block": Out(clog2(config.out_cols // config.post_lanes)),
            "post_values": In(data.ArrayLayout(signed(ACC_BITS), config.post_lanes)),
            "parameter_block": Out(clog2(parameter_entries(config) // config.post_lanes)),
            "parameters": In(data.ArrayLayout(parameter_layout(), config.post_lanes)),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = Writer(self.config)
        for name in ("aw", "w", "b"):
            connect(m, outer=flipped(getattr(self, name)), writer=getattr(writer, name))
        m.d.comb += [writer.windows.eq(self.windows), writer.halt.eq(self.halt)]
        with m.If(writer.fault.valid):
            raise_fault(m, self.fault, writer.fault.cause, writer.fault.address)
        store = fields_of(self.i_commands.payload, Opcode.STORE)
        self._control(m, writer, store)
        self._process(m, platform, store)
        self._write(m, writer)
        return m

    def _control(self, m, writer, store):
        """Walks vectors and blocks of an instruction."""
        config = self.config
        self.room = Signal()
        self.block_valid = Signal()
        self.row_end = Signal()
        vectors, channels = Signal(16), Signal(16)
        address = Signal(DMA_ADDR_BITS)
        drained = Signal()
        row_bytes = Mux(store.format == OutputFormat.INT32, store.channels << 2, store.channels)
        m.d.comb += [
            self.tokens.wait.eq(self.i_commands.payload.wait),
            self.row_end.eq(channels <= config.post_lanes),
            writer.i_runs.payload.address.eq(address),
            writer.i_runs.payload.beats.eq((row_bytes + config.bus_bytes - 1) >> clog2(config.bus_bytes)),
            self.post_fetch.eq(self.block_valid),
            drained.eq(~writer.busy & ~writer.fault.valid),
        ]
        self.channels_left = channels
        busy, token, memory = Signal(), Signal(), Signal()
        m.d.comb += [self.activity.busy.eq(busy), self.activity.token.eq(token), self.activity.memory.eq(memory)]
        with m.FSM():
            with m.State("WAIT"):
                m.d.comb += [
                    self.idle.eq(~self.i_commands.valid),
                    token.eq(self.i_commands.valid & ~self.tokens.granted),
                    busy.eq(self.i_commands.valid & self.tokens.granted),
                ]
                m.d.sync += [vectors.eq(store.vectors), address.eq(store.address),
                             self.post_vector.eq(store.acc_vector)]
                with m.If(self.i_commands.valid & self.tokens.granted & ~self.halt):
                    m.d.comb += self.tokens.take.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [writer.i_runs.valid.eq(1), busy.eq(writer.i_runs.ready),
                             memory.eq(~writer.i_runs.ready)]
                m.d.sync += [channels.eq(store.channels), self.post_block.eq(0),
                             self.parameter_block.eq(store.channel >> clog2(config.post_lanes))]
                with m.If(writer.i_runs.ready):
                    m.d.sync += address.eq(address + store.stride)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.comb += [self.block_valid.eq(self.room), busy.eq(self.room),
                             memory.eq(~self.room)]
                with m.If(self.room):
                    m.d.sync += [channels.eq(channels - config.post_lanes), self.post_block.eq(self.post_block + 1),
                                 self.parameter_block.eq(self.parameter_block + 1)]
                    with m.If(self.row_end):
                        m.d.sync += [vectors.eq(vectors - 1), self.post_vector.eq(self.post_vector + 1)]
                        m.next = "RUN"
                        with m.If(vectors == 1):
                            m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += [busy.eq(drained), memory.eq(~drained)]
                with m.If(drained):
                    m.d.comb += [self.i_commands.ready.eq(1),
                                 self.tokens.signal.eq(self.i_commands.payload.signal)]
                    m.next = "WAIT"

    def _process(self, m, platform, store):
        """Values one cycle after the fetch, results :attr:`Requantise.LATENCY` cycles later; int32 waits as long."""
        config = self.config
        tag = Signal(data.StructLayout({"valid": 1, "row_end": 1, "lanes": config.post_lanes}))
        m.d.comb += [
            tag.valid.eq(self.block_valid),
            tag.row_end.eq(self.row_end),
            *(tag.lanes[lane].eq(self.channels_left > lane) for lane in range(config.post_lanes)),
        ]
        tags = [tag]
        values = [self.post_values]
        block = self.parameter_block
        for cycle in range(Requantise.LATENCY + 1):
            later = Signal.like(tag, name=f"tag_{cycle + 1}")
            m.d.sync += later.eq(tags[-1])
            tags.append(later)
        for cycle in range(Requantise.LATENCY):
            later_values = Signal.like(self.post_values, name=f"values_{cycle + 1}", reset_less=True)
            m.d.sync += later_values.eq(values[-1])
            values.append(later_values)
        fetched_block = Signal.like(block)
        m.d.sync += fetched_block.eq(block)

        m.submodules.pack = self.pack = pack = Pack(config)
        wide = store.format == OutputFormat.INT32
        m.d.comb += [pack.valid.eq(tags[-1].valid), pack.row_end.eq(tags[-1].row_end), pack.lanes.eq(tags[-1].lanes),
                     pack.wide.eq(wide)]
        for lane in reversed(range(config.post_lanes)):  # of several faults, that of the lowest lane is reported
            requantise = Requantise()
            m.submodules[f"requantise_{lane}"] = once(requantise, platform)
            m.d.comb += [
                requantise.acc.eq(self.post_values[lane]),
                requantise.parameters.eq(self.parameters[lane]),
                requantise.zero_point.eq(store.zero_point),
                requantise.low.eq(store.low),
                requantise.high.eq(store.high),
                pack.results[lane].eq(Mux(wide, values[-1][lane], requantise.result)),
            ]
            with m.If(tags[1].valid & tags[1].lanes[lane] & ~wide & requantise.bad):
                raise_fault(m, self.fault, Cause.BAD_MULTIPLIER, (fetched_block << clog2(config.post_lanes)) + lane)

    def _write(self, m, writer):
        """Words on their way to the bus; a block is processed only if there is room for the word that it may fill."""
        config = self.config
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=word_layout(config).size, depth=self.FIFO_WORDS)
        reserved = Signal(range(self.FIFO_WORDS + 1))
        used = fifo.r_rdy & fifo.r_en
        m.d.comb += [
            fifo.w_en.eq(self.pack.o_words.valid),
            fifo.w_data.eq(self.pack.o_words.payload),
            writer.i_words.valid.eq(fifo.r_rdy),
            writer.i_words.payload.eq(fifo.r_data),
            fifo.r_en.eq(writer.i_words.ready),
            self.room.eq(reserved != self.FIFO_WORDS),
        ]
        # A block reserves a word when it starts and gives it back if its word was not full yet.
        given_back = self.pack.valid & ~self.pack.fills
        m.d.sync += reserved.eq(reserved + self.block_valid - used - given_back)
