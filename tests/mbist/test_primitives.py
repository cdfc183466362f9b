"""Fault primitives: their text, their numbers, and what is none."""

import pytest

from mbist import families
from mbist.primitives import parse_primitive


@pytest.mark.parametrize("text", [
    "<0/1/->", "<0w1/0/->", "<1r1/1/0>", "<0w1;1/0/->", "<1;0r0/1/0>", "<0w1r1/0/0>", "<0w1.;1.r1/0/0>",
    "<0w1;1r1/0/0>", "<0w1:r0/0/0>", "<1t/0/->", "<0k0/1/1>", "<1;0t/1/->",
])
def test_text_comes_back(text):
    assert str(parse_primitive(text)) == text


@pytest.mark.parametrize("family", families.families().values(), ids=lambda family: family.name)
def test_text_of_every_model_comes_back(family):
    for model in family.models:
        for primitive in model.primitives:
            assert parse_primitive(str(primitive)) == primitive


@pytest.mark.parametrize(("text", "sentence"), [
    ("0w1/0/-", "a fault primitive must be <S/F/R> or <Sa;Sv/F/R>, not '0w1/0/-'"),
    ("<w1/0/->", "S of <w1/0/-> must be a state and operations, as 0w1, not 'w1'"),
    ("<0r1/0/1>", "r1 in <0r1/0/1> must read 0, which the cell holds"),
    ("<0w1/0/1>", "R of <0w1/0/1> must be -, as S does not end with a read of the victim"),
    ("<0r0/1/->", "R of <0r0/1/-> must be 0 or 1, as S ends with a read of the victim"),
    ("<0w1/1/->", "<0w1/1/-> must differ from a fault-free memory in F or R"),
    ("<0w1w0;1r1/0/1>", "aggressor and victim of <0w1w0;1r1/0/1> must have as many cycles, not [1, 2]"),
])
def test_refused(text, sentence):
    with pytest.raises(ValueError) as raised:
        parse_primitive(text)
    assert str(raised.value) == sentence


def test_static_faults_of_one_cell():
    """SF, TF, WDF, RDF, DRDF and IRF, two of each, as Hamdioui et al. 2002 list them."""
    assert {str(fault) for fault in [*families.single_cell(0), *families.single_cell(1)]} == {
        "<0/1/->", "<1/0/->", "<0w1/0/->", "<1w0/1/->", "<0w0/1/->", "<1w1/0/->", "<0r0/1/1>", "<1r1/0/0>",
        "<0r0/1/0>", "<1r1/0/1>", "<0r0/0/1>", "<1r1/1/0>"}


@pytest.mark.parametrize(("primitives", "count"), [
    (families.two_cell_static(), 36),  # Hamdioui et al. 2002
    (families.single_cell(2), 30),  # 10 x 3^(m-1) of m operations: van de Goor and Al-Ars 2000
    ([*families.on_aggressor(2), *families.on_victim(2), *families.back_to_back()], 192),  # Hamdioui et al. 2002
    (families.same_address(), 44),
    (families.word_line_disturb(), 32),
    (families.compute_only(), 22),
    (families.retention(), 6),
    (families.linked(), 360),  # 12 of one cell, 108 with one aggressor, 240 with one or two
])
def test_counts(primitives, count):
    assert len(set(primitives)) == len(primitives) == count


def test_linked_faults_of_one_cell():
    """The first leaves the cell wrong, the second finds it so and sets it right, both unseen."""
    alone = {" ".join(map(str, pair)) for pair in families.linked() if all(fault.aggressor is None for fault in pair)}
    assert alone == {f"{first} {second}" for value in (0, 1) for first, second in (
        (f, s) for f in (f"<{value}w{1 - value}/{value}/->", f"<{1 - value}w{1 - value}/{value}/->",
                         f"<{1 - value}r{1 - value}/{value}/{1 - value}>")
        for s in (f"<{value}w{value}/{1 - value}/->", f"<{value}r{value}/{1 - value}/{1 - value}>"))}
