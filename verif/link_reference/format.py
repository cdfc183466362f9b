"""Bits of flits and training blocks: trailer, HELLO, block, CRC. Fields are named from bit 0 on."""

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from verif.link_reference.geometry import BLOCK_BITS, FLIT_UNITS, ROUND_BLOCKS, UNIT_BITS

MARKER = 0xFB498258E168ECD5
VERSION = 1
CREDIT = 4
"""Message of credit for channel 0; that for channel `c` is `CREDIT + c`."""

UNIT_MASK = (1 << UNIT_BITS) - 1
BLOCK_MASK = (1 << BLOCK_BITS) - 1


class Type(IntEnum):
    """What a flit is."""

    NULL = 0
    DATA = 1
    HELLO = 2


class Message(IntEnum):
    """What a trailer says, besides credit."""

    ACK = 0
    NAK = 1
    REFUSE = 2


class Cause(IntEnum):
    """Why a link is down, or what a receiver refuses."""

    NONE = 0
    NO_PARTNER = 1
    PARTNER_RESET = 2
    CONFIGURATION = 3
    WRONG_TYPE = 4
    WRONG_LENGTH = 5
    UNKNOWN_CHANNEL = 6
    NO_CREDIT = 7


class Phase(IntEnum):
    """State of training that a block announces."""

    SEARCH = 0
    LOCKED = 1
    READY = 2


def _table() -> list[int]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # 0x1EDC6F41 reflected
        entries.append(value)
    return entries


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, as in RFC 3720) of `data`."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def _pack(values: Iterable[int], widths: Iterable[int]) -> int:
    word = offset = 0
    for value, width in zip(values, widths, strict=True):
        word |= (value & (1 << width) - 1) << offset
        offset += width
    return word


def _unpack(word: int, widths: Iterable[int]) -> list[int]:
    values = []
    for width in widths:
        values.append(word & (1 << width) - 1)
        word >>= width
    return values


class Trailer(NamedTuple):
    """The last unit of a flit without its CRC."""

    type: int
    message: int = 0
    value: int = 0
    sequence: int = 0
    epoch: int = 0
    channel: int = 0
    beats: int = 0


TRAILER_WIDTHS = Trailer(type=2, message=3, value=10, sequence=8, epoch=2, channel=2, beats=5)


def seal(payload: list[int], trailer: Trailer) -> list[int]:
    """The 24 units of a flit from its 23 units of payload and its trailer."""
    header = _pack(trailer, TRAILER_WIDTHS)
    return [*payload, header | _flit_crc(payload, header) << 32]


def unseal(flit: list[int]) -> Trailer | None:
    """The trailer of 24 units, or None if the CRC is wrong."""
    header, crc = flit[-1] & 0xFFFFFFFF, flit[-1] >> 32
    return Trailer(*_unpack(header, TRAILER_WIDTHS)) if crc == _flit_crc(flit[:-1], header) else None


def _flit_crc(payload: list[int], header: int) -> int:
    return crc32c(b"".join(unit.to_bytes(8, "little") for unit in payload) + header.to_bytes(4, "little"))


class Hello(NamedTuple):
    """Unit 1 of a HELLO flit."""

    version: int
    fresh: int
    seen: int
    reserved: int
    cause: int

    def payload(self, configuration: int) -> list[int]:
        """The 23 units of a HELLO flit of an end with the hash `configuration`."""
        return [configuration, _pack(self, HELLO_WIDTHS), *[0] * (FLIT_UNITS - 3)]

    @classmethod
    def of(cls, flit: list[int]) -> "Hello":
        """What a HELLO flit says."""
        return cls(*_unpack(flit[1], HELLO_WIDTHS))


HELLO_WIDTHS = Hello(version=8, fresh=1, seen=1, reserved=6, cause=8)


class Block(NamedTuple):
    """Bits 95..64 of a training block."""

    lane: int
    place: int  # the page's count; tuples have a method of that name
    phase: int
    last: int
    version: int = VERSION
    mask: int = 0

    def bits(self) -> int:
        """The 128 bits of the block."""
        body = _pack(self, BLOCK_WIDTHS)
        return MARKER | body << 64 | crc32c(body.to_bytes(4, "little")) << 96

    @classmethod
    def of(cls, bits: int) -> "Block | None":
        """The block in 128 bits, or None if marker, CRC or version are wrong."""
        body = bits >> 64 & 0xFFFFFFFF
        if bits & UNIT_MASK != MARKER or bits >> 96 != crc32c(body.to_bytes(4, "little")):
            return None
        block = cls(*_unpack(body, BLOCK_WIDTHS))
        return block if block.version == VERSION else None

    @property
    def blocks_left(self) -> int:
        """Blocks of the round that follow this one."""
        return ROUND_BLOCKS - 1 - self.place


BLOCK_WIDTHS = Block(lane=4, place=4, phase=3, last=1, version=4, mask=16)
