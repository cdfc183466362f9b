"""Starts, stops and watches a program."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ADDR_BITS, Config
from ..csr import Cause, counters
from ..isa import queues
from .activity import activity_layout
from .engine import events_layout
from .fault import fault_layout


class Control(wiring.Component):
    """The life of a program: START resets the engine and lets it go; it ends when the engine has finished, or stops at
    the first fault, when the watchdog expires, or at a soft reset.

    A stopped engine begins nothing new on the bus; the program has ended when every transfer that had begun is
    answered. If answers stay away for another watchdog period, the error is reported all the same, and a soft reset
    waits for them.

    Members
    -------
    start, soft_reset : In(1)
    testing : In(1)
        The self-test uses the array: a start is refused with a cause.
    watchdog : In(32)
    fault : In(fault_layout), finished : In(1), dispatched_address : In, overflow : In(1), events : In(events_layout)
        From the engine.
    read_request, read_end, read_beat, write_request, write_beat, write_end : In(1)
        Bus handshakes.
    requesting : In(1)
        An address is shown on the bus.
    sending : In(1)
        A partner has not answered a SEND that has begun, and its link is not down.
    engine_reset, go, halt : Out(1)
        To the engine.
    busy, done, error, overflowed : Out(1), cause : Out(8), error_address : Out
    done_event, error_event, reset_event : Out(1)
        For one cycle: completed, stopped, a soft reset has happened.
    counters : Out(ArrayLayout)
        In the order of :func:`hdl.csr.counters`.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "start": In(1),
            "soft_reset": In(1),
            "testing": In(1),
            "watchdog": In(32),
            "fault": In(fault_layout()),
            "finished": In(1),
            "dispatched_address": In(ADDR_BITS),
            "overflow": In(1),
            "events": In(events_layout(config)),
            **{name: In(1) for name in ("read_request", "read_end", "read_beat", "write_request", "write_beat",
                                        "write_end", "requesting", "sending")},
            "engine_reset": Out(1, init=1),
            "go": Out(1),
            "halt": Out(1),
            "busy": Out(1),
            "done": Out(1),
            "error": Out(1),
            "overflowed": Out(1),
            "cause": Out(8),
            "error_address": Out(64),
            "done_event": Out(1),
            "error_event": Out(1),
            "reset_event": Out(1),
            "counters": Out(data.ArrayLayout(64, len(counters(config)))),
        })

    def elaborate(self, platform):
        m = Module()
        self.quiet = self._transfers(m)
        self.running = Signal()
        self._states(m)
        self._count(m)
        return m

    def _transfers(self, m):
        """Whether every transfer is answered. The count of those on the bus survives the engine's resets."""
        reads, writes = Signal(8), Signal(8)
        m.d.sync += [
            reads.eq(reads + self.read_request - self.read_end),
            writes.eq(writes + self.write_request - self.write_end),
        ]
        quiet = Signal()
        m.d.comb += quiet.eq((reads == 0) & (writes == 0) & ~self.requesting & ~self.sending)
        return quiet

    def _states(self, m):
        idle_cycles = Signal(32)
        expired = Signal()
        abandon = Signal()
        m.d.comb += expired.eq((self.watchdog != 0) & (idle_cycles >= self.watchdog))
        m.d.sync += [self.engine_reset.eq(0), idle_cycles.eq(idle_cycles + 1)]
        with m.If(self.engine_reset):  # what is about to be reset must not show a request any more
            m.d.comb += self.halt.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.soft_reset):
                    m.d.sync += abandon.eq(1)
                    m.next = "STOP"
                with m.Elif(self.start & ~self.error):
                    self._clear(m)
                    with m.If(self.testing):
                        m.d.sync += [self.cause.eq(Cause.BIST_RUNNING), self.error.eq(1)]
                        m.d.comb += self.error_event.eq(1)
                        m.next = "STOPPED"
                    with m.Else():
                        m.d.sync += self.engine_reset.eq(1)
                        m.next = "RESET"
            with m.State("RESET"):
                m.d.comb += self.busy.eq(1)
                m.next = "GO"
            with m.State("GO"):
                m.d.comb += [self.busy.eq(1), self.go.eq(1)]
                m.d.sync += idle_cycles.eq(0)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [self.busy.eq(1), self.running.eq(1)]
                with m.If(self.events.progress):
                    m.d.sync += idle_cycles.eq(0)
                with m.If(self.soft_reset):
                    m.d.sync += [abandon.eq(1), idle_cycles.eq(0)]
                    m.next = "STOP"
                with m.Elif(self.fault.valid):
                    m.d.sync += [self.cause.eq(self.fault.cause), self.error_address.eq(self.fault.address),
                                 idle_cycles.eq(0)]
                    m.next = "STOP"
                with m.Elif(self.finished):
                    m.d.sync += self.done.eq(1)
                    m.d.comb += self.done_event.eq(1)
                    m.next = "IDLE"
                with m.Elif(expired):
                    m.d.sync += [self.cause.eq(Cause.WATCHDOG), self.error_address.eq(self.dispatched_address),
                                 idle_cycles.eq(0)]
                    m.next = "STOP"
            with m.State("STOP"):
                m.d.comb += [self.busy.eq(1), self.halt.eq(1)]
                with m.If(self.soft_reset):
                    m.d.sync += abandon.eq(1)
                with m.Elif(abandon):
                    with m.If(self.quiet):
                        self._clear(m)
                        m.d.sync += [abandon.eq(0), self.engine_reset.eq(1)]
                        m.d.comb += self.reset_event.eq(1)
                        m.next = "IDLE"
                with m.Elif(self.quiet | expired):
                    m.d.sync += self.error.eq(1)
                    m.d.comb += self.error_event.eq(1)
                    m.next = "STOPPED"
            with m.State("STOPPED"):
                m.d.comb += self.halt.eq(1)
                with m.If(self.soft_reset):
                    m.d.sync += abandon.eq(1)
                    m.next = "STOP"
        with m.If(self.overflow & self.running):
            m.d.sync += self.overflowed.eq(1)

    def _clear(self, m):
        m.d.sync += [self.done.eq(0), self.error.eq(0), self.overflowed.eq(0), self.cause.eq(Cause.NONE),
                     self.error_address.eq(0), self.counters.eq(0)]

    def _count(self, m):
        increments = {
            "CYCLES": 1,
            "ARRAY_BUSY": self.events.array_busy,
            "WEIGHT_BEATS": self.events.weight_beat,
            "READ_BEATS": self.read_beat,
            "WRITE_BEATS": self.write_beat,
            **{f"{queue.name}_{state.upper()}": getattr(activity, state)
               for queue, activity in zip(queues(self.config), self.events.queues) for state, _ in activity_layout()},
        }
        if self.config.links:
            increments["RECEIVE_WAIT"] = increments["RECEIVE_MEMORY"]
        with m.If(self.running):
            for counter, name in zip(self.counters, counters(self.config)):
                m.d.sync += counter.eq(counter + increments[name])
