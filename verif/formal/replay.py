"""The replay: whatever the line does to flits, payload is accepted once, in order and unchanged; credits are kept.

Two ends, each a :class:`~hdl.link.transmitter.Transmitter` and a :class:`~hdl.link.receiver.Receiver` as they are,
exchange what :class:`~hdl.link.link.Link` lets them exchange. Between them are passages that deliver flits in their
order, as late as they like, spoil some and lose others. Whether the CRC of a flit that arrives is right is a free bit,
wrong for those that are spoilt; scrambler, lanes and training are not here, but an end may stop, send HELLO flits and
go on at any time, and hears only when it likes to. How a receiver cuts words into beats is left out.

A *history* tells what was made: of the flits that may be anywhere still, payload and record by their number, and how
many beats of each channel had begun before. Every claim compares with it. The claims are about flits from ``a`` to
``b``; the other direction brings the messages and has payload of its own, about which nothing is claimed.
"""

from amaranth.hdl import Array as Choice
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from hdl.config import clog2
from hdl.link.formats import (
    CREDIT_BITS,
    EPOCH_BITS,
    SEQUENCE_BITS,
    Cause,
    FlitType,
    header_layout,
)
from hdl.link.link import Link
from hdl.link.packer import BEAT_COUNT_BITS
from hdl.link.parameters import UNIT_BITS, LinkParameters
from hdl.link.receiver import Receiver
from hdl.link.transmitter import Transmitter

from .design import FormalTop, opened, previous, state

#: The shortest flits that there are, and the smallest memories.
PARAMETERS = LinkParameters(lanes=8, lane_bits=64, channels=2, replay_flits=4, receive_beats=4)

#: Bits of a word that are looked at: its lowest.
WORD_BITS = 1

#: Flits that a passage holds.
_PASSAGE_FLITS = 3

#: Epochs after which an age is no longer counted.
OLDEST = (1 << EPOCH_BITS) - 1


def within(number, low, high):
    """Whether a sequence number is one of ``low`` to ``high``."""
    return (number - low)[:SEQUENCE_BITS] <= (high - low)[:SEQUENCE_BITS]


def aged(age, older):
    """An age in epochs, which stays at what an epoch's number can tell."""
    return Mux(older & (age != OLDEST), age + 1, age)[:EPOCH_BITS]


class Passage:
    """A queue in which items wait as long as they like; ``leaving`` takes the first out, ``older`` makes all older."""

    def __init__(self, m: Module, layout: data.Layout, *, name: str, arriving, item, leaving, older):
        entries = [Signal(layout, name=f"{name}_{i}") for i in range(_PASSAGE_FLITS)]
        count = Signal(range(_PASSAGE_FLITS + 1), name=f"{name}_count")
        self.first = entries[0]
        self.taken = leaving & (count != 0)
        #: Whether there is an item, and the item, the oldest first.
        self.waiting = [(count > i, entry) for i, entry in enumerate(entries)]
        left = (count - self.taken)[:len(count)]
        for number, (entry, after) in enumerate(zip(entries, [*entries[1:], item])):
            coming = data.View(layout, Mux(arriving & (left == number), item, Mux(self.taken, after, entry)))
            m.d.sync += [entry.eq(coming), entry.age.eq(aged(coming.age, older))]
        m.d.sync += count.eq(left + arriving)
        m.d.comb += [Assume(~arriving | (left != _PASSAGE_FLITS)), Assert(count <= _PASSAGE_FLITS, f"{name}: all fit")]


