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
    SEQUENCE_BITS,
    Cause,
    FlitType,
    Message,
    acknowledgement_layout,
    header_layout,
)
from hdl.link.link import Link
from hdl.link.packer import BEAT_COUNT_BITS
from hdl.link.parameters import UNIT_BITS, LinkParameters
from hdl.link.receiver import Receiver
from hdl.link.transmitter import Transmitter

from .design import FormalTop, opened, state

#: The shortest flits that there are, and the smallest memories.
PARAMETERS = LinkParameters(lanes=8, lane_bits=64, channels=2, replay_flits=4, receive_beats=4)

#: Bits of a word that are looked at: its lowest.
_WORD_BITS = 1

#: Flits that a passage holds.
_PASSAGE_FLITS = 3


def within(number, low, high):
    """Whether a sequence number is one of ``low`` to ``high``."""
    return (number - low)[:SEQUENCE_BITS] <= (high - low)[:SEQUENCE_BITS]


class Passage:
    """A queue in which items wait as long as they like; ``leaving`` takes the first out."""

    def __init__(self, m: Module, layout: data.Layout, *, name: str, arriving, item, leaving):
        entries = [Signal(layout, name=f"{name}_{i}") for i in range(_PASSAGE_FLITS)]
        count = Signal(range(_PASSAGE_FLITS + 1), name=f"{name}_count")
        self.first = entries[0]
        self.taken = leaving & (count != 0)
        #: Whether there is an item, and the item, the oldest first.
        self.waiting = [(count > i, entry) for i, entry in enumerate(entries)]
        left = (count - self.taken)[:len(count)]
        for number, (entry, after) in enumerate(zip(entries, [*entries[1:], item])):
            m.d.sync += entry.eq(Mux(arriving & (left == number), item, Mux(self.taken, after, entry)))
        m.d.sync += count.eq(left + arriving)
        m.d.comb += [Assume(~arriving | (left != _PASSAGE_FLITS)), Assert(count <= _PASSAGE_FLITS, f"{name}: all fit")]


class End:
    """Transmitter and receiver of one end, opened, and the free inputs of both."""

    def __init__(self, top: FormalTop, parameters: LinkParameters):
        self.link = Link(parameters)  # it is here for what it connects
        self.link._MustUse__silence = True  # type: ignore[attr-defined]
        self.transmitter, self.receiver = Transmitter(parameters), Receiver(parameters)
        self.link.transmitter, self.link.receiver = self.transmitter, self.receiver
        self.transmit, self.receive = opened(self.transmitter), opened(self.receiver)
        self.replay, self.packer = opened(self.transmitter.replay), opened(self.transmitter.packer)
        #: The CRC of a flit that arrives is right.
        self.intact = Signal()
        self.receive.d.sync += state(self.receive, "passed").eq(self.intact)
        top.leave_out(self.receiver.unpacker)
        self.buffers = [self.receive.submodules[f"buffer_{v}"] for v in range(parameters.channels)]
        for buffer in self.buffers:
            opened(buffer, platform=None)
        top.release(self.transmitter.run, self.transmitter.up, self.transmitter.o_line.ready, self.receiver.listen)
        for v in range(parameters.channels):
            payload = self.transmitter.i_payload[v]
            top.release(payload.valid, payload.payload, self.receiver.o_payload[v].ready)

    @property
    def header(self):
        """What the trailer says of the flit whose words are in the transmitter's second stage."""
        return state(self.transmit, "header", header_layout())


