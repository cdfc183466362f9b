"""The receiving side of a port: the partner's writes and posts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..config import ADDR_BITS, BURST_BOUNDARY, Config, clog2
from ..csr import SEMAPHORES, Cause
from ..ipu.burst import burst_layout
from ..ipu.burst_writer import BurstWriter
from ..ipu.windows import WindowCheck, windows_layout
from .interface import port_state_layout
from .packet import MAX_BEATS, MAX_BYTES, Kind, answer_layout, header_layout


def request_layout() -> data.StructLayout:
    """A request whose turn comes when memory has answered those before it: a ``write`` to memory, or an ``end``; one
    that was refused has a ``cause``."""
    return data.StructLayout({"write": 1, "end": 1, "post": 1, "semaphore": clog2(SEMAPHORES), "cause": 8,
                              "address": ADDR_BITS})


class Remote(wiring.Component):
    """Executes the partner's requests in order, and answers each END; works with and without a program.

    A packet takes a cycle for its header, one for the check, and one for each bus word; up to :attr:`REQUESTS` packets
    await memory. A packet outside of the windows that partners may write is drained and counted. A header that makes no
    sense means that what follows cannot be read: it is answered with REMOTE_PACKET, nothing more is taken, and when
    the answer is delivered, ``broken`` takes the session down, until ``enable`` is low.

    When the link goes down, what has not been read is dropped, and so are answers; a packet that had begun is written
    as far as it has come. A new session begins with an empty port.

    Members
    -------
    windows : In(ArrayLayout)
    state : In(port_state_layout), enable : In(1)
        Of the link, and what software wants of it.
    delivered : In(1)
        The partner has acknowledged all beats sent.
    i_requests : In(stream), o_answers : Out(stream)
        Beats of the link.
    aw, w : Out(stream), b : In(stream)
    o_posts : Out(stream), full : In(1)
        To :class:`~hdl.transport.semaphores.Semaphores`.
    refused : Out(32), refused_cause : Out(8), refused_address : Out
        Packets that were refused since reset, and the last of them.
    closing, broken : Out(1)
        The session is to be given up: nothing new may be sent; it is to end now.
    """

    i_requests: stream.Interface
    o_answers: stream.Interface
    o_posts: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    #: Packets, ENDs included, that await memory.
    REQUESTS = 16

    def __init__(self, config: Config, *, channel: int):
        self.config = config
        self.channel = channel
        beat = stream.Signature(config.bus_bits)
        super().__init__({
            "windows": In(windows_layout()),
            "state": In(port_state_layout()),
            "enable": In(1),
            "delivered": In(1),
            "i_requests": In(beat),
            "o_answers": Out(beat),
            "aw": Out(stream.Signature(axi4.address_layout(config))),
            "w": Out(stream.Signature(axi4.write_layout(config))),
            "b": In(stream.Signature(axi4.response_layout(config))),
            "o_posts": Out(stream.Signature(clog2(SEMAPHORES))),
            "full": In(1),
            "refused": Out(32),
            "refused_cause": Out(8),
            "refused_address": Out(ADDR_BITS),
            "closing": Out(1),
            "broken": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = self.writer = writer = BurstWriter(self.config, channel=self.channel)
        m.submodules.requests = self.requests = SyncFIFO(width=request_layout().size, depth=self.REQUESTS)
        for name in ("aw", "w", "b"):
            connect(m, outer=flipped(getattr(self, name)), inner=getattr(writer, name))
        self.over = Signal()  # the session, of which something is left
        self.idle = Signal()
        empty = self._answer(m)
        self._session(m, empty)
        request, fits, allowed, beats = self._check(m)
        self._bursts(m, request, beats)
        self._read(m, request, fits, allowed, beats, empty)
        return m

    def _session(self, m, empty):
        """A session that is over is forgotten when nothing of it is left and the next one is up."""
        with m.If(self.state.down):
            m.d.sync += self.over.eq(1)
        with m.Elif(self.state.up & self.idle & empty):
            m.d.sync += self.over.eq(0)

    def _check(self, m):
        """The header at hand: whether its length is right, whether a window allows it, and its bus words."""
        bus, page = self.config.bus_bytes, BURST_BOUNDARY
        self.header = header = Signal(header_layout())
        fits, allowed = Signal(), Signal()
        beats = Signal(clog2(2 * MAX_BYTES // bus))
        request = Signal(request_layout())
        offset = header.address[:clog2(bus)]
        last_byte = header.address + header.last_byte
        m.submodules.check = check = WindowCheck("remote")
        m.d.comb += [
            beats.eq(((offset + header.last_byte) >> clog2(bus)) + 1),
            fits.eq((beats <= MAX_BEATS) & (header.address[:clog2(page)] + header.last_byte < page)),
            check.windows.eq(self.windows),
            check.first.eq(header.address),
            check.end.eq(last_byte + 1),
            allowed.eq(check.allowed),
            request.post.eq(header.post),
            request.semaphore.eq(header.semaphore),
            request.address.eq(header.address),
            self.requests.w_data.eq(request),
        ]
        self.ends = Signal(clog2(bus))  # the last byte's place in its word
        m.d.comb += self.ends.eq(offset + header.last_byte)
        return request, fits, allowed, beats

    def _bursts(self, m, request, beats):
        """Bursts to the writer, which begins each when its words have come."""
        bus = self.config.bus_bytes
        layout = burst_layout(MAX_BEATS)
        m.submodules.bursts = bursts = SyncFIFO(width=layout.size, depth=self.REQUESTS)
        burst = data.View(layout, bursts.w_data)
        m.d.comb += [
            burst.address.eq(self.header.address[clog2(bus):] << clog2(bus)),
            burst.beats.eq(beats),
            bursts.w_en.eq(self.requests.w_en & request.write),
            self.writer.i_bursts.valid.eq(bursts.r_rdy),
            self.writer.i_bursts.payload.eq(bursts.r_data),
            bursts.r_en.eq(self.writer.i_bursts.ready),
        ]

    def _read(self, m, request, fits, allowed, beats, empty):
        """Packets, one after another."""
        bus = self.config.bus_bytes
        header, requests, words = self.header, self.requests, self.writer.i_words
        left = Signal.like(beats)
        first, last = Signal(), Signal()
        refuse = Signal()
        m.d.comb += [
            last.eq(left == 1),
            requests.w_en.eq(request.write | request.end | (request.cause != Cause.NONE)),
            refuse.eq(request.cause != Cause.NONE),
            words.payload.data.eq(self.i_requests.payload),
            # no byte of what has not come
            words.payload.strb.eq(Mux(self.over, 0, ((1 << bus) - 1 << Mux(first, header.address[:clog2(bus)], 0))
                                      & ((2 << Mux(last, self.ends, bus - 1)) - 1))),
        ]
        with m.If(refuse):
            m.d.sync += [self.refused.eq(self.refused + 1), self.refused_cause.eq(request.cause),
                         self.refused_address.eq(header.address)]
        with m.If(self.over & ~self.state.up):  # what is left to read of it
            m.d.comb += self.i_requests.ready.eq(1)
        with m.FSM(name="packet"):
            with m.State("HEADER"):
                m.d.comb += self.idle.eq(1)
                with m.If(~self.over):
                    m.d.comb += self.i_requests.ready.eq(requests.w_rdy)
                    with m.If(self.i_requests.valid & requests.w_rdy):
                        m.d.sync += header.eq(self.i_requests.payload)
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [left.eq(beats), first.eq(1)]
                with m.If(header.kind == Kind.END):
                    m.d.comb += request.end.eq(1)
                    m.next = "HEADER"
                with m.Elif((header.kind != Kind.WRITE) | ~fits):
                    m.d.comb += [request.end.eq(1), request.post.eq(0), request.cause.eq(Cause.REMOTE_PACKET)]
                    m.next = "CLOSE"
                with m.Elif(allowed):
                    m.d.comb += request.write.eq(1)
                    m.next = "WORDS"
                with m.Else():
                    m.d.comb += request.cause.eq(Cause.REMOTE_WINDOW)
                    m.next = "DRAIN"
            with m.State("WORDS"):
                m.d.comb += words.valid.eq(self.i_requests.valid | self.over)
                with m.If(~self.over):
                    m.d.comb += self.i_requests.ready.eq(words.ready)
                with m.If(words.valid & words.ready):
                    m.d.sync += [left.eq(left - 1), first.eq(0)]
                    with m.If(last):
                        m.next = "HEADER"
            with m.State("DRAIN"):
                with m.If(self.over):
                    m.next = "HEADER"
                with m.Else():
                    m.d.comb += self.i_requests.ready.eq(1)
                    with m.If(self.i_requests.valid):
                        m.d.sync += left.eq(left - 1)
                        with m.If(last):
                            m.next = "HEADER"
            with m.State("CLOSE"):
                m.d.comb += [self.closing.eq(1), self.i_requests.ready.eq(1)]
                with m.If(empty & self.delivered):
                    m.next = "BROKEN"
                with m.If(~self.enable | self.over):
                    m.next = "BROKEN"
            with m.State("BROKEN"):
                m.d.comb += [self.closing.eq(1), self.broken.eq(1), self.i_requests.ready.eq(1)]
                with m.If(self.over & ~self.enable):
                    m.next = "HEADER"

    def _answer(self, m):
        """Requests whose turn has come; an END posts, and then tells the first failure since the END before."""
        request = data.View(request_layout(), self.requests.r_data)
        m.submodules.responses = responses = SyncFIFO(width=1, depth=self.REQUESTS)
        failure = Signal(answer_layout())
        answer, answering = Signal(answer_layout()), Signal()
        turn, posts = Signal(), Signal()
        m.d.comb += [
            responses.w_en.eq(self.writer.answered),
            responses.w_data.eq(self.writer.answer.good),
            responses.r_en.eq(turn & request.write),
            posts.eq(request.end & request.post & (failure.cause == Cause.NONE)),
            turn.eq(self.requests.r_rdy & Mux(request.end, ~answering & (~posts | self.o_posts.ready),
                                              ~request.write | responses.r_rdy)),
            self.requests.r_en.eq(turn),
            self.o_posts.valid.eq(self.requests.r_rdy & posts & ~answering),
            self.o_posts.payload.eq(request.semaphore),
            self.o_answers.valid.eq(answering & ~self.over),
            self.o_answers.payload.eq(answer.as_value()),
        ]
        with m.If(self.o_answers.ready | self.over):
            m.d.sync += answering.eq(0)
        with m.If(turn & request.end):
            m.d.sync += [answering.eq(1), answer.eq(failure), failure.eq(0)]
            with m.If(request.cause != Cause.NONE):
                m.d.sync += [answer.cause.eq(request.cause), answer.address.eq(request.address)]
            with m.Elif(posts & self.full):
                m.d.sync += [answer.cause.eq(Cause.REMOTE_SEMAPHORE), answer.address.eq(request.semaphore)]
        with m.Elif(turn & (failure.cause == Cause.NONE)):
            with m.If(request.write & ~responses.r_data):
                m.d.sync += [failure.cause.eq(Cause.REMOTE_ERROR), failure.address.eq(request.address)]
            with m.If(request.cause != Cause.NONE):
                m.d.sync += [failure.cause.eq(request.cause), failure.address.eq(request.address)]
        empty = Signal()
        m.d.comb += empty.eq(~self.requests.r_rdy & ~answering)
        with m.If(self.over & empty):  # an END that did not come
            m.d.sync += failure.eq(0)
        return empty
