"""Who owns the two banks of the grid."""

from amaranth.hdl import Array, Assert, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cim.column import Column
from ..cim.loader import plane_count_bits
from ..config import Config


class Banks(wiring.Component):
    """A bank is free, committed by the loader, or held by the array; loader and array each take the banks in turn.

    A step that an instruction keeps for the next one is computed while its bank is still committed.

    After the array has released a bank, the bank becomes free, but not before the first vector of its step has reached
    the accumulator, where the columns take over scale and negation constant.

    Members
    -------
    free : Out(2)
        The loader may write.
    commit : In(1), commit_bank : In(1), planes : In
        From the loader.
    ready : Out(1), bank : Out(1), ready_planes : Out
        The next step for the array is complete.
    take : In(1)
        The array takes that step; the next one is in the other bank.
    start : In(2)
        The first plane of the step in this bank is issued.
    release : In(2)
        The array is done with the step in this bank: its last plane is issued, or it was skipped. A step that is kept
        for another instruction is neither taken nor released.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "free": Out(2),
            "commit": In(1),
            "commit_bank": In(1),
            "planes": In(plane_count_bits(config)),
            "ready": Out(1),
            "bank": Out(1),
            "ready_planes": Out(plane_count_bits(config)),
            "take": In(1),
            "start": In(2),
            "release": In(2),
        })

    def elaborate(self, platform):
        m = Module()
        hold_cycles = Column.sum_latency(self.config) + 1
        full = Signal(2)
        planes = [Signal(plane_count_bits(self.config), name=f"planes_{b}") for b in range(2)]
        for b in range(2):
            hold = Signal(range(hold_cycles + 1), name=f"hold_{b}")
            held = Signal(name=f"held_{b}")
            committed = self.commit & (self.commit_bank == b)
            taken = self.take & (self.bank == b)
            with m.If(committed):
                m.d.sync += [full[b].eq(1), planes[b].eq(self.planes)]
            with m.If(taken):
                m.d.sync += [full[b].eq(0), held.eq(1)]
            with m.If(self.release[b]):
                m.d.sync += held.eq(0)
            with m.If(self.start[b]):
                m.d.sync += hold.eq(hold_cycles)
            with m.Elif(hold != 0):
                m.d.sync += hold.eq(hold - 1)
            m.d.comb += self.free[b].eq(~full[b] & ~held & (hold == 0))
            m.d.sync += Assert(~(committed & (full[b] | held)), "only a free bank is committed")
        m.d.comb += [
            self.ready.eq(full.bit_select(self.bank, 1)),
            self.ready_planes.eq(Array(planes)[self.bank]),
        ]
        with m.If(self.take):
            m.d.sync += self.bank.eq(~self.bank)
        return m
