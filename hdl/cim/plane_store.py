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
    plane sideways; ``row`` says which of the ``slots / units_per_beat`` slots of each lane. One
    two-port memory per lane, which ``platform.get_memory`` may replace.

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
