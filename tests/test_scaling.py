"""The bench of scaling: its cases on a small card, whose cycles are those in which the arrays multiply."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import scaling
from bench.scaling import CASES, Case
from compiler.split import Split
from hdl.config import configuration
from sim.card import Card

SMALL = configuration("small").with_(links=2, name="small_card")
SOME = (Case("pair", (32, 128, 32), 16, (Split.OUTPUT, Split.INPUT), {2: 1.9, 4: 3.7}),
        Case("resident", (64, 64), 2, (Split.OUTPUT,), {2: 2.0}, calls=2))


class Timed(Card):
    """The golden model, with a clock that stands still while the array does."""

    def __init__(self, config, chips, backend):
        assert backend == "verilator"
        super().__init__(config, chips)

    def run(self, programs, inputs=None, **options):
        return [replace(r, cycles=r.counters["ARRAY_BUSY"]) for r in super().run(programs, inputs, **options)]


@pytest.fixture
def on_small(monkeypatch):
    monkeypatch.setattr(scaling, "configuration", lambda name: configuration("small"))
    monkeypatch.setattr(scaling, "CASES", SOME)
    monkeypatch.setattr(scaling, "Card", Timed)
    monkeypatch.setattr("sys.argv", ["scaling"])


def test_the_least_speed_up_of_the_layers_is_the_figure(on_small, capsys):
    scaling.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    cycles = {(d["case"], d["chips"]): d["cycles"] for d in last["detail"]["cases"]}
    assert set(cycles) == {(case.name, chips) for case in SOME for chips in (1, 2, 4)}
    assert last["value"] == round(cycles["pair", 1] / cycles["pair", 2], 4) > 1.9
    assert last["detail"]["four_chips"] == round(cycles["pair", 1] / cycles["pair", 4], 4) > 3.8


def test_results_that_are_not_the_golden_models_are_refused(on_small, monkeypatch):
    class Wrong(Timed):
        def run(self, *arguments, **options):
            results = super().run(*arguments, **options)
            results[-1].outputs["y"][-1, -1] ^= 1
            return results

    monkeypatch.setattr(scaling, "Card", Wrong)
    with pytest.raises(RuntimeError, match="the RTL's results of 'pair' on chip 0 of 1 are not those of the golden"):
        scaling.main()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_results_use_their_range_to_the_last_call(case):
    """A share of the inputs and outputs of the case; what dies out or saturates would compare equal to anything."""
    small = replace(case, sizes=tuple(min(size, 64) for size in case.sizes), vectors=8)
    y = scaling.golden(SMALL, small)
    assert 20 < y.std() < 120
    assert len(np.unique(y)) > 50
