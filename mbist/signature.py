"""Signatures: what :class:`hdl.cim.signature.Signature` holds at the end of a test."""

import numpy as np

from hdl.cim.signature import TAPS, WIDTH, stage

__all__ = ["TAPS", "WIDTH", "stages", "update"]


def stages(width: int) -> np.ndarray:
    """int [width]: stage into which each bit of an output is added."""
    return np.array([stage(bit) for bit in range(width)], np.int64)


def update(signature: int, value: int) -> int:
    """The register after a cycle in which the output has ``value``, of any width."""
    shifted = (signature << 1) & (1 << WIDTH) - 1 ^ (TAPS if signature >> WIDTH - 1 else 0)
    for bit, place in enumerate(stages(value.bit_length())):
        shifted ^= (value >> bit & 1) << int(place)
    return shifted