class End:
    """Transmitter and receiver of one end, opened, and the free inputs of both."""

    def __init__(self, top: FormalTop, parameters: LinkParameters):
        self.link = Link(parameters)  # it is here for what it connects
        self.link._MustUse__silence = True
        self.transmitter, self.receiver = Transmitter(parameters), Receiver(parameters)
        self.link.transmitter, self.link.receiver = self.transmitter, self.receiver
        self.transmit, self.receive = opened(self.transmitter), opened(self.receiver)
        self.replay, self.packer = opened(self.transmitter.replay), opened(self.transmitter.packer)
        #: The CRC of a flit that arrives is right.
        self.intact = Signal()
        self.receive.d.sync += state(self.receive, "passed").eq(self.intact)
        top.leave_out(self.receiver.unpacker)
        self.buffers = [self.receive.submodules[f"buffer_{v}"] for v in range(parameters.channels)]
        self.queues = [opened(buffer).submodules.queue for buffer in self.buffers]
        for queue in self.queues:
            opened(queue, platform=None)  # for "formal" it has claims of its own
        #: What is offered: of each unit of a beat one bit, the others are zero.
        self.offered = [Signal(parameters.units, name=f"offered_{v}") for v in range(parameters.channels)]
        top.release(self.transmitter.run, self.transmitter.up, self.transmitter.o_line.ready, self.receiver.listen,
                    self.intact, *self.offered)
        for v in range(parameters.channels):
            top.release(self.transmitter.i_payload[v].valid, self.receiver.o_payload[v].ready)

    def connect(self, m: Module):
        """Payload and messages."""
        self.link._exchange(m)
        for payload, offered in zip(self.transmitter.i_payload, self.offered):
            m.d.comb += payload.payload.eq(Cat(Cat(bit, Const(0, UNIT_BITS - 1)) for bit in offered))

    @property
    def header(self):
        """What the trailer says of the flit whose words are in the transmitter's second stage."""
        return state(self.transmit, "header", header_layout())


