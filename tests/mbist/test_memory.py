"""Fail logs of one fault, derived by hand."""

import pytest

from mbist.faults import Cell, CellFault, DecoderFault, StuckOpen
from mbist.library import LIBRARY
from mbist.memory import Failure, detected, fail_log
from mbist.notation import Order, parse
from mbist.primitives import parse_primitive

MATS_PLUS = LIBRARY["MATS+"]


def fault(*texts: str, victim=(1, 0), aggressors=(), power_up=(), retention=1) -> CellFault:
    return CellFault(tuple(map(parse_primitive, texts)), Cell(*victim), tuple(Cell(*a) for a in aggressors), power_up,
                     retention)


@pytest.mark.parametrize("march", LIBRARY.values(), ids=LIBRARY)
def test_a_primitive_that_is_not_sensitised_fails_nothing(march):
    never = fault("<1;1k1/0/0>", victim=(1, 0), aggressors=[(0, 0)])
    if "k" not in str(march):
        assert fail_log(march, 4, 1, never, partner=lambda word: word + 2) == []


def test_stuck_at_zero():
    """MATS+ writes 1 into word 1, bit 2, and reads 0 in its last element."""
    log = fail_log(MATS_PLUS, 4, 4, fault("<1/0/->", victim=(1, 2)))
    assert log == [Failure(2, 0, 1, 0b1011)]


def test_background_inverts_what_a_cell_is_written():
    log = fail_log(MATS_PLUS, 4, 4, fault("<1/0/->", victim=(1, 2)), background=[0b1111] * 4)
    assert log == [Failure(1, 0, 1, 0b1011)]


def test_read_destructive_with_right_data_fails_at_the_next_read():
    march = parse("{c(w0); u(r0,r0)}")
    assert fail_log(march, 2, 1, fault("<0r0/1/0>")) == [Failure(1, 1, 1, 1)]
    assert fail_log(march, 2, 1, fault("<0r0/1/1>")) == [Failure(1, 0, 1, 1), Failure(1, 1, 1, 1)]
    assert fail_log(march, 2, 1, fault("<0r0/0/1>")) == [Failure(1, 0, 1, 1), Failure(1, 1, 1, 1)]


def test_coupling_depends_on_the_order_of_addresses():
    """The victim is read before the aggressor is written, or after it; a permutation turns one into the other."""
    march = parse("{c(w0); u(r0,w1)}")
    coupled = fault("<0w1;0/1/->", victim=(1, 0), aggressors=[(0, 0)])
    assert fail_log(march, 3, 1, coupled) == [Failure(1, 0, 1, 1)]
    assert fail_log(march, 3, 1, coupled, up=[1, 0, 2]) == []
    down = parse("{c(w0); d(r0,w1)}")
    assert fail_log(down, 3, 1, coupled) == []
    assert fail_log(down, 3, 1, coupled, up=[1, 0, 2]) == [Failure(1, 0, 1, 1)]


def test_either_order_is_a_choice():
    march = parse("{c(w0); c(r0,w1)}")
    coupled = fault("<0w1;0/1/->", victim=(1, 0), aggressors=[(0, 0)])
    assert fail_log(march, 2, 1, coupled, either=Order.UP)
    assert not fail_log(march, 2, 1, coupled, either=Order.DOWN)
    assert not detected(march, 2, 1, coupled)


def test_power_up_matters_until_the_first_write():
    """A transition fault hides if the cell comes up with what the first element writes."""
    march = parse("{c(w0); c(r0)}")
    assert fail_log(march, 2, 1, fault("<1w0/1/->", power_up=(1,))) == [Failure(1, 0, 1, 1)]
    assert fail_log(march, 2, 1, fault("<1w0/1/->", power_up=(0,))) == []


def test_dynamic_faults_need_consecutive_cycles():
    dynamic = fault("<0w1r1/0/0>", victim=(0, 0))
    assert fail_log(parse("{c(w0); u(r0,w1,r1)}"), 1, 1, dynamic) == [Failure(1, 2, 0, 0)]
    assert fail_log(parse("{c(w0); u(r0,w1); d(r1)}"), 1, 1, dynamic) == []
    assert fail_log(parse("{c(w0); u(r0,w1); d(r1)}"), 1, 1, dynamic, gap=False) == [Failure(2, 0, 0, 0)]
    assert fail_log(parse("{c(w0); u(r0,w1); del(1); d(r1)}"), 1, 1, dynamic, gap=False) == []


