"""The second operand of a STORE: rows of bytes from memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ACC_BITS, Config, clog2
from .fault import fault_layout
from .gearbox import Gearbox, byte_row_layout
from .reader import Reader
from .vector_walk import VectorWalk
from .windows import DMA_ADDR_BITS, windows_layout


def residual_layout(config: Config) -> data.StructLayout:
    """Where the residual of an instruction lies: rows of vectors of ``channels`` bytes, or int32 if ``wide``."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "stride": 32, "row_stride": 32, "vectors": 16,
                              "vector_rows": 16, "channels": clog2(config.out_cols + 1), "wide": 1})


class Residual(wiring.Component):
    """Reads residuals, as far ahead as :attr:`DEPTH` bus words, and delivers them in blocks of ``post_lanes`` bytes or
    int32.

    Each vector is a run of its own. The first run is asked for in the cycle after its residual is taken.

    Members
    -------
    windows, halt, ar, r, fault
        As in :class:`~hdl.ipu.reader.Reader`.
    i_residuals : In(stream)
        Taken when the runs of the one before are asked for.
    o_blocks : Out(stream)
        As in :class:`~hdl.ipu.gearbox.Gearbox`.
    """

    i_residuals: stream.Interface
    o_blocks: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    #: Bus words that are fetched ahead: int32 may take one in every cycle, while memory takes as many to answer.
    DEPTH = 128

    #: Vectors that are asked for and not yet delivered.
    ROWS = 32

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_residuals": In(stream.Signature(residual_layout(config))),
            "o_blocks": Out(stream.Signature(ACC_BITS * config.post_lanes)),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.reader = reader = Reader(config, channel=self.channel, depth=self.DEPTH)
        m.submodules.gearbox = gearbox = Gearbox(config)
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        connect(m, reader=reader.o_words, gearbox=gearbox.i_words)
        connect(m, gearbox=gearbox.o_blocks, outer=flipped(self.o_blocks))
        m.d.comb += [reader.windows.eq(self.windows), reader.halt.eq(self.halt), self.fault.eq(reader.fault)]
        self._ask(m, reader, gearbox)
        return m

    def _ask(self, m, reader, gearbox):
        """One run per vector; the gearbox learns of it when it is asked for."""
        config = self.config
        residual = self.i_residuals.payload
        active, asked = Signal(), Signal()
        offset_bits = clog2(config.bus_bytes)
        m.submodules.walk = walk = VectorWalk()
        m.submodules.rows = rows = SyncFIFO(width=byte_row_layout(config).size, depth=self.ROWS)
        row = data.View(byte_row_layout(config), rows.w_data)
        row_bytes, wide = Signal.like(row.bytes), Signal()
        offset = walk.address[:offset_bits]
        m.d.comb += [
            self.i_residuals.ready.eq(~active),
            walk.start.eq(self.i_residuals.valid & ~active),
            walk.i_address.eq(residual.address),
            walk.i_stride.eq(residual.stride),
            walk.i_row_stride.eq(residual.row_stride),
            walk.i_vectors.eq(residual.vectors),
            walk.i_vector_rows.eq(residual.vector_rows),
            walk.step.eq(asked),
            reader.i_runs.valid.eq(active & rows.w_rdy),
            reader.i_runs.payload.address.eq(walk.address - offset),
            reader.i_runs.payload.beats.eq((offset + row_bytes + config.bus_bytes - 1) >> offset_bits),
            asked.eq(reader.i_runs.valid & reader.i_runs.ready),
            rows.w_en.eq(asked),
            row.offset.eq(offset),
            row.bytes.eq(row_bytes),
            row.wide.eq(wide),
            gearbox.i_rows.valid.eq(rows.r_rdy),
            gearbox.i_rows.payload.eq(rows.r_data),
            rows.r_en.eq(gearbox.i_rows.ready),
        ]
        with m.If(walk.start):
            m.d.sync += [active.eq(1), wide.eq(residual.wide),
                         row_bytes.eq(Mux(residual.wide, residual.channels << 2, residual.channels))]
        with m.Elif(asked & walk.last):
            m.d.sync += active.eq(0)