class ReplayedLink(FormalTop):
    """Two ends and what is between them, and the claims.

    Parameters
    ----------
    parameters : LinkParameters
    """

    def __init__(self, parameters: LinkParameters = PARAMETERS):
        super().__init__()
        self.parameters = p = parameters
        self.a, self.b = End(self, p), End(self, p)
        words = data.ArrayLayout(WORD_BITS, p.flit_words)
        self.record_layout = data.StructLayout({
            "words": words, "channel": 2, "beats": 5, "completed": BEAT_COUNT_BITS})
        # With a flit from ``a``: how many flits had been made, and how many epochs have begun since it was sent. With
        # one from ``b``: how many flits had been accepted, how many beats allowed, and the age of the epoch known.
        self.layouts = {
            "ab": data.StructLayout({"header": header_layout(), "words": words, "made": SEQUENCE_BITS,
                                     "age": EPOCH_BITS}),
            "ba": data.StructLayout({"header": header_layout(), "accepted": SEQUENCE_BITS,
                                     "allowed": data.ArrayLayout(CREDIT_BITS, p.channels), "age": EPOCH_BITS})}
        self.leaves, self.arrives = ({way: Signal(name=f"{way}_{name}") for way in self.layouts}
                                     for name in ("leaves", "arrives"))
        self.noise = Signal(header_layout())
        self.release(self.noise, *self.leaves.values(), *self.arrives.values())

    def elaborate(self, platform):
        m = Module()
        for name, end in (("a", self.a), ("b", self.b)):
            m.submodules[f"transmitter_{name}"], m.submodules[f"receiver_{name}"] = end.transmitter, end.receiver
            end.connect(m)
        self._history(m)
        self._second_stage(m)
        sent, told = (Signal(layout, name=f"{way}_sent") for way, layout in self.layouts.items())
        m.d.comb += [
            sent.header.eq(self.a.header), sent.words.eq(Cat(self.words)), sent.made.eq(self.number),
            sent.age.eq(self.age),
            told.header.eq(self.b.header), told.accepted.eq(self.accepted),
            told.allowed.eq(Cat(self.allowances)), told.age.eq(self.known_age),
        ]
        self.there = self._between(m, "ab", self.a, sent, self.b)
        self.back = self._between(m, "ba", self.b, told, self.a)
        self._claims(m)
        self._credit_claims(m)
        self._epoch_claims(m)
        return m

    def _between(self, m, way: str, sender: End, item, receiver: End):
        """A passage with its ends. Returns what is on the way, the oldest first: whether there is something, and what;
        the oldest is where the receiver looks at it."""
        layout = self.layouts[way]
        passage = Passage(m, layout, name=way, arriving=sender.transmitter.flit_sent, item=item,
                          leaving=self.leaves[way], older=self.begins_epoch)
        arrived = Signal(layout, name=f"{way}_arrived")
        comes = passage.taken & self.arrives[way]
        header = Mux(receiver.intact, passage.first.header.as_value(), self.noise.as_value())
        m.d.comb += [
            receiver.receiver.valid.eq(comes), receiver.receiver.last.eq(comes),
            receiver.receiver.word.eq(Cat(Const(0, self.parameters.word_bits - UNIT_BITS), header)),
        ]
        m.d.sync += [arrived.eq(passage.first), arrived.age.eq(aged(passage.first.age, self.begins_epoch))]
        if receiver is self.b:
            missing = passage.taken & ~(self.arrives[way] & receiver.intact) & (passage.first.age == 0)
            self._damage(m, arrived, missing | sender.transmitter.idle)
        return [(receiver.receiver.good, arrived), *passage.waiting]

    # What was made, and where it is

    def _history(self, m):
        """What ``a`` has made, by the low bits of its number, and what ``b`` has accepted."""
        p, a, b = self.parameters, self.a, self.b
        replay, packer, channels = a.transmitter.replay, a.transmitter.packer, range(p.channels)
        depth = 4 * p.replay_flits  # of these, flits of twice ``replay_flits`` numbers may be on their way or kept
        self.index_bits = clog2(depth)
        self.number = Signal(SEQUENCE_BITS)
        self.accepted = Signal(SEQUENCE_BITS)
        self.known_age = Signal(EPOCH_BITS)
        self.made = [Signal(self.record_layout, name=f"made_{i}") for i in range(depth)]
        self.before = [[Signal(CREDIT_BITS, name=f"before_{i}_{v}") for i in range(depth)] for v in channels]
        self.taken = [state(a.transmit, f"taken_{v}") for v in channels]
        self.allowed = [state(a.transmit, f"allowed_{v}") for v in channels]
        self.allowances = [state(b.receive, f"allowance_{v}") for v in channels]
        kept = replay.advance & replay.last & replay.keep
        for i, made in enumerate(self.made):
            with m.If(replay.advance & replay.new & (self.number[:self.index_bits] == i)):
                for slot, word in enumerate(made.words):
                    with m.If(replay.slot == slot):
                        m.d.sync += word.eq(replay.word)
                with m.If(kept):
                    m.d.sync += [made[name].eq(replay.record[name]) for name in ("channel", "beats", "completed")]
            with m.If(kept & ((self.number + 1)[:self.index_bits] == i)):
                m.d.sync += [self.before[v][i].eq(self.taken[v] + packer.begins[v]) for v in channels]
        self.begins_epoch = state(a.replay, "go_back")
        m.d.sync += [self.number.eq(self.number + kept), self.accepted.eq(self.accepted + b.receiver.unpacker.start)]

    def record(self, number):
        """Of the history."""
        return data.View(self.record_layout, Choice(self.made)[number[:self.index_bits]])

    def begun(self, v, number):
        """Beats of a channel that had begun before a flit was made."""
        return Choice(self.before[v])[number[:self.index_bits]]

    def _second_stage(self, m):
        """The number of the word in the transmitter's second stage, whether it is of a flit that may be new, and the
        words of its flit up to this one."""
        transmitter, replay = self.a.transmitter, self.a.transmitter.replay
        self.present = Signal()
        self.place = Signal(range(self.parameters.flit_words))
        self.fresh = Signal()
        with m.If(transmitter.advance):
            m.d.sync += [self.present.eq(replay.advance), self.place.eq(replay.slot), self.fresh.eq(replay.new)]
        with m.If(transmitter.idle):
            m.d.sync += self.present.eq(0)
        self.age = Signal(EPOCH_BITS)
        with m.If(transmitter.advance):
            m.d.sync += self.age.eq(self.begins_epoch)
        word = state(self.a.transmit, "plain")[:WORD_BITS]
        self.words = []
        for place in range(self.parameters.flit_words):
            gone = Signal(WORD_BITS, name=f"gone_{place}")
            with m.If(transmitter.advance & (self.place == place)):
                m.d.sync += gone.eq(word)
            self.words.append(Mux(self.place == place, word, gone))

    def _damage(self, m, arrived, missing):
        """Whether a flit of this epoch was missed by ``b``, and the age of the epoch that ``b`` knows.

        A flit is missed if it is lost or bad, or good and not heard, or refused, or cut because a run ends."""
        receiver = self.b.receiver
        self.damage = Signal()
        refused = receiver.refusing | (receiver.answer.refuse != 0)
        unheard = receiver.good & (refused | ~receiver.sequenced & (arrived.header.type != FlitType.HELLO))
        m.d.sync += self.damage.eq(~self.begins_epoch & (self.damage | missing | unheard & (arrived.age == 0)))
        m.d.sync += self.known_age.eq(aged(Mux(receiver.sequenced, arrived.age, self.known_age), self.begins_epoch))

    # Claims

    def _claims(self, m):
        """Payload is accepted once, in order and unchanged."""
        a, b = self.a, self.b
        expected, arrived = self.record(self.accepted), self.there[0][1]
        self.base, self.cursor = state(a.replay, "base"), state(a.replay, "cursor")
        unacknowledged = (self.number - self.base)[:SEQUENCE_BITS]
        with m.If(b.receiver.unpacker.start):
            m.d.comb += [
                Assert(arrived.words == expected.words, "what is accepted is the next that was made"),
                Assert((arrived.header.channel == expected.channel) & (arrived.header.beats == expected.beats),
                       "what is accepted has its channel and beats"),
            ]
        m.d.comb += [
            Assert(within(self.accepted, self.base, self.number),
                   "what is acknowledged was accepted, what is accepted was made"),
            Assert(unacknowledged <= self.parameters.replay_flits, "what is not acknowledged is kept"),
            Assert(within(self.cursor, self.base, self.number), "what is acknowledged is not sent again"),
            Assert(a.transmitter.delivered == self.record(self.base - 1).completed,
                   "beats are delivered if their flits are acknowledged"),
        ]

    def _credit_claims(self, m):
        """Beats are sent if there is room for them. They come out of the unpacker, in their number, at any time after
        their flit was accepted."""
        b = self.b
        unpacker, header = b.receiver.unpacker, state(b.receive, "header", header_layout())
        self.written = []
        m.d.comb += Assert(~(b.receiver.refusing & (b.receiver.fault == Cause.NO_CREDIT)),
                           "no flit is refused for want of credit")
        for v in range(self.parameters.channels):
            written = Signal(CREDIT_BITS, name=f"written_{v}")
            writes = unpacker.beat_valid & (unpacker.beat_channel == v)
            begun = state(b.receive, f"begun_{v}") + Mux(unpacker.start & (header.channel == v), header.beats, 0)
            m.d.sync += written.eq(written + writes)
            m.d.comb += [
                Assume(~writes | (written != begun[:CREDIT_BITS])),
                Assert(~b.queues[v].w_en | b.queues[v].w_rdy, "there is room for every beat"),
            ]
            self.written.append(written)

    def _epoch_claims(self, m):
        """One error is one replay, as long as the numbers of epochs tell them apart: time-outs are longer than a round
        trip, so that nothing of the epoch before the last is on its way when one begins. Until something is so old
        that its number comes again, ``calm`` is set."""
        replay, pending = self.a.transmitter.replay, state(self.a.replay, "pending")
        ages = [self.known_age, *(Mux(valid, item.age, 0) for valid, item in (*self.there, *self.back))]
        self.calm = Signal(init=1)
        m.d.sync += self.calm.eq(self.calm & ~(self.begins_epoch & Cat(age == OLDEST for age in ages).any()))
        reasons = previous(m, Cat(pending & ~self.begins_epoch, replay.timed_out, replay.rewind, self.damage),
                           name="reasons")
        m.d.comb += Assert(~self.calm | ~pending | reasons.any(),
                           "a NAK leads to a replay if a flit was missed in this epoch")
