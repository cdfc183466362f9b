"""From payload beats to the words of flits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .parameters import UNIT_BITS, LinkParameters

#: Width of numbers of beats; no more can be on their way.
BEAT_COUNT_BITS = 12


class Packer(wiring.Component):
    """Packs beats of all virtual channels without a gap, one beat per cycle.

    A beat is as wide as a line word, but the last word of a flit is a unit short, so beats straddle words: each word
    begins with what remains of the beat before. The beats that begin in a flit are all of one channel and begin in
    consecutive words from the first on; the channel is chosen in the first word, in turn.

    Combinational from ``i_payload`` to ``word``; everything changes only with ``advance``.

    Members
    -------
    i_payload : In(stream), one per channel
    credit : In(channels)
        Channels whose receiver has room for a beat.
    advance, enable, first, last : In(1)
        A word of the flit is made; it may carry payload; it is the first, the last of its flit.
    word : Out(word_bits)
        Units that carry nothing are zero or what a channel without credit offers, never what an empty one shows.
    begins : Out(channels)
        A beat of this channel is taken in this cycle.
    beats : Out(5), channel : Out(2), carries : Out(1)
        In the last word: the beats that began in the flit, their channel, and whether it carries anything.
    accepted, completed : Out(BEAT_COUNT_BITS)
        Beats taken, and beats whose last unit is in a word up to this one, since reset.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_payload": In(stream.Signature(p.word_bits)).array(p.channels),
            "credit": In(p.channels),
            "advance": In(1), "enable": In(1), "first": In(1), "last": In(1),
            "word": Out(p.word_bits),
            "begins": Out(p.channels),
            "beats": Out(5), "channel": Out(2), "carries": Out(1),
            "accepted": Out(BEAT_COUNT_BITS), "completed": Out(BEAT_COUNT_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        remainder = Signal(p.unit_bits)  # units of ``tail`` still to be sent, its last ones
        tail = Signal(p.word_bits, reset_less=True)
        beat = Signal(p.word_bits)
        begin = Signal()
        self._choose(m, beat, begin, room=~self.last | (remainder != p.units - 1))
        if p.units == 1:
            m.d.comb += self.word.eq(beat)
        else:  # units - 1 - remainder = ~remainder
            m.d.comb += self.word.eq(
                Cat(tail[UNIT_BITS:], beat).bit_select(Cat(Const(0, UNIT_BITS.bit_length() - 1), ~remainder),
                                                       p.word_bits))
        m.d.comb += self.completed.eq(self._completed(m, remainder, begin))
        with m.If(self.advance & self.enable):
            m.d.sync += remainder.eq(Mux(begin, remainder + self.last, 0))
            with m.If(begin):
                m.d.sync += tail.eq(beat)
        carrying = Signal()
        m.d.comb += self.carries.eq(self.enable & (begin | Mux(self.first, remainder != 0, carrying)))
        with m.If(self.advance):
            m.d.sync += carrying.eq(self.carries)
        return m

    def _choose(self, m, beat, begin, room):
        """Which channel's beat begins in this word, if any."""
        channels = self.parameters.channels
        wanted = Signal(channels)
        held = Signal(2)
        contiguous = Signal()
        count = Signal(5)
        m.d.comb += [wanted[v].eq(self.i_payload[v].valid & self.credit[v]) for v in range(channels)]
        with m.If(self.first):
            m.d.comb += self.channel.eq(held)
            with m.Switch(held):
                for last in range(channels):
                    with m.Case(last):
                        for v in (last, *reversed([(last + i) % channels for i in range(1, channels)])):
                            with m.If(wanted[v]):
                                m.d.comb += self.channel.eq(v)
        with m.Else():
            m.d.comb += self.channel.eq(held)
        with m.Switch(self.channel):
            for v in range(channels):
                with m.Case(v):
                    m.d.comb += [
                        beat.eq(Mux(self.i_payload[v].valid, self.i_payload[v].payload, 0)),
                        begin.eq(self.enable & room & wanted[v] & (self.first | contiguous)),
                        self.begins[v].eq(begin & self.advance),
                        self.i_payload[v].ready.eq(self.begins[v]),
                    ]
        m.d.comb += [self.beats.eq(Mux(self.first, 0, count) + begin)]
        with m.If(self.advance):
            m.d.sync += [contiguous.eq(begin), count.eq(self.beats), held.eq(self.channel)]
        with m.If(self.begins.any()):
            m.d.sync += self.accepted.eq(self.accepted + 1)

    def _completed(self, m, remainder, begin):
        """Beats that are complete when this word has gone."""
        done = Signal(BEAT_COUNT_BITS)
        after = done + Mux(self.enable, Mux(remainder != 0, 1, begin & ~self.last), 0)
        with m.If(self.advance):
            m.d.sync += done.eq(after)
        return after
