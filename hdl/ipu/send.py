"""The link queue: rows of memory to the partners' memory."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import Config, clog2
from ..csr import Cause
from ..isa import Opcode, Queue, queues
from ..transport.interface import down_address, port_signature, port_state_layout
from ..transport.packet import MAX_BEATS, SENDS, answer_layout
from ..transport.packetiser import Packetiser, send_layout, tag_layout
from .activity import activity_layout
from .burst import BurstSplitter
from .decode import command_layout, fields_of
from .fault import fault_layout, raise_fault
from .reader import Reader
from .tokens import token_signature
from .vector_walk import VectorWalk
from .windows import windows_layout


def _started_layout(config: Config) -> data.StructLayout:
    """A SEND that is not answered."""
    return data.StructLayout({"port": clog2(max(2, config.links)), "signal": len(queues(config))})


class Send(wiring.Component):
    """Executes SEND: reads rows of memory and sends them as packets through a link.

    A SEND starts when its port's link is up, in one cycle, and asks for one row in each of the next ones; then the next
    SEND starts, while up to :attr:`~hdl.transport.packet.SENDS` await their answer. It gives its ``release`` tokens
    when its last bus word has left for the link, and its ``signal`` tokens when the partner has answered that all is
    written.

    A port whose link is down when a SEND would start, or goes down before one is answered, raises ``fault`` with
    LINK_DOWN; an answer that tells of a failure raises its cause. After a fault, and while ``halt`` is high, no SEND
    starts and no packet begins; those that have started are ended without a post, and ``sending`` falls when all are
    answered, or their ports' links are down.

    Members
    -------
    windows, halt, ar, r
        As in :class:`~hdl.ipu.reader.Reader`.
    i_commands : In(stream), tokens : Out(token_signature)
    ports : Out(port_signature).array(links)
    sending : Out(1)
        Some SEND that has started is not answered.
    activity : Out(activity_layout)
        ``busy`` when a SEND starts or is answered, a row is asked for, or a beat goes; else ``memory`` while one waits
        for the bus, the link or the partner; else ``token``.
    moved : Out(1)
        A beat has gone, or an answer has come.
    idle : Out(1), fault : Out(fault_layout)
    """

    i_commands: stream.Interface
    ar: stream.Interface
    r: stream.Interface

    #: Bus words that are read ahead: two bursts, so that the next one is on its way while one is sent.
    DEPTH = 128

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        super().__init__({
            "windows": In(windows_layout()),
            "halt": In(1),
            "ar": Out(stream.Signature(axi4.address_layout(config))),
            "r": In(stream.Signature(axi4.read_layout(config))),
            "i_commands": In(stream.Signature(command_layout(config, Queue.LINK))),
            "tokens": Out(token_signature(config)),
            "ports": Out(port_signature(config)).array(config.links),
            "sending": Out(1),
            "activity": Out(activity_layout()),
            "moved": Out(1),
            "idle": Out(1),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        self.send = fields_of(self.i_commands.payload, Opcode.SEND)
        self.stop = Signal()
        self.lost = Signal(config.links)  # ports that went down with a SEND unanswered
        m.submodules.reader = self.reader = reader = Reader(config, channel=self.channel, depth=self.DEPTH)
        m.submodules.splitter = self.splitter = splitter = BurstSplitter(
            config, permission=None, max_beats=MAX_BEATS, tag_bits=tag_layout(config).size)
        m.submodules.packetiser = self.packetiser = packetiser = Packetiser(config, depth=self.DEPTH)
        m.submodules.started = self.started = SyncFIFO(width=_started_layout(config).size, depth=SENDS)
        connect(m, outer=flipped(self.ar), inner=reader.ar)
        connect(m, outer=flipped(self.r), inner=reader.r)
        connect(m, splitter=splitter.o_bursts, packetiser=packetiser.i_bursts)
        connect(m, reader=reader.o_words, packetiser=packetiser.i_words)
        for port, requests in zip(self.ports, packetiser.o_requests):
            connect(m, packetiser=requests, port=flipped(port.requests))
        m.d.comb += [
            self.stop.eq(self.halt | self.fault.valid),
            reader.windows.eq(self.windows),
            reader.halt.eq(self.stop),
            packetiser.stop.eq(self.stop),
            packetiser.lost.eq(self.lost),
            packetiser.level.eq(reader.level),
            self.tokens.release.eq(packetiser.release),
        ]
        start, token = self._start(m)
        asked = self._ask(m, start)
        answered = self._complete(m, start)
        self._faults(m)
        self._report(m, start, token, asked, answered)
        return m

    def _start(self, m):
        """Takes the tokens and a place among the SENDs that await answers. Returns whether a SEND starts, and whether
        one waits for tokens."""
        command, send = self.i_commands.payload, self.send
        start, token = Signal(), Signal()
        self.waiting = Signal()  # for a SEND to start
        self.state = Signal(port_state_layout())
        started = data.View(_started_layout(self.config), self.started.w_data)
        m.submodules.sends = sends = SyncFIFO(width=send_layout(self.config).size, depth=SENDS)
        ending = data.View(send_layout(self.config), sends.w_data)
        m.d.comb += [
            self.state.eq(Array(port.state.as_value() for port in self.ports)[send.port]),
            start.eq(self.waiting & self.tokens.granted & self.state.up & self.started.w_rdy & ~self.stop),
            token.eq(self.waiting & ~self.tokens.granted),
            self.tokens.wait.eq(command.wait),
            self.tokens.take.eq(start),
            self.started.w_en.eq(start),
            started.port.eq(send.port),
            started.signal.eq(command.signal),
            sends.w_en.eq(start),
            ending.empty.eq(send.rows == 0),
            *(ending[name].eq(send[name]) for name in ("port", "post", "semaphore", "release")),
            self.packetiser.i_sends.valid.eq(sends.r_rdy),
            self.packetiser.i_sends.payload.eq(sends.r_data),
            sends.r_en.eq(self.packetiser.i_sends.ready),
        ]
        return start, token

    def _ask(self, m, start):
        """Asks memory for rows and cuts them where the partner's memory wants it. Returns whether a row is asked
        for."""
        send, bus, within = self.send, self.config.bus_bytes, clog2(self.config.bus_bytes)
        local = m.submodules.local_walk = VectorWalk()
        remote = m.submodules.remote_walk = VectorWalk()
        asked, valid = Signal(), Signal()
        end = Signal(range((1 << len(send.row_bytes)) + bus))  # of the row, from its first bus word on
        tag = Signal(tag_layout(self.config))
        runs, cuts = self.reader.i_runs, self.splitter.i_runs
        for walk, address, stride in ((local, send.address, send.stride),
                                      (remote, send.remote_address, send.remote_stride)):
            m.d.comb += [walk.start.eq(start), walk.i_address.eq(address), walk.i_stride.eq(stride),
                         walk.i_vectors.eq(send.rows), walk.i_vector_rows.eq(1), walk.step.eq(asked)]
        m.d.comb += [
            end.eq(local.address[:within] + send.row_bytes),
            tag.spare.eq(-end),
            tag.last.eq(local.last),
            asked.eq(valid & runs.ready & cuts.ready),
            runs.valid.eq(asked),
            runs.payload.address.eq(local.address[within:] << within),
            runs.payload.beats.eq((end + bus - 1) >> within),
            cuts.valid.eq(asked),
            cuts.payload.address.eq(remote.address),
            cuts.payload.beats.eq(runs.payload.beats),
            cuts.payload.tag.eq(tag),
        ]
        with m.FSM(name="rows"):
            with m.State("WAIT"):
                m.d.comb += self.waiting.eq(self.i_commands.valid)
                with m.If(start & (send.rows == 0)):
                    m.d.comb += self.i_commands.ready.eq(1)
                with m.Elif(start):
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.d.comb += valid.eq(~self.stop)
                with m.If(asked & local.last):
                    m.d.comb += self.i_commands.ready.eq(1)
                    m.next = "WAIT"
        return asked

    def _complete(self, m, start):
        """Gives the tokens of SENDs, in order. Returns whether one is answered, or never will be."""
        oldest = data.View(_started_layout(self.config), self.started.r_data)
        answer, come, lost, done = Signal(answer_layout()), Signal(), Signal(), Signal()
        m.d.comb += [
            answer.eq(Array(port.answers.payload for port in self.ports)[oldest.port]),
            come.eq(Array(port.answers.valid for port in self.ports)[oldest.port]),
            lost.eq(self.lost.bit_select(oldest.port, 1)),
            done.eq(self.started.r_rdy & (come | lost)),
            self.started.r_en.eq(done),
            self.sending.eq(self.started.r_rdy),
            self.tokens.signal.eq(Mux(done & ~lost & (answer.cause == Cause.NONE) & ~self.stop, oldest.signal, 0)),
        ]
        for number, port in enumerate(self.ports):
            unanswered = Signal(range(SENDS + 1), name=f"unanswered_{number}")
            mine = oldest.port == number
            m.d.comb += port.answers.ready.eq(~self.started.r_rdy | mine | self.lost[number])
            m.d.sync += unanswered.eq(unanswered + (start & (self.send.port == number)) - (done & mine))
            with m.If(port.state.down & (unanswered != 0)):
                m.d.sync += self.lost[number].eq(1)
                raise_fault(m, self.fault, Cause.LINK_DOWN, down_address(number, port.state))
        with m.If(done & ~lost & (answer.cause != Cause.NONE)):
            raise_fault(m, self.fault, answer.cause, answer.address)
            with m.If(answer.cause == Cause.REMOTE_PACKET):  # the partner answers nothing any more
                m.d.sync += self.lost.bit_select(oldest.port, 1).eq(1)
        return done

    def _faults(self, m):
        with m.If(self.waiting & self.tokens.granted & self.state.down & ~self.halt):
            raise_fault(m, self.fault, Cause.LINK_DOWN, down_address(self.send.port, self.state))
        with m.If(self.reader.fault.valid):
            raise_fault(m, self.fault, self.reader.fault.cause, self.reader.fault.address)
        with m.If(self.splitter.refused):
            raise_fault(m, self.fault, Cause.REMOTE_WINDOW, self.splitter.refused_address)

    def _report(self, m, start, token, asked, answered):
        busy, memory = Signal(), Signal()
        m.d.comb += [
            self.moved.eq(self.packetiser.sent | answered),
            busy.eq(start | asked | self.moved),
            memory.eq(self.started.r_rdy | self.waiting & self.tokens.granted),
            self.activity.busy.eq(busy),
            self.activity.memory.eq(~busy & memory),
            self.activity.token.eq(~busy & ~memory & token),
            self.idle.eq(~self.i_commands.valid & ~self.started.r_rdy),
        ]
