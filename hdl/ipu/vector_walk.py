"""Addresses of the vectors of an instruction."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .windows import DMA_ADDR_BITS


class VectorWalk(wiring.Component):
    """Walks ``vector_rows`` rows of ``vectors`` vectors each; one vector per cycle.

    Members
    -------
    start : In(1), i_address, i_stride, i_row_stride, i_vectors, i_vector_rows : In
        Begins a walk: from the next cycle on its first vector is shown.
    step : In(1)
        Goes on to the next vector.
    address : Out
        First byte of the vector.
    last : Out(1)
        No vector comes after this one.
    """

    def __init__(self):
        super().__init__({
            "start": In(1),
            "i_address": In(DMA_ADDR_BITS),
            "i_stride": In(32),
            "i_row_stride": In(32),
            "i_vectors": In(16),
            "i_vector_rows": In(16),
            "step": In(1),
            "address": Out(DMA_ADDR_BITS),
            "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        stride, row_stride, vectors = Signal(32), Signal(32), Signal(16)
        row_address = Signal(DMA_ADDR_BITS)
        vectors_left, rows_left = Signal(16), Signal(16)
        row_end = Signal()
        next_row = Signal(DMA_ADDR_BITS)
        m.d.comb += [
            row_end.eq(vectors_left == 1),
            self.last.eq(row_end & (rows_left == 1)),
            next_row.eq(row_address + row_stride),
        ]
        with m.If(self.start):
            m.d.sync += [
                stride.eq(self.i_stride), row_stride.eq(self.i_row_stride), vectors.eq(self.i_vectors),
                row_address.eq(self.i_address), self.address.eq(self.i_address),
                vectors_left.eq(self.i_vectors), rows_left.eq(self.i_vector_rows),
            ]
        with m.Elif(self.step):
            m.d.sync += [self.address.eq(Mux(row_end, next_row, self.address + stride)),
                         vectors_left.eq(vectors_left - 1)]
            with m.If(row_end):
                m.d.sync += [row_address.eq(next_row), vectors_left.eq(vectors), rows_left.eq(rows_left - 1)]
        return m
