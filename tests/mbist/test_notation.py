"""March tests as text: what can be written, and what is refused with which sentence."""

import pytest

from mbist.notation import Element, March, NotationError, Operation, Order, Pause, Step, parse, parse_line

C_MINUS = "{c(w0); u(r0,w1); u(r1,w0); d(r0,w1); d(r1,w0); c(r0)}"
OPERATION = "an operation (r0, r1, k0, k1, w0, w1, or - for none)"


def test_elements():
    march = parse("{c(w0); u(r0,w1); del(1000); d(r1)}", "mine", "here")
    write0, read0, write1, read1 = (Step((Operation(read, value),)) for value in (0, 1) for read in (False, True))
    assert march == March("mine", (Element(Order.EITHER, (write0,)), Element(Order.UP, (read0, write1)), Pause(1000),
                                   Element(Order.DOWN, (read1,))), "here")
    assert (march.complexity, march.pause_cycles, march.ports) == (4, 1000, 1)


@pytest.mark.parametrize("text", [
    C_MINUS,
    "{c(w1); del(7); d(r1,w0,r0)}",
    "{c(-:w0); u(r0:w1,r1:-)}",
    "{c(-:w0,-:w0_b); c(r0:w1_b,r1_b:-)}",
    "{c(w0); u(k0,r0)}",
])
def test_text_comes_back(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize("text", [
    "c(w0);u(r0,w1);u(r1,w0);d(r0,w1);d(r1,w0);c(r0)",
    "{⇕(w0); ⇑(r0,w1); ⇑(r1,w0); ⇓(r0,w1); ⇓(r1,w0); ⇕(r0)}",
    " { ↕ ( w0 ) ;\n↑(r0 , w1); ↑(r1,w0); ↓(r0,w1);↓(r1,w0);↕(r0); } ",
])
def test_other_ways_to_write_it(text):
    assert str(parse(text)) == C_MINUS


def test_n_is_no_operation():
    assert parse("c(n:w0)") == parse("c(-:w0)")


def test_orders_are_all_choices():
    chosen = [str(march) for march in parse("{c(w0); u(r0); c(r0)}").orders()]
    assert chosen == ["{u(w0); u(r0); u(r0)}", "{u(w0); u(r0); d(r0)}", "{d(w0); u(r0); u(r0)}",
                      "{d(w0); u(r0); d(r0)}"]


def test_uses_partner():
    assert parse("c(-:w0,-:w0_b)").uses_partner
    assert not parse("c(w0)").uses_partner


@pytest.mark.parametrize(("text", "place", "rule"), [
    ("{c(w0); u(r0,x1)}", 14, f"must be {OPERATION}, not 'x1'"),
    ("c(w00)", 3, f"must be {OPERATION}, not 'w00'"),
    ("c(w0);e(r0)", 7, "must be an order (u, d, c) or a pause del(cycles), not 'e'"),
    ("", 1, "must be an order (u, d, c) or a pause del(cycles), not its end"),
    ("c w0", 3, "must be '(', not 'w0'"),
    ("c(w0", 5, "must be ',' or ')', not its end"),
    ("{c(w0)", 7, "must be ';' or '}', not its end"),
    ("c(w0)}", 6, "must be ';' or the end, not '}'"),
    ("{c(w0)} c", 9, "must be the end, not 'c'"),
    ("c(w0);del;c(r0)", 10, "must be the cycles of the pause, as del(1000), not ';'"),
    ("c(w0);del();c(r0)", 11, "must be the cycles of the pause, a whole number from 1, as del(1000), not ')'"),
    ("c(w0);del(0);c(r0)", 11, "must be the cycles of the pause, a whole number from 1, as del(1000), not '0'"),
    ("{del(5)}", 9, "must be an order (u, d, c): a test needs an element, not its end"),
    ("c(-:-)", 3, "must be a step in which a port does something, not '-'"),
    ("c(-:w0,w0)", 8, "must be a step of 2 ports, as the first, not 'w0'"),
    ("c(w0,w1:-)", 6, "must be a step of 1 port, as the first, not 'w1'"),
    ("c(w0:w0)", 3, "must write an address through one port, not through 2"),
    ("c(w0);u(r1)", 9, "must read 0, which the steps before left there, not 1"),
    ("c(w0);u(r0,w1);c(r1,w0);d(r1)", 27, "must read 0, which the steps before left there, not 1"),
    ("u(r0,w1)", 3, "must write before r0 reads: no step before wrote there"),
    ("c(-:w0);u(r0:-,r0_b:-)", 16, "must write before r0_b reads: no step before wrote there"),
])
def test_refused(text, place, rule):
    with pytest.raises(NotationError) as raised:
        parse(text)
    assert str(raised.value) == f"character {place} of the March test {rule}"


def test_line():
    march = parse_line("  mine : {c(w0); c(r0)}  # me, 2026\n")
    assert (march.name, str(march), march.source) == ("mine", "{c(w0); c(r0)}", "me, 2026")


@pytest.mark.parametrize("line", ["{c(w0); c(r0)}", "c(-:w0)", ": {c(w0)}", "nothing"])
def test_line_without_name(line):
    with pytest.raises(NotationError) as raised:
        parse_line(line)
    assert str(raised.value) == f"a line of a library must be 'name: test # source', not {line!r}"


def test_line_names_the_test():
    with pytest.raises(NotationError) as raised:
        parse_line("mine: {c(w0); u(r1)}")
    assert str(raised.value) == ("mine: character 11 of the March test must read 0, which the steps before left there, "
                                 "not 1")
