"""One end of a chip-to-chip link."""

from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out, connect

from .formats import Cause, Entry, lane_errors_layout, ones
from .line_receiver import LineReceiver, entry_layout
from .line_transmitter import LineTransmitter
from .packer import BEAT_COUNT_BITS
from .parameters import UNIT_BITS, LinkParameters
from .receiver import ReceiveFault, Receiver
from .training import LinkState, Training
from .transmitter import TransmitFault, Transmitter

#: Entries of the clock crossing; its round trip is about eight.
CROSSING_DEPTH = 16


class LinkControl(data.Struct):
    """What software sets."""
    enable: 1  #: a rising edge begins a session
    retrain: 1  #: while high, a link that is up trains again
    near_loopback: 1  #: the lanes' transmitted words are received; the receive clock must then be the link's own
    far_loopback: 1  #: received payload is sent back
    test: 1  #: while down: PRBS-31 on all lanes, both ways
    down_after: 32  #: cycles after which a link that is not up goes down; 0: never


class LinkStatus(data.Struct):
    """What software sees."""
    state: LinkState
    cause: Cause  #: why the link is down
    refused: Cause  #: what this receiver has refused last in this session
    undelivered: BEAT_COUNT_BITS  #: beats that were taken and not acknowledged; down: they have failed


def masks_layout(parameters: LinkParameters) -> data.StructLayout:
    """Lanes in use, by the number of their transmitter; lanes whose test pattern is followed, by the receiver's."""
    return data.StructLayout({"transmit": parameters.lanes, "receive": parameters.lanes, "test": parameters.lanes})


class LinkCounters(data.Struct):
    """Since reset; they wrap around."""
    flits_sent: 32
    flits_good: 32  #: flits received with a right CRC
    flits_bad: 32
    replays: 32  #: times that the transmitter went back
    timeouts: 32  #: of these, for want of an acknowledgement
    retrains: 32  #: times that the link was up and trained again
    refused: 32  #: flits that were right by their CRC and broke a rule, and HELLO flits of other configurations
    skip_errors: 32  #: lane words that should have been skip words
    overruns: 32  #: times that words were lost because the transmitter's clock was out of tolerance


class LinkInject(data.Struct):
    """Errors on either side."""
    transmit: TransmitFault
    receive: ReceiveFault


