"""Activation bytes into bit-sliced lanes."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import ACT_BITS, Config


class BitSlice(wiring.Component):
    """Extends activations to nine bits, subtracts the zero point, and turns them by bit: word ``b`` holds bit ``b`` of
    every lane. Combinational.

    Members
    -------
    line : In(8 * rows)
        One byte per row.
    act_signed : In(1)
        Bytes and zero point are int8, else uint8.
    zero_point : In(8)
    act : Out(rows).array(9)
    """

    module_name = "bit_slice"

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "line": In(8 * config.rows),
            "act_signed": In(1),
            "zero_point": In(8),
            "act": Out(config.rows).array(ACT_BITS),
        })

    def elaborate(self, platform):
        m = Module()

        def extended(byte):
            return Cat(byte, byte[7] & self.act_signed).as_signed()

        lanes = []
        for row in range(self.config.rows):
            lane = Signal(signed(ACT_BITS), name=f"lane_{row}")
            m.d.comb += lane.eq(extended(self.line.word_select(row, 8)) - extended(self.zero_point))
            lanes.append(lane)
        for bit, word in enumerate(self.act):
            m.d.comb += word.eq(Cat(lane[bit] for lane in lanes))
        return m
