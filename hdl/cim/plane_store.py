"""The bit cells of a column: two banks of plane slots."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from .interfaces import slot_row_bits


class PlaneStore(wiring.Component):
    """Two banks of ``slots`` planes, one write port as wide as the bus, one read port as wide as a plane.

    Slot ``s`` is wired to lane ``s mod units_per_beat`` of the bus, so that a bus word is written without moving any
    plane sideways; ``row`` says which of the ``slots / units_per_beat`` slots of each lane. A leaf, with a generic
    view (one two-port memory per lane, which ``platform.get_memory`` may replace) and a simulation view.

    Read latency 1 cycle; one read and one write per cycle; a read of a slot that is being written is undefined.

    Members
    -------
    lanes : In(bus_bits)
    lane_mask : In(units_per_beat)
        Lanes to write. Zero writes nothing.
    write_bank, row : In
    read_bank, read_slot : In
    plane : Out(rows)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "lanes": In(config.bus_bits),
            "lane_mask": In(config.units_per_beat),
            "write_bank": In(1),
            "row": In(slot_row_bits(config)),
            "read_bank": In(1),
            "read_slot": In(clog2(config.slots)),
            "plane": Out(config.rows),
        })

    module_name = "plane_store"

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lane_bits = clog2(config.units_per_beat)
        row_bits = clog2(config.slots // config.units_per_beat)
        planes = []
        for lane in range(config.units_per_beat):
            memory = Memory(shape=config.rows, depth=2 * config.slots // config.units_per_beat, init=[])
            m.submodules[f"lane_{lane}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(Cat(self.row[:row_bits], self.write_bank)),
                write.data.eq(self.lanes.word_select(lane, config.rows)),
                write.en.eq(self.lane_mask[lane]),
                read.addr.eq(Cat(self.read_slot[lane_bits:], self.read_bank)),
            ]
            planes.append(read.data)
        lane_read = Signal(lane_bits, reset_less=True)
        m.d.sync += lane_read.eq(self.read_slot[:lane_bits])
        m.d.comb += self.plane.eq(Array(planes)[lane_read])
        return m

    def simulation_view(self) -> str:
        """One array, so that a read is one load on the host."""
        config = self.config
        rows, units, slot_bits = config.rows, config.units_per_beat, clog2(config.slots)
        lane_bits = clog2(units)
        row_bits = slot_bits - lane_bits

        def slot(lane: int) -> str:
            row = [f"row[{row_bits - 1}:0]"] if row_bits else []
            return ", ".join(["write_bank", *row, *([f"{lane_bits}'d{lane}"] if lane_bits else [])])

        writes = "\n".join(f"      if (lane_mask[{lane}]) cells[{{{slot(lane)}}}] <= lanes[{lane * rows} +: {rows}];"
                           for lane in range(units))
        return f"""\
module {self.module_name}(clk, lanes, lane_mask, write_bank, row, read_bank, read_slot, plane);
  input clk;
  input [{config.bus_bits - 1}:0] lanes;
  input [{units - 1}:0] lane_mask;
  input write_bank;
  input [{slot_row_bits(config) - 1}:0] row;
  input read_bank;
  input [{slot_bits - 1}:0] read_slot;
  output reg [{rows - 1}:0] plane;
  reg [{rows - 1}:0] cells [0:{2 * config.slots - 1}];
  always @(posedge clk) begin
    plane <= cells[{{read_bank, read_slot}}];
    if (lane_mask != 0) begin
{writes}
    end
  end
endmodule
"""
