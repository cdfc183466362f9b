"""The reference endpoint of the link: what the page fixes in numbers, and two ends against one another."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from verif.link_reference import Cable, Cause, Endpoint, Geometry, State
from verif.link_reference.format import MARKER, Block, Message, Trailer, Type, crc32c, seal, unseal
from verif.link_reference.framing import Deframer, Framer, Scrambler, join, keystream
from verif.link_reference.replay import Receiver, Sender

NARROW = Geometry(lanes=4, lane_bits=16)
WIDE = Geometry(lanes=4, lane_bits=32)
ANCHOR = Geometry(lanes=8, lane_bits=64)


class Pair:
    """Two ends, two cables, and for each direction and channel the beats that have to arrive."""

    def __init__(
        self, geometry: Geometry, seed: int = 0, *, configurations: tuple[int, int] = (7, 7), **cable: Any
    ) -> None:
        self.geometry = geometry
        self.random = Random(seed)
        self.ends = [Endpoint(geometry, configuration, depth=16) for configuration in configurations]
        self.cables = [Cable(geometry, self.random, **cable) for _ in range(2)]
        self.sent: list[list[list[int]]] = [[[] for _ in range(geometry.channels)] for _ in range(2)]
        self.read: list[list[list[int]]] = [[[] for _ in range(geometry.channels)] for _ in range(2)]
        self.words = [[0] * geometry.lanes] * 2

    def step(self) -> None:
        arriving = [self.cables[1 - end].step(self.words[1 - end]) for end in range(2)]
        self.words = [end.step(words) for end, words in zip(self.ends, arriving, strict=True)]
        for index, end in enumerate(self.ends):
            for channel, arrived in enumerate(end.receiver.arrived):
                if arrived and self.random.random() < 0.5:
                    self.read[1 - index][channel].append(end.read(channel))

    def run(self, done: Callable[[], bool], cycles: int) -> None:
        for _ in range(cycles):
            if done():
                return
            self.step()
        assert done(), [(end.state, end.cause) for end in self.ends]

    def connect(self, cycles: int = 20000) -> None:
        for end in self.ends:
            end.enable()
        self.run(lambda: self.both(State.UP), cycles)

    def both(self, state: State) -> bool:
        return all(end.state is state for end in self.ends)

    def traffic(self, beats: int) -> None:
        for index, end in enumerate(self.ends):
            for _ in range(beats):
                channel = self.random.randrange(self.geometry.channels)
                beat = self.random.getrandbits(self.geometry.word_bits)
                end.send(channel, beat)
                self.sent[index][channel].append(beat)

    def deliver(self, cycles: int = 20000) -> None:
        self.run(lambda: self.read == self.sent and not any(end.undelivered for end in self.ends), cycles)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 32), "lanes must be 1, 2, 4, 8 or 16, not 3"),
        ((4, 24), "lane_bits must be 8, 16, 32 or 64, not 24"),
        ((16, 64), "lanes \\* lane_bits must be 64 to 512, not 1024"),
        ((4, 32, 5), "channels must be 1 to 4, not 5"),
    ],
)
def test_geometry_refuses(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(*arguments)


def test_numbers_of_the_page() -> None:
    assert [ANCHOR.word_bits, ANCHOR.units, ANCHOR.flit_words, ANCHOR.skip_flits] == [512, 8, 3, 341]
    assert [WIDE.word_bits, WIDE.units, WIDE.flit_words, WIDE.skip_flits] == [128, 2, 12, 85]
    assert [ANCHOR.skew, WIDE.skew] == [14, 14]
    assert crc32c(b"123456789") == 0xE3069283


def test_keystream_is_prbs31() -> None:
    register = 0x1E3779B9
    bits = [register >> index & 1 for index in range(31)]
    for _ in range(300):
        bits.append(bits[-28] ^ bits[-31])
    stream, after = keystream(register, 300)
    assert stream == sum(bit << index for index, bit in enumerate(bits[31:]))
    assert after == sum(bit << index for index, bit in enumerate(bits[-31:]))


def test_block_with_a_wrong_bit() -> None:
    block = Block(lane=3, place=9, phase=2, last=1, mask=0xF)
    assert Block.of(block.bits()) == block
    assert all(Block.of(block.bits() ^ 1 << bit) is None for bit in range(128))


def test_flit_with_a_wrong_bit() -> None:
    flit = seal(list(range(23)), Trailer(Type.DATA, sequence=200, beats=3))
    assert unseal(flit) == Trailer(Type.DATA, sequence=200, beats=3)
    for unit in (0, 22, 23):
        assert unseal([*flit[:unit], flit[unit] ^ 1 << 13, *flit[unit + 1 :]]) is None


def test_trailer_of_the_page() -> None:
    """Each field by its bits, as the page's table has them."""
    trailer = Trailer(Type.DATA, message=5, value=0x2A5, sequence=0x96, epoch=2, channel=1, beats=0x15)
    header = 1 | 5 << 2 | 0x2A5 << 5 | 0x96 << 15 | 2 << 23 | 1 << 25 | 0x15 << 27
    assert seal([0] * 23, trailer)[-1] & 0xFFFFFFFF == header


