"""Fields of what goes over the line are where the specification says."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Const

from hdl.link.formats import (
    MARKER,
    Cause,
    header_layout,
    hello_layout,
    largest_power,
    ones,
    training_layout,
)

from .combinational import evaluate

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "link.md").read_text()


@pytest.mark.parametrize(("heading", "layout", "offset"), [
    ("Flits", header_layout(), 0), ("Training", training_layout(), 64)])
def test_fields_are_those_of_the_page(heading, layout, offset):
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    fields = {name: (int(high), int(low or high)) for high, low, name in
              re.findall(r"^\| (\d+)(?:\.\.(\d+))? \| (\w+) \|", section, re.M)}
    for name, field in layout:
        low = field.offset + offset
        assert fields[name] == (low + field.width - 1, low), name


def test_hello_fields():
    fields = {name: field.offset for name, field in hello_layout()}
    assert (fields["version"], fields["flags"], fields["cause"]) == (0, 8, 16)


def test_causes_are_those_of_the_page():
    named = {name: int(number) for name, number in re.findall(r"^\| ([A-Z_]+) \| (\d) \|", PAGE, re.M)}
    assert named == {cause.name: cause for cause in Cause if cause}


def test_marker_is_that_of_the_page_and_is_found_at_one_place_only():
    """No shift of repeated markers, and none of a marker among zeros, is nearer than 27 of 64 bits."""
    assert f"{MARKER:#018X}".replace("X", "x") in PAGE
    bits = [MARKER >> i & 1 for i in range(64)]
    for shift in range(1, 64):
        equal = sum(bits[i] == bits[(i + shift) % 64] for i in range(64))
        assert 27 <= equal <= 37


@pytest.mark.parametrize(("mask", "kept"), [
    (0, 0), (0b1, 0b1), (0b1010, 0b1010), (0b1110, 0b0110), (0b1111_0111, 0b0001_0111), (0xFF, 0xFF),
    (0b1000_0000, 0b1000_0000)])
def test_largest_power_keeps_the_lowest(mask, kept):
    assert evaluate(largest_power(Const(mask, 8))) == kept


def test_ones():
    assert evaluate(ones(Const(0b1011, 4))) == 3
    assert evaluate(ones(Const(1, 1))) == 1
