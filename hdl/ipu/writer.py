"""The DMA write channel."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import Config
from ..csr import Cause
from ..isa import queues
from .burst import BurstSplitter, run_layout
from .burst_writer import BurstWriter, word_layout
from .fault import fault_layout, raise_fault
from .windows import windows_layout


def write_run_layout(config: Config) -> data.StructLayout:
    """A run of bus words, and the queues to give a token to when all of it is written and answered."""
    return data.StructLayout({**run_layout().members, "signal": len(queues(config))})


class Writer(wiring.Component):
    """Writes runs of bus words that come in order on ``i_words``, in bursts, by
    :class:`~hdl.ipu.burst_writer.BurstWriter`.

    A window violation and an error response raise ``fault``; no burst begins and no run is signalled after that. While
    ``halt`` is high no new burst begins.

    Members
    -------
    windows : In(ArrayLayout), halt : In(1)
    i_runs : In(stream), i_words : In(stream)
    aw, w : Out(stream), b : In(stream)
    taken : Out(1)
        A word leaves the FIFO.
    signal : Out
        Of a run, for one cycle: the one after its last response.
    busy : Out(1)
        A run is not yet completely written, answered and signalled, or never will be.
    fault : Out(fault_layout)
    """

    i_runs: stream.Interface
    i_words: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    OUTSTANDING = BurstWriter.OUTSTANDING
    MAX_BEATS = BurstWriter.MAX_BEATS
    WORDS = BurstWriter.WORDS

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_runs": In(stream.Signature(write_run_layout(config))),
            "i_words": In(stream.Signature(word_layout(config))),
            "aw": Out(stream.Signature(axi4.address_layout(config))),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout(config))),
            "taken": Out(1),
            "signal": Out(len(queues(config))),
            "busy": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        tag_bits = len(queues(self.config))
        m.submodules.splitter = splitter = BurstSplitter(
            self.config, permission="write", max_beats=self.MAX_BEATS, tag_bits=tag_bits)
        m.submodules.bursts = bursts = BurstWriter(self.config, channel=0, tag_bits=tag_bits)
        connect(m, splitter=splitter.o_bursts, bursts=bursts.i_bursts)
        connect(m, outer=flipped(self.i_words), inner=bursts.i_words)
        for name in ("aw", "w", "b"):
            connect(m, outer=flipped(getattr(self, name)), inner=getattr(bursts, name))
        m.d.comb += [
            splitter.windows.eq(self.windows),
            splitter.i_runs.valid.eq(self.i_runs.valid),
            splitter.i_runs.payload.address.eq(self.i_runs.payload.address),
            splitter.i_runs.payload.beats.eq(self.i_runs.payload.beats),
            splitter.i_runs.payload.tag.eq(self.i_runs.payload.signal),  # which the last burst of a run bears
            self.i_runs.ready.eq(splitter.i_runs.ready),
            bursts.halt.eq(self.halt | self.fault.valid),
            self.taken.eq(bursts.taken),
            self.busy.eq(~splitter.idle | bursts.busy | self.signal.any() | self.fault.valid),
        ]
        with m.If(splitter.refused):
            raise_fault(m, self.fault, Cause.WRITE_WINDOW, splitter.refused_address)
        m.d.sync += self.signal.eq(0)
        with m.If(bursts.answered):
            with m.If(~bursts.answer.good):
                raise_fault(m, self.fault, Cause.WRITE_ERROR, bursts.answer.address)
            with m.Elif(~self.fault.valid):
                m.d.sync += self.signal.eq(bursts.answer.tag)
        return m
