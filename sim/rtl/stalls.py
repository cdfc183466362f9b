"""Which transfers of the simulated memory are late, and by how much: the same function as in ``axi_memory.sv``."""

import enum
from dataclasses import dataclass

import numpy as np


class Channel(enum.IntEnum):
    """Channels of AXI4."""
    AR = 0
    R = 1
    AW = 2
    W = 3
    B = 4


@dataclass(frozen=True)
class Stalls:
    """A memory that is late now and then.

    Parameters
    ----------
    seed : int
    chance : int
        Of 256 transfers, about so many are late.
    longest : int
        A late transfer is late by 1 to so many cycles.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    seed: int = 0
    chance: int = 0
    longest: int = 8

    def __post_init__(self):
        for name, low, high in (("seed", 0, (1 << 31) - 1), ("chance", 0, 256), ("longest", 1, 1 << 16)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")

    @property
    def plusargs(self) -> list[str]:
        """What the simulator is told."""
        return [f"+stall_seed={self.seed}", f"+stall_chance={self.chance}", f"+stall_longest={self.longest}"]

    def cycles(self, channel: Channel, transaction: np.ndarray | int, beat: np.ndarray | int = 0) -> np.ndarray:
        """Cycles by which transfers are late, int64, of the shape of ``transaction`` and ``beat`` together.

        Transactions of a channel count from 0 at reset, beats from 0 in each transaction; addresses and answers are
        beat 0.
        """
        drawn = _mix(_mix(_mix(_mix(_uint32(self.seed)) ^ _uint32(channel)) ^ _uint32(transaction)) ^ _uint32(beat))
        late = 1 + (drawn >> np.uint32(8)).astype(np.int64) % self.longest
        return np.where((drawn & np.uint32(0xFF)) < self.chance, late, 0).reshape(np.broadcast(transaction, beat).shape)


def _uint32(value: np.ndarray | int) -> np.ndarray:
    return np.asarray(value, np.uint32)


def _mix(x: np.ndarray) -> np.ndarray:
    """lowbias32 of C. Wellons' hash-prospector, public domain."""
    x = np.atleast_1d(x)  # arrays wrap around without a warning
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
