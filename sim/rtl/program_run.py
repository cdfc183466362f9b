"""What a cocotb test does with the registers of a chip to run a program on it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cocotb.triggers import First, RisingEdge, Timer

from hdl.csr import counters

from .csr_bus import CsrBus
from .run import test_config
from .start import CYCLE_PS

#: Wall time between two lines of ``progress``, about.
_PROGRESS_SECONDS = 0.3


async def prepare(csr: CsrBus, order: dict):
    """Writes the registers of an order, see :meth:`sim.rtl.chip_memory.ChipMemory.order`."""
    for window, (base, limit, flags) in enumerate(order["windows"]):
        await csr.write64(f"WINDOW{window}_BASE", base)
        await csr.write64(f"WINDOW{window}_LIMIT", limit)
        await csr.write_fields(f"WINDOW{window}_FLAGS", **dict.fromkeys(flags, 1))
    for name, column in order["repair"].items():
        await csr.write(name, column)
    await csr.write64("PROGRAM_ADDRESS", order["entry"])
    await csr.write("PROGRAM_COUNT", order["count"])
    await csr.write("WATCHDOG", order["watchdog"])
    await csr.write_fields("IRQ_ENABLE", done=1, error=1)


async def outcome(csr: CsrBus) -> dict[str, Any]:
    """How the program has ended, or how far it is."""
    return {
        "status": await csr.read_fields("STATUS"), "cause": (await csr.read_fields("CAUSE"))["cause"],
        "error_address": await csr.read64("ERROR_ADDRESS"),
        "counters": {name: await csr.read64(name) for name in counters(test_config())},
    }


class Interrupts:
    """Waits for interrupts while the simulation runs on its own, and notes simulated cycles in ``progress``.

    Parameters
    ----------
    max_cycles : int or None
        Give up after so many, all waits together.
    """

    def __init__(self, max_cycles: int | None):
        self._left, self._cycles, self._chunk = max_cycles, 0, 256

    async def any(self, pins: Sequence[Any]) -> bool:
        """Waits until one of ``pins`` is high; False if the cycles are used up."""
        with Path("progress").open("a", buffering=1) as progress:
            while all(pin.value != 1 for pin in pins):
                chunk = self._chunk if self._left is None else min(self._chunk, self._left)
                if not chunk:
                    return False
                begin = time.perf_counter()
                await First(*(RisingEdge(pin) for pin in pins), Timer(chunk * CYCLE_PS, unit="ps"))
                self._cycles += chunk
                self._left = None if self._left is None else self._left - chunk
                if all(pin.value != 1 for pin in pins):
                    progress.write(f"{self._cycles}\n")
                if time.perf_counter() - begin < _PROGRESS_SECONDS:
                    self._chunk *= 2
        return True
