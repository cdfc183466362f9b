"""The store queue: accumulators to memory, requantised or as they are; and the counters."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ACC_BITS, Config, clog2
from ..csr import Cause, counters
from ..isa import TABLES, Opcode, OutputFormat, Queue, ResidualFormat, parameter_entries, queues
from ..layouts import parameter_layout
from ..verilog import once
from .activity import activity_layout
from .decode import command_layout, fields_of
from .fault import fault_layout, raise_fault
from .pack import Pack
from .requantise import Requantise
from .residual import Residual
from .tokens import token_signature
from .vector_walk import VectorWalk
from .windows import DMA_ADDR_BITS, windows_layout
from .writer import Writer


def counter_words(config: Config) -> int:
    """Words of 32 bits that STORE_COUNTERS writes."""
    return 64 * len(counters(config)) // ACC_BITS


def settings_layout(config: Config) -> data.StructLayout:
    """What the pipeline needs of an instruction; ``residual_multiplier`` is zero without an 8-bit residual."""
    return data.StructLayout({
        "wide": 1, "counters": 1, "table": clog2(TABLES + 1), "zero_point": signed(16), "low": signed(16),
        "high": signed(16), "residual_wide": 1, "residual_signed": 1, "residual_zero_point": 8,
        "residual_multiplier": 32, "release": len(queues(config))})


class Store(wiring.Component):
    """Executes STORE and STORE_COUNTERS: ``post_lanes`` results per cycle, one run of bus words per vector.

    A *slot* is what enters the pipeline in a cycle: a block of results, or the end of a row whose last block reaches
    beyond a bus word. Slots follow one another without a bubble, also from row to row, as long as there is room for
    their words and their residuals are there. No more than two instructions are in the pipeline: one starts in the
    cycle after the last slot of the one before, or :attr:`PIPELINE` + 1 cycles after that of the one before that,
    whichever is later; its first slot enters in the next cycle.

    An instruction gives its ``release`` tokens when its last slot has passed the table, :attr:`PIPELINE` cycles after
    that entered, and its ``signal`` tokens in the cycle after memory has answered its last write. After a fault nothing
    new begins on the bus, and what is not yet written is not signalled.

    Members
    -------
    windows, halt : In, aw, w : Out(stream), b : In(stream), fault : Out(fault_layout)
        As in :class:`~hdl.ipu.writer.Writer`.
    ar : Out(stream), r : In(stream)
        Of residuals, as in :class:`~hdl.ipu.reader.Reader`.
    i_commands : In(stream), tokens : Out(token_signature)
        A command is taken when it starts.
    post_fetch : Out(1), post_vector, post_block : Out, post_values : In(ArrayLayout)
        Accumulators, as in :class:`~hdl.cim.array.Array`.
    parameter_fetch : Out(1), parameter_block : Out, parameters : In(ArrayLayout)
        Parameter memory, read one cycle after the accumulators.
    table_read, table_select : Out(1), table_indices : Out(ArrayLayout), table_values : In(ArrayLayout)
        Tables, as in :class:`~hdl.ipu.table_memory.TableMemory`.
    counters : In(ArrayLayout)
        What STORE_COUNTERS writes, taken in the cycle in which it starts.
    overflow : Out(1)
        An accumulator plus an int32 residual has wrapped around; two cycles after its slot.
    activity : Out(activity_layout), idle : Out(1)
    """

    i_commands: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    #: Cycles from a slot to its results: to fetch, to add an int32 residual, to requantise, to look up in the table.
    PIPELINE = 1 + 1 + Requantise.LATENCY + 1

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        lanes = config.post_lanes
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "aw": Out(stream.Signature(axi4.address_layout(config))),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout(config))),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_commands": In(stream.Signature(command_layout(config, Queue.STORE))),
            "tokens": Out(token_signature(config)),
            "post_fetch": Out(1),
            "post_vector": Out(clog2(config.acc_vectors)),
            "post_block": Out(clog2(config.out_cols // lanes)),
            "post_values": In(data.ArrayLayout(signed(ACC_BITS), lanes)),
            "parameter_fetch": Out(1),
            "parameter_block": Out(clog2(parameter_entries(config) // lanes)),
            "parameters": In(data.ArrayLayout(parameter_layout(), lanes)),
            "table_read": Out(1),
            "table_select": Out(clog2(TABLES)),
            "table_indices": Out(data.ArrayLayout(8, lanes)),
            "table_values": In(data.ArrayLayout(8, lanes)),
            "counters": In(data.ArrayLayout(64, len(counters(config)))),
            "overflow": Out(1),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.writer = self.writer = writer = Writer(config)
        m.submodules.residual = self.residual = residual = Residual(config, channel=self.channel)
        m.submodules.walk = self.walk = VectorWalk()
        m.submodules.pack = self.pack = Pack(config)
        for part, names in ((writer, ("aw", "w", "b")), (residual, ("ar", "r"))):
            for name in names:
                connect(m, outer=flipped(getattr(self, name)), inner=getattr(part, name))
            m.d.comb += [part.windows.eq(self.windows), part.halt.eq(self.halt | self.fault.valid)]
            with m.If(part.fault.valid):
                raise_fault(m, self.fault, part.fault.cause, part.fault.address)
        self._start(m)
        self._walk(m)
        self._run(m)
        self._process(m, platform)
        self._reserve(m)
        self._report(m)
        return m

    def _start(self, m):
        """Takes an instruction over when the walk of the one before ends, and the one before that has left the
        pipeline."""
        command = self.i_commands.payload
        store = fields_of(command, Opcode.STORE)
        is_counters = Signal()
        self.walking = Signal()
        self.walk_ends = Signal()
        self.start = Signal()
        self.wide, self.with_residual = Signal(), Signal()
        self.channels = Signal(range(max(self.config.out_cols, counter_words(self.config)) + 1))
        self.entry_block, self.channel_block = Signal.like(self.parameter_block), Signal.like(self.parameter_block)
        self.signal = Signal(len(queues(self.config)))
        self.context = Signal()  # of the instruction that is walked; the next one has the other
        self.in_use = Signal(2)
        self.settings = [Signal(settings_layout(self.config), name=f"settings_{context}") for context in range(2)]
        m.d.comb += [
            is_counters.eq(command.opcode == Opcode.STORE_COUNTERS),  # its fields read as a STORE of nothing
            self.tokens.wait.eq(command.wait),
            self.start.eq(self.i_commands.valid & self.tokens.granted & ~self.halt & (~self.walking | self.walk_ends)
                          & ~self.in_use.bit_select(~self.context, 1) & self.residual.i_residuals.ready),
            self.tokens.take.eq(self.start),
            self.i_commands.ready.eq(self.start),
            self.walk.start.eq(self.start),
            self.walk.i_address.eq(store.address),
            self.walk.i_stride.eq(store.stride),
            self.walk.i_row_stride.eq(store.row_stride),
            self.walk.i_vectors.eq(Mux(is_counters, 1, store.vectors)),
            self.walk.i_vector_rows.eq(Mux(is_counters, 1, store.vector_rows)),
            self.residual.i_residuals.valid.eq(self.start & (store.residual != 0)),
            self.residual.i_residuals.payload.address.eq(store.residual_address),
            self.residual.i_residuals.payload.stride.eq(store.residual_stride),
            self.residual.i_residuals.payload.row_stride.eq(store.residual_row_stride),
            self.residual.i_residuals.payload.vectors.eq(store.vectors),
            self.residual.i_residuals.payload.vector_rows.eq(store.vector_rows),
            self.residual.i_residuals.payload.channels.eq(store.channels),
            self.residual.i_residuals.payload.wide.eq(store.residual == ResidualFormat.INT32),
        ]
        with m.If(self.start):
            m.d.sync += [
                self.context.eq(~self.context),
                self.wide.eq(store.format == OutputFormat.INT32),
                self.with_residual.eq(store.residual != 0),
                self.channels.eq(Mux(is_counters, counter_words(self.config), store.channels)),
                self.channel_block.eq(store.channel >> clog2(self.config.post_lanes)),
                self.signal.eq(command.signal),
            ]
        for context, settings in enumerate(self.settings):
            with m.If(self.start & (self.context != context)):
                m.d.sync += [
                    settings.wide.eq(store.format == OutputFormat.INT32),
                    settings.counters.eq(is_counters),
                    settings.residual_wide.eq(store.residual == ResidualFormat.INT32),
                    settings.residual_signed.eq(store.residual == ResidualFormat.INT8),
                    settings.residual_multiplier.eq(Mux(store.residual != 0, store.residual_multiplier, 0)),
                    *(settings[name].eq(store[name])
                      for name in ("table", "zero_point", "low", "high", "residual_zero_point", "release")),
                ]

    def _walk(self, m):
        """Walks the slots of an instruction."""
        config = self.config
        bus, lanes = config.bus_bytes, config.post_lanes
        store = fields_of(self.i_commands.payload, Opcode.STORE)
        self.room = Signal()
        self.slot = slot = Signal(data.StructLayout({
            "valid": 1, "context": 1, "lanes": lanes, "offset": clog2(bus), "row_end": 1, "last": 1}))
        self.row_start = Signal(init=1)
        ending = Signal()  # the row's results are through, their last word is not
        offset, next_offset = Signal(clog2(bus)), Signal(clog2(bus))
        left = Signal.like(self.channels)
        channels_left = Signal.like(left)
        valid, row_end, last_block, straddles = Signal(), Signal(), Signal(), Signal()
        end = Signal(range(bus + 4 * lanes))  # of a row, in its last block
        m.d.comb += [
            channels_left.eq(Mux(self.row_start, self.channels, left)),
            last_block.eq(channels_left <= lanes),
            offset.eq(Mux(self.row_start, self.walk.address, next_offset)),
            end.eq(offset + Mux(self.wide, channels_left << 2, channels_left)),
            straddles.eq(end > bus),
            valid.eq(self.walking & self.room & (~self.with_residual | ending | self.residual.o_blocks.valid)),
            row_end.eq(ending | last_block & ~straddles),
            self.walk_ends.eq(valid & row_end & self.walk.last),
            slot.valid.eq(valid),
            slot.context.eq(self.context),
            slot.offset.eq(offset),
            slot.row_end.eq(row_end),
            slot.last.eq(row_end & self.walk.last),
            *(slot.lanes[lane].eq(~ending & (channels_left > lane)) for lane in range(lanes)),
            self.residual.o_blocks.ready.eq(valid & self.with_residual & ~ending),
            self.walk.step.eq(valid & row_end),
            self.post_fetch.eq(valid & ~ending),
        ]
        with m.If(valid):
            m.d.sync += [
                self.row_start.eq(row_end),
                ending.eq(~row_end & last_block),
                left.eq(channels_left - lanes),
                next_offset.eq(offset + Mux(self.wide, 4 * lanes, lanes)),
                self.post_block.eq(self.post_block + 1),
                self.entry_block.eq(self.entry_block + 1),
            ]
            with m.If(row_end):
                m.d.sync += [self.post_vector.eq(self.post_vector + 1), self.post_block.eq(0),
                             self.entry_block.eq(self.channel_block)]
        with m.If(self.walk_ends):
            m.d.sync += self.walking.eq(0)
        with m.If(self.start):
            m.d.sync += [self.walking.eq(1), self.post_vector.eq(store.acc_vector), self.post_block.eq(0),
                         self.entry_block.eq(store.channel >> clog2(lanes))]
        m.d.sync += [self.parameter_fetch.eq(self.post_fetch), self.parameter_block.eq(self.entry_block)]

    def _run(self, m):
        """A run per row, at the row's first slot. Each row that is not yet with the writer has a word reserved, save
        perhaps the one that is walked, whose run came when it had: there is always room for a run."""
        bus = self.config.bus_bytes
        beat_bits = clog2(max(4 * self.config.out_cols, 4 * counter_words(self.config)) // bus + 3)
        layout = data.StructLayout({"address": DMA_ADDR_BITS, "beats": beat_bits, "signal": len(queues(self.config))})
        m.submodules.runs = runs = SyncFIFO(width=layout.size, depth=Writer.WORDS)
        asked, run = data.View(layout, runs.w_data), data.View(layout, runs.r_data)
        first_byte = self.walk.address[:clog2(bus)]
        row_bytes = Mux(self.wide, self.channels << 2, self.channels)
        m.d.comb += [
            runs.w_en.eq(self.slot.valid & self.row_start),
            asked.address.eq(self.walk.address - first_byte),
            asked.beats.eq((first_byte + row_bytes + bus - 1) >> clog2(bus)),
            asked.signal.eq(Mux(self.walk.last, self.signal, 0)),
            self.writer.i_runs.valid.eq(runs.r_rdy),
            self.writer.i_runs.payload.address.eq(run.address),
            self.writer.i_runs.payload.beats.eq(run.beats),
            self.writer.i_runs.payload.signal.eq(run.signal),
            runs.r_en.eq(self.writer.i_runs.ready),
            self.tokens.signal.eq(self.writer.signal),
        ]
        self.runs_left = runs.r_rdy

    def _process(self, m, platform):
        """The pipeline: slots, and beside them sums, results, and what the table makes of them."""
        config = self.config
        slots = [self.slot]
        for cycle in range(self.PIPELINE):
            later = Signal.like(self.slot, name=f"slot_{cycle + 1}")
            m.d.sync += later.eq(slots[-1])
            slots.append(later)
        sums, residuals = self._add_residual(m, slots[1])
        added = self._settings(m, slots[2], "added")
        limits = self._settings(m, slots[1 + Requantise.LATENCY], "limits")
        values = [sums]
        for cycle in range(Requantise.LATENCY + 1):
            later_values = Signal.like(sums, name=f"values_{cycle + 1}", reset_less=True)
            m.d.sync += later_values.eq(values[-1])
            values.append(later_values)
        block = Signal.like(self.parameter_block)
        m.d.sync += block.eq(self.parameter_block)

        results = Signal(data.ArrayLayout(8, config.post_lanes))
        for lane in reversed(range(config.post_lanes)):  # of several faults, that of the lowest lane is reported
            requantise = Requantise()
            m.submodules[f"requantise_{lane}"] = once(requantise, platform)
            m.d.comb += [
                requantise.acc.eq(sums[lane]),
                requantise.parameters.eq(self.parameters[lane]),
                requantise.residual.eq(residuals[lane]),
                *(getattr(requantise, name).eq(added[name])
                  for name in ("residual_signed", "residual_zero_point", "residual_multiplier")),
                *(getattr(requantise, name).eq(limits[name])
                  for name in ("zero_point", "low", "high")),
                results[lane].eq(requantise.result),
            ]
            with m.If(slots[2].valid & slots[2].lanes[lane] & ~added.wide & requantise.bad):
                raise_fault(m, self.fault, Cause.BAD_MULTIPLIER, (block << clog2(config.post_lanes)) + lane)
        self._pack(m, slots[-2], slots[-1], results, values[-1])

    def _settings(self, m, slot, name: str):
        """Those of the instruction that a slot belongs to."""
        settings = Signal(settings_layout(self.config), name=f"settings_{name}")
        m.d.comb += settings.eq(Mux(slot.context, self.settings[1].as_value(), self.settings[0].as_value()))
        return settings

    def _add_residual(self, m, slot):
        """Sums of accumulators and int32 residuals, or the next words of the counters; and bytes of 8-bit residuals."""
        lanes = self.config.post_lanes
        settings = self._settings(m, slot, "fetched")
        counted = self._counted(m)
        residuals = Signal(data.ArrayLayout(signed(ACC_BITS), lanes), reset_less=True)
        sums = Signal.like(residuals)
        narrow = Signal(data.ArrayLayout(8, lanes), reset_less=True)
        m.d.sync += [residuals.eq(self.residual.o_blocks.payload), narrow.eq(residuals.as_value()[:8 * lanes])]
        overflows = []
        for lane, (acc, residual) in enumerate(zip(self.post_values, residuals)):
            exact = Signal(signed(ACC_BITS + 1), name=f"exact_{lane}")
            m.d.comb += exact.eq(acc + Mux(settings.residual_wide, residual, 0))
            m.d.sync += sums[lane].eq(Mux(settings.counters, counted[lane], exact))
            overflows.append(slot.lanes[lane] & (exact[ACC_BITS] != exact[ACC_BITS - 1]))
        m.d.sync += self.overflow.eq(slot.valid & Cat(overflows).any())
        return sums, narrow

    def _counted(self, m):
        """The next words of the counters."""
        words = -(-counter_words(self.config) // self.config.post_lanes) * self.config.post_lanes
        snapshot = Signal(words * ACC_BITS)
        counted = Signal.like(self.post_values)
        with m.If(self.slot.valid):
            m.d.sync += [counted.eq(snapshot), snapshot.eq(snapshot >> len(counted.as_value()))]
        with m.If(self.start & (self.i_commands.payload.opcode == Opcode.STORE_COUNTERS)):
            m.d.sync += snapshot.eq(self.counters)
        return counted

    def _pack(self, m, looked_up, passed, results, values):
        """Looks results up, and packs them; with its last slot an instruction has left the pipeline."""
        lookup, packed = self._settings(m, looked_up, "lookup"), self._settings(m, passed, "packed")
        kept = Signal.like(results, reset_less=True)
        m.d.sync += kept.eq(results)
        m.d.comb += [
            self.table_read.eq(looked_up.valid & (lookup.table != 0)),
            self.table_select.eq(lookup.table == 2),
            self.table_indices.eq(results),
            self.pack.valid.eq(passed.valid),
            self.pack.wide.eq(packed.wide),
            self.pack.lanes.eq(passed.lanes),
            self.pack.offset.eq(passed.offset),
            self.pack.row_end.eq(passed.row_end),
            self.writer.i_words.valid.eq(self.pack.o_words.valid),
            self.writer.i_words.payload.eq(self.pack.o_words.payload),
        ]
        for lane, (value, looked, result) in enumerate(zip(values, self.table_values, kept)):
            m.d.comb += self.pack.results[lane].eq(
                Mux(packed.wide, value, Mux(packed.table != 0, looked, result)))
        done = passed.valid & passed.last
        m.d.comb += self.tokens.release.eq(Mux(done, packed.release, 0))
        for context in range(2):
            with m.If(self.start & (self.context != context)):
                m.d.sync += self.in_use[context].eq(1)
            with m.Elif(done & (passed.context == context)):
                m.d.sync += self.in_use[context].eq(0)

    def _reserve(self, m):
        """A slot enters only if the writer has room for the word that it may complete: it reserves a word, and gives it
        back if it completed none."""
        reserved = Signal(range(Writer.WORDS + 1))
        m.d.comb += self.room.eq(reserved != Writer.WORDS)
        given_back = self.pack.valid & ~self.pack.fills
        m.d.sync += reserved.eq(reserved + self.slot.valid - self.writer.taken - given_back)

    def _report(self, m):
        on_bus = Signal()
        busy, token, memory = Signal(), Signal(), Signal()
        m.d.comb += [
            on_bus.eq(self.runs_left | self.writer.busy | self.fault.valid),
            self.idle.eq(~self.i_commands.valid & ~self.in_use.any() & ~on_bus),
            self.activity.busy.eq(busy),
            self.activity.token.eq(token),
            self.activity.memory.eq(memory),
        ]
        with m.If(self.walking):
            m.d.comb += [busy.eq(self.slot.valid), memory.eq(~self.slot.valid)]
        with m.Elif(self.i_commands.valid):
            m.d.comb += [busy.eq(self.tokens.granted), token.eq(~self.tokens.granted)]
        with m.Elif(self.in_use.any()):
            m.d.comb += busy.eq(1)
        with m.Else():
            m.d.comb += memory.eq(on_bus)
