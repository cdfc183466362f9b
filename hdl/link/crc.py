"""CRC-32C (Castagnoli, as in iSCSI, RFC 3720) of a whole word per cycle.

Least significant bit first, initial value and final XOR all ones. Up to 5243 bits it finds every error of up to five
bits (Koopman, "32-Bit Cyclic Redundancy Codes for Internet Applications", 2002); a flit has 1536.
"""

from functools import cache

from amaranth.hdl import Cat, Mux, Value

CRC_BITS = 32
INITIAL = 0xFFFF_FFFF

#: Bits of the reflected polynomial.
_POLYNOMIAL = 0x82F6_3B78


@cache
def _matrix(width: int) -> list[int]:
    """For each bit of the state after ``width`` data bits: which bits of ``Cat(state, data)`` it is the parity of."""
    rows = [1 << i for i in range(CRC_BITS)]
    for bit in range(width):
        feedback = rows[0] ^ 1 << CRC_BITS + bit
        rows = [row ^ (feedback if _POLYNOMIAL >> i & 1 else 0) for i, row in enumerate([*rows[1:], 0])]
    return rows


def crc_next(state: Value, data: Value) -> Value:
    """The state after ``data``, bit 0 first; combinational. The CRC is the inverted state."""
    both = Cat(state, data)
    rows = _matrix(len(data))
    columns = [sum((row >> j & 1) << i for i, row in enumerate(rows)) for j in range(len(both))]
    terms = [Mux(bit, column, 0) for bit, column in zip(both, columns)]
    while len(terms) > 1:
        terms = [a ^ b for a, b in zip(terms[::2], terms[1::2])] + terms[len(terms) & ~1:]
    return terms[0][:CRC_BITS]


def crc32c(value: int, width: int) -> int:
    """The CRC of the ``width`` low bits of a number, bit 0 first."""
    both = INITIAL | value << CRC_BITS
    return sum((both & row).bit_count() % 2 << i for i, row in enumerate(_matrix(width))) ^ INITIAL
