"""The receiving side of the load queue: where words from memory go in the buffers."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..isa import FIELDS, TABLE_ENTRIES, TABLES, Opcode, parameter_entries
from ..layouts import PARAMETER_BYTES


def buffer_address_bits(config: Config) -> int:
    """Width of a byte address in the largest of activation buffer, parameter memory and tables."""
    return clog2(max(config.act_bytes, parameter_entries(config) * PARAMETER_BYTES, TABLES * TABLE_ENTRIES))


def transfer_layout(config: Config) -> data.StructLayout:
    """Blocks of rows, and what they are written to: exactly one of ``act``, ``parameter`` and ``table``.

    ``buffer_*`` are bytes of that buffer; ``offset``, ``stride`` and ``block_stride`` are memory's, modulo the bus
    width: where in a bus word the first row begins, and the next ones.
    """
    acts = FIELDS[Opcode.LOAD_ACTIVATIONS]
    within, address = clog2(config.bus_bytes), buffer_address_bits(config)
    return data.StructLayout({
        "act": 1, "parameter": 1, "table": 1,
        **{name: acts[name].bits for name in ("row_bytes", "rows", "blocks")},
        "offset": within, "stride": within, "block_stride": within,
        "buffer_address": address, "buffer_stride": address, "buffer_block_stride": address,
    })


def write_members(config: Config) -> dict[str, wiring.Member]:
    """Writes of ``word`` to the buffers, at most one in a cycle."""
    bus = config.bus_bytes
    return {
        "act_write": Out(1),
        "act_address": Out(clog2(config.act_bytes)),
        "act_mask": Out(bus),
        "parameter_write": Out(1),
        "parameter_beat": Out(clog2(parameter_entries(config) * PARAMETER_BYTES // bus)),
        "table_write": Out(1),
        "table_beat": Out(clog2(TABLES * TABLE_ENTRIES // bus)),
        "word": Out(config.bus_bits),
    }


class Receive(wiring.Component):
    """Writes the words of transfers to the buffers, one per cycle, without a bubble between rows or transfers.

    A word comes not earlier than two cycles after its transfer, and is written in the cycle after it has come.

    Members
    -------
    i_transfers : In(stream)
    i_words : In(stream)
        Always ready: the words of the rows, in order; those that two rows share come twice.
    act_write, parameter_write, table_write : Out(1), word : Out
    act_address, act_mask : Out
        Byte address of the word's first byte, modulo the buffer, and which of its bytes are the row's.
    parameter_beat, table_beat : Out
        Bus word of the buffer; the second table follows the first.
    finished : Out(1)
        The last word of a transfer comes.
    """

    i_transfers: stream.Interface
    i_words: stream.Interface

    #: Transfers that wait for the words of the one under way.
    DEPTH = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_transfers": In(stream.Signature(transfer_layout(config))),
            "i_words": In(stream.Signature(config.bus_bits)),
            **write_members(config),
            "finished": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        layout = transfer_layout(self.config)
        m.submodules.waiting = waiting = SyncFIFO(width=layout.size, depth=self.DEPTH)
        running = Signal()
        transfer = Signal(layout)
        following = data.View(layout, waiting.r_data)
        m.d.comb += [
            waiting.w_en.eq(self.i_transfers.valid),
            waiting.w_data.eq(self.i_transfers.payload),
            self.i_transfers.ready.eq(waiting.w_rdy),
            waiting.r_en.eq(~running | self.finished),
            self.i_words.ready.eq(1),
        ]
        with m.If(waiting.r_en):
            m.d.sync += [running.eq(waiting.r_rdy), transfer.eq(following)]
        word = self._walk(m, transfer, following, waiting.r_en)
        self._write(m, transfer, *word)
        return m

    def _walk(self, m, transfer, following, begin):
        """Follows the words from row to row and from block to block. Returns what is known of the word that comes: the
        buffer address of its first byte, how many bytes of it are before the row, and how many there are from its first
        byte to the end of the row."""
        bus = self.config.bus_bytes
        address, before = Signal.like(transfer.buffer_address), Signal.like(transfer.offset)
        left = Signal(len(transfer.row_bytes) + 1)
        place = data.StructLayout({"address": len(address), "offset": len(before)})
        row, block, next_row = Signal(place), Signal(place), Signal(place)
        rows, blocks = Signal.like(transfer.rows), Signal.like(transfer.blocks)
        row_end, block_end = Signal(), Signal()
        m.d.comb += [
            row_end.eq(self.i_words.valid & (left <= bus)),
            block_end.eq(row_end & (rows == 1)),
            self.finished.eq(block_end & (blocks == 1)),
        ]
        with m.If(rows == 1):
            m.d.comb += [next_row.address.eq(block.address + transfer.buffer_block_stride),
                         next_row.offset.eq(block.offset + transfer.block_stride)]
        with m.Else():
            m.d.comb += [next_row.address.eq(row.address + transfer.buffer_stride),
                         next_row.offset.eq(row.offset + transfer.stride)]

        def begin_row(start, row_bytes):
            return [row.eq(start), address.eq(start.address - start.offset), before.eq(start.offset),
                    left.eq(row_bytes + start.offset)]

        with m.If(self.i_words.valid):
            m.d.sync += [address.eq(address + bus), before.eq(0), left.eq(left - bus)]
        with m.If(row_end):
            m.d.sync += [*begin_row(next_row, transfer.row_bytes), rows.eq(rows - 1)]
        with m.If(block_end):
            m.d.sync += [block.eq(next_row), rows.eq(transfer.rows), blocks.eq(blocks - 1)]
        with m.If(begin):
            first = Signal(place)
            m.d.comb += [first.address.eq(following.buffer_address), first.offset.eq(following.offset)]
            m.d.sync += [*begin_row(first, following.row_bytes), block.eq(first), rows.eq(following.rows),
                         blocks.eq(following.blocks)]
        return address, before, left

    def _write(self, m, transfer, address, before, left):
        bus, within = self.config.bus_bytes, clog2(self.config.bus_bytes)
        every = Const((1 << bus) - 1, bus)
        from_row = (every << before)[:bus]
        to_row_end = Mux(left >= bus, every, every >> (-left)[:within])
        m.d.sync += [
            self.word.eq(self.i_words.payload),
            self.act_address.eq(address),
            self.act_mask.eq(from_row & to_row_end),
            self.parameter_beat.eq(address >> within),
            self.table_beat.eq(address >> within),
            *(getattr(self, f"{buffer}_write").eq(self.i_words.valid & transfer[buffer])
              for buffer in ("act", "parameter", "table")),
        ]
