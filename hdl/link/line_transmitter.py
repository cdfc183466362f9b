"""From line words to lanes, and the training blocks."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import clog2
from .formats import MARKER, VERSION, ones, training_crc, training_layout
from .parameters import BLOCK_BITS, ROUND_BLOCKS, UNIT_BITS, LinkParameters
from .prbs import STATE_BITS, prbs_next, seed


class LineTransmitter(wiring.Component):
    """Drives the lanes: with nothing, training blocks, line words or a test pattern.

    Lane ``l`` carries bits ``lane_bits x l`` and up of a line word, bit 0 first. With fewer lanes, all of them a power
    of two, a word takes several cycles: the lanes of ``mask``, in ascending order, carry its first part, then the next.

    Latency one cycle, one word per ``lanes / lanes of mask`` cycles.

    Members
    -------
    i_line : In(stream)
    train : In(1)
        Training blocks instead of line words; blocks that are being sent go on without a break.
    finish : In(1)
        The next round is the last; line words follow it.
    silent, test : In(1)
        Zeros on all lanes; PRBS-31 on all lanes.
    discard : In(1)
        Line words are taken and not sent.
    state, received : In
        Contents of training blocks.
    mask : In(lanes)
        Lanes that carry line words.
    flits : Out(1)
        Line words are sent.
    o_lanes : Out(lane_bits), per lane
    """

    i_line: stream.Interface

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_line": In(stream.Signature(p.word_bits)),
            "train": In(1), "finish": In(1), "silent": In(1), "test": In(1), "discard": In(1),
            "state": In(3), "received": In(16),
            "mask": In(p.lanes),
            "flits": Out(1),
            "o_lanes": Out(p.lane_bits).array(p.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        training, parts, pattern = self._train(m), self._split(m), self._test(m)
        for lane, out in enumerate(self.o_lanes):
            with m.If(self.silent):
                m.d.sync += out.eq(0)
            with m.Elif(self.test):
                m.d.sync += out.eq(pattern[lane])
            with m.Elif(self.flits):
                m.d.sync += out.eq(Mux(self.mask[lane] & self.i_line.valid, parts[lane], 0))
            with m.Else():
                m.d.sync += out.eq(training[lane])
        return m

    def _train(self, m):
        """The word of each lane's training block."""
        p = self.parameters
        word = Signal(max(1, clog2(p.block_words)))
        count = Signal(range(ROUND_BLOCKS))
        last = Signal()
        block_end = word == p.block_words - 1
        round_end = block_end & (count == ROUND_BLOCKS - 1)
        m.d.sync += word.eq(Mux(block_end, 0, word + 1))
        with m.If(block_end):
            m.d.sync += count.eq(count + 1)
        with m.If(round_end):
            m.d.sync += [last.eq(self.finish), self.flits.eq(self.flits | last)]
        with m.If(self.train):
            m.d.sync += [last.eq(0), self.flits.eq(0)]
        words = []
        for lane in range(p.lanes):
            info = Signal(training_layout(), name=f"info_{lane}")
            m.d.comb += [
                info.lane.eq(lane), info.count.eq(count), info.state.eq(self.state), info.last.eq(last),
                info.version.eq(VERSION), info.mask.eq(self.received),
            ]
            block = Signal(BLOCK_BITS, name=f"block_{lane}")
            m.d.comb += block.eq(Cat(Const(MARKER, UNIT_BITS), info, training_crc(info.as_value())))
            words.append(block.word_select(word, p.lane_bits))
        return words

    def _split(self, m):
        """The part of the line word for each lane."""
        p = self.parameters
        part = Signal(range(p.lanes))
        count = ones(self.mask)
        last = Signal()
        width = Signal(range(p.lanes + 1))
        m.d.comb += [width.eq(count), self.i_line.ready.eq(self.discard | self.flits & last)]
        at = [Signal(range(p.lanes), name=f"at_{lane}") for lane in range(p.lanes)]
        with m.Switch(width):
            for power in range(clog2(p.lanes) + 1):
                with m.Case(1 << power):
                    m.d.comb += last.eq(part == (p.lanes >> power) - 1)
                    m.d.comb += [at[lane].eq((part << power) + (ones(self.mask[:lane]) if lane else 0))
                                 for lane in range(p.lanes)]
        m.d.sync += part.eq(Mux(self.flits & ~last, part + 1, 0))
        return [self.i_line.payload.word_select(index, p.lane_bits) for index in at]

    def _test(self, m):
        """The test pattern of each lane."""
        patterns = []
        for lane in range(self.parameters.lanes):
            lfsr = Signal(STATE_BITS, init=seed(lane), name=f"pattern_{lane}")
            bits, after = prbs_next(lfsr, self.parameters.lane_bits)
            with m.If(self.test):
                m.d.sync += lfsr.eq(after)
            patterns.append(bits)
        return patterns
