"""Where the things of a program lie in its memory."""

import numpy as np

from hdl.program import Tensor

#: Regions start at multiples of this, a program's instructions too.
PAGE = 4096


class Memory:
    """Hands out page-aligned regions of the program's memory."""

    def __init__(self):
        self.end = 0
        self.segments: list[tuple[int, bytes]] = []

    def branch(self) -> "Memory":
        """Memory that has the same regions so far."""
        branch = Memory()
        branch.end, branch.segments = self.end, list(self.segments)
        return branch

    def reserve(self, size: int) -> int:
        address = self.end
        self.end += -(-max(size, 1) // PAGE) * PAGE
        return address

    def place(self, content: bytes) -> int:
        address = self.reserve(len(content))
        self.segments.append((address, content))
        return address

    def tensor(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A dense one."""
        stride = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
        return Tensor(self.reserve(shape[0] * stride), shape, dtype, stride)
