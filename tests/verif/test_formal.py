"""Proofs: nothing breaks an assertion in the first cycles, and no cycle after any number of good ones does."""

import pytest
from amaranth.hdl import Assert, Module, Signal

from hdl.cim.column import Column
from hdl.config import configuration
from hdl.ipu.banks import Banks
from verif.formal.design import FormalTop
from verif.formal.equivalence import CountOnesViews, MacroViews
from verif.formal.hazard import BankHazard
from verif.formal.steady import STREAMS

pytestmark = pytest.mark.formal
TINY = configuration("tiny")


def prove(top: FormalTop, name: str, *, bounded: int, induction: int):
    """Both steps of a proof; ``bounded`` is not less than ``induction``."""
    model = top.model(name)
    assert model.bounded(bounded).failed == ()
    assert model.induction(induction).failed == ()


def altered(monkeypatch, component, change):
    """Elaborates a component with ``change(m, component)`` at the end: later assignments win."""
    elaborate = component.elaborate

    def mutant(self, platform):
        m = elaborate(self, platform)
        change(m, self)
        return m

    monkeypatch.setattr(component, "elaborate", mutant)


def test_a_bank_being_computed_is_never_written():
    prove(BankHazard(TINY), "hazard", bounded=16, induction=2)


def test_the_write_enable_of_the_wrong_bank_is_caught(monkeypatch):
    def change(m, column):
        m.d.comb += m.submodules.store.write_bank.eq(~column.bank)

    altered(monkeypatch, Column, change)
    failed = BankHazard(TINY).model("hazard_wrong_bank").bounded(16).failed
    assert failed
    assert all("planes of a bank being computed are not written" in message for message in failed)


def test_a_bank_that_is_free_too_early_is_caught(monkeypatch):
    def change(m, banks):
        m.d.comb += banks.free.eq(3)

    altered(monkeypatch, Banks, change)
    assert BankHazard(TINY).model("hazard_early").bounded(16).failed


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_steady(name):
    prove(STREAMS[name](TINY), f"steady_{name}", bounded=4, induction=2)


def test_the_views_of_the_macro_are_equal():
    prove(MacroViews(TINY.with_(planes=1)), "macro_views", bounded=3, induction=1)


def test_the_views_of_a_count_are_equal():
    prove(CountOnesViews(TINY), "count_ones_views", bounded=1, induction=1)


class Counter(FormalTop):
    """Counts to 5 and starts over; it claims to stay below ``limit``."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def elaborate(self, platform):
        m = Module()
        count = Signal(3)
        m.d.sync += count.eq(count + 1)
        with m.If(count == 5):
            m.d.sync += count.eq(0)
        m.d.comb += Assert(count < self.limit, "the count is low")
        return m


def test_what_holds_is_proven():
    prove(Counter(6), "counter", bounded=1, induction=1)


def test_what_fails_late_is_found_by_a_deep_check_and_by_induction():
    model = Counter(5).model("counter_late")
    assert model.bounded(5).holds
    assert model.bounded(6).failed == model.induction(1).failed == ("the count is low",)