def test_block_of_the_page() -> None:
    block = Block(lane=5, place=9, phase=2, last=1, mask=0xA5).bits()
    assert block & (1 << 64) - 1 == MARKER
    assert block >> 64 & 0xFFFFFFFF == 5 | 9 << 4 | 2 << 8 | 1 << 11 | 1 << 12 | 0xA5 << 16


def test_first_keystream_bit() -> None:
    for unit, register in enumerate(Scrambler(8).registers):
        assert register == (unit + 1) * 0x1E3779B9 % 2**31
        assert keystream(register, 1)[0] == register >> 3 & 1 ^ register & 1


def test_nak_of_another_epoch_is_an_acknowledgement_only() -> None:
    sender = Sender(WIDE)
    sender.allowed = [10, 0]
    for beat in range(10):
        sender.waiting[0].append(beat)
        sender.flit(Message.ACK, 0)
    sender.hear(Message.NAK, 3 | 1 << 8)
    assert sender.undelivered == 6
    assert unseal(sender.flit(Message.ACK, 0)) == Trailer(Type.NULL, sequence=10)
    sender.hear(Message.NAK, 5)
    assert unseal(sender.flit(Message.ACK, 0)) == Trailer(Type.DATA, sequence=6, epoch=1, beats=1)
    sender.hear(Message.NAK, 5)
    assert unseal(sender.flit(Message.ACK, 0)) == Trailer(Type.DATA, sequence=7, epoch=1, beats=1)
    assert sender.replays == 1


@pytest.mark.parametrize(("sequence", "nak"), [(0, False), (1, True), (127, True), (128, False), (255, False)])
def test_which_numbers_set_nak(sequence: int, nak: bool) -> None:
    receiver = Receiver(WIDE, depth=4)
    receiver.nak = True
    receiver.take(Trailer(Type.NULL, sequence=sequence, epoch=3), [0] * 24)
    message, value = receiver.message()
    assert (message == Message.NAK) == nak
    assert not nak or value == 255 | 3 << 8


@pytest.mark.parametrize("geometry", [NARROW, WIDE, ANCHOR])
def test_skip_words(geometry: Geometry) -> None:
    framer, deframer = Framer(geometry), Deframer(geometry)
    flit = list(range(24))
    skips = 0
    for number in range(2 * geometry.skip_flits + 1):
        words = framer.words(flit)
        if number and number % geometry.skip_flits == 0:
            assert words.pop(0) == join([MARKER] * geometry.units)
            assert deframer.push(join([MARKER] * geometry.units) ^ 1) is None
            skips += 1
        assert [deframer.push(word) for word in words] == [None] * (geometry.flit_words - 1) + [flit]
    assert skips == deframer.skip_errors == 2


@pytest.mark.parametrize("geometry", [NARROW, WIDE, ANCHOR, Geometry(16, 8, 4), Geometry(1, 64, 1)])
def test_delivers(geometry: Geometry) -> None:
    pair = Pair(geometry)
    pair.connect()
    pair.traffic(300)
    pair.deliver()
    assert all(end.flits_bad == 0 and end.sender.fruitless == 0 for end in pair.ends)


def test_any_cable() -> None:
    """Bit offset, lanes late, crossed and inverted."""
    pair = Pair(WIDE, delays=[32, 37, 200, 32 * 15], order=[2, 0, 3, 1], inverted=0b0110)
    pair.connect()
    pair.traffic(100)
    pair.deliver()


def test_too_late_a_lane() -> None:
    pair = Pair(WIDE, delays=[32, 32, 32, 32 * 16])
    with pytest.raises(AssertionError):
        pair.connect(5000)
    assert pair.both(State.SEARCH)


@pytest.mark.parametrize(("dead", "used"), [(0b0100, 0b0011), (0b1011, 0b0100)])
def test_fewer_lanes(dead: int, used: int) -> None:
    pair = Pair(NARROW, dead=dead)
    pair.connect()
    assert all(end._lanes.mask == used for end in pair.ends)
    pair.traffic(60)
    pair.deliver()


@pytest.mark.parametrize("rate", [1e-5, 1e-4, 3e-4])
def test_errors(rate: float) -> None:
    pair = Pair(WIDE, seed=int(rate * 1e6))
    pair.connect()
    for cable in pair.cables:
        cable.error_rate = rate
    pair.traffic(1500)
    pair.deliver(100000)
    assert any(end.flits_bad for end in pair.ends)


