"""The transport without its links: what ``tb_transport`` tests."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.axi import axi4
from hdl.axi.write_arbiter import WriteArbiter
from hdl.config import ADDR_BITS, Config
from hdl.csr import SEMAPHORE_BITS, SEMAPHORES
from hdl.ipu.activity import activity_layout
from hdl.ipu.burst_writer import word_layout
from hdl.ipu.decode import command_layout
from hdl.ipu.fault import fault_layout
from hdl.ipu.recv import Recv
from hdl.ipu.send import Send
from hdl.ipu.windows import windows_layout
from hdl.ipu.writer import Writer, write_run_layout
from hdl.isa import Queue, queues
from hdl.transport.interface import port_state_layout
from hdl.transport.remote import Remote
from hdl.transport.semaphores import Semaphores


class TransportBlock(wiring.Component):
    """:class:`~hdl.ipu.send.Send`, :class:`~hdl.ipu.recv.Recv` and a program's :class:`~hdl.ipu.writer.Writer`, reset
    by ``engine_reset``; per port a :class:`~hdl.transport.remote.Remote`; semaphores and the way to memory.

    Members
    -------
    m_axi_* : AXI4 master
    engine_reset, halt : In(1), windows, states : In
    i_send, i_recv : In(stream), granted : In(2)
        Commands, and whether their tokens are there.
    take, signal, released : Out
        What the link queue and the receive queue do with tokens.
    i_runs, i_words : In(stream)
        Of the program's writer.
    o_requests, o_answers : Out(stream).array(links), i_requests, i_answers : In(stream).array(links)
        Beats to and from the links.
    enable, delivered : In(links), closing, broken : Out(links), refused, refused_cause, refused_address : Out
        As in :class:`~hdl.transport.remote.Remote`.
    clear : In(16), values : Out, full : In(links)
        Of the semaphores; a bit of ``full`` makes all look full to a port.
    sending : Out(1), idle : Out(2), activity, faults : Out
        Of the link queue and the receive queue.
    """

    def __init__(self, config: Config):
        self.config = config
        links, beat, mask = config.links, stream.Signature(config.bus_bits), len(queues(config))
        super().__init__(axi4.ports(config) | {
            "engine_reset": In(1), "halt": In(1),
            "windows": In(windows_layout()),
            "states": In(port_state_layout()).array(links),
            "i_send": In(stream.Signature(command_layout(config, Queue.LINK))),
            "i_recv": In(stream.Signature(command_layout(config, Queue.RECEIVE))),
            "granted": In(2), "take": Out(2),
            "signal": Out(data.ArrayLayout(mask, 2)), "released": Out(mask),
            "i_runs": In(stream.Signature(write_run_layout(config))),
            "i_words": In(stream.Signature(word_layout(config))),
            "o_requests": Out(beat).array(links), "o_answers": Out(beat).array(links),
            "i_requests": In(beat).array(links), "i_answers": In(beat).array(links),
            "enable": In(links), "delivered": In(links), "closing": Out(links), "broken": Out(links),
            "refused": Out(data.ArrayLayout(32, links)), "refused_cause": Out(data.ArrayLayout(8, links)),
            "refused_address": Out(data.ArrayLayout(ADDR_BITS, links)),
            "full": In(links), "clear": In(SEMAPHORES), "values": Out(data.ArrayLayout(SEMAPHORE_BITS, SEMAPHORES)),
            "sending": Out(1), "idle": Out(2), "activity": Out(data.ArrayLayout(activity_layout(), 2)),
            "faults": Out(data.ArrayLayout(fault_layout(), 2)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.domains.engine = ClockDomain(local=True)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal()),
                     ResetSignal("engine").eq(ResetSignal() | self.engine_reset)]
        self.send, self.recv, self.writer = Send(config, channel=4), Recv(config), Writer(config)
        for name in ("send", "recv", "writer"):
            m.submodules[name] = DomainRenamer("engine")(getattr(self, name))
        m.submodules.semaphores = semaphores = Semaphores(config)
        m.submodules.arbiter = arbiter = WriteArbiter(config, 1 + config.links)
        self._engine(m, semaphores)
        self._memory(m, arbiter)
        for number in range(config.links):
            self._port(m, number, semaphores, arbiter)
        m.d.comb += [semaphores.clear.eq(self.clear), self.values.eq(semaphores.values)]
        return m

    def _engine(self, m, semaphores):
        send, recv, writer = self.send, self.recv, self.writer
        connect(m, recv=recv.semaphores, semaphores=semaphores.engine)
        connect(m, commands=flipped(self.i_send), send=send.i_commands)
        connect(m, commands=flipped(self.i_recv), recv=recv.i_commands)
        connect(m, runs=flipped(self.i_runs), writer=writer.i_runs)
        connect(m, words=flipped(self.i_words), writer=writer.i_words)
        for number, queue in enumerate((send, recv)):
            m.d.comb += [
                queue.halt.eq(self.halt), queue.tokens.granted.eq(self.granted[number]),
                self.take[number].eq(queue.tokens.take), self.signal[number].eq(queue.tokens.signal),
                self.idle[number].eq(queue.idle), self.activity[number].eq(queue.activity),
                self.faults[number].eq(queue.fault),
            ]
        m.d.comb += [
            send.windows.eq(self.windows), writer.windows.eq(self.windows), writer.halt.eq(self.halt),
            self.released.eq(send.tokens.release), self.sending.eq(send.sending),
        ]

    def _memory(self, m, arbiter):
        bus = axi4.Signature(self.config).create()
        axi4.connect_ports(m, self, bus, self.config)
        connect(m, send=self.send.ar, bus=flipped(bus.ar))
        connect(m, bus=flipped(bus.r), send=self.send.r)
        connect(m, writer=self.writer.aw, arbiter=arbiter.i_aw[0])
        connect(m, writer=self.writer.w, arbiter=arbiter.i_w[0])
        connect(m, writer=self.writer.b, arbiter=arbiter.o_b[0])
        for name in ("aw", "w", "b"):
            connect(m, arbiter=getattr(arbiter, name), bus=flipped(getattr(bus, name)))

    def _port(self, m, number, semaphores, arbiter):
        remote = m.submodules[f"remote_{number}"] = Remote(self.config, channel=1 + number)
        port = self.send.ports[number]
        connect(m, send=port.requests, beats=flipped(self.o_requests[number]))
        connect(m, beats=flipped(self.i_answers[number]), send=port.answers)
        connect(m, beats=flipped(self.i_requests[number]), remote=remote.i_requests)
        connect(m, remote=remote.o_answers, beats=flipped(self.o_answers[number]))
        connect(m, remote=remote.o_posts, semaphores=semaphores.i_posts[number])
        connect(m, remote=remote.aw, arbiter=arbiter.i_aw[1 + number])
        connect(m, remote=remote.w, arbiter=arbiter.i_w[1 + number])
        connect(m, remote=remote.b, arbiter=arbiter.o_b[1 + number])
        m.d.comb += [
            port.state.eq(self.states[number]), self.recv.states[number].eq(self.states[number]),
            remote.state.eq(self.states[number]), remote.windows.eq(self.windows),
            remote.enable.eq(self.enable[number]), remote.delivered.eq(self.delivered[number]),
            remote.full.eq(semaphores.full[number] | self.full[number]),
            self.closing[number].eq(remote.closing), self.broken[number].eq(remote.broken),
            self.refused[number].eq(remote.refused), self.refused_cause[number].eq(remote.refused_cause),
            self.refused_address[number].eq(remote.refused_address),
        ]
