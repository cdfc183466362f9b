"""The scrambler's sequence against the recurrence, bit by bit."""

import pytest
from amaranth.hdl import Const

from hdl.link.prbs import prbs_next, seed

from .combinational import evaluate


def sequence(state: int, count: int) -> list[int]:
    bits = [state >> i & 1 for i in range(31)]
    for _ in range(count):
        bits.append(bits[-28] ^ bits[-31])
    return bits[31:]


@pytest.mark.parametrize("width", [8, 28, 29, 64])
def test_words_are_the_sequence(width):
    state = seed(3)
    wanted = sequence(state, 3 * width + 31)
    made: list[int] = []
    for _ in range(3):
        word, after = prbs_next(Const(state, 31), width)
        value, state = evaluate(word), evaluate(after)
        made += [value >> i & 1 for i in range(width)]
    assert made == wanted[:3 * width]


def test_seeds_differ_and_are_not_zero():
    seeds = [seed(i) for i in range(16)]
    assert len(set(seeds)) == 16
    assert all(0 < s < 1 << 31 for s in seeds)


def test_it_is_the_prbs31_of_the_standard():
    """Period 2^31 - 1: x to that power is 1 modulo x^31 + x^28 + 1, and the exponent is a prime."""
    modulus, power = 1 << 31 | 1 << 28 | 1, 2  # x
    for _ in range(31):
        square = sum((power >> i & 1) << 2 * i for i in range(31))
        for bit in range(61, 30, -1):
            if square >> bit & 1:
                square ^= modulus << bit - 31
        power = square
    assert power == 2  # x^(2^31) = x
