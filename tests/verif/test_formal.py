"""Proofs: nothing breaks an assertion in the first cycles, and no cycle after any number of good ones does."""

import pytest
from amaranth.hdl import Assert, Module, Signal

from hdl.cim.column import Column
from hdl.config import configuration
from hdl.ipu.banks import Banks
from hdl.link.receiver import Receiver
from hdl.link.replay import Replay
from hdl.link.transmitter import Transmitter
from verif.formal.design import FormalTop, state
from verif.formal.equivalence import CountOnesViews, MacroViews
from verif.formal.hazard import BankHazard
from verif.formal.replay_proof import ReplayProof
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


def test_a_link_loses_doubles_and_exchanges_nothing():
    prove(ReplayProof(), "replay", bounded=4, induction=1)


def _acknowledges_the_next(m, receiver):
    m.d.comb += receiver.answer.acknowledge.sequence.eq(state(m, "expected"))


def _accepts_what_is_ahead(m, receiver):
    m.d.comb += state(m, "in_order").eq(state(m, "numbered"))


def _accepts_what_it_has(m, receiver):
    expected = state(m, "expected")
    m.d.sync += expected.eq(expected)


def _heeds_a_nak_of_any_epoch(m, replay):
    with m.If(replay.acknowledged & replay.refused):
        m.d.sync += state(m, "pending").eq(1)


def _sends_without_credit(m, transmitter):
    m.d.comb += transmitter.packer.credit.eq(-1)


@pytest.mark.parametrize(("component", "change", "broken"), [
    (Receiver, _acknowledges_the_next, "acknowledgements are right: 1"),
    (Receiver, _accepts_what_is_ahead, "what is accepted is the next that was made"),
    (Receiver, _accepts_what_it_has, "what is accepted is counted"),
    (Replay, _heeds_a_nak_of_any_epoch, "a NAK leads to a replay if a flit was missed in this epoch"),
    (Transmitter, _sends_without_credit, "beats begin if they are allowed: 0"),
])
def test_a_wrong_replay_is_not_proven(monkeypatch, component, change, broken):
    """One step from a state in which all is as it should be; runs from reset that are long enough take too long."""
    altered(monkeypatch, component, change)
    assert ReplayProof().model(f"replay{change.__name__}").induction(1, only=broken).failed == (broken,)


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
