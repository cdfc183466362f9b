"""From descrambled line words to payload."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from ..config import clog2
from .crc import CRC_BITS, INITIAL, crc_next
from .formats import (
    CREDIT_BITS,
    EPOCH_BITS,
    SEQUENCE_BITS,
    Cause,
    FlitType,
    Message,
    acknowledgement_layout,
    header_layout,
    hello_layout,
)
from .parameters import UNIT_BITS, LinkParameters
from .receive_buffer import ReceiveBuffer
from .transmitter import answer_layout
from .unpacker import Unpacker

#: The state after any data followed by their CRC.
_RESIDUE = 0xB798_B438


#: Cycles without a line word after which line words have ended; on one lane of 16 they come 32 cycles apart.
SILENT_CYCLES = 256


class ReceiveFault(data.Struct):
    """Errors to inject: into the next flit that is received."""
    corrupt: 1  #: one bit before the CRC
    lose: 1  #: a good flit is taken as if it had not come
    deaf: 1  #: its message is not heard


class Receiver(wiring.Component):
    """Checks flits, accepts those that come in order, tells what their trailers say.

    A flit is checked in the cycle after its last word; a beat that is complete with the flit's first word shows on
    ``o_payload`` two cycles after the last, and so on. One word per cycle.

    A bad flit, and a good one whose sequence number lies ahead, set ``answer.nak`` until a flit comes that is not
    ahead, or one of a later epoch tells anew. A good flit that breaks a rule is refused: nothing after it is accepted.

    Members
    -------
    word : In(word_bits), valid, last : In(1)
        A descrambled line word of a flit, the last of a flit.
    clear : In(1)
        Begins a new session: forgets all but the beats on ``o_payload``.
    flush : In(1)
        The next word is the first of a flit.
    listen : In(1)
        NULL and DATA flits count; else only HELLO flits.
    o_payload : Out(stream), one per channel
    answer : Out(answer_layout)
    acknowledge, acknowledged, refused : Out
        ACK and NAK messages.
    credit, credit_channel, credited : Out
        CREDIT messages.
    partner_refuses : Out(4), valid with ``refusal``
        REFUSE messages.
    hello, config_hash, hello_valid : Out
        A HELLO flit has come.
    good, bad, refusing : Out(1), fault : Out(Cause)
        Strobes: a flit was good, bad, good but refused because of ``fault``.
    heard : Out(1)
        A good NULL or DATA flit has come since ``clear``.
    sequenced : Out(1)
        Strobe of the same.
    busy : Out(1)
        A flit that has come is being checked or delivered.
    lost : Out(1)
        Two of three flits are bad, so that the line has to be trained again; or line words have ended.
    inject, injected : In, Out(ReceiveFault)
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "word": In(p.word_bits), "valid": In(1), "last": In(1),
            "clear": In(1), "flush": In(1), "listen": In(1),
            "o_payload": Out(stream.Signature(p.word_bits)).array(p.channels),
            "answer": Out(answer_layout(p)),
            "acknowledge": Out(acknowledgement_layout()), "acknowledged": Out(1), "refused": Out(1),
            "credit": Out(CREDIT_BITS), "credit_channel": Out(2), "credited": Out(1),
            "partner_refuses": Out(4), "refusal": Out(1),
            "hello": Out(hello_layout()), "config_hash": Out(UNIT_BITS), "hello_valid": Out(1),
            "good": Out(1), "bad": Out(1), "refusing": Out(1), "fault": Out(Cause),
            "sequenced": Out(1), "heard": Out(1), "busy": Out(1), "lost": Out(1),
            "inject": In(ReceiveFault), "injected": Out(ReceiveFault),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        # Beats of each channel that have begun in accepted flits.
        self.begun = [Signal(CREDIT_BITS, name=f"begun_{v}") for v in range(p.channels)]
        self.unpacker = Unpacker(p)
        m.submodules.unpacker = ResetInserter(self.clear)(self.unpacker)
        header, passed, checked = self._check(m)
        good = Signal()
        m.d.comb += [
            good.eq(checked & passed & ~self.inject.lose),
            self.injected.lose.eq(checked & passed & self.inject.lose),
            self.bad.eq(checked & ~passed),
            self.good.eq(good),
        ]
        m.d.comb += self.busy.eq(checked | self.unpacker.busy)
        self._judge(m)
        self._rules(m, header)
        self._sequence(m, header, good)
        self._messages(m, header, good)
        self._deliver(m, header)
        return m

    def _judge(self, m):
        """Whether the line is any good: bad flits less twice the good ones, and cycles without a word."""
        surplus = Signal(8)
        silence = Signal(range(SILENT_CYCLES + 1))
        coming = Signal()
        m.d.comb += self.lost.eq((surplus == self.parameters.retrain_bad_flits) | (silence == SILENT_CYCLES))
        with m.If(self.flush):
            m.d.sync += surplus.eq(0)
        with m.Elif(self.good):
            m.d.sync += surplus.eq(Mux(surplus > 2, surplus - 2, 0))
        with m.Elif(self.bad & ~self.lost):
            m.d.sync += surplus.eq(surplus + 1)
        with m.If(self.flush):
            m.d.sync += [coming.eq(0), silence.eq(0)]
        with m.Elif(self.valid):
            m.d.sync += [coming.eq(1), silence.eq(0)]
        with m.Elif(coming & (silence != SILENT_CYCLES)):
            m.d.sync += silence.eq(silence + 1)

    def _check(self, m):
        """Words into a buffer of one flit, and through the CRC; the trailer, whether it is right, and when."""
        p = self.parameters
        m.submodules.flit = flit = Memory(shape=p.word_bits, depth=1 << clog2(p.flit_words), init=[])
        write, read = flit.write_port(), flit.read_port(domain="comb")
        slot = Signal(clog2(p.flit_words))
        crc = Signal(CRC_BITS)
        state = Signal(CRC_BITS)
        word = Signal(p.word_bits)
        header = Signal(header_layout())
        passed = Signal()
        checked = Signal()
        m.d.comb += [
            word.eq(self.word ^ (self.inject.corrupt & self.last)),
            self.injected.corrupt.eq(self.inject.corrupt & self.valid & self.last),
            state.eq(Mux(slot == 0, INITIAL, crc)),
            write.addr.eq(slot), write.data.eq(word), write.en.eq(self.valid),
            read.addr.eq(self.unpacker.index), self.unpacker.word.eq(read.data),
        ]
        after = Signal(CRC_BITS)
        m.d.comb += after.eq(crc_next(state, word))
        m.d.sync += checked.eq(self.valid & self.last)
        with m.If(self.valid):
            m.d.sync += [
                crc.eq(after), passed.eq(after == _RESIDUE), header.eq(word[p.word_bits - UNIT_BITS:]),
                slot.eq(Mux(self.last, 0, slot + 1)),
            ]
            # The units of a HELLO flit; the rest of it is zeros that nobody looks at.
            for unit, held in ((0, self.config_hash), (1, self.hello)):
                with m.If(slot == unit // p.units):
                    m.d.sync += held.eq(word.word_select(unit % p.units, UNIT_BITS))
        with m.If(self.flush):
            m.d.sync += slot.eq(0)
        return header, passed, checked

    def _rules(self, m, header):
        """What is wrong with a good flit."""
        p = self.parameters
        fault = self.fault
        beats_fit = header.beats <= p.flit_words - (self.unpacker.partial == p.units - 1)
        is_data = header.type == FlitType.DATA
        credit = Signal(CREDIT_BITS)  # beats that the flit's channel may still send
        with m.Switch(header.channel):
            for v in range(p.channels):
                with m.Case(v):
                    m.d.comb += credit.eq(self.answer.allowed[v] - self.begun[v])
        unknown = (header.type == 3) | (header.message == 3) | (
            (header.message >= Message.CREDIT) & (header.message >= Message.CREDIT + p.channels))
        empty = (header.beats == 0) & (self.unpacker.partial == 0)
        with m.If(unknown):
            m.d.comb += fault.eq(Cause.WRONG_TYPE)
        with m.Elif(Mux(is_data, ~beats_fit | empty, header.beats != 0)):
            m.d.comb += fault.eq(Cause.WRONG_LENGTH)
        with m.Elif(is_data & (header.channel >= p.channels)):
            m.d.comb += fault.eq(Cause.UNKNOWN_CHANNEL)
        with m.Elif(is_data & (header.beats > credit)):
            m.d.comb += fault.eq(Cause.NO_CREDIT)

    def _sequence(self, m, header, good):
        """Go-back-N: what is accepted, what is missing."""
        p, answer = self.parameters, self.answer
        expected = Signal(SEQUENCE_BITS)
        offset = Signal(SEQUENCE_BITS)
        refuse = Signal(4)
        nak = Signal()
        epoch = Signal(EPOCH_BITS)
        numbered = Signal()
        in_order = Signal()
        m.d.comb += [
            numbered.eq(good & self.listen & (header.type != FlitType.HELLO)),
            self.sequenced.eq(numbered),
            offset.eq(header.sequence - expected),
            in_order.eq(numbered & (offset == 0) & (refuse == 0)),
            self.refusing.eq(in_order & (self.fault != Cause.NONE)),
            self.unpacker.start.eq(in_order & (header.type == FlitType.DATA) & (self.fault == Cause.NONE)),
            answer.acknowledge.sequence.eq(expected - 1),
            answer.acknowledge.epoch.eq(epoch),
            answer.nak.eq(nak), answer.refuse.eq(refuse),
        ]
        with m.If(self.bad):
            m.d.sync += nak.eq(1)
        with m.Elif(numbered):
            # Ahead by less than half of the numbers: something is missing. Behind: seen before.
            m.d.sync += [nak.eq((offset != 0) & ~offset[-1]), epoch.eq(header.epoch), self.heard.eq(1)]
        with m.If(self.refusing):
            m.d.sync += refuse.eq(self.fault)
        with m.If(self.unpacker.start):
            m.d.sync += expected.eq(expected + 1)
            for v in range(p.channels):
                with m.If(header.channel == v):
                    m.d.sync += self.begun[v].eq(self.begun[v] + header.beats)
        with m.If(self.clear):
            m.d.sync += [expected.eq(0), refuse.eq(0), nak.eq(0), epoch.eq(0), self.heard.eq(0),
                         *(self.begun[v].eq(0) for v in range(p.channels))]

    def _messages(self, m, header, good):
        """What the trailer says of the other direction. It counts whether or not the flit comes in order."""
        message = Signal()
        heard = Signal()
        m.d.comb += [
            message.eq(good & self.listen & (header.type <= FlitType.DATA)),
            heard.eq(message & ~self.inject.deaf), self.injected.deaf.eq(message & self.inject.deaf),
            self.acknowledge.eq(header.value), self.credit.eq(header.value), self.partner_refuses.eq(header.value),
            self.acknowledged.eq(heard & (header.message <= Message.NAK)),
            self.refused.eq(header.message == Message.NAK),
            self.refusal.eq(heard & (header.message == Message.REFUSE)),
            self.credited.eq(heard & (header.message >= Message.CREDIT)),
            self.credit_channel.eq(header.message[:2]),
            self.hello_valid.eq(good & (header.type == FlitType.HELLO)),
        ]

    def _deliver(self, m, header):
        """Beats into one buffer per channel; the cumulative allowance grows when a beat leaves."""
        p, unpacker = self.parameters, self.unpacker
        m.d.comb += [unpacker.beats.eq(header.beats), unpacker.channel.eq(header.channel)]
        for v in range(p.channels):
            buffer = m.submodules[f"buffer_{v}"] = ReceiveBuffer(p.word_bits, p.receive_beats)
            out, allowed = self.o_payload[v], self.answer.allowed[v]
            connect(m, buffer=buffer.o_payload, out=flipped(out))
            m.d.comb += [
                buffer.beat.eq(unpacker.beat),
                buffer.beat_valid.eq(unpacker.beat_valid & (unpacker.beat_channel == v)),
            ]
            allowance = Signal(CREDIT_BITS, init=p.receive_beats, name=f"allowance_{v}")
            m.d.comb += allowed.eq(allowance)
            m.d.sync += allowance.eq(
                Mux(self.clear, p.receive_beats - buffer.level, allowance) + (out.valid & out.ready))
