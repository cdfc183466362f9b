"""Why the claims of the replay hold after any number of cycles: what is so in every state that can be reached."""

from amaranth.hdl import Assert, Mux
from amaranth.lib import data

from hdl.config import clog2
from hdl.link.formats import (
    CREDIT_BITS,
    EPOCH_BITS,
    SEQUENCE_BITS,
    FlitType,
    Message,
    acknowledgement_layout,
    header_layout,
)

from .design import opened, state
from .replay import WORD_BITS, ReplayedLink, within


class ReplayProof(ReplayedLink):
    """The claims with what induction needs to know, in the order from the making of a flit to its acknowledgement."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        self._choice(m)
        self._memory(m)
        self._stages(m)
        self._flits(m)
        self._messages(m)
        self._beats(m)
        self._epochs(m)
        return m

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
            Assert(self.slot < p.flit_words, "a flit ends"),
            Assert(running | ~self.inside, "the run ends between flits"),
            Assert((flits <= p.skip_flits) & ((flits != p.skip_flits) | ~self.inside), "skip words come between flits"),
            Assert((self.held.hello + self.held.again + self.held.new) <= 1, "a flit is of one kind"),
        ]
        with m.If(self.inside & ~self.held.hello & ~self.held.again):
            m.d.comb += [
                Assert((self.current == self.number) & (self.cursor == self.number), "others have the next number"),
                Assert(room | ~self.held.new, "new ones have room"),
            ]
        with m.If(self.inside & self.held.again):
            m.d.comb += Assert(within(self.current, self.number - p.replay_flits, self.number - 1), "old ones exist")
        with m.If(self.inside):
            m.d.comb += [
                Assert(self.present & (self.place + 1 == self.slot), "the second stage follows the first"),
                Assert(a.transmitter.chosen.sequence == self.current, "it has the same flit"),
                Assert((a.transmitter.chosen.again == self.held.again) & (self.fresh == self.held.new),
                       "it has a flit of the same kind"),
                Assert((a.transmitter.chosen.type == FlitType.HELLO) == self.held.hello, "it has a HELLO flit, too"),
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
                kept = port.data[:WORD_BITS]
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
            Assert(~self.present | (chosen.type != 3), "a flit has a type"),
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
        with m.If(self.present & ~chosen.again & (chosen.type != FlitType.HELLO)):
            m.d.comb += Assert(chosen.sequence == (self.number - (last & is_data))[:SEQUENCE_BITS], "others are next")
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
            m.d.comb += [
                Assert(~valid | within(flit.made, before, self.number), f"flits come in order: {place}"),
                Assert(~valid | (flit.header.type != 3), f"flits have a type: {place}"),
            ]
            with m.If(valid & (flit.header.type == FlitType.DATA)):
                m.d.comb += [
                    Assert(within(number, flit.made - p.replay_flits, flit.made - 1), f"flits were made: {place}"),
                    Assert((flit.words == made.words) & (flit.header.channel == made.channel)
                           & (flit.header.beats == made.beats), f"flits are as they were made: {place}"),
                ]
            with m.Elif(valid & (flit.header.type == FlitType.NULL)):
                m.d.comb += Assert(number == flit.made, f"those without payload have the next number: {place}")
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
                free = self._free(v, told.allowed[v])
                m.d.comb += [
                    Assert(~valid | (free >= self._free(v, allowed[v])) & (free <= p.receive_beats),
                           f"credits come in order: {place}, {v}"),
                    Assert(~(valid & (message == Message.CREDIT + v)) | (value == told.allowed[v]),
                           f"credits are right: {place}, {v}"),
                ]
                allowed[v] = Mux(valid, told.allowed[v], allowed[v])

    def _free(self, v, count):
        """A number of beats of a channel less those that have left the receiver's buffer."""
        return (count - self.allowances[v] + self.parameters.receive_beats)[:CREDIT_BITS]

    def _beats(self, m):
        """How many beats had begun, when, and how many are in the receiver's buffers."""
        p, a, b = self.parameters, self.a, self.b
        count, channel = state(a.packer, "count"), state(a.packer, "held")
        carrying = state(a.packer, "carrying")
        making = self.inside & self.held.new
        m.d.comb += [
            Assert(~making | (count <= self.slot), "a word begins one beat"),
            Assert(~making | (count == 0) | carrying, "a flit with beats is kept"),
        ]
        for v in range(p.channels):
            taken, begun = self.taken[v], state(b.receive, f"begun_{v}")
            now = (self.begun(v, self.number) + Mux(making & (channel == v), count, 0))[:CREDIT_BITS]
            m.d.comb += [
                Assert(taken == now, f"beats are counted when they begin: {v}"),
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
            queue = b.queues[v]
            m.d.comb += [
                Assert(self._free(v, self.written[v]) <= self._free(v, begun), f"beats begin, then are written: {v}"),
                Assert(self._free(v, self.written[v]) == b.buffers[v].level, f"beats that are written leave: {v}"),
                Assert(queue.r_rdy | (state(opened(queue), "inner_level") <= 1), f"the first beat shows: {v}"),
            ]

    def _epochs(self, m):
        """Ages are what the numbers of epochs say, until one is so old that its number comes again; and of this epoch
        all flits follow one another, unless one was missed."""
        p, a, b = self.parameters, self.a, self.b
        epoch, known = a.transmitter.replay.epoch, state(b.receive, "epoch")

        def claim(condition, sentence):
            m.d.comb += Assert(~self.calm | condition, sentence)

        claim(known == (epoch - self.known_age)[:EPOCH_BITS], "the epoch known is of its age")
        nak = state(b.receive, "nak")
        claim(~(b.receiver.bad & (self.known_age == 0)) | self.damage, "a bad flit of this epoch was missed")
        claim(~(nak & (self.known_age == 0)) | self.damage, "nak of this epoch is for a flit of it")
        age = self.known_age
        reach = self._place(self.accepted)
        for place, (valid, flit) in enumerate(self.there):
            header, number = flit.header, self._place(flit.header.sequence)
            claim(~valid | (header.epoch == (epoch - flit.age)[:EPOCH_BITS]), f"flits are of their age: {place}")
            claim(~valid | (flit.age <= age), f"epochs come in order: {place}")
            age = Mux(valid, flit.age, age)
            counts = valid & (flit.age == 0) & (header.type != FlitType.HELLO)
            claim(~counts | self.damage | (number <= reach), f"nothing is left out: {place}")
            reach = Mux(counts & (header.type == FlitType.DATA) & (number == reach), reach + 1, reach)
        chosen = a.transmitter.chosen
        ended = self.present & (self.place == p.flit_words - 1)
        claim(~self.present | (chosen.epoch == (epoch - self.age)[:EPOCH_BITS]), "the flit being sent is of its age")
        claim(~self.inside | (self.age == 0), "it is of this epoch")
        claim((self.age <= 1) & (~ended | (self.age <= age)), "it is not old")
        counts = ended & (self.age == 0) & (chosen.type != FlitType.HELLO)
        number = self._place(chosen.sequence)
        claim(~counts | self.damage | (number <= reach), "nothing is left out: sending")
        reach = Mux(counts & (chosen.type == FlitType.DATA) & (number == reach), reach + 1, reach)
        following = self.inside & ~self.held.hello
        claim(~following | self.damage | (self._place(self.current) <= reach), "nothing is left out: choosing")
        claim(self.damage | (self._place(self.cursor) <= reach), "nothing is left out: next")
        for place, (valid, told) in enumerate(self.back):
            answer = data.View(acknowledgement_layout(), told.header.value)
            answers = valid & (told.header.message <= Message.NAK)
            claim(~answers | (answer.epoch == (epoch - told.age)[:EPOCH_BITS]), f"answers are of their age: {place}")
            claim(~valid | (told.header.message != Message.NAK) | (told.age != 0) | self.damage,
                  f"a NAK of this epoch is for a flit of it: {place}")

    def _place(self, number):
        """A number as the distance from one that is lower than any that is on its way."""
        return (number - self.number + 2 * self.parameters.replay_flits)[:SEQUENCE_BITS]
