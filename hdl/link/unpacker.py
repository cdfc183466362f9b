"""From the words of accepted flits to payload beats."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .parameters import UNIT_BITS, LinkParameters


class Unpacker(wiring.Component):
    """The inverse of :class:`~hdl.link.packer.Packer`, for accepted flits only.

    ``start`` shows the first word of a flit, the next words follow in the next cycles; flits may follow one another
    without a gap. A beat leaves in the cycle in which its last unit comes: combinational, at most one per cycle.

    Members
    -------
    start : In(1)
    beats : In(5), channel : In(2)
        Of the flit, with ``start``.
    word : In(word_bits)
        Word ``index``.
    index : Out
        Zero with ``start``.
    partial : Out(unit_bits)
        Units that the next flit begins with to complete a beat; valid between flits.
    busy : Out(1)
        A flit's words are being shown.
    beat : Out(word_bits), beat_channel : Out(2), beat_valid : Out(1)
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "start": In(1), "beats": In(5), "channel": In(2),
            "word": In(p.word_bits),
            "index": Out(5),
            "partial": Out(p.unit_bits),
            "busy": Out(1),
            "beat": Out(p.word_bits), "beat_channel": Out(2), "beat_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        following = Signal(5)
        working = Signal()
        beats = Signal(5)  # of the flit
        channel = Signal(2)  # of the flit
        held_beats = Signal(5)
        held_channel = Signal(2)
        tail = Signal(p.word_bits, reset_less=True)
        tail_channel = Signal(2)
        last = Signal()
        begins = Signal()
        m.d.comb += [
            self.busy.eq(self.start | working),
            self.index.eq(Mux(self.start, 0, following)),
            beats.eq(Mux(self.start, self.beats, held_beats)),
            channel.eq(Mux(self.start, self.channel, held_channel)),
            last.eq(self.index == p.flit_words - 1),
            begins.eq(self.index < beats),
            self.beat_valid.eq(self.busy & ((self.partial != 0) | begins & ~last)),
            self.beat_channel.eq(Mux(self.partial != 0, tail_channel, channel)),
        ]
        if p.units == 1:
            m.d.comb += self.beat.eq(self.word)
        else:
            # A beat's first units were the last of the word before; without such, the word is the beat.
            offset = Cat(Const(0, UNIT_BITS.bit_length() - 1), self.partial, self.partial == 0)
            m.d.comb += self.beat.eq(Cat(tail, self.word).bit_select(offset, p.word_bits))
        with m.If(self.busy):
            m.d.sync += [
                working.eq(~last), following.eq(self.index + 1), held_beats.eq(beats), held_channel.eq(channel),
                self.partial.eq(Mux(begins, self.partial + last, 0)),
                # The last word has its trailer at the end: moved up, its payload ends where that of others does.
                tail.eq(Mux(last, self.word << UNIT_BITS, self.word)), tail_channel.eq(channel),
            ]
        return m
