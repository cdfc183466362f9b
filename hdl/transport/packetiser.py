"""The sending side of the ports: bus words into packets."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..csr import SEMAPHORES
from ..ipu.burst import burst_layout
from ..isa import queues
from .packet import MAX_BEATS, Kind, header_layout


def send_layout(config: Config) -> data.StructLayout:
    """What the end of a SEND needs: its port, what to post, whether it has no rows, and the queues that it releases."""
    return data.StructLayout({"port": clog2(max(2, config.links)), "post": 1, "semaphore": clog2(SEMAPHORES),
                              "empty": 1, "release": len(queues(config))})


def tag_layout(config: Config) -> data.StructLayout:
    """Tag of a row's last burst: how many bytes of its last bus word are not the row's, and whether the row is its
    SEND's last."""
    return data.StructLayout({"spare": clog2(config.bus_bytes), "last": 1})


class Packetiser(wiring.Component):
    """Sends bursts as WRITE packets, and an END after those of each SEND, in order.

    A header is shown when all the bus words of its packet have been read, and they follow it, so no stop leaves a
    packet half sent. While ``stop`` is high no WRITE begins, and the SENDs that are at hand end at once, without a
    post. One beat per cycle, headers included.

    Members
    -------
    stop : In(1)
    lost : In(links)
        The port's session is over: its packets go nowhere.
    i_sends : In(stream), i_bursts : In(stream), i_words : In(stream)
        Bursts of the partner's memory.
    level : In
        Bus words that have come and wait behind ``i_words``.
    o_requests : Out(stream).array(links)
    release : Out
        Queues that get a token in this cycle: all that a SEND writes has been sent.
    sent : Out(1)
        A beat has gone.
    """

    i_sends: stream.Interface
    i_bursts: stream.Interface
    i_words: stream.Interface

    def __init__(self, config: Config, *, depth: int):
        self.config = config
        super().__init__({
            "stop": In(1),
            "lost": In(config.links),
            "i_sends": In(stream.Signature(send_layout(config))),
            "i_bursts": In(stream.Signature(burst_layout(MAX_BEATS, tag_layout(config).size))),
            "i_words": In(stream.Signature(config.bus_bits)),
            "level": In(range(depth + 1)),
            "o_requests": Out(stream.Signature(config.bus_bits)).array(config.links),
            "release": Out(len(queues(config))),
            "sent": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        send = self.i_sends.payload
        show, beat, taken = Signal(), Signal(self.config.bus_bits), Signal()
        lost = self.lost.bit_select(send.port, 1)
        readies = Array(stream.ready for stream in self.o_requests)
        m.d.comb += [
            taken.eq(show & (lost | readies[send.port])),
            self.sent.eq(taken & ~lost),
        ]
        for port, requests in enumerate(self.o_requests):
            m.d.comb += [requests.valid.eq(show & ~lost & (send.port == port)), requests.payload.eq(beat)]
        self._packets(m, show, beat, taken)
        return m

    def _header(self, m, ends, aborted):
        """The next header: END if nothing is left of the SEND."""
        bus = self.config.bus_bytes
        send, burst = self.i_sends.payload, self.i_bursts.payload
        header = Signal(header_layout())
        tag = data.View(tag_layout(self.config), burst.tag)
        with m.If(ends):
            m.d.comb += [header.kind.eq(Kind.END), header.post.eq(send.post & ~aborted),
                         header.semaphore.eq(send.semaphore)]
        with m.Else():
            m.d.comb += [
                header.kind.eq(Kind.WRITE),
                header.address.eq(burst.address),
                header.last_byte.eq((burst.beats << clog2(bus)) - burst.address[:clog2(bus)] - tag.spare - 1),
            ]
        return header

    def _packets(self, m, show, beat, taken):
        send, burst = self.i_sends.payload, self.i_bursts.payload
        tag = data.View(tag_layout(self.config), burst.tag)
        written = Signal()  # all of the SEND
        left = Signal.like(burst.beats)  # words of the packet at hand
        shown, was_aborted, aborted, ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            aborted.eq(Mux(shown, was_aborted, self.stop)),  # what is shown does not change
            ends.eq(send.empty | written | aborted),
        ]
        m.d.sync += [shown.eq(show & ~taken), was_aborted.eq(aborted)]
        header = self._header(m, ends, aborted)
        with m.If(left == 0):
            m.d.comb += [
                show.eq(self.i_sends.valid & (ends | self.i_bursts.valid & (self.level >= burst.beats))),
                beat.eq(header.as_value()),
                self.i_sends.ready.eq(taken & ends),
                self.i_bursts.ready.eq(taken & ~ends),
                self.release.eq(Mux(taken & ends & ~aborted, send.release, 0)),
            ]
            with m.If(taken & ends):
                m.d.sync += written.eq(0)
            with m.Elif(taken):
                m.d.sync += [left.eq(burst.beats), written.eq(tag.last)]
        with m.Else():
            m.d.comb += [show.eq(self.i_words.valid), beat.eq(self.i_words.payload), self.i_words.ready.eq(taken)]
            with m.If(taken):
                m.d.sync += left.eq(left - 1)
