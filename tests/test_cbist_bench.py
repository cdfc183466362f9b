"""The bench of the compute self-test: its figures on `tiny`, and what it refuses."""

import json

import pytest

from bench import cbist
from mbist.compute_test import TestStep


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.formal
def test_figures(capsys):
    cbist.main(["--config", "tiny", "--escapes"])
    last = last_line(capsys)
    detail = last["detail"]
    assert last["value"] > 99.7
    assert detail["macro_percent"] > 99.2
    assert detail["outside_percent"] > 97.5
    assert detail["column_in_macro_percent"] > 99.7
    assert detail["transition_percent"] > 94
    assert detail["lane_percent"] > 95
    assert detail["lane_faults"] > 2500
    assert 0.7 * detail["wrong_classes"] < detail["wrong_signatures"]
    assert detail["aliased"] == 0
    assert detail["simulated_for_aliasing"] > 5000
    assert detail["cycles"] <= cbist.CYCLES < detail["macro_cycles"]


def test_in_field_is_a_bench_of_its_own(monkeypatch):
    given = []
    monkeypatch.setattr(cbist.in_field, "main", given.extend)
    cbist.main(["--in-field", "--config", "tiny", "--cycles", "5000"])
    assert given == ["--config", "tiny", "--cycles", "5000"]


def test_other_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        cbist.main(["--cycles", "5000"])
    assert "unrecognized arguments: --cycles 5000" in capsys.readouterr().err


@pytest.mark.formal
def test_columns_that_are_not_driven_alike_are_refused(monkeypatch):
    monkeypatch.setattr(cbist, "column_program", lambda _: (TestStep(spread=True), TestStep()))
    with pytest.raises(RuntimeError) as error:
        cbist.main(["--config", "tiny"])
    assert str(error.value) == "column 1 is not driven as column 0 is"


@pytest.mark.formal
def test_a_netlist_that_answers_wrong_is_refused(monkeypatch):
    monkeypatch.setattr(cbist, "signature", lambda values, listen: 0)
    monkeypatch.setattr(cbist, "column_program", lambda _: (TestStep(),))
    with pytest.raises(RuntimeError) as error:
        cbist.main(["--config", "tiny", "--column"])
    assert str(error.value) == "the netlist's signatures of column 0 are not the golden model's"
