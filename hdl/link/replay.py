"""Go-back-N: flits are kept until they are acknowledged, and sent again when they were lost."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import clog2
from .formats import EPOCH_BITS, SEQUENCE_BITS, acknowledgement_layout
from .packer import BEAT_COUNT_BITS
from .parameters import LinkParameters


def flit_record_layout() -> data.StructLayout:
    """What is kept of a flit besides its words; ``completed`` counts the beats that end in it or before."""
    return data.StructLayout({"channel": 2, "beats": 5, "completed": BEAT_COUNT_BITS})


class Replay(wiring.Component):
    """Sequence numbers, epochs and the memory of a sender.

    Flits ``base`` to ``next - 1`` are unacknowledged. ``sequence`` is the next to be sent: an old one while
    ``replaying``, else a new one. A NAK of the current epoch, a time-out and ``rewind`` go back to ``base`` when the
    flit that is being sent has ended, and begin the next epoch, so that NAKs still on their way are recognised as old.

    Members
    -------
    advance, first, last : In(1)
        A word is made, it is the first, the last of its flit.
    new, again : In(1)
        The flit may carry new payload; it is one of the memory's.
    keep : In(1)
        In the last word of a new flit: it carries payload.
    word, record : In
        To be kept.
    slot : In
        Number of the word.
    sequence : Out(8)
        Of the flit that the word belongs to; stable during the flit.
    replaying, full : Out(1)
        In the first word: the flit has to be one of the memory's; no new flit can be kept.
    kept_word, kept_record : Out
        Of the flit and word, one advance later.
    epoch : Out(2)
    acknowledge : In(acknowledgement_layout), acknowledged, refused : In(1)
        An ACK or NAK has come; it is a NAK.
    active : In(1), rewind : In(1)
        Time passes; go back.
    delivered : Out(BEAT_COUNT_BITS)
        Beats whose flits have been acknowledged.
    replayed, timed_out, stuck : Out(1)
        Strobes: going back, because of time; level: ``retrain_replays`` replays in a row without progress.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "advance": In(1), "first": In(1), "last": In(1),
            "new": In(1), "again": In(1), "keep": In(1),
            "word": In(p.word_bits), "record": In(flit_record_layout()),
            "slot": In(5),
            "sequence": Out(SEQUENCE_BITS),
            "replaying": Out(1), "full": Out(1),
            "kept_word": Out(p.word_bits), "kept_record": Out(flit_record_layout()),
            "epoch": Out(EPOCH_BITS),
            "acknowledge": In(acknowledgement_layout()), "acknowledged": In(1), "refused": In(1),
            "active": In(1), "rewind": In(1),
            "delivered": Out(BEAT_COUNT_BITS),
            "replayed": Out(1), "timed_out": Out(1), "stuck": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        base, following, cursor = (Signal(SEQUENCE_BITS, name=n) for n in ("base", "next", "cursor"))
        current = Signal(SEQUENCE_BITS)
        outstanding = Signal(SEQUENCE_BITS)
        progress = Signal(SEQUENCE_BITS)
        pending = Signal()
        go_back = Signal()
        m.d.comb += [
            outstanding.eq(following - base),
            self.sequence.eq(Mux(self.first, cursor, current)),
            self.replaying.eq(cursor != following),
            self.full.eq(outstanding == p.replay_flits),
        ]
        with m.If(self.advance & self.first):
            m.d.sync += current.eq(cursor)

        # Acknowledgements are cumulative; one outside of what is outstanding says nothing.
        said = Signal(SEQUENCE_BITS)
        m.d.comb += said.eq(self.acknowledge.sequence + 1 - base)
        with m.If(self.acknowledged & (said <= outstanding)):
            m.d.comb += progress.eq(said)
        wanted = self._wanted(m, outstanding, progress, go_back)
        m.d.comb += [go_back.eq(pending & self.advance & self.last), self.replayed.eq(go_back & (outstanding != 0))]
        with m.If(wanted):
            m.d.sync += pending.eq(1)
        with m.Elif(go_back):
            m.d.sync += pending.eq(0)

        after = Signal(SEQUENCE_BITS)
        m.d.comb += after.eq(cursor)
        with m.If(go_back):
            m.d.comb += after.eq(base)
            m.d.sync += self.epoch.eq(self.epoch + 1)
        # An acknowledgement may overtake the cursor during a replay, and while a flit is sent.
        with m.Elif(self.advance & self.last & (self.keep | self.again) & (cursor == current)):
            m.d.comb += after.eq(current + 1)
        m.d.sync += [
            base.eq(base + progress),
            cursor.eq(Mux((after - base)[:SEQUENCE_BITS] < progress, base + progress, after)),
        ]
        with m.If(self.advance & self.last & self.keep):
            m.d.sync += following.eq(following + 1)
        self._memory(m, progress)
        return m

    def _wanted(self, m, outstanding, progress, go_back):
        """Reasons to go back."""
        p = self.parameters
        timer = Signal(range(p.ack_timeout + 1))
        fruitless = Signal(8)
        with m.If(~self.active | (outstanding == 0) | (progress != 0) | self.replayed | self.timed_out):
            m.d.sync += timer.eq(0)
        with m.Else():
            m.d.sync += timer.eq(timer + 1)
        with m.If(~self.active | (progress != 0)):
            m.d.sync += fruitless.eq(0)
        with m.Elif(self.replayed & ~self.stuck):
            m.d.sync += fruitless.eq(fruitless + 1)
        m.d.comb += [self.timed_out.eq(timer == p.ack_timeout), self.stuck.eq(fruitless == p.retrain_replays)]
        nak = self.acknowledged & self.refused & (self.acknowledge.epoch == self.epoch) & ~go_back
        return nak | self.timed_out | self.rewind

    def _memory(self, m, progress):
        p = self.parameters
        flit_bits, slot_bits = clog2(p.replay_flits), clog2(p.flit_words)
        m.submodules.words = words = Memory(shape=p.word_bits, depth=p.replay_flits << slot_bits, init=[])
        m.submodules.records = records = Memory(shape=flit_record_layout(), depth=p.replay_flits, init=[])
        address = Cat(self.slot[:slot_bits], self.sequence[:flit_bits])
        write, read = words.write_port(), words.read_port()
        write_record, read_record, acknowledged = (records.write_port(), records.read_port(),
                                                   records.read_port(domain="comb"))
        m.d.comb += [
            write.addr.eq(address), write.data.eq(self.word), write.en.eq(self.advance & self.new),
            read.addr.eq(address), read.en.eq(self.advance), self.kept_word.eq(read.data),
            write_record.addr.eq(self.sequence[:flit_bits]), write_record.data.eq(self.record),
            write_record.en.eq(self.advance & self.last & self.keep),
            read_record.addr.eq(self.sequence[:flit_bits]), read_record.en.eq(self.advance),
            self.kept_record.eq(read_record.data),
            acknowledged.addr.eq(self.acknowledge.sequence[:flit_bits]),
        ]
        with m.If(progress != 0):
            m.d.sync += self.delivered.eq(acknowledged.data.completed)
