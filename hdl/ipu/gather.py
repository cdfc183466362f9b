"""Gathers lines of activations from the buffer, piece by piece, padding included."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from .walk import piece_layout, vector_layout


def line_layout(config: Config) -> data.StructLayout:
    """A line of activations and what the array does with it."""
    return data.StructLayout({"vector": vector_layout(config), "line": 8 * config.line_bytes})


def stage_layout(config: Config) -> data.StructLayout:
    """A piece on its way: the lanes from ``low`` up to, not including, ``high`` come from the buffer."""
    lanes = clog2(config.line_bytes + 1)
    return data.StructLayout({"valid": 1, "low": lanes, "high": lanes, "first": 1, "last": 1,
                              "vector": vector_layout(config)})


class Gather(wiring.Component):
    """One piece per cycle; a line is offered :attr:`LATENCY` cycles after its last piece was taken. The next line is
    gathered meanwhile, but for its merging into the line register.

    Members
    -------
    i_pieces : In(stream)
    read : Out(1), read_address : Out, read_line : In(8 * line_bytes)
        The activation buffer, as in :class:`~hdl.ipu.activation_buffer.ActivationBuffer`.
    o_lines : Out(stream)
    idle : Out(1)
        Nothing is on the way.
    """

    i_pieces: stream.Interface
    o_lines: stream.Interface

    LATENCY = 4

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_pieces": In(stream.Signature(piece_layout(config))),
            "read": Out(1),
            "read_address": Out(clog2(config.act_bytes)),
            "read_line": In(8 * config.line_bytes),
            "o_lines": Out(stream.Signature(line_layout(config))),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        move = Signal()  # all stages move at once
        piece = Signal(piece_layout(config))
        piece_valid = Signal()
        reading = Signal(stage_layout(config))
        merging = Signal(stage_layout(config))
        line = self.o_lines
        m.d.comb += [
            move.eq(~line.valid | line.ready),
            self.i_pieces.ready.eq(move),
            self.idle.eq(~(piece_valid | reading.valid | merging.valid | line.valid)),
            self.read.eq(move & reading.valid),
        ]
        with m.If(move):
            m.d.sync += [piece_valid.eq(self.i_pieces.valid), piece.eq(self.i_pieces.payload), merging.eq(reading)]
        self._locate(m, move, piece, piece_valid, reading)
        self._merge(m, move, merging, line)
        return m

    def _locate(self, m, move, piece, piece_valid, reading):
        """Which lanes are inside the image, and the buffer address of lane 0."""
        columns_left = Signal(range(-1 << 24, 1 << 24))
        low = Signal.like(reading.low)
        high = Signal.like(reading.high)
        end = Signal.like(high)
        m.d.comb += [
            columns_left.eq(piece.x_end - piece.x),
            end.eq(piece.lane + piece.bytes),
            low.eq(piece.lane),
            high.eq(end),
        ]
        with m.If(piece.x < 0):
            m.d.comb += low.eq(Mux(piece.lane - piece.x < end, piece.lane - piece.x, end))
        with m.If(columns_left < piece.bytes):
            m.d.comb += high.eq(Mux(columns_left > 0, piece.lane + columns_left, piece.lane))
        with m.If((piece.y < 0) | (piece.y >= piece.y_end)):
            m.d.comb += high.eq(0)
        with m.If(move):
            m.d.sync += [
                reading.valid.eq(piece_valid),
                reading.low.eq(low),
                reading.high.eq(high),
                reading.first.eq(piece.first),
                reading.last.eq(piece.last),
                reading.vector.eq(piece.vector),
                self.read_address.eq(piece.act_address + piece.x + piece.y - piece.lane),
            ]

    def _merge(self, m, move, merging, line):
        """Lanes of this piece come from the buffer; the others are padding at first, and then stay."""
        ones = Const(-1, 8 * self.config.line_bytes)

        def from_lane(lane):
            return (ones << (lane << 3))[:len(ones)]

        mine = Signal(len(ones))
        before = Signal(len(ones))
        m.d.comb += [
            mine.eq(from_lane(merging.low) & ~from_lane(merging.high)),
            before.eq(Mux(merging.first, merging.vector.zero_point.replicate(self.config.line_bytes),
                          line.payload.line)),
        ]
        with m.If(move):
            m.d.sync += line.valid.eq(merging.valid & merging.last)
            with m.If(merging.valid):
                m.d.sync += [line.payload.vector.eq(merging.vector),
                             line.payload.line.eq((self.read_line & mine) | (before & ~mine))]
