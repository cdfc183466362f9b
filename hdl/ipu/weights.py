"""The weight stream: from memory to the loader, fetched ahead."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ADDR_BITS, Config, clog2
from ..csr import Cause
from .fault import fault_layout, raise_fault
from .reader import Reader
from .windows import windows_layout


def weights_layout() -> data.StructLayout:
    """Consecutive steps: first byte, bus words, and how many steps they are."""
    return data.StructLayout({"address": ADDR_BITS, "beats": 32, "steps": 32})


class Weights(wiring.Component):
    """Streams steps to the loader, ``prefetch_beats`` bus words ahead, across instructions without a bubble.

    Raises ``fault`` with WEIGHT_STREAM if the bus words end before the last step does or go on after it.

    Members
    -------
    windows, halt, ar, r, fault
        As in :class:`~hdl.ipu.reader.Reader`.
    i_weights : In(stream)
    o_words : Out(stream)
        To the loader.
    step_end : In(1)
        The loader sees the last word of a step.
    idle : Out(1)
    """

    i_weights: stream.Interface
    o_words: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    #: Instructions whose words may be under way at once.
    DESCRIPTORS = 4

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_weights": In(stream.Signature(weights_layout())),
            "o_words": Out(stream.Signature(config.bus_bits)),
            "step_end": In(1),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = Reader(self.config, channel=self.channel, depth=self.config.prefetch_beats)
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        m.d.comb += [reader.windows.eq(self.windows), reader.halt.eq(self.halt)]
        m.submodules.expected = expected = SyncFIFO(width=weights_layout().size, depth=self.DESCRIPTORS)
        m.d.comb += [
            self.i_weights.ready.eq(reader.i_runs.ready & expected.w_rdy),
            reader.i_runs.valid.eq(self.i_weights.valid & expected.w_rdy),
            reader.i_runs.payload.address.eq(self.i_weights.payload.address),
            reader.i_runs.payload.beats.eq(self.i_weights.payload.beats),
            expected.w_en.eq(self.i_weights.valid & self.i_weights.ready),
            expected.w_data.eq(self.i_weights.payload),
            self.idle.eq(~expected.r_rdy & ~reader.busy),
        ]
        self._follow(m, reader, expected)
        with m.If(reader.fault.valid):
            raise_fault(m, self.fault, reader.fault.cause, reader.fault.address)
        return m

    def _follow(self, m, reader, expected):
        """Counts words and steps of the current instruction as the loader takes them."""
        current = data.View(weights_layout(), expected.r_data)
        word, steps = Signal(32), Signal(32)
        taken, last = Signal(), Signal()
        now_steps = steps + self.step_end
        m.d.comb += [
            self.o_words.valid.eq(reader.o_words.valid & expected.r_rdy & ~self.fault.valid),
            self.o_words.payload.eq(reader.o_words.payload),
            taken.eq(self.o_words.valid & self.o_words.ready),
            reader.o_words.ready.eq(taken),
            last.eq(word == current.beats - 1),
            expected.r_en.eq(taken & last),
        ]
        with m.If(taken):
            m.d.sync += [word.eq(Mux(last, 0, word + 1)), steps.eq(Mux(last, 0, now_steps))]
            with m.If(last != (self.step_end & (now_steps == current.steps))):
                raise_fault(m, self.fault, Cause.WEIGHT_STREAM,
                            current.address + (word << clog2(self.config.bus_bytes)))
