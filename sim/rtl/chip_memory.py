"""The memory of a simulated chip around one program: its files, what the chip and the simulator are told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hdl.config import Config
from hdl.program import Program

from .image import read_image, write_image


@dataclass(frozen=True)
class ChipMemory:
    """A program and its memory in the directory of a run.

    Attributes
    ----------
    content : uint8 [memory_bytes]
        Before START; :meth:`collect` brings it up to date.
    number : str
        Of the chip on its card; empty for ``sim_top``.
    """

    config: Config
    program: Program
    content: np.ndarray
    directory: Path
    number: str = ""
    repair: Mapping[str, int] = field(default_factory=dict)

    @property
    def image(self) -> Path:
        return self.directory / f"image{self.number}.hex"

    @property
    def dump(self) -> Path:
        return self.directory / f"dump{self.number}.hex"

    def _words(self, area: tuple[int, int]) -> tuple[int, int]:
        """First bus word of an area, and first one after it."""
        bus = self.config.bus_bytes
        return area[0] // bus, -(-area[1] // bus)

    def write(self):
        """Writes the image."""
        write_image(self.image, self.content, self.config.bus_bytes)

    @property
    def plusargs(self) -> list[str]:
        """What ``axi_memory`` is told: its image, and to dump what the program may have written."""
        first, end = self._words(self.program.writable)
        return [f"+image{self.number}={self.image}", f"+dump{self.number}={self.dump}", f"+first{self.number}={first}",
                f"+last{self.number}={max(first, end - 1)}"]

    def order(self, watchdog: int) -> dict[str, Any]:
        """What goes into the chip's registers. Windows are of whole bus words, as they are checked."""
        windows: list[list[Any]] = [[0, self.program.memory_bytes, ["read"]]]
        for area, flags in ((self.program.writable, ["read", "write"]), (self.program.remote, ["remote"])):
            if area[1] > area[0]:
                windows.append([*(word * self.config.bus_bytes for word in self._words(area)), flags])
        return {"entry": self.program.entry, "count": self.program.count, "watchdog": watchdog, "windows": windows,
                "repair": dict(self.repair)}

    def collect(self) -> dict[str, np.ndarray]:
        """Reads what was dumped; returns the program's outputs."""
        begin, end = self.program.writable
        if end > begin:
            dumped = read_image(self.dump, self.config.bus_bytes, self.program.memory_bytes,
                                first=self._words(self.program.writable)[0])
            self.content[begin:end] = dumped[begin:end]
        return self.program.results(self.content)