class Link(wiring.Component):
    """Moves payload beats to the partner: all of them, once, in order per virtual channel, unchanged; or tells that it
    could not. See ``docs/link.md``.

    At the default width, a beat that is taken on ``i_payload`` while the link is idle shows on the partner's
    ``o_payload`` after at most 15 cycles plus the channel, 16 if a skip word comes between. Throughput: 23 of 24 units
    of each line word, less one skip word in 1024.

    ``i_payload`` takes nothing unless the link is up. When the link goes down, ``status.undelivered`` tells how many
    beats were taken and not acknowledged; the partner may have them or not. What the partner's ``o_payload`` holds can
    still be read.

    Parameters
    ----------
    parameters : LinkParameters

    Members
    -------
    i_payload, o_payload : In(stream), Out(stream), one per virtual channel
        Beats of ``word_bits``.
    o_lanes : Out(lane_bits), per lane
        One word per lane and cycle, bit 0 first on the line.
    i_lanes : In(lane_bits), per lane; receive_clock : In(1)
        Words as the lanes' receivers give them, in any bit and word phase, all in the partner's clock.
    config_hash : In(64)
        Must be the partner's, too.
    control : In(LinkControl), status : Out(LinkStatus), masks : Out(masks_layout), counters : Out(LinkCounters)
    lane_errors : Out(32) per lane
        Wrong bits of the lane's test pattern, since the test began.
    inject_once, inject_always : In(LinkInject)
        Errors: rising bits hit the next flit that they can; bits that are high hit all.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "i_payload": In(stream.Signature(p.word_bits)).array(p.channels),
            "o_payload": Out(stream.Signature(p.word_bits)).array(p.channels),
            "o_lanes": Out(p.lane_bits).array(p.lanes),
            "i_lanes": In(p.lane_bits).array(p.lanes),
            "receive_clock": In(1),
            "config_hash": In(UNIT_BITS),
            "control": In(LinkControl), "status": Out(LinkStatus), "masks": Out(masks_layout(p)),
            "counters": Out(LinkCounters),
            "lane_errors": Out(32).array(p.lanes),
            "inject_once": In(LinkInject), "inject_always": In(LinkInject),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        m.submodules.training = self.training = training = Training(p)
        self.transmitter = Transmitter(p)
        m.submodules.transmitter = ResetInserter(training.clear)(self.transmitter)
        m.submodules.line_transmitter = self.line_transmitter = LineTransmitter(p)
        m.submodules.receiver = self.receiver = Receiver(p)
        entry, entry_valid, overrun = self._receive(m)
        self._transmit(m)
        self._exchange(m)
        self._train(m, entry, entry_valid)
        self._payload(m)
        self._inject(m)
        self._count(m, entry, entry_valid, overrun)
        return m

    def _receive(self, m):
        """The receive side in its clock, and what comes from it through the crossing."""
        p, training, control = self.parameters, self.training, self.control
        m.domains.receive = ClockDomain(local=True, async_reset=True)
        m.d.comb += ClockSignal("receive").eq(self.receive_clock)
        m.submodules.receive_reset = ResetSynchronizer(ResetSignal(), domain="receive")
        line = LineReceiver(p)
        m.submodules.line_receiver = DomainRenamer("receive")(line)
        m.submodules.crossing = crossing = AsyncFIFO(
            width=entry_layout(p).size + 1, depth=CROSSING_DEPTH, r_domain="sync", w_domain="receive")
        hunt, test = Signal(), Signal()  # of the state: registers, since nothing else may cross
        m.d.sync += [hunt.eq(training.hunt), test.eq(training.state == LinkState.TEST)]
        m.submodules.hunt = FFSynchronizer(hunt, line.hunt, o_domain="receive")
        m.submodules.hunting = FFSynchronizer(line.hunting, training.hunting)
        m.submodules.test = FFSynchronizer(test, line.test, o_domain="receive")
        for mine, near, far in zip(line.i_lanes, self.o_lanes, self.i_lanes):
            m.d.comb += mine.eq(Mux(control.near_loopback, near, far))
        overrun = Signal()  # entries were lost before the next
        m.d.comb += [
            crossing.w_data.eq(Cat(line.entry, overrun)), crossing.w_en.eq(line.entry_valid),
            crossing.r_en.eq(1),
        ]
        with m.If(line.entry_valid):
            m.d.receive += overrun.eq(~crossing.w_rdy)
        entry = Signal(entry_layout(p))
        entry_valid, overrun_seen = Signal(), Signal()
        m.d.comb += [
            Cat(entry, overrun_seen).eq(crossing.r_data), entry_valid.eq(crossing.r_rdy),
        ]
        return entry, entry_valid, entry_valid & overrun_seen

    def _transmit(self, m):
        training, transmitter, line = self.training, self.transmitter, self.line_transmitter
        connect(m, transmitter=transmitter.o_line, line=line.i_line)
        m.d.comb += [
            transmitter.run.eq(training.run), training.idle.eq(transmitter.idle & ~self.receiver.busy),
            transmitter.up.eq(self.status.state == LinkState.UP),
            transmitter.hello.eq(training.hello), transmitter.config_hash.eq(self.config_hash),
            line.train.eq(training.train), line.finish.eq(training.finish), line.silent.eq(training.silent),
            line.test.eq(self.status.state == LinkState.TEST), line.discard.eq(training.discard),
            line.state.eq(training.training_state), line.received.eq(training.receive_mask),
            line.mask.eq(training.transmit_mask), training.flits.eq(line.flits),
            *(out.eq(lane) for out, lane in zip(self.o_lanes, line.o_lanes)),
        ]

    def _exchange(self, m):
        """What one direction's flits say about the other."""
        transmitter, receiver = self.transmitter, self.receiver
        m.d.comb += [
            transmitter.answer.eq(receiver.answer),
            *(getattr(transmitter, name).eq(getattr(receiver, name)) for name in (
                "acknowledge", "acknowledged", "refused", "credit", "credit_channel", "credited")),
        ]

    def _train(self, m, entry, entry_valid):
        training, receiver, control = self.training, self.receiver, self.control
        is_word = (entry.kind == Entry.WORD) | (entry.kind == Entry.LAST_WORD)
        m.d.comb += [
            training.enable.eq(control.enable), training.retrain.eq(control.retrain),
            training.test.eq(control.test), training.down_after.eq(control.down_after),
            training.config_hash.eq(self.config_hash),
            training.reported.eq(entry_valid & (entry.kind == Entry.TRAINING)),
            training.report.eq(entry.payload), training.words.eq(entry_valid & is_word),
            training.partner_hello.eq(receiver.hello), training.partner_hash.eq(receiver.config_hash),
            *(getattr(training, name).eq(getattr(receiver, name)) for name in (
                "hello_valid", "sequenced", "heard", "lost", "partner_refuses", "refusal")),
            training.flit_sent.eq(self.transmitter.flit_sent), training.stuck.eq(self.transmitter.stuck),
            receiver.word.eq(entry.payload), receiver.last.eq(entry.kind == Entry.LAST_WORD),
            receiver.valid.eq(training.wanted & entry_valid & is_word),
            receiver.flush.eq(~training.wanted), receiver.clear.eq(training.clear),
            receiver.listen.eq(training.listen),
            self.status.state.eq(training.state), self.status.cause.eq(training.cause),
            self.masks.transmit.eq(training.transmit_mask), self.masks.receive.eq(training.receive_mask),
        ]

    def _payload(self, m):
        """The user's streams, or the far loopback."""
        for v in range(self.parameters.channels):
            taken, user_in = self.transmitter.i_payload[v], self.i_payload[v]
            given, user_out = self.receiver.o_payload[v], self.o_payload[v]
            with m.If(self.control.far_loopback):
                m.d.comb += [taken.valid.eq(given.valid), taken.payload.eq(given.payload), given.ready.eq(taken.ready)]
            with m.Else():
                m.d.comb += [
                    taken.valid.eq(user_in.valid), taken.payload.eq(user_in.payload), user_in.ready.eq(taken.ready),
                    user_out.valid.eq(given.valid), user_out.payload.eq(given.payload), given.ready.eq(user_out.ready),
                ]

    def _inject(self, m):
        """A rising bit waits for a flit that it can hit."""
        before = Signal(LinkInject)
        waiting = Signal(LinkInject)
        hit = Signal(LinkInject)
        asked = Signal.like(Cat(waiting.as_value()))
        m.d.comb += [
            asked.eq(waiting.as_value() | self.inject_always.as_value()),
            Cat(self.transmitter.inject, self.receiver.inject).eq(asked),
            hit.as_value().eq(Cat(self.transmitter.injected, self.receiver.injected)),
        ]
        m.d.sync += [
            before.eq(self.inject_once),
            waiting.as_value().eq(waiting.as_value() & ~hit.as_value()
                                  | self.inject_once.as_value() & ~before.as_value()),
        ]

    def _count(self, m, entry, entry_valid, overrun):
        p, transmitter, receiver, training = self.parameters, self.transmitter, self.receiver, self.training
        told = data.View(lane_errors_layout(), entry.payload[:lane_errors_layout().size])
        lanes = entry_valid & (entry.kind == Entry.LANES)
        counted = {
            "flits_sent": transmitter.flit_sent, "flits_good": receiver.good, "flits_bad": receiver.bad,
            "replays": transmitter.replayed, "timeouts": transmitter.timed_out, "retrains": training.retrained,
            "refused": receiver.refusing | training.refused, "overruns": overrun,
            "skip_errors": Mux(lanes & ~told.test, ones(told.errors), 0),
        }
        for name, event in counted.items():
            m.d.sync += self.counters[name].eq(self.counters[name] + event)
        with m.If(receiver.refusing):
            m.d.sync += self.status.refused.eq(receiver.fault)
        with m.If(training.refused):
            m.d.sync += self.status.refused.eq(Cause.CONFIGURATION)
        with m.If(training.clear):
            m.d.sync += self.status.refused.eq(Cause.NONE)
        m.d.comb += self.status.undelivered.eq(transmitter.accepted - transmitter.delivered)

        testing, before = self.status.state == LinkState.TEST, Signal()
        m.d.sync += before.eq(testing)
        for lane in range(p.lanes):
            errors = self.lane_errors[lane]
            with m.If(testing & ~before):
                m.d.sync += [errors.eq(0), self.masks.test[lane].eq(0)]
            with m.Elif(lanes & told.test & (told.lane == lane)):
                m.d.sync += [errors.eq(errors + told.errors), self.masks.test[lane].eq(told.locked)]
