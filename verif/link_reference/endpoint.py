"""One end of a link: training, HELLO, UP, DOWN."""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from verif.link_reference.format import (
    CREDIT,
    VERSION,
    Block,
    Cause,
    Hello,
    Message,
    Phase,
    Trailer,
    Type,
    seal,
    unseal,
)
from verif.link_reference.framing import Deframer, Framer
from verif.link_reference.geometry import ROUND_BLOCKS, Geometry
from verif.link_reference.lanes import LanesReceiver, lanes_of, spread
from verif.link_reference.replay import Receiver, Sender

ATTEMPT = 32768
PATIENCE = 4096
BAD_FLITS = 32
SILENCE = 256
FRUITLESS_REPLAYS = 16
REFUSING_HELLOS = 64


class State(Enum):
    """The states of the page's table."""

    DOWN = auto()
    SEARCH = auto()
    LOCKED = auto()
    READY = auto()
    FINISH = auto()
    HELLO = auto()
    UP = auto()


PHASES = {
    State.SEARCH: Phase.SEARCH,
    State.LOCKED: Phase.LOCKED,
    State.READY: Phase.READY,
    State.FINISH: Phase.READY,
}


class Endpoint:
    """One end. `step` takes and returns the lane words of one cycle; `receive` and `transmit` are its halves.

    Beats go into `send` and come out of `read`, or of `receiver.arrived`. `depth` is the receive buffer's, in beats;
    `down_after` is in cycles, 0 is never; `patience` is how many cycles a receiver waits for the other lanes when its
    first one is locked. `flits_good` and `flits_bad` count since the object was made.
    `spoken` says that a NULL or DATA flit has been sent in this session.
    `witness` is called with each flit, whatever becomes of it; its trailer is None if the CRC is wrong.
    """

    def __init__(
        self,
        geometry: Geometry,
        configuration: int,
        *,
        depth: int = 64,
        down_after: int = 0,
        patience: int = PATIENCE,
    ) -> None:
        self.geometry = geometry
        self.configuration = configuration
        self.depth = depth
        self.down_after = down_after
        self.patience = patience
        self.flits_good = self.flits_bad = self.retrains = 0
        self.witness: Callable[[Trailer | None, list[int]], None] = lambda trailer, flit: None
        self._line: deque[list[int]] = deque()
        self._new_session()
        self._down(Cause.NONE)

    # The user's side

    def enable(self) -> None:
        """Begins a new session."""
        self._new_session()
        self._search()

    def disable(self) -> None:
        """Takes the link down."""
        self._down(Cause.NONE)

    def retrain(self) -> None:
        """Trains again, if the link is up."""
        if self.state is State.UP:
            self._retrain()

    def send(self, channel: int, beat: int) -> None:
        """Queues a beat; the link takes it when it can."""
        self.sender.waiting[channel].append(beat)

    def read(self, channel: int) -> int:
        """Takes the oldest beat that arrived on `channel`."""
        return self.receiver.read(channel)

    @property
    def undelivered(self) -> int:
        """Beats that the link has taken in this session and whose last unit is not acknowledged."""
        return self.sender.undelivered

    # Sessions and training

    def _new_session(self) -> None:
        self.sender = Sender(self.geometry)
        self.receiver = Receiver(self.geometry, self.depth)
        self._was_up = False
        self._heard = False  # a NULL or DATA flit of the partner has come
        self.spoken = False
        self._not_up = 0

    def _down(self, cause: Cause) -> None:
        self.state = State.DOWN
        self.cause = cause

    def _search(self) -> None:
        """Every entry to SEARCH: forgets the lanes."""
        # blocks that are being sent go on without a break
        if self.state not in PHASES:
            self._count = 0
        self.state = State.SEARCH
        self.cause = Cause.NONE
        self._lanes = LanesReceiver(self.geometry, self.patience)
        self._deframer = Deframer(self.geometry)
        self._transmit_mask = 0
        self._last = False
        self._attempt = 0

    def _retrain(self) -> None:
        self.retrains += 1
        self._search()

    def _hello(self) -> None:
        """Training has ended for this end's transmitter."""
        self.state = State.HELLO
        self._attempt = 0
        self._framer = Framer(self.geometry)
        self._used = lanes_of(self._transmit_mask)
        self._seen = False
        self._refusing = 0
        self._bad = 0
        self._silence: int | None = None  # cycles since a line word
        self.sender.resume()

    def _up(self) -> None:
        self.state = State.UP
        self._was_up = True
        self._not_up = 0

    # A cycle

    def step(self, lane_words: list[int]) -> list[int]:
        """One cycle of an end whose both directions have one clock: what comes in, what goes out."""
        self.receive(lane_words)
        return self.transmit()

    def receive(self, lane_words: list[int]) -> None:
        """One cycle of the clock of what comes in."""
        if self.state is not State.DOWN:
            self._receive(lane_words)

    def transmit(self) -> list[int]:
        """One cycle of this end's own clock."""
        self._timers()
        if not self._line:
            self._line.extend(self._compose())
        return self._line.popleft()

    def _timers(self) -> None:
        if self.state in (State.HELLO, State.UP) and self._silence is not None:
            self._silence += 1
            if self._silence == SILENCE:
                self._retrain()
        if self.state is State.UP:
            self.sender.tick()
            if self.sender.fruitless >= FRUITLESS_REPLAYS:
                self._retrain()
        elif self.state is not State.DOWN:
            self._not_up += 1
            self._attempt += 1
            if 0 < self.down_after <= self._not_up:
                self._down(Cause.NO_PARTNER)
            elif self._attempt == ATTEMPT:
                self._search()

    # Transmitting

    def _compose(self) -> list[list[int]]:
        """The cycles of the next block or flit."""
        if self.state is State.DOWN:
            return [[0] * self.geometry.lanes]
        if self.state in PHASES:
            if self._count == 0 and self._last:
                self._hello()
            else:
                return self._blocks()
        flit = self._hello_flit() if self.state is State.HELLO else self._numbered_flit()
        return [cycle for word in self._framer.words(flit) for cycle in spread(word, self._used, self.geometry)]

    def _blocks(self) -> list[list[int]]:
        geometry = self.geometry
        if self._count == 0:
            self._last = self.state is State.FINISH
        mask = 0 if self.state is State.SEARCH else self._lanes.mask
        phase = PHASES[self.state]
        blocks = [Block(lane, self._count, phase, self._last, mask=mask).bits() for lane in range(geometry.lanes)]
        self._count = (self._count + 1) % ROUND_BLOCKS
        lane_mask = (1 << geometry.lane_bits) - 1
        return [
            [block >> geometry.lane_bits * cycle & lane_mask for block in blocks]
            for cycle in range(geometry.block_cycles)
        ]

    def _numbered_flit(self) -> list[int]:
        self.spoken = True
        return self.sender.flit(*self.receiver.message())

    def _hello_flit(self) -> list[int]:
        cause = Cause.NONE
        if self._refusing:
            cause = Cause.CONFIGURATION
            self._refusing -= 1
            if not self._refusing:
                self._down(cause)
        hello = Hello(VERSION, fresh=not self._was_up, seen=self._seen, reserved=0, cause=cause)
        # of its trailer only the type means something
        trailer = Trailer(Type.HELLO, message=3, value=1023, sequence=255, epoch=3, channel=3, beats=31)
        return seal(hello.payload(self.configuration), trailer)

    # Receiving

    def _receive(self, lane_words: list[int]) -> None:
        lanes = self._lanes
        lanes.push(lane_words)
        while lanes.blocks and lanes is self._lanes:
            self._on_block(lanes.blocks.popleft())
        if self.state is State.SEARCH and lanes.mask:
            self.state = State.LOCKED
        if self.state is State.READY and lanes.line:
            self.state = State.FINISH
        if lanes.words and self.state in (State.HELLO, State.UP):
            self._silence = 0
        while lanes.words and lanes is self._lanes:
            flit = self._deframer.push(lanes.words.popleft())
            if flit is not None:
                self._on_flit(flit)

    def _on_block(self, block: Block) -> None:
        if self.state is State.HELLO and block.phase != Phase.READY:
            self._search()
        if block.phase == Phase.SEARCH:
            return
        if self.state is State.LOCKED:
            self._transmit_mask = block.mask
            self.state = State.READY
        elif self.state is State.READY and block.phase == Phase.READY:
            self._transmit_mask = block.mask
            self.state = State.FINISH

    def _on_flit(self, flit: list[int]) -> None:
        if self.state not in (State.HELLO, State.UP):
            return
        trailer = unseal(flit)
        self.witness(trailer, flit)
        if trailer is None:
            self._on_bad_flit()
            return
        self.flits_good += 1
        self._bad = max(0, self._bad - 2)
        if trailer.type == Type.HELLO:
            if self.state is State.HELLO:
                self._on_hello(Hello.of(flit), flit[0])
            return
        if self.state is State.HELLO:
            if not self._seen:
                return
            self._up()
        self._heard = True
        self._on_message(trailer)
        if self.state is State.UP:
            self.receiver.take(trailer, flit)

    def _on_bad_flit(self) -> None:
        self.flits_bad += 1
        self._bad += 1
        if self.state is State.UP:
            self.receiver.nak = True
        if self._bad == BAD_FLITS:
            self._retrain()

    def _on_hello(self, hello: Hello, configuration: int) -> None:
        if self._refusing:
            return
        if hello.cause:
            self._down(Cause(hello.cause))
        elif configuration != self.configuration or hello.version != VERSION:
            self._refusing = REFUSING_HELLOS
        elif hello.fresh and self._heard:
            self._down(Cause.PARTNER_RESET)
        else:
            self._seen = True
            if hello.seen:
                self._up()

    def _on_message(self, trailer: Trailer) -> None:
        if trailer.message == Message.REFUSE:
            self._down(Cause(trailer.value))
        elif trailer.message <= Message.NAK or CREDIT <= trailer.message < CREDIT + self.geometry.channels:
            self.sender.hear(trailer.message, trailer.value)
