"""Splits a run of bus words into AXI4 bursts that a window allows."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import BURST_BOUNDARY, INSTRUCTION_BYTES, Config, clog2
from .windows import DMA_ADDR_BITS, WindowCheck, windows_layout

#: Width of the length of a run: 2^32 instructions in the narrowest bus words.
RUN_BITS = 32 + clog2(INSTRUCTION_BYTES // 8)


def run_layout(tag_bits: int = 0) -> data.StructLayout:
    """A run of bus words: address of the first one, or of a byte of it, and how many, at least one; ``tag`` is the
    user's."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "beats": RUN_BITS, "tag": tag_bits})


def burst_layout(max_beats: int, tag_bits: int = 0) -> data.StructLayout:
    """A burst within one 4 KiB page; ``address`` is that of the run if the burst begins it, else that of a bus word;
    ``tag`` is that of the run if the burst ends it, else zero."""
    return data.StructLayout({"address": DMA_ADDR_BITS, "beats": clog2(max_beats + 1), "tag": tag_bits})


class BurstSplitter(wiring.Component):
    """Runs in, bursts out: none crosses a 4 KiB boundary or is longer than ``max_beats``; each lies within a window.

    A burst that no window allows is not passed on: when those before it have been taken, ``refused`` rises with its
    address and stays until reset. Throughput one burst per cycle, also across runs; latency 3 cycles: a register each
    for the run, its next burst, and a burst that is allowed.

    Parameters
    ----------
    permission : str or None
        ``"read"`` or ``"write"``; None: bursts go to another chip's memory, and only its last address limits them.
    max_beats, tag_bits : int

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

    def __init__(self, config: Config, *, permission: str | None, max_beats: int, tag_bits: int = 0):
        self.config = config
        self.permission = permission
        self.max_beats = max_beats
        self.tag_bits = tag_bits
        super().__init__({
            "windows": In(windows_layout()),
            "i_runs": In(stream.Signature(run_layout(tag_bits))),
            "o_bursts": Out(stream.Signature(burst_layout(max_beats, tag_bits))),
            "refused": Out(1),
            "refused_address": Out(DMA_ADDR_BITS),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        m.d.comb += advance.eq((~self.o_bursts.valid | self.o_bursts.ready) & ~self.refused)
        running = Signal()
        checking = Signal()
        burst = Signal.like(self.o_bursts.payload)
        end = Signal(DMA_ADDR_BITS)
        self._split(m, advance, running, checking, burst, end)
        self._check(m, advance, checking, burst, end)
        m.d.comb += self.idle.eq(~running & ~checking & ~self.o_bursts.valid & ~self.refused)
        return m

    def _split(self, m, advance, running, checking, burst, end):
        """Takes the next burst, which ends before ``end``, off the run."""
        config = self.config
        page_beats = BURST_BOUNDARY // config.bus_bytes
        rest = Signal(run_layout(self.tag_bits))
        to_boundary = Signal(clog2(page_beats + 1))
        limit = Signal(range(max(page_beats, self.max_beats) + 1))
        beats = Signal.like(burst.beats)
        last = Signal()
        within = clog2(config.bus_bytes)
        next_address = (rest.address[within:] + beats) << within
        m.d.comb += [
            to_boundary.eq(page_beats - rest.address[clog2(config.bus_bytes):clog2(BURST_BOUNDARY)]),
            limit.eq(Mux(to_boundary < self.max_beats, to_boundary, self.max_beats)),
            last.eq(rest.beats <= limit),
            beats.eq(Mux(last, rest.beats, limit)),
            self.i_runs.ready.eq(~running | (advance & last)),
        ]
        with m.If(advance):
            m.d.sync += [
                checking.eq(running),
                burst.address.eq(rest.address),
                burst.beats.eq(beats),
                burst.tag.eq(Mux(last, rest.tag, 0)),
                end.eq(next_address),
                rest.address.eq(next_address),
                rest.beats.eq(rest.beats - beats),
            ]
        with m.If(self.i_runs.ready):
            m.d.sync += [running.eq(self.i_runs.valid), rest.eq(self.i_runs.payload)]

    def _check(self, m, advance, checking, burst, end):
        m.submodules.check = check = WindowCheck(self.permission)
        m.d.comb += [
            check.windows.eq(self.windows),
            check.first.eq(burst.address),
            check.end.eq(end),
            self.refused_address.eq(self.o_bursts.payload.address),
        ]
        with m.If(advance):
            m.d.sync += [
                self.o_bursts.valid.eq(checking & check.allowed),
                self.o_bursts.payload.eq(burst),
                self.refused.eq(checking & ~check.allowed),
            ]
