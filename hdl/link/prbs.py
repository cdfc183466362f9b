"""The sequence x^31 + x^28 + 1 (PRBS-31 of ITU-T O.150, not inverted): the scrambler's and the test pattern's."""

from amaranth.hdl import Cat, Value

STATE_BITS = 31
_TAP = 28


def prbs_next(state: Value, width: int) -> tuple[Value, Value]:
    """The ``width`` bits that follow the last 31, the oldest being bit 0, and the last 31 after them; combinational."""
    bits, made = state, 0
    while made < width:
        count = min(_TAP, width - made)
        last = bits[-STATE_BITS:]
        bits = Cat(bits, last[:count] ^ last[STATE_BITS - _TAP:STATE_BITS - _TAP + count])
        made += count
    return bits[STATE_BITS:], bits[-STATE_BITS:]


def seed(index: int) -> int:
    """The state from which unit ``index`` of a line word, or in a test lane ``index``, begins."""
    return (index + 1) * 0x1E37_79B9 % (1 << STATE_BITS)
