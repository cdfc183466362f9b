"""DMA windows: the ranges of memory that the chip may touch."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ADDR_BITS
from ..csr import WINDOWS

#: Width of addresses inside the DMA channels: an instruction's strides may lead beyond the bus's address space, where
#: nothing is allowed.
DMA_ADDR_BITS = ADDR_BITS + 10


def window_layout() -> data.StructLayout:
    """``base`` is the first byte, ``limit`` the first byte after the window; who may do what: programs read and write,
    the partners at the links (``remote``) write."""
    return data.StructLayout({"base": ADDR_BITS + 1, "limit": ADDR_BITS + 1, "read": 1, "write": 1, "remote": 1})


def windows_layout() -> data.ArrayLayout:
    return data.ArrayLayout(window_layout(), WINDOWS)


class WindowCheck(wiring.Component):
    """Is a range of bytes within one window that permits the access, and within the bus's address space? Without a
    permission: is it within the address space? Combinational.

    Members
    -------
    windows : In(ArrayLayout)
    first, end : In
        First byte and first byte after the range.
    allowed : Out(1)
    """

    def __init__(self, permission: str | None):
        self.permission = permission
        super().__init__({
            "windows": In(windows_layout()),
            "first": In(DMA_ADDR_BITS),
            "end": In(DMA_ADDR_BITS),
            "allowed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        within = Cat(window[self.permission] & (self.first >= window.base) & (self.end <= window.limit)
                     for window in self.windows).any() if self.permission else 1
        m.d.comb += self.allowed.eq(within & (self.end <= 1 << ADDR_BITS))
        return m