def test_training_with_errors() -> None:
    pair = Pair(WIDE, seed=5)
    for cable in pair.cables:
        cable.error_rate = 1e-3
    for end in pair.ends:
        end.enable()
    pair.run(lambda: all(end.state in (State.HELLO, State.UP) for end in pair.ends), 20000)


def test_retrain_loses_nothing() -> None:
    pair = Pair(WIDE)
    pair.connect()
    for index in range(3):
        pair.traffic(300)
        for _ in range(100):
            pair.step()
        pair.ends[index % 2].retrain()
        pair.run(lambda: not any(end.state is State.UP for end in pair.ends), 3000)
        pair.run(lambda: pair.both(State.UP), 20000)
    pair.deliver()
    assert [end.retrains for end in pair.ends] == [3, 3]


def test_broken_cable_retrains() -> None:
    pair = Pair(WIDE)
    pair.connect()
    pair.traffic(300)
    pair.cables[0].dead = 0xF
    pair.run(lambda: not any(end.state is State.UP for end in pair.ends), 3000)
    pair.cables[0].dead = 0
    pair.run(lambda: pair.both(State.UP), 80000)
    pair.deliver()


def test_lost_acknowledgements_time_out() -> None:
    pair = Pair(WIDE)
    pair.connect()
    pair.ends[0].sender.hear = lambda message, value: None  # type: ignore[method-assign]
    pair.traffic(4)
    pair.ends[0].sender.allowed = [16, 16]
    pair.run(lambda: pair.ends[0].sender.timeouts == 2, 4000)
    del pair.ends[0].sender.hear
    pair.deliver()


def test_credit_stops_the_sender() -> None:
    pair = Pair(WIDE)
    pair.connect()
    for _ in range(40):
        pair.ends[0].send(1, 5)
    pair.random.random = lambda: 1.0  # type: ignore[method-assign] # nobody reads
    for _ in range(2000):
        pair.step()
    assert len(pair.ends[1].receiver.arrived[1]) == 16
    assert len(pair.ends[0].sender.waiting[1]) == 24


def test_no_partner() -> None:
    pair = Pair(NARROW)
    pair.ends[0].down_after = 500
    pair.ends[0].enable()
    pair.run(lambda: pair.ends[0].state is State.DOWN, 600)
    assert pair.ends[0].cause is Cause.NO_PARTNER


def test_another_configuration() -> None:
    pair = Pair(WIDE, configurations=(7, 8))
    for end in pair.ends:
        end.enable()
    pair.run(lambda: pair.both(State.DOWN), 20000)
    assert [end.cause for end in pair.ends] == [Cause.CONFIGURATION] * 2


def test_partner_reset() -> None:
    pair = Pair(WIDE)
    pair.connect()
    pair.cables[0].dead = 0xF
    pair.traffic(3)
    for _ in range(300):
        pair.step()
    pair.cables[0].dead = 0
    pair.ends[1].enable()
    pair.run(lambda: pair.ends[0].state is State.DOWN, 20000)
    assert pair.ends[0].cause is Cause.PARTNER_RESET
    assert pair.ends[0].undelivered > 0
    pair.ends[1].disable()
    pair.connect()
    assert pair.ends[0].undelivered == 0


@pytest.mark.parametrize(
    ("trailer", "cause"),
    [
        (Trailer(3), Cause.WRONG_TYPE),
        (Trailer(Type.NULL, message=3), Cause.WRONG_TYPE),
        (Trailer(Type.NULL, message=6), Cause.WRONG_TYPE),
        (Trailer(Type.NULL, beats=1), Cause.WRONG_LENGTH),
        (Trailer(Type.DATA), Cause.WRONG_LENGTH),
        (Trailer(Type.DATA, beats=13), Cause.WRONG_LENGTH),
        (Trailer(Type.DATA, beats=1, channel=2), Cause.UNKNOWN_CHANNEL),
        (Trailer(Type.DATA, beats=5), Cause.NO_CREDIT),
        (Trailer(Type.DATA, beats=4), Cause.NONE),
    ],
)
def test_refuses(trailer: Trailer, cause: Cause) -> None:
    receiver = Receiver(WIDE, depth=4)
    receiver.take(trailer, [0] * 24)
    assert receiver.refused is cause
    assert len(receiver.arrived[0]) == (0 if cause else 4)


def test_refusal_takes_the_partner_down() -> None:
    pair = Pair(WIDE)
    pair.connect()
    pair.ends[1].sender.allowed = [20, 20]
    for _ in range(17):
        pair.ends[1].send(0, 1)
    pair.random.random = lambda: 1.0  # type: ignore[method-assign]
    pair.ends[1].sender.hear = lambda message, value: None  # type: ignore[method-assign]
    pair.run(lambda: pair.ends[1].state is State.DOWN, 2000)
    assert pair.ends[1].cause is Cause.NO_CREDIT
