"""The DMA channels alone, sharing a bus as in the engine: what ``tb_dma`` tests."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.axi import axi4
from hdl.axi.arbiter import RoundRobin
from hdl.config import Config
from hdl.ipu.burst import run_layout
from hdl.ipu.burst_writer import word_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.reader import Reader
from hdl.ipu.windows import windows_layout
from hdl.ipu.writer import Writer, write_run_layout
from hdl.isa import queues


class Dma(wiring.Component):
    """Two readers and a writer on one AXI4 port; the first reader has a FIFO of :attr:`DEPTH` bus words.

    Members
    -------
    m_axi_* : AXI4 master
    windows : In(ArrayLayout), halt : In(1)
    i_read_0, i_read_1, i_write : In(stream)
        Runs.
    o_words_0, o_words_1 : Out(stream), i_words : In(stream)
    fault_0, fault_1, fault_2 : Out(fault_layout), busy : Out(3)
        Of the readers and the writer.
    signal : Out
        Of the writer.
    """

    DEPTH = 64

    def __init__(self, config: Config):
        self.config = config
        words = stream.Signature(config.bus_bits)
        runs = stream.Signature(run_layout())
        super().__init__(axi4.ports(config) | {
            "windows": In(windows_layout()),
            "halt": In(1),
            "i_read_0": In(runs),
            "i_read_1": In(runs),
            "i_write": In(stream.Signature(write_run_layout(config))),
            "o_words_0": Out(words),
            "o_words_1": Out(words),
            "i_words": In(stream.Signature(word_layout(config))),
            **{f"fault_{n}": Out(fault_layout()) for n in range(3)},
            "busy": Out(3),
            "signal": Out(len(queues(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        bus = axi4.Signature(config).create()
        axi4.connect_ports(m, self, bus, config)
        m.submodules.reader_0 = reader_0 = Reader(config, channel=1, depth=self.DEPTH)
        m.submodules.reader_1 = reader_1 = Reader(config, channel=2, depth=0)
        m.submodules.writer = writer = Writer(config)
        m.submodules.arbiter = arbiter = RoundRobin(axi4.address_layout(config), 2)
        connect(m, arbiter=arbiter.o_chosen, bus=flipped(bus.ar))
        m.d.comb += bus.r.ready.eq(1)
        for number, reader in enumerate((reader_0, reader_1)):
            connect(m, reader=reader.ar, arbiter=arbiter.i_sources[number])
            connect(m, runs=flipped(getattr(self, f"i_read_{number}")), reader=reader.i_runs)
            connect(m, reader=reader.o_words, words=flipped(getattr(self, f"o_words_{number}")))
            m.d.comb += [
                reader.r.valid.eq(bus.r.valid & (bus.r.payload.id == reader.channel)),
                reader.r.payload.eq(bus.r.payload),
            ]
        connect(m, runs=flipped(self.i_write), writer=writer.i_runs)
        connect(m, words=flipped(self.i_words), writer=writer.i_words)
        m.d.comb += self.signal.eq(writer.signal)
        for name in ("aw", "w", "b"):
            connect(m, writer=getattr(writer, name), bus=flipped(getattr(bus, name)))
        for number, part in enumerate((reader_0, reader_1, writer)):
            m.d.comb += [
                part.windows.eq(self.windows),
                part.halt.eq(self.halt),
                getattr(self, f"fault_{number}").eq(part.fault),
                self.busy[number].eq(part.busy),
            ]
        return m
