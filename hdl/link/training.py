"""The state machine of a link: training, exchange of HELLO flits, up, down."""

import enum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .formats import VERSION, Cause, HelloFlags, TrainingState, hello_layout, report_layout
from .parameters import UNIT_BITS, LinkParameters

#: HELLO flits with a cause that a link sends before it goes down, so that the partner gets one.
REFUSAL_FLITS = 64


class LinkState(enum.IntEnum):
    DOWN = 0
    TRAINING = 1
    HELLO = 2
    UP = 3
    TEST = 4


class Training(wiring.Component):
    """Brings the link up and keeps it up.

    From ``enable`` on: ``clear``, which begins a session, then training until the partner answers. A link that was up
    and loses its partner trains again and keeps its session; after ``down_after`` cycles without being up it goes down
    with a cause, and stays down until ``enable`` goes low and high again.

    Members
    -------
    enable, retrain, test : In(1)
    down_after : In(32)
        0: never.
    state : Out(LinkState), cause : Out(Cause)
    transmit_mask, receive_mask : Out(lanes)
        Lanes in use, both by the number of the transmitter's lane.
    clear : Out(1)
    run, discard : Out
        Of the transmitter: makes flits; nobody takes its words.
    idle : In(1)
        Transmitter and receiver have ended with the flits that they had begun.
    silent, train, finish, training_state, flits : Out, Out, Out, Out, In
        Of the line's transmitter.
    hunt, hunting : Out, In
        Of the line's receiver, synchronised.
    report, reported : In
    wanted : Out(1)
        Line words are wanted; else they are old.
    words : In(1)
        A line word has come.
    hello : Out, partner_hello, partner_hash, hello_valid : In
        HELLO flits.
    config_hash : In(64)
    sequenced, heard : In(1)
        A NULL or DATA flit has come now, in this session.
    listen : Out(1)
        They count.
    flit_sent : In(1)
    lost, stuck : In(1)
        Reasons to train again.
    partner_refuses, refusal : In
    retrained, refused : Out(1)
        Strobes: trains again; the partner's configuration is refused.
    """

    def __init__(self, parameters: LinkParameters):
        self.parameters = parameters
        p = parameters
        super().__init__({
            "enable": In(1), "retrain": In(1), "test": In(1), "down_after": In(32),
            "state": Out(LinkState), "cause": Out(Cause),
            "transmit_mask": Out(p.lanes), "receive_mask": Out(p.lanes),
            "clear": Out(1),
            "run": Out(1), "idle": In(1), "discard": Out(1),
            "silent": Out(1), "train": Out(1), "finish": Out(1), "training_state": Out(TrainingState), "flits": In(1),
            "hunt": Out(1), "hunting": In(1),
            "report": In(report_layout()), "reported": In(1),
            "wanted": Out(1), "words": In(1),
            "hello": Out(hello_layout()), "partner_hello": In(hello_layout()), "partner_hash": In(UNIT_BITS),
            "hello_valid": In(1), "config_hash": In(UNIT_BITS),
            "sequenced": In(1), "heard": In(1), "listen": Out(1), "flit_sent": In(1),
            "lost": In(1), "stuck": In(1),
            "partner_refuses": In(4), "refusal": In(1),
            "retrained": Out(1), "refused": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        started = Signal()  # since enable has been high
        fresh = Signal()
        seen = Signal()
        refusals = Signal(range(REFUSAL_FLITS + 1))
        attempt = Signal(range(p.training_timeout + 1))  # cycles of this attempt to train, then of HELLO
        away = Signal(32)  # cycles since the link was up
        overdue = Signal()
        down = Signal(Cause)
        differs = Signal()
        complaint = Signal(Cause)
        flags = self.partner_hello.flags
        m.d.sync += [attempt.eq(attempt + 1), away.eq(away + 1)]
        with m.If(~self.enable):
            m.d.sync += started.eq(0)
        m.d.comb += [
            overdue.eq(attempt == p.training_timeout),
            self.hello.version.eq(VERSION),
            self.hello.cause.eq(complaint),
            self.hello.flags.eq(Mux(fresh, HelloFlags.FRESH, 0) | Mux(seen, HelloFlags.SEEN, 0)),
            differs.eq((self.partner_hash != self.config_hash) | (self.partner_hello.version != VERSION)),
        ]

        def leave():
            """Ends of every state but DOWN and TEST; the last that applies wins."""
            with m.If(overdue):
                m.next = "DRAIN"
            with m.If((self.down_after != 0) & (away >= self.down_after)):
                m.d.comb += down.eq(Cause.NO_PARTNER)
            with m.If(down != Cause.NONE):
                m.d.sync += self.cause.eq(down)
                m.next = "DOWN"
            with m.If(~self.enable):
                m.next = "DOWN"

        with m.FSM(name="link"):
            with m.State("DOWN"):
                m.d.comb += [self.silent.eq(1), self.hunt.eq(1), self.discard.eq(1)]
                m.d.sync += away.eq(0)
                with m.If(self.enable & ~started & self.idle):
                    m.d.comb += self.clear.eq(1)
                    m.d.sync += [started.eq(1), self.cause.eq(Cause.NONE), fresh.eq(1)]
                    m.next = "HUNT"
                with m.Elif(self.test):
                    m.next = "TEST"
            with m.State("TEST"):
                m.d.comb += [self.state.eq(LinkState.TEST), self.hunt.eq(1), self.discard.eq(1)]
                m.d.sync += away.eq(0)
                with m.If(~self.test):
                    m.next = "DOWN"
            with m.State("DRAIN"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.discard.eq(1)]
                with m.If(self.idle):
                    m.next = "HUNT"
                leave()
            with m.State("HUNT"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.train.eq(1), self.hunt.eq(1)]
                m.d.sync += [attempt.eq(0), seen.eq(0)]
                with m.If(self.hunting):
                    m.next = "SEARCH"
                leave()
            with m.State("SEARCH"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.training_state.eq(TrainingState.SEARCH)]
                with m.If(self.reported):
                    m.d.sync += self.receive_mask.eq(self.report.mask)
                    m.next = "LOCKED"
                leave()
            with m.State("LOCKED"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.training_state.eq(TrainingState.LOCKED),
                             self.wanted.eq(1)]
                with m.If(self.reported & (self.report.state >= TrainingState.LOCKED)):
                    m.d.sync += self.transmit_mask.eq(self.report.partner_mask)
                    m.next = "READY"
                leave()
            with m.State("READY"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.training_state.eq(TrainingState.READY),
                             self.wanted.eq(1)]
                with m.If(self.reported):
                    m.d.sync += self.transmit_mask.eq(self.report.partner_mask)
                with m.If(self.words | self.reported & (self.report.state >= TrainingState.READY)):
                    m.next = "FINISH"
                leave()
            with m.State("FINISH"):
                m.d.comb += [self.state.eq(LinkState.TRAINING), self.training_state.eq(TrainingState.READY),
                             self.wanted.eq(1), self.run.eq(1), self.finish.eq(1)]
                with m.If(self.flits):
                    m.d.sync += attempt.eq(0)
                    m.next = "HELLO"
                leave()
            with m.State("HELLO"):
                m.d.comb += [self.state.eq(LinkState.HELLO), self.wanted.eq(1), self.run.eq(1), self.listen.eq(seen)]
                with m.If(self.hello_valid):
                    with m.If(self.partner_hello.cause != Cause.NONE):
                        m.d.comb += down.eq(self.partner_hello.cause)
                    with m.Elif(differs):
                        m.d.comb += self.refused.eq(1)
                        m.d.sync += refusals.eq(REFUSAL_FLITS)
                        m.next = "REFUSE"
                    with m.Elif(flags[0] & self.heard):
                        m.d.comb += down.eq(Cause.PARTNER_RESET)
                    with m.Else():
                        m.d.sync += seen.eq(1)
                        with m.If(flags[1]):
                            m.next = "UP"
                with m.If(self.sequenced):
                    m.next = "UP"
                with m.If(self.lost | self.reported & (self.report.state < TrainingState.READY)):
                    m.next = "DRAIN"
                leave()
            with m.State("REFUSE"):
                m.d.comb += [self.state.eq(LinkState.HELLO), self.run.eq(1), self.wanted.eq(1),
                             complaint.eq(Cause.CONFIGURATION)]
                m.d.sync += refusals.eq(refusals - self.flit_sent)
                with m.If(refusals == 0):
                    m.d.comb += down.eq(Cause.CONFIGURATION)
                leave()
            with m.State("UP"):
                m.d.comb += [self.state.eq(LinkState.UP), self.wanted.eq(1), self.run.eq(1), self.listen.eq(1)]
                m.d.sync += [away.eq(0), attempt.eq(0), fresh.eq(0)]
                with m.If(self.lost | self.stuck | self.retrain):
                    m.d.comb += self.retrained.eq(1)
                    m.next = "DRAIN"
                with m.If(self.refusal):
                    m.d.comb += down.eq(self.partner_refuses)
                leave()
        return m
