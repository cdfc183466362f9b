"""What goes over the line, bit by bit: the trailer of a flit, the HELLO flit, the training block. Bit 0 goes first."""

import enum

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data

from .crc import CRC_BITS, INITIAL, crc_next
from .parameters import UNIT_BITS

#: Version of the protocol in HELLO flits and training blocks.
VERSION = 1

#: First half of a training block, and every unit of a skip word. Its autocorrelation, aperiodic and periodic, stays
#: within +-9 of 64.
MARKER = 0xFB49_8258_E168_ECD5

SEQUENCE_BITS = 8
EPOCH_BITS = 2
CREDIT_BITS = 10


class FlitType(enum.IntEnum):
    NULL = 0
    DATA = 1
    HELLO = 2


class Message(enum.IntEnum):
    """What a trailer tells the other direction; CREDIT + channel in the last case."""
    ACK = 0
    NAK = 1
    REFUSE = 2
    CREDIT = 4


class TrainingState(enum.IntEnum):
    SEARCH = 0
    LOCKED = 1
    READY = 2


class Cause(enum.IntEnum):
    """Why a link is down, or what a receiver refused."""
    NONE = 0
    NO_PARTNER = 1  #: training did not succeed in time
    PARTNER_RESET = 2  #: the partner has forgotten the session
    CONFIGURATION = 3  #: configuration hash or version of the protocol differ
    WRONG_TYPE = 4  #: a flit of unknown type or message
    WRONG_LENGTH = 5  #: a flit whose beats do not fit it
    UNKNOWN_CHANNEL = 6  #: a virtual channel that the receiver does not have
    NO_CREDIT = 7  #: more beats than the receiver had allowed


class HelloFlags(enum.IntFlag):
    FRESH = 1  #: the sender's session has not been up
    SEEN = 2  #: the sender has seen a HELLO of the partner


def acknowledgement_layout() -> data.StructLayout:
    """Value of ACK and NAK: the last flit that was accepted, and the epoch in which the receiver last saw a flit."""
    return data.StructLayout({"sequence": SEQUENCE_BITS, "epoch": EPOCH_BITS})


def header_layout() -> data.StructLayout:
    """First half of a flit's trailer."""
    return data.StructLayout({
        "type": 2,
        "message": 3,
        "value": CREDIT_BITS,
        "sequence": SEQUENCE_BITS,
        "epoch": EPOCH_BITS,
        "channel": 2,
        "beats": 5,
    })


def hello_layout() -> data.StructLayout:
    """Second unit of a HELLO flit; the first is the configuration hash."""
    return data.StructLayout({"version": 8, "flags": 8, "cause": 8, "zero": UNIT_BITS - 24})


def training_layout() -> data.StructLayout:
    """Third quarter of a training block; its CRC is the fourth."""
    return data.StructLayout({
        "lane": 4,
        "count": 4,
        "state": 3,
        "last": 1,
        "version": 4,
        "mask": 16,
    })


def training_crc(info: Value) -> Value:
    """CRC of the third quarter of a training block."""
    return ~crc_next(Const(INITIAL, CRC_BITS), info)


def report_layout() -> data.StructLayout:
    """What the receive side tells about training: the partner's state and the lanes that it receives, and the lanes
    that are received here, by number of the partner's lane."""
    return data.StructLayout({"state": 3, "partner_mask": 16, "mask": 16})


class Entry(enum.IntEnum):
    """What crosses from the receive clock."""
    WORD = 0  #: a line word of a flit, descrambled
    LAST_WORD = 1  #: the last of a flit
    TRAINING = 2  #: report_layout
    LANES = 3  #: lane_errors_layout


def lane_errors_layout() -> data.StructLayout:
    """Errors of lanes, numbered as the receiver's. ``test``: wrong bits of a lane's test pattern since it last told,
    and whether it follows the pattern. Else: a mask of the lanes whose part of a skip word was wrong."""
    return data.StructLayout({"test": 1, "lane": 4, "locked": 1, "errors": 16})


def ones(mask: Value) -> Value:
    """How many bits are set."""
    return sum(mask[1:], Cat(mask[:1]))


def largest_power(mask: Value) -> Value:
    """The lowest bits of a mask that are set, as many as are a power of two; all zeros of an empty one."""
    count = ones(mask)
    ranks = [ones(mask[:i]) if i else Const(0, 1) for i in range(len(mask))]
    kept = Const(0, len(mask))
    power = 1
    while power <= len(mask):
        kept = Mux(count >= power, Cat(bit & (rank < power) for bit, rank in zip(mask, ranks)), kept)
        power *= 2
    return kept
