"""Splits a run of bus words into AXI4 bursts that a window allows."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BURST_BOUNDARY, INSTRUCTION_BYTES, Config, clog2
from .windows import DMA_ADDR_BITS, WindowCheck, windows_layout

#: Width of the length of a run: 2^32 instructions in the narrowest bus words.
RUN_BITS = 32 + clog2(INSTRUCTION_BYTES // 8)


def run_layout() -> data.StructLayout:
    """A run of bus words: address of the first, a multiple of the bus width, and how many, at least one."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "beats": RUN_BITS})


def burst_layout(max_beats: int) -> data.StructLayout:
    """A burst within one 4 KiB page; ``last`` if it ends its run."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "beats": clog2(max_beats + 1), "last": 1})


class BurstSplitter(wiring.Component):
    """Runs in, bursts out: none crosses a 4 KiB boundary or is longer than ``max_beats``; each lies within a window.

    A burst that no window allows is not passed on: ``refused`` rises, with its address, and stays until reset.
    Throughput one burst per three cycles.

    Parameters
    ----------
    permission : str
        ``"read"`` or ``"write"``.
    max_beats : int

    Members
    -------
    windows : In(ArrayLayout)
    i_runs : In(stream), o_bursts : Out(stream)
    refused : Out(1), refused_address : Out
    idle : Out(1)
        Nothing is left to split.
    """

    i_runs: stream.Interface
    o_bursts: stream.Interface

    def __init__(self, config: Config, *, permission: str, max_beats: int):
        self.config = config
        self.permission = permission
        self.max_beats = max_beats
        super().__init__({
            "windows": In(windows_layout()),
            "i_runs": In(stream.Signature(run_layout())),
            "o_bursts": Out(stream.Signature(burst_layout(max_beats))),
            "refused": Out(1),
            "refused_address": Out(DMA_ADDR_BITS),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        page_beats = BURST_BOUNDARY // config.bus_bytes
        m.submodules.check = check = WindowCheck(self.permission)
        rest = Signal(run_layout())
        burst = Signal.like(self.o_bursts.payload)
        end = Signal(DMA_ADDR_BITS)
        to_boundary = Signal(clog2(page_beats + 1))
        limit = Signal(range(max(page_beats, self.max_beats) + 1))
        m.d.comb += [
            to_boundary.eq(page_beats - rest.address[clog2(config.bus_bytes):clog2(BURST_BOUNDARY)]),
            limit.eq(Mux(to_boundary < self.max_beats, to_boundary, self.max_beats)),
            check.windows.eq(self.windows),
            check.first.eq(burst.address),
            check.end.eq(end),
            self.o_bursts.payload.eq(burst),
            self.refused_address.eq(burst.address),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.i_runs.ready.eq(1)]
                with m.If(self.i_runs.valid):
                    m.d.sync += rest.eq(self.i_runs.payload)
                    m.next = "SPLIT"
            with m.State("SPLIT"):
                beats = Signal.like(burst.beats)
                m.d.comb += beats.eq(Mux(rest.beats < limit, rest.beats, limit))
                m.d.sync += [
                    burst.address.eq(rest.address),
                    burst.beats.eq(beats),
                    burst.last.eq(rest.beats <= limit),
                    end.eq(rest.address + (beats << clog2(config.bus_bytes))),
                    rest.address.eq(rest.address + (beats << clog2(config.bus_bytes))),
                    rest.beats.eq(rest.beats - beats),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.next = "REFUSED"
                with m.If(check.allowed):
                    m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += self.o_bursts.valid.eq(1)
                with m.If(self.o_bursts.ready):
                    m.next = "SPLIT"
                    with m.If(burst.last):
                        m.next = "IDLE"
            with m.State("REFUSED"):
                m.d.comb += self.refused.eq(1)
        return m
