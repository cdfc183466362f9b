"""Flits with payload: a sender that repeats until acknowledged, a receiver that accepts in order, credits of both."""

from collections import deque
from dataclasses import dataclass

from verif.link_reference.format import CREDIT, UNIT_MASK, Cause, Message, Trailer, Type, seal
from verif.link_reference.framing import split
from verif.link_reference.geometry import FLIT_UNITS, Geometry

WINDOW = 64
TIMEOUT = 1024
PAYLOAD_UNITS = FLIT_UNITS - 1
FILLER = UNIT_MASK
"""What units carry that carry nothing: any value is right."""


@dataclass(frozen=True)
class Kept:
    """A DATA flit that may have to be repeated; `ended` beats have their last unit in it."""

    sequence: int
    channel: int
    beats: int
    payload: list[int]
    ended: int


class Sender:
    """The transmitter's half of replay and credits, for one session.

    `waiting` holds the beats, per channel, that the user would like to send; the link takes one when it begins in a
    flit. `undelivered` counts those that were taken and are not acknowledged to their end. `replays` counts the
    times that it went back for a NAK or a time-out, `timeouts` the latter, `fruitless` those since the last progress.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.waiting: list[deque[int]] = [deque() for _ in range(geometry.channels)]
        self.allowed = [0] * geometry.channels
        self.begun = [0] * geometry.channels
        self.undelivered = 0
        self.epoch = 0
        self.replays = self.timeouts = self.fruitless = 0
        self._remainder: list[int] = []
        self._next = 0
        self._kept: deque[Kept] = deque()
        self._sent = 0  # of the kept flits since the last replay began
        self._turn = 0
        self._idle = 0
        self._return = False

    def flit(self, message: int, value: int) -> list[int]:
        """The next flit, with a message of this end's receiver."""
        if self._return:
            self._return = False
            self._sent = 0
            self.epoch = (self.epoch + 1) % 4
        if self._sent == len(self._kept) < WINDOW:
            self._cut()
        if self._sent == len(self._kept):
            trailer = Trailer(Type.NULL, message, value, self._next, self.epoch)
            return seal([FILLER] * PAYLOAD_UNITS, trailer)
        kept = self._kept[self._sent]
        self._sent += 1
        trailer = Trailer(Type.DATA, message, value, kept.sequence, self.epoch, kept.channel, kept.beats)
        return seal(kept.payload, trailer)

    def _may_begin(self, channel: int) -> bool:
        return bool(self.waiting[channel]) and self.begun[channel] != self.allowed[channel]

    def _cut(self) -> None:
        """Makes a new DATA flit, if there is anything to send."""
        geometry = self.geometry
        turns = [(self._turn + step) % geometry.channels for step in range(geometry.channels)]
        channel = next((turn for turn in turns if self._may_begin(turn)), 0)
        if not self._remainder and not self._may_begin(channel):
            return
        self._turn = channel + 1
        payload: list[int] = []
        beats = ended = 0
        for word in range(geometry.flit_words):
            room = geometry.room(word)
            ended += bool(self._remainder)
            payload += self._remainder
            room -= len(self._remainder)
            self._remainder = []
            if room and self._may_begin(channel):
                beat = split(self.waiting[channel].popleft(), geometry.units)
                self.begun[channel] = (self.begun[channel] + 1) % 1024
                self.undelivered += 1
                beats += 1
                payload += beat[:room]
                self._remainder = beat[room:]
                ended += not self._remainder
            elif room:
                break
        payload += [FILLER] * (PAYLOAD_UNITS - len(payload))
        self._kept.append(Kept(self._next, channel, beats, payload, ended))
        self._next = (self._next + 1) % 256

    def hear(self, message: int, value: int) -> None:
        """Takes ACK, NAK or CREDIT of a good flit."""
        if message >= CREDIT:
            self.allowed[message - CREDIT] = value
            return
        self._acknowledge(value & 255)
        if message == Message.NAK and value >> 8 == self.epoch and not self._return:
            self.go_back()

    def _acknowledge(self, sequence: int) -> None:
        number = (sequence + 1 - (self._next - len(self._kept))) % 256
        if not 1 <= number <= len(self._kept):
            return
        for _ in range(number):
            self.undelivered -= self._kept.popleft().ended
        self._sent = max(0, self._sent - number)
        self._idle = self.fruitless = 0

    def go_back(self) -> None:
        """Before the next flit: back to the oldest unacknowledged one, in the next epoch."""
        self._return = True
        self._idle = 0
        self.replays += 1
        if self._kept:
            self.fruitless += 1

    def tick(self) -> None:
        """A cycle has passed in UP."""
        self._idle = self._idle + 1 if self._kept else 0
        if self._idle == TIMEOUT:
            self.timeouts += 1
            self.go_back()

    def resume(self) -> None:
        """Line words begin after training."""
        self._return = True
        self._idle = self.fruitless = 0


