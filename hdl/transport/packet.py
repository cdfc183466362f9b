"""What goes over a link, in beats of a bus word: ``docs/transport.md``."""

import enum

from amaranth.lib import data

from ..config import ADDR_BITS, clog2
from ..csr import SEMAPHORES

#: Virtual channels of the link.
REQUESTS, ANSWERS = 0, 1

#: Bus words that follow a WRITE header, at most.
MAX_BEATS = 32

#: Bytes of these on the widest bus.
MAX_BYTES = 64 * MAX_BEATS

#: SENDs of a chip that may be unanswered.
SENDS = 8


class Kind(enum.IntEnum):
    """A request. Zero is none, so that a line of zeros asks for nothing."""
    WRITE = 1  #: the bus words that hold bytes ``address`` to ``address + last_byte`` follow, all within a 4 KiB page
    END = 2  #: of a SEND: an answer is wanted when all its writes are answered by memory


def header_layout() -> data.StructLayout:
    """A request. ``post`` and ``semaphore`` belong to END, ``last_byte`` (bytes less one) and ``address`` to WRITE."""
    return data.StructLayout({"kind": 2, "post": 1, "semaphore": clog2(SEMAPHORES), "last_byte": clog2(MAX_BYTES),
                              "address": ADDR_BITS})


def answer_layout() -> data.StructLayout:
    """The answer to an END: a :class:`hdl.csr.Cause`, NONE if all went well, and the address that it names."""
    return data.StructLayout({"cause": 8, "address": ADDR_BITS})
