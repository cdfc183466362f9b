"""From payload to scrambled line words."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .crc import CRC_BITS, INITIAL, crc_next
from .formats import (
    CREDIT_BITS,
    EPOCH_BITS,
    MARKER,
    SEQUENCE_BITS,
    FlitType,
    Message,
    acknowledgement_layout,
    header_layout,
    hello_layout,
)
from .packer import BEAT_COUNT_BITS, Packer
from .parameters import UNIT_BITS, LinkParameters
from .prbs import STATE_BITS, prbs_next, seed
from .replay import Replay


def answer_layout(parameters: LinkParameters) -> data.StructLayout:
    """What the receiver wants the partner to know."""
    return data.StructLayout({
        "acknowledge": acknowledgement_layout(),
        "nak": 1,
        "refuse": 4,
        "allowed": data.ArrayLayout(CREDIT_BITS, parameters.channels),
    })


class TransmitFault(data.Struct):
    """Errors to inject: into the next flit for which they mean something."""
    corrupt: 1  #: one bit after the CRC
    type: 1
    length: 1
    channel: 1
    sequence: 1
    credit: 1  #: a beat is sent that the receiver has not allowed


class Transmitter(wiring.Component):
    """Makes flits, one word per cycle if the line takes it, and a skip word after every ``skip_flits`` flits.

    Three stages: a word is chosen (a payload beat is taken, the replay memory addressed), the trailer with its CRC is
    put into the last word, the word is scrambled. A beat that is taken in cycle 0 shows in ``o_line`` in cycle 2.

    Members
    -------
    i_payload : In(stream), one per channel
    run : In(1)
        Makes flits; withdrawn, it takes effect when a flit has ended: then ``idle``. A new run begins with a flit and
        with the scramblers' seeds.
    up : In(1)
        NULL and DATA flits; else HELLO flits.
    hello, config_hash : In
        Contents of HELLO flits.
    answer : In(answer_layout)
    acknowledge, acknowledged, refused : In
        As for :class:`~hdl.link.replay.Replay`.
    credit, credit_channel, credited : In
        A CREDIT has come.
    inject : In(TransmitFault)
        Errors for the next flit; ``injected`` tells which it has taken.
    o_line : Out(stream)
        Line words.
    accepted, delivered : Out(BEAT_COUNT_BITS)
        Beats taken, and beats that the partner has acknowledged.
    flit_sent, replayed, timed_out, stuck : Out(1)
    """

    o_line: stream.Interface

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_payload": In(stream.Signature(p.word_bits)).array(p.channels),
            "run": In(1), "idle": Out(1), "up": In(1),
            "hello": In(hello_layout()), "config_hash": In(UNIT_BITS),
            "answer": In(answer_layout(p)),
            "acknowledge": In(acknowledgement_layout()), "acknowledged": In(1), "refused": In(1),
            "credit": In(CREDIT_BITS), "credit_channel": In(2), "credited": In(1),
            "inject": In(TransmitFault), "injected": Out(TransmitFault),
            "o_line": Out(stream.Signature(p.word_bits)),
            "accepted": Out(BEAT_COUNT_BITS), "delivered": Out(BEAT_COUNT_BITS),
            "flit_sent": Out(1), "replayed": Out(1), "timed_out": Out(1), "stuck": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        self.packer = m.submodules.packer = Packer(p)
        self.replay = m.submodules.replay = Replay(p)
        self.running = Signal()
        self.advance = Signal()
        m.d.comb += self.idle.eq(~self.running)
        self.chosen = self._choose(m)
        self._credits(m)
        self._line(m, self.chosen)
        return m

    def _choose(self, m):
        """Stage 1: which word comes next. Returns what stage 2 needs to know of it, registered."""
        p, packer, replay = self.parameters, self.packer, self.replay
        slot = Signal(5)
        skip = Signal()
        flits = Signal(range(p.skip_flits + 1))
        first = Signal()
        last = Signal()
        mode = Signal(data.StructLayout({"hello": 1, "again": 1, "new": 1}))
        held = Signal.like(mode)
        step = Signal()  # a word of a flit is made
        ending = Signal()  # the run ends before the next
        m.d.comb += [
            skip.eq(flits == p.skip_flits),
            first.eq(slot == 0),
            last.eq(slot == p.flit_words - 1),
            ending.eq(~self.run & first),
            step.eq(self.running & self.advance & ~skip & ~ending),
            mode.eq(held),
        ]
        with m.If(first):
            m.d.comb += [
                mode.hello.eq(~self.up),
                mode.again.eq(self.up & replay.replaying),
                mode.new.eq(self.up & ~replay.replaying & ~replay.full),
            ]
        with m.If(step):
            m.d.sync += [held.eq(mode), slot.eq(Mux(last, 0, slot + 1)), flits.eq(flits + last)]
        with m.Elif(self.running & self.advance):
            m.d.sync += flits.eq(0)
        # A run ends between flits, so that what a flit has taken is kept.
        with m.If(~self.running):
            m.d.sync += [slot.eq(0), flits.eq(0), self.running.eq(self.run)]
        with m.Elif(ending):
            m.d.sync += self.running.eq(0)
        going = Signal()
        m.d.sync += going.eq(self.running)

        m.d.comb += [
            *[mine.eq(theirs) for mine, theirs in ((packer.advance, step), (packer.first, first), (packer.last, last))],
            packer.enable.eq(mode.new),
            self.accepted.eq(packer.accepted),
            replay.advance.eq(step), replay.first.eq(first), replay.last.eq(last), replay.slot.eq(slot),
            replay.new.eq(mode.new), replay.again.eq(mode.again), replay.keep.eq(packer.carries),
            replay.word.eq(packer.word),
            replay.record.channel.eq(packer.channel),
            replay.record.beats.eq(packer.beats),
            replay.record.completed.eq(packer.completed),
            replay.acknowledge.eq(self.acknowledge), replay.acknowledged.eq(self.acknowledged),
            replay.refused.eq(self.refused),
            replay.active.eq(self.running & self.up), replay.rewind.eq(self.running & ~going),
            self.delivered.eq(replay.delivered), self.replayed.eq(replay.replayed),
            self.timed_out.eq(replay.timed_out), self.stuck.eq(replay.stuck),
        ]
        for v in range(p.channels):
            outer, inner = self.i_payload[v], packer.i_payload[v]
            m.d.comb += [inner.valid.eq(outer.valid), inner.payload.eq(outer.payload), outer.ready.eq(inner.ready)]

        chosen = Signal(data.StructLayout({
            "valid": 1, "skip": 1, "first": 1, "last": 1, "again": 1, "type": 2, "sequence": SEQUENCE_BITS,
            "epoch": EPOCH_BITS, "channel": 2, "beats": 5, "word": p.word_bits}))
        with m.If(self.advance):
            m.d.sync += [
                chosen.valid.eq(self.running), chosen.skip.eq(skip), chosen.first.eq(first), chosen.last.eq(last),
                chosen.again.eq(mode.again),
                chosen.type.eq(Mux(mode.hello, FlitType.HELLO,
                                   Mux(mode.again | packer.carries, FlitType.DATA, FlitType.NULL))),
                chosen.sequence.eq(replay.sequence), chosen.epoch.eq(replay.epoch),
                chosen.channel.eq(packer.channel),
                chosen.beats.eq(Mux(mode.new, packer.beats, 0)),
                chosen.word.eq(Mux(mode.hello, self._hello_word(m, slot), packer.word)),
            ]
        with m.If(~self.running):
            m.d.sync += [chosen.valid.eq(0), self.o_line.valid.eq(0)]
        return chosen

    def _hello_word(self, m, slot):
        """The word of a HELLO flit: the hash, the rest, zeros."""
        p = self.parameters
        hello_word = Signal(p.word_bits)
        units = [self.config_hash, self.hello.as_value()]
        with m.Switch(slot):
            for i in range(-(-len(units) // p.units)):
                with m.Case(i):
                    m.d.comb += hello_word.eq(Cat(units[i * p.units:(i + 1) * p.units]))
        return hello_word

    def _credits(self, m):
        """Beats are taken while the receiver's cumulative allowance is above what was taken."""
        for v in range(self.parameters.channels):
            taken, allowed = (Signal(CREDIT_BITS, name=f"{n}_{v}") for n in ("taken", "allowed"))
            m.d.comb += self.packer.credit[v].eq((taken != allowed) | self.inject.credit)
            with m.If(self.packer.begins[v] & (taken == allowed)):
                m.d.comb += self.injected.credit.eq(1)
            m.d.sync += taken.eq(taken + self.packer.begins[v])
            with m.If(self.credited & (self.credit_channel == v)):
                m.d.sync += allowed.eq(self.credit)

    def _line(self, m, chosen):
        """Stages 2 and 3: trailer and CRC, then the scrambler; the line register."""
        p, replay = self.parameters, self.replay
        plain = Signal(p.word_bits)
        last_word = Signal(p.word_bits)
        scrambled = Signal(p.word_bits)
        header = Signal(header_layout())
        state = Signal(CRC_BITS)
        crc = Signal(CRC_BITS)
        step = Signal()
        m.d.comb += [
            self.advance.eq(self.o_line.ready | ~self.o_line.valid),
            step.eq(self.advance & chosen.valid & ~chosen.skip),
            plain.eq(Mux(chosen.again, replay.kept_word, chosen.word)),
            header.type.eq(chosen.type), header.sequence.eq(chosen.sequence), header.epoch.eq(chosen.epoch),
            header.channel.eq(Mux(chosen.again, replay.kept_record.channel, chosen.channel)),
            header.beats.eq(Mux(chosen.again, replay.kept_record.beats, chosen.beats)),
            state.eq(Mux(chosen.first, INITIAL, crc)),
        ]
        self._answer(m, header, step & chosen.last)
        faulty = self._inject(m, header, step & chosen.last)
        body = Cat(plain[:p.word_bits - UNIT_BITS], faulty)
        m.d.comb += last_word.eq(Cat(body, ~crc_next(state, body)))

        keystream = []
        for unit in range(p.units):
            lfsr = Signal(STATE_BITS, init=seed(unit), name=f"scrambler_{unit}")
            stream_bits, after = prbs_next(lfsr, UNIT_BITS)
            keystream.append(stream_bits)
            with m.If(step):
                m.d.sync += lfsr.eq(after)
            with m.If(~self.running):
                m.d.sync += lfsr.eq(seed(unit))
        flip = Signal()
        m.d.comb += [
            flip.eq(self.inject.corrupt & chosen.last), self.injected.corrupt.eq(flip & step),
            scrambled.eq(Mux(chosen.last, last_word, plain) ^ Cat(keystream) ^ flip),
        ]
        with m.If(step):
            m.d.sync += crc.eq(crc_next(state, plain))
        with m.If(self.advance):
            m.d.sync += [
                self.o_line.valid.eq(chosen.valid),
                self.o_line.payload.eq(Mux(chosen.skip, Const(MARKER, UNIT_BITS).replicate(p.units), scrambled)),
            ]
        m.d.comb += self.flit_sent.eq(step & chosen.last)

    def _answer(self, m, header, sent):
        """ACK and the channels' CREDIT in turn; NAK and REFUSE go first."""
        p, answer = self.parameters, self.answer
        turn = Signal(range(2 * p.channels))
        with m.Switch(turn):
            for v in range(p.channels):
                with m.Case(2 * v + 1):
                    m.d.comb += [header.message.eq(Message.CREDIT + v), header.value.eq(answer.allowed[v])]
            with m.Default():
                m.d.comb += [header.message.eq(Message.ACK), header.value.eq(answer.acknowledge)]
        with m.If(answer.refuse != 0):
            m.d.comb += [header.message.eq(Message.REFUSE), header.value.eq(answer.refuse)]
        with m.Elif(answer.nak):
            m.d.comb += [header.message.eq(Message.NAK), header.value.eq(answer.acknowledge)]
        with m.Elif(sent):
            m.d.sync += turn.eq(Mux(turn == 2 * p.channels - 1, 0, turn + 1))

    def _inject(self, m, header, sent):
        """The header, with errors that a CRC does not find."""
        faulty = Signal.like(header)
        m.d.comb += faulty.eq(header)
        is_data = header.type == FlitType.DATA
        for name, change in (("type", faulty.type.eq(3)), ("length", faulty.beats.eq(31)),
                             ("channel", faulty.channel.eq(3)), ("sequence", faulty.sequence.eq(header.sequence + 1))):
            with m.If(self.inject[name] & is_data):
                m.d.comb += [change, self.injected[name].eq(sent)]
        return faulty

