"""Packing of layouts against Amaranth's own."""

from random import Random

import pytest
from amaranth.lib import data

from hdl.cim.interfaces import bank_record_layout, issue_layout, scaled_layout
from hdl.config import CONFIGS
from hdl.layouts import header_layout
from verif.layout import Codec

SMALL = CONFIGS["small"]
LAYOUTS = {
    "issue": issue_layout(SMALL),
    "bank record": bank_record_layout(SMALL),
    "scaled, signed": scaled_layout(),
    "array of structures": data.ArrayLayout(header_layout(SMALL), 3),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_equal_to_amaranth(layout):
    codec, random = Codec(layout), Random(2)
    for _ in range(20):
        bits = random.getrandbits(codec.bits)
        values = codec.unpack(bits)
        assert codec.pack(values) == bits
        assert layout.const(values).as_bits() == bits
        assert values == plain(layout.from_bits(bits), layout)


def plain(value, layout):
    """A constant of a layout as dictionaries, lists and numbers."""
    if not isinstance(layout, data.Layout):
        return int(value)
    items = {key: plain(value[key], field.shape) for key, field in layout}
    return list(items.values()) if isinstance(layout, data.ArrayLayout) else items


def test_fields_left_out_are_zero():
    codec = Codec(issue_layout(SMALL))
    assert codec.unpack(codec.pack({"valid": 1, "plane": 3})) == {
        "valid": 1, "first": 0, "last": 0, "step": 0, "bank": 0, "plane": 3}