def test_back_to_back_on_neighbours():
    """The last step at word 0 is followed by the first at word 1; with another word between them it is not."""
    march = parse("{c(w0); u(r0,w1); u(r1)}")
    assert fail_log(march, 3, 1, fault("<0w1.;0.r0/1/1>", victim=(1, 0), aggressors=[(0, 0)])) == [
        Failure(1, 0, 1, 1)]
    assert fail_log(march, 3, 1, fault("<0w1.;0.r0/1/1>", victim=(2, 0), aggressors=[(0, 0)])) == []


def test_retention_needs_the_pause_to_be_long_enough():
    march = parse("{c(w1); del(100); c(r1)}")
    assert fail_log(march, 2, 1, fault("<1t/0/->", retention=100)) == [Failure(2, 0, 1, 0)]
    assert fail_log(march, 2, 1, fault("<1t/0/->", retention=101)) == []


def test_linked_faults_hide_one_another():
    """Two neighbours couple into one victim: the second write puts right what the first one did."""
    march = parse("{c(w0); u(r0,w1)}")
    one = fault("<0w1;0/1/->", victim=(2, 0), aggressors=[(0, 0)])
    both = fault("<0w1;0/1/->", "<0w1;1/0/->", victim=(2, 0), aggressors=[(0, 0), (1, 0)])
    assert fail_log(march, 3, 1, one) == [Failure(1, 0, 2, 1)]
    assert fail_log(march, 3, 1, both) == []


def test_two_ports_at_one_address():
    march = parse("{c(-:w0); u(r0:w1,r1:-)}")
    assert fail_log(march, 2, 1, fault("<0w1:r0/0/0>")) == [Failure(1, 1, 1, 0)]
    assert fail_log(parse("{c(w0); u(r0,w1,r1)}"), 2, 1, fault("<0w1:r0/0/0>")) == []


def test_word_lines_of_two_banks():
    """Words 0 and 1 are bank 0, words 2 and 3 bank 1; the test runs on bank 0."""
    march = parse("{c(-:w0,-:w0_b); u(r0:w1_b,r1_b:-)}")
    other = {"up": [0, 1], "partner": lambda word: word + 2}
    read = fault("<0w1;0r0/0/1>", victim=(1, 0), aggressors=[(3, 0)])
    written = fault("<0r0;0w1/0/->", victim=(3, 0), aggressors=[(1, 0)])
    assert fail_log(march, 4, 1, read, **other) == [Failure(1, 0, 1, 1)]
    assert fail_log(march, 4, 1, written, **other) == [Failure(1, 1, 3, 0)]


def test_partner_is_needed():
    with pytest.raises(ValueError) as raised:
        fail_log(LIBRARY["March 2B"], 4, 1, fault("<1/0/->"))
    assert str(raised.value) == "March 2B must be given a partner, since it uses subscript b"


def test_computing_reads():
    only = fault("<0k0/0/1>")
    assert fail_log(parse("{c(w0); c(r0)}"), 2, 1, only) == []
    assert fail_log(parse("{c(w0); c(k0)}"), 2, 1, only) == [Failure(1, 0, 1, 1)]
    assert fail_log(parse("{c(w0); c(k0)}"), 2, 1, fault("<0r0/0/1>")) == [Failure(1, 0, 1, 1)]


@pytest.mark.parametrize(("decoder", "log"), [
    (DecoderFault("A", 1, floating=1), [Failure(1, 0, 1, 3)]),
    (DecoderFault("A", 1, floating=0), [Failure(2, 0, 1, 0)]),
    (DecoderFault("C", 1, 2), [Failure(1, 0, 2, 3), Failure(2, 0, 1, 0)]),
    (DecoderFault("D", 1, 2, wired_or=True), [Failure(1, 0, 2, 3)]),
    (DecoderFault("D", 1, 2, wired_or=False), [Failure(1, 0, 2, 3), Failure(2, 0, 1, 0)]),
    (DecoderFault("B", 1, 2, floating=1), [Failure(1, 0, 1, 3)]),
])
def test_address_decoder(decoder, log):
    """MATS+ on four words of two bits."""
    assert fail_log(MATS_PLUS, 4, 2, decoder) == log


def test_stuck_open_returns_the_last_read_of_its_bit_line():
    log = fail_log(LIBRARY["MATS++"], 3, 2, StuckOpen(Cell(1, 1), latch=0))
    # u(r0,w1): r0 follows r0. d(r1,w0,r0): r1 at word 1 follows r0 at word 2; then r0 returns what is latched.
    assert log == [Failure(2, 0, 1, 0b01)]