class ReplayedLink(FormalTop):
    """Two ends and what is between them; the claims, and what induction needs to know."""

    def __init__(self, parameters: LinkParameters = PARAMETERS):
        super().__init__()
        self.parameters = p = parameters
        self.a, self.b = End(self, p), End(self, p)
        words = data.ArrayLayout(_WORD_BITS, p.flit_words)
        self.record_layout = data.StructLayout({
            "words": words, "channel": 2, "beats": 5, "completed": BEAT_COUNT_BITS})
        # Of the receiver of messages: how many flits ``b`` had accepted, and how many beats it had allowed.
        self.layouts = {
            "ab": data.StructLayout({"header": header_layout(), "words": words, "made": SEQUENCE_BITS}),
            "ba": data.StructLayout({"header": header_layout(), "accepted": SEQUENCE_BITS,
                                     "allowed": data.ArrayLayout(CREDIT_BITS, p.channels)})}
        self.leaves, self.arrives = ({way: Signal(name=f"{way}_{name}") for way in self.layouts}
                                     for name in ("leaves", "arrives"))
        self.noise = Signal(header_layout())
        self.release(*self.leaves.values(), *self.arrives.values(), self.noise)

    def elaborate(self, platform):
        m = Module()
        for name, end in (("a", self.a), ("b", self.b)):
            m.submodules[f"transmitter_{name}"], m.submodules[f"receiver_{name}"] = end.transmitter, end.receiver
            end.link._exchange(m)
        self._history(m)
        self._second_stage(m)
        sent, told = (Signal(layout, name=f"{way}_sent") for way, layout in self.layouts.items())
        m.d.comb += [
            sent.header.eq(self.a.header), sent.words.eq(Cat(self.words)), sent.made.eq(self.number),
            told.header.eq(self.b.header), told.accepted.eq(self.accepted),
            told.allowed.eq(Cat(self.allowances)),
        ]
        self.there = self._between(m, "ab", self.a, sent, self.b)
        self.back = self._between(m, "ba", self.b, told, self.a)
        self._claims(m)
        self._choice(m)
        self._memory(m)
        self._stages(m)
        self._flits(m)
        self._messages(m)
        self._beats(m)
        return m

    def _between(self, m, way: str, sender: End, item, receiver: End):
        """A passage with its ends. Returns what is on the way, the oldest first: whether there is something, and what;
        the oldest is where the receiver looks at it."""
        layout = self.layouts[way]
        passage = Passage(m, layout, name=way, arriving=sender.transmitter.flit_sent, item=item, leaving=self.leaves[way])
        arrived = Signal(layout, name=f"{way}_arrived")
        comes = passage.taken & self.arrives[way]
        header = Mux(receiver.intact, passage.first.header.as_value(), self.noise.as_value())
        m.d.comb += [
            receiver.receiver.valid.eq(comes), receiver.receiver.last.eq(comes),
            receiver.receiver.word.eq(Cat(Const(0, self.parameters.word_bits - UNIT_BITS), header)),
        ]
        m.d.sync += arrived.eq(passage.first)
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
        word = state(self.a.transmit, "plain")[:_WORD_BITS]
        self.words = []
        for place in range(self.parameters.flit_words):
            gone = Signal(_WORD_BITS, name=f"gone_{place}")
            with m.If(transmitter.advance & (self.place == place)):
                m.d.sync += gone.eq(word)
            self.words.append(Mux(self.place == place, word, gone))

    # Claims

    def _claims(self, m):
        a, b = self.a, self.b
        expected, arrived = self.record(self.accepted), self.there[0][1]
        self.base, self.cursor = state(a.replay, "base"), state(a.replay, "cursor")
        with m.If(b.receiver.unpacker.start):
            m.d.comb += [
                Assert(arrived.words == expected.words, "what is accepted is the next that was made"),
                Assert((arrived.header.channel == expected.channel) & (arrived.header.beats == expected.beats),
                       "what is accepted has its record"),
            ]
        m.d.comb += [
            Assert(within(self.accepted, self.base, self.number), "what is acknowledged was accepted, what is accepted was made"),
            Assert((self.number - self.base)[:SEQUENCE_BITS] <= self.parameters.replay_flits,
                   "what is not acknowledged is kept"),
            Assert(a.transmitter.delivered == self.record(self.base - 1).completed,
                   "beats are delivered if their flits are acknowledged"),
        ]

    # What induction needs to know

    def _choice(self, m):
        """The first stage of the transmitter is within the numbers that there are."""
        p, a = self.parameters, self.a
        replay = a.transmitter.replay
        self.slot = replay.slot
        self.held = state(a.transmit, "held", data.StructLayout({"hello": 1, "again": 1, "new": 1}))
        self.current = state(a.replay, "current")
        running, flits = state(a.transmit, "running"), state(a.transmit, "flits")
        self.inside = self.slot != 0
        room = (self.number - self.base)[:SEQUENCE_BITS] < p.replay_flits
        m.d.comb += [
            Assert(state(a.replay, "next") == self.number, "flits are numbered"),
            Assert(within(self.cursor, self.base, self.number), "the cursor is at what is kept, or at what is next"),
            Assert(self.slot < p.flit_words, "a flit ends"),
            Assert(running | ~self.inside, "the run ends between flits"),
            Assert((flits <= p.skip_flits) & ((flits != p.skip_flits) | ~self.inside), "skip words come between flits"),
            Assert((self.held.hello + self.held.again + self.held.new) <= 1, "a flit is of one kind"),
        ]
        with m.If(self.inside & self.held.new):
            m.d.comb += Assert((self.current == self.number) & (self.cursor == self.number) & room, "new ones are next")
        with m.If(self.inside & self.held.again):
            m.d.comb += Assert(within(self.current, self.number - p.replay_flits, self.number - 1), "old ones were made")
        with m.If(self.inside):
            m.d.comb += [
                Assert(self.present & (self.place + 1 == self.slot), "the second stage follows the first"),
                Assert(a.transmitter.chosen.sequence == self.current, "it has the same flit"),
                Assert((a.transmitter.chosen.again == self.held.again) & (self.fresh == self.held.new),
                       "it has a flit of the same kind"),
            ]

    def _memory(self, m):
        """What the replay memory holds: all that is not acknowledged, and what is being sent or made."""
        p, a = self.parameters, self.a
        words, records = (a.replay.submodules[name] for name in ("words", "records"))
        sending = self.inside & self.held.again
        making = self.inside & self.held.new
        for entry in range(p.replay_flits):
            bits = clog2(p.replay_flits)
            number = (self.number - p.replay_flits + (entry - self.number)[:bits])[:SEQUENCE_BITS]
            needed = (number - self.base)[:SEQUENCE_BITS] < (self.number - self.base)[:SEQUENCE_BITS]
            needed = needed | (sending & (number == self.current))
            made = self.record(number)
            for slot in range(p.flit_words):
                port = words.read_port(domain="comb")
                m.d.comb += port.addr.eq(entry << clog2(p.flit_words) | slot)
                kept = port.data[:_WORD_BITS]
                m.d.comb += [
                    Assert(~needed | (kept == made.words[slot]), f"word {slot} is kept at {entry}"),
                    Assert(~(making & (slot < self.slot) & (self.number[:bits] == entry))
                           | (kept == self.record(self.number).words[slot]), f"new word {slot} is kept at {entry}"),
                ]
            port = records.read_port(domain="comb")
            m.d.comb += port.addr.eq(entry)
            for name in ("channel", "beats", "completed"):
                m.d.comb += Assert(~needed | (port.data[name] == made[name]), f"{name} is kept at {entry}")

    def _stages(self, m):
        """The second stage of the transmitter has words of flits that were made."""
        p, a = self.parameters, self.a
        chosen = a.transmitter.chosen
        made = self.record(chosen.sequence)
        last = self.place == p.flit_words - 1
        is_data = chosen.type == FlitType.DATA
        m.d.comb += [
            Assert(chosen.last == last, "the last word is marked"),
            Assert(self.place < p.flit_words, "a word has its place"),
            Assert(~self.present | chosen.valid & ~chosen.skip, "a word is not a skip word"),
            Assert(~(chosen.valid & ~chosen.skip & chosen.last) | self.present, "what ends is a flit"),
        ]
        with m.If(self.present & (chosen.again | self.fresh)):
            for place, word in enumerate(self.words):
                m.d.comb += Assert((place > self.place) | (word == made.words[place]), f"word {place} is sent")
        with m.If(self.present & chosen.again):
            m.d.comb += [
                Assert(~self.fresh & is_data, "an old flit has payload"),
                Assert(within(chosen.sequence, self.number - p.replay_flits, self.number - 1), "it was made"),
            ]
        with m.If(self.present & self.fresh):
            m.d.comb += Assert(chosen.sequence == self.number - (last & is_data), "a new flit is numbered")
        with m.If(self.present & last & is_data):
            m.d.comb += [
                Assert(chosen.again | self.fresh, "payload is old or new"),
                Assert((a.header.channel == made.channel) & (a.header.beats == made.beats), "its record is sent"),
            ]

    def _flits(self, m):
        """Flits on their way are of those that were made, in the order in which more and more had been accepted."""
        p, b = self.parameters, self.b
        expected, header = state(b.receive, "expected"), state(b.receive, "header", header_layout())
        valid, arrived = self.there[0]
        m.d.comb += [
            Assert(expected == self.accepted, "what is accepted is counted"),
            Assert(~valid | (header == arrived.header), "a good flit is what was sent"),
        ]
        before = self.accepted
        for place, (valid, flit) in enumerate(self.there):
            number = flit.header.sequence
            made = self.record(number)
            m.d.comb += Assert(~valid | within(flit.made, before, self.number), f"flits come in order: {place}")
            with m.If(valid & (flit.header.type == FlitType.DATA)):
                m.d.comb += [
                    Assert(within(number, flit.made - p.replay_flits, flit.made - 1), f"flits were made: {place}"),
                    Assert((flit.words == made.words) & (flit.header.channel == made.channel)
                           & (flit.header.beats == made.beats), f"flits are as they were made: {place}"),
                ]
            before = Mux(valid, flit.made, before)

    def _messages(self, m):
        """Messages on their way say what was so when they left, and later ones say more."""
        p, a = self.parameters, self.a
        header = state(a.receive, "header", header_layout())
        valid, arrived = self.back[0]
        m.d.comb += Assert(~valid | (header == arrived.header), "a good message is what was sent")
        accepted, allowed = self.base, list(self.allowed)
        for place, (valid, told) in enumerate(self.back):
            message, value = told.header.message, told.header.value
            m.d.comb += Assert(~valid | within(told.accepted, accepted, self.accepted),
                               f"acknowledgements come in order: {place}")
            with m.If(valid & (message <= Message.NAK)):
                m.d.comb += Assert((value + 1)[:SEQUENCE_BITS] == told.accepted, f"acknowledgements are right: {place}")
            accepted = Mux(valid, told.accepted, accepted)
            for v in range(p.channels):
                m.d.comb += [
                    Assert(~valid | (self._free(v, told.allowed[v]) >= self._free(v, allowed[v]))
                           & (self._free(v, told.allowed[v]) <= p.receive_beats), f"credits come in order: {place}, {v}"),
                    Assert(~(valid & (message == Message.CREDIT + v)) | (value == told.allowed[v]),
                           f"credits are right: {place}, {v}"),
                ]
                allowed[v] = Mux(valid, told.allowed[v], allowed[v])

    def _free(self, v, count):
        """A number of beats of a channel less those that have left the receiver's buffer."""
        return (count - self.allowances[v] + self.parameters.receive_beats)[:CREDIT_BITS]

    def _beats(self, m):
        """Beats that had begun, when, and the receiver's buffers, which are written once per beat."""
        p, a, b = self.parameters, self.a, self.b
        count, channel = state(a.packer, "count"), state(a.packer, "held")
        carrying = state(a.packer, "carrying")
        making = self.inside & self.held.new
        m.d.comb += [
            Assert(~making | (count <= self.slot), "a word begins one beat"),
            Assert(~making | (count == 0) | carrying, "a flit with beats is kept"),
        ]
        unpacker = b.receiver.unpacker
        for v in range(p.channels):
            taken, begun = self.taken[v], state(b.receive, f"begun_{v}")
            m.d.comb += [
                Assert(taken == self.begun(v, self.number) + Mux(making & (channel == v), count, 0),
                       f"beats are counted when they begin: {v}"),
                Assert(begun == self.begun(v, self.accepted), f"accepted beats are counted: {v}"),
                Assert(self._free(v, self.allowed[v]) <= p.receive_beats, f"allowed is what the buffer holds: {v}"),
                Assert(self._free(v, taken) <= self._free(v, self.allowed[v]), f"beats begin if they are allowed: {v}"),
            ]
            for i in range(len(self.made)):
                number = (self.number - len(self.made) + 1 + (i + len(self.made) - 1 - self.number)[:self.index_bits]
                          )[:SEQUENCE_BITS]
                made = self.made[i]
                old = (self.number - number)[:SEQUENCE_BITS]
                beats = Mux(made.channel == v, made.beats, 0)
                m.d.comb += [
                    Assert((old == 0) | (old > 2 * p.replay_flits)
                           | ((self.before[v][i] + beats)[:CREDIT_BITS] == self.before[v][(i + 1) % len(self.made)]),
                           f"beats of flits are counted: {v}, {i}"),
                    Assert(~within(number, self.accepted, self.number)
                           | (self._free(v, self.before[v][i]) <= self._free(v, taken)), f"counts grow: {v}, {i}"),
                ]
            self._buffer(m, v, begun, unpacker)
        m.d.comb += Assert(~(b.receiver.refusing & (b.receiver.fault == Cause.NO_CREDIT)),
                           "no flit is refused for want of credit")

    def _buffer(self, m, v, begun, unpacker):
        """Beats of accepted flits come out of the unpacker at their time, and there is room for them."""
        b, depth = self.b, self.parameters.receive_beats
        buffer = b.buffers[v]
        written = Signal(CREDIT_BITS, name=f"written_{v}")
        header = state(b.receive, "header", header_layout())
        writes = unpacker.beat_valid & (unpacker.beat_channel == v)
        there = begun + Mux(unpacker.start & (header.channel == v), header.beats, 0)
        m.d.sync += written.eq(written + writes)
        m.d.comb += [
            Assume(~writes | (written != there[:CREDIT_BITS])),
            Assert(~writes | buffer.w_rdy, f"there is room for every beat: {v}"),
            Assert(self._free(v, written) <= self._free(v, begun), f"beats are written that have begun: {v}"),
            Assert(self._free(v, written) == buffer.level, f"beats that are written leave: {v}"),
            Assert(buffer.r_rdy | (state(opened(buffer), "inner_level") <= 1), f"the first beat shows: {v}"),
        ]
