"""The receive queue: waits for what partners post."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config
from ..csr import Cause
from ..isa import Opcode, Queue
from ..transport.interface import down_address, port_state_layout, semaphore_signature
from .activity import activity_layout
from .decode import command_layout, fields_of
from .fault import fault_layout, raise_fault
from .tokens import token_signature


class Recv(wiring.Component):
    """Executes RECV: takes its tokens and ``count`` off its semaphore in one cycle, when both are there, and gives its
    ``signal`` tokens in that cycle.

    A RECV that lacks only the count while the link of its port is down raises ``fault`` with LINK_DOWN.

    Members
    -------
    i_commands : In(stream), tokens : Out(token_signature)
    halt : In(1)
    states : In(port_state_layout).array(links), semaphores : Out(semaphore_signature)
    activity : Out(activity_layout)
        ``busy`` in the cycle in which it completes; else ``token``, or ``memory`` while it waits for its semaphore.
    idle : Out(1), fault : Out(fault_layout)
    """

    i_commands: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_commands": In(stream.Signature(command_layout(config, Queue.RECEIVE))),
            "tokens": Out(token_signature(config)),
            "halt": In(1),
            "states": In(port_state_layout()).array(config.links),
            "semaphores": Out(semaphore_signature()),
            "activity": Out(activity_layout()),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        command = self.i_commands.payload
        recv = fields_of(command, Opcode.RECV)
        state, granted, take, enough = Signal(port_state_layout()), Signal(), Signal(), self.semaphores.enough
        m.d.comb += [
            state.eq(Array(state.as_value() for state in self.states)[recv.port]),
            self.semaphores.semaphore.eq(recv.semaphore),
            self.semaphores.count.eq(recv.count),
            self.semaphores.take.eq(take),
            self.tokens.wait.eq(command.wait),
            granted.eq(self.i_commands.valid & self.tokens.granted & ~self.halt & ~self.fault.valid),
            take.eq(granted & enough),
            self.tokens.take.eq(take),
            self.tokens.signal.eq(Mux(take, command.signal, 0)),
            self.i_commands.ready.eq(take),
            self.activity.busy.eq(take),
            self.activity.token.eq(self.i_commands.valid & ~self.tokens.granted),
            self.activity.memory.eq(self.i_commands.valid & self.tokens.granted & ~take),
            self.idle.eq(~self.i_commands.valid),
        ]
        with m.If(granted & ~enough & state.down):
            raise_fault(m, self.fault, Cause.LINK_DOWN, down_address(recv.port, state))
        return m
