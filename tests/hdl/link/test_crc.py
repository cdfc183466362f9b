"""The link's CRC against Amaranth's, which is written and tested elsewhere."""

import random

import pytest
from amaranth.hdl import Const
from amaranth.lib.crc.catalog import CRC32_ISCSI

from hdl.link.crc import INITIAL, crc32c, crc_next

from .combinational import evaluate


def oracle(data: bytes) -> int:
    return CRC32_ISCSI(data_width=8).compute(data)


def test_check_value():
    assert crc32c(int.from_bytes(b"123456789", "little"), 72) == 0xE306_9283


@pytest.mark.parametrize("width", [8, 64, 480, 512])
def test_a_word_at_a_time_is_the_crc_of_its_bytes(width):
    words = [random.Random(width).getrandbits(width) for _ in range(3)]
    state = INITIAL
    for word in words:
        state = evaluate(crc_next(Const(state, 32), Const(word, width)))
    data = b"".join(word.to_bytes(width // 8, "little") for word in words)
    assert state ^ INITIAL == oracle(data)
    assert crc32c(int.from_bytes(data, "little"), 8 * len(data)) == oracle(data)


