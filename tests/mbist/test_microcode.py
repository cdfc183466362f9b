"""Microcode: what the hardware's layouts read in assembled words, and every refusal."""

import pytest

from hdl.bist.microcode import CODE_WORDS, Kind, pause_layout, step_layout
from hdl.cim.interfaces import bank_record_layout, bist_words
from hdl.config import CONFIGS
from hdl.csr import register_map
from mbist.library import LIBRARY
from mbist.microcode import MicrocodeError, Run, assemble, stored_bits
from mbist.notation import Element, March, Order, Pause, parse

SMALL = CONFIGS["small"]


def decoded(word: int) -> str:
    """The text of a word, from the layouts alone."""
    pause = pause_layout().from_bits(word)
    if pause.kind == Kind.PAUSE:
        return f"del({pause.cycles})"
    step = step_layout().from_bits(word)
    assert step.kind == Kind.STEP
    read = f"{'k' if step.compute else 'r'}{step.read_value}{'_b' * step.read_partner}" if step.read else "-"
    write = f"w{step.write_value}{'_b' * step.write_partner}" if step.write else "-"
    return f"{'d' if step.down else 'u'} {read}:{write}{')' * step.last}"


def test_words_say_what_the_test_says():
    march = parse("{c(-:w0); u(r0:w1_b,k0:-); d(r1_b:-); del(7); d(-:w1)}")
    code = assemble(march)
    assert [decoded(word) for word in code.words] == [
        "u -:w0)", "u r0:w1_b", "u k0:-)", "d r1_b:-)", "del(7)", "d -:w1)"]
    assert code.places == ((0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (4, 0))


def test_one_port_takes_the_port_that_can_do_it():
    assert [decoded(word) for word in assemble(parse("{c(w0); u(r0,w1); d(r1)}")).words] == [
        "u -:w0)", "u r0:-", "u -:w1)", "d r1:-)"]


def test_either_order_is_chosen():
    words = assemble(parse("{c(w0); u(r0); d(r0)}"), either=Order.DOWN).words
    assert [decoded(word)[0] for word in words] == ["d", "u", "d"]


def test_a_long_pause_is_several_words():
    code = assemble(March("", (*parse("{c(w0)}").elements, Pause((1 << 28) + 5))))
    assert sum(pause_layout().from_bits(word).cycles for word in code.words[1:]) == (1 << 28) + 5
    assert code.places[1:] == ((1, 0), (1, 1))


def test_the_library_fits():
    for name, march in LIBRARY.items():
        if name != "March 2A":
            assert len(assemble(march).words) <= CODE_WORDS


@pytest.mark.parametrize(("text", "message"), [
    ("{c(w0); u(" + ",".join(["r0"] * CODE_WORDS) + ")}",
     f"the March test must fit {CODE_WORDS} microcode words; element 2, step {CODE_WORDS} is too many"),
    ("{c(-:w0); u(r0:-,r0:w1)}",
     "element 2, step 2 (r0:w1) must read and write different banks of a macro"),
    ("{c(w0:-)}", "element 1, step 1 (w0:-) must read through port 0 and write through port 1 of a macro"),
    ("{c(-:w0); u(-:r0)}", "element 2, step 1 (-:r0) must read through port 0 and write through port 1 of a macro"),
    ("{c(w0:-:-)}", "element 1, step 1 (w0:-:-) must read through port 0 and write through port 1 of a macro"),
])
def test_what_a_macro_cannot_do_is_refused(text, message):
    with pytest.raises(MicrocodeError) as error:
        assemble(parse(text))
    assert str(error.value) == message


@pytest.mark.parametrize(("options", "message"), [
    ({"first": 9}, "first must be a physical column from 0 to 8, not 9"),
    ({"first": 3, "last": 2}, "last must be a physical column from 3 to 8, not 2"),
    ({"last": 9}, "last must be a physical column from 0 to 8, not 9"),
    ({"banks": ()}, "banks must be (0,), (1,) or (0, 1), not ()"),
    ({"banks": (0, 1), "partner": True}, "banks must be one bank if its partner is used, not (0, 1)"),
    ({"rows": 4}, "rows must be a bit of a row's number from 0 to 3, not 4"),
    ({"macro": 4}, "macro must be from 0 to 3, not 4"),
])
def test_addresses_outside_the_array_are_refused(options, message):
    with pytest.raises(MicrocodeError) as error:
        Run(SMALL, **options)
    assert str(error.value) == message


def test_addresses():
    run = Run(SMALL, first=2, last=3, banks=(1,))
    words = bist_words(SMALL)
    assert run.addresses[:3] == [(2, 1, 0), (3, 1, 0), (2, 1, 1)]
    assert len(run.addresses) == 2 * words
    fast = Run(SMALL, first=2, last=3, banks=(1,), fast_word=True)
    assert fast.addresses[words - 1:words + 1] == [(2, 1, words - 1), (3, 1, 0)]
    assert sorted(fast.addresses) == sorted(run.addresses)


def test_backgrounds():
    words = bist_words(SMALL)
    rows = SMALL.rows
    assert Run(SMALL).background(1, 1) == 0
    assert Run(SMALL, rows=0).background(0, 0) == int("10" * (rows // 2), 2)
    assert Run(SMALL, columns=True).background(1, 0) == (1 << rows) - 1
    assert Run(SMALL, columns=True, words=True).background(1, 1) == 0
    assert Run(SMALL, user=0xA5).background(0, 0) == 0xA5
    bits = bank_record_layout(SMALL).size % rows
    assert Run(SMALL, columns=True).background(1, words - 1) == (1 << bits) - 1 == stored_bits(SMALL, words - 1)


def test_registers_hold_the_fields():
    run = Run(SMALL, first=1, last=5, banks=(1,), partner=True, rows=2, words=True, user=0x1_0000_0002, macro=3)
    fields = {name: {field: run.registers()[name] >> low & (1 << width) - 1
                     for field, (low, width, _) in register_map(SMALL)[name].fields.items()}
              for name in ("BIST_RANGE", "BIST_MODE")}
    assert fields == {
        "BIST_RANGE": {"first": 1, "last": 5, "banks": 2, "partner": 1},
        "BIST_MODE": {"rows": 3, "columns": 0, "words": 1, "user": 1, "fast_word": 0, "hold_full": 0, "single": 1,
                      "macro": 3}}
    assert (run.registers()["BIST_USER"], run.registers()["BIST_USER_HIGH"]) == (2, 1)


def test_cycles_count_pauses_and_overhead():
    march = parse("{c(w0); del(100); u(r0,w1)}")
    run = Run(SMALL)
    assert isinstance(march.elements[0], Element)
    assert run.cycles(march) == 3 * len(run.addresses) + 100 + 6
