"""Signatures: a multiple-input shift register takes in an output every cycle and holds 32 bits at the end.

Galois form of the CRC-32 polynomial of IEEE 802.3, which is primitive: the chance that a wrong stream ends with the
right signature is close to 2^-32 (Bardell, McAnney, Savir, "Built-in test for VLSI", 1987).
"""

import numpy as np

#: Bits of a signature register.
WIDTH = 32

#: ``x^32 + x^26 + x^23 + x^22 + x^16 + x^12 + x^11 + x^10 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1``, without ``x^32``.
TAPS = 0x04C11DB7

#: Inputs beyond the register's width begin this many stages further on at each round, so that two bits of an output
#: that always fail together, 32 apart, do not meet.
_ROUND = 5


def stages(width: int) -> np.ndarray:
    """int [width]: stage into which each bit of an output is added."""
    bit = np.arange(width)
    return (bit + _ROUND * (bit // WIDTH)) % WIDTH


def update(signature: int, value: int) -> int:
    """The register after a cycle in which the output has ``value``, of any width."""
    shifted = (signature << 1) & (1 << WIDTH) - 1 ^ (TAPS if signature >> WIDTH - 1 else 0)
    for bit, stage in enumerate(stages(value.bit_length())):
        shifted ^= (value >> bit & 1) << int(stage)
    return shifted