class Receiver:
    """The receiver's half of replay and credits, for one session.

    `arrived` holds complete beats per channel until they are read. `refused` is what it refuses for the rest of the
    session.
    """

    def __init__(self, geometry: Geometry, depth: int) -> None:
        self.geometry = geometry
        self.arrived: list[deque[int]] = [deque() for _ in range(geometry.channels)]
        self.allowed = [depth] * geometry.channels
        self.refused = Cause.NONE
        self.nak = False
        self._begun = [0] * geometry.channels
        self._expected = 0
        self._epoch = 0
        self._beat: list[int] = []
        self._beat_channel = 0
        self._turn = 0

    def message(self) -> tuple[int, int]:
        """Message and value of the next trailer."""
        if self.refused:
            return Message.REFUSE, self.refused
        acknowledge = (self._expected - 1) % 256 | self._epoch << 8
        if self.nak:
            return Message.NAK, acknowledge
        self._turn = (self._turn + 1) % (1 + self.geometry.channels)
        if self._turn == 0:
            return Message.ACK, acknowledge
        channel = self._turn - 1
        return CREDIT + channel, self.allowed[channel] % 1024

    def read(self, channel: int) -> int:
        """Takes the oldest beat of `channel`, which makes room for one more."""
        beat = self.arrived[channel].popleft()
        self.allowed[channel] += 1
        return beat

    def take(self, trailer: Trailer, flit: list[int]) -> None:
        """Takes a good flit that is not a HELLO."""
        self._epoch = trailer.epoch
        distance = (trailer.sequence - self._expected) % 256
        self.nak = 1 <= distance <= 127
        if distance or self.refused:
            return
        self.refused = self._fault(trailer)
        if not self.refused and trailer.type == Type.DATA:
            self._expected = (self._expected + 1) % 256
            self._accept(trailer, flit)

    def _remainder(self) -> int:
        """Units that are still to come of the beat that has begun."""
        return self.geometry.units - len(self._beat) if self._beat else 0

    def _fault(self, trailer: Trailer) -> Cause:
        """What is wrong with a flit that has the expected number and a right CRC."""
        geometry = self.geometry
        if trailer.type > Type.HELLO or trailer.message == 3 or trailer.message >= CREDIT + geometry.channels:
            return Cause.WRONG_TYPE
        if trailer.type == Type.NULL:
            return Cause.WRONG_LENGTH if trailer.beats else Cause.NONE
        remainder = self._remainder()
        if trailer.beats > geometry.most_beats(remainder) or not (trailer.beats or remainder):
            return Cause.WRONG_LENGTH
        if trailer.channel >= geometry.channels:
            return Cause.UNKNOWN_CHANNEL
        if self._begun[trailer.channel] + trailer.beats > self.allowed[trailer.channel]:
            return Cause.NO_CREDIT
        return Cause.NONE

    def _accept(self, trailer: Trailer, flit: list[int]) -> None:
        """Cuts the payload into beats."""
        geometry = self.geometry
        payload = iter(flit[:PAYLOAD_UNITS])
        beats = trailer.beats
        for word in range(geometry.flit_words):
            for _ in range(geometry.room(word)):
                unit = next(payload)
                if not self._beat:
                    if not beats:
                        return
                    beats -= 1
                    self._begun[trailer.channel] += 1
                    self._beat_channel = trailer.channel
                self._beat.append(unit)
                if len(self._beat) == geometry.units:
                    beat = sum(part << 64 * index for index, part in enumerate(self._beat))
                    self.arrived[self._beat_channel].append(beat)
                    self._beat = []
