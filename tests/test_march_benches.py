"""The benches of March tests and of repair: their figures on small campaigns, their files and their switches."""

import json

import pytest

from bench import mbist, repair
from hdl.cim.interfaces import bist_words
from hdl.config import CONFIGS
from mbist.families import families
from mbist.library import LIBRARY

FEW = [families()[name] for name in ("static 1", "static 2", "decoder")]


@pytest.fixture
def few(monkeypatch):
    """Three families, and the tests that have goals."""
    monkeypatch.setattr(mbist, "families", lambda: {family.name: family for family in FEW})
    monkeypatch.setattr(mbist, "LIBRARY", {name: LIBRARY[name] for name in mbist.GOALS})


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_static_goals(few, capsys):
    mbist.main(["--config", "small"])
    last = last_line(capsys)
    assert last["value"] == 84
    assert last["detail"]["static"] == mbist.GOALS
    assert all(goal["met"] for goal in last["detail"]["goals"].values())
    assert last["detail"]["verdicts_per_minute"] > 0
    assert set(last["detail"]["engine"]["cycles"]) == set(mbist.GOALS)
    assert 1 < last["detail"]["engine"]["largest_ratio"] <= mbist.ENGINE_GOAL


def test_users_tests_and_files(few, capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("mine: {c(w0); c(r0)} # me\n")
    mbist.main(["--config", "tiny", "--sim", "icarus", "--tests", str(tmp_path / "mine.txt"),
                "--csv", str(tmp_path / "table.csv"), "--picture", str(tmp_path / "table.png")])
    last = last_line(capsys)["detail"]
    assert last["static"]["mine"] < 56
    assert last["engine"]["cycles"]["mine"] == 2 * 2 * 5 * bist_words(CONFIGS["tiny"]) + 6
    assert "mine,2,static 1,3,12" in (tmp_path / "table.csv").read_text()
    assert (tmp_path / "table.png").stat().st_size > 1000


@pytest.mark.parametrize(("text", "message"), [
    ("mine: {c(w0); c(r1)}", "argument --tests: mine: character 11 of the March test must read 0"),
    (None, "argument --tests: "),
])
def test_users_tests_that_cannot_be_read(few, capsys, tmp_path, text, message):
    if text:
        (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(SystemExit):
        mbist.main(["--tests", str(tmp_path / "mine.txt")])
    assert message in capsys.readouterr().err


def test_no_such_configuration(capsys):
    with pytest.raises(SystemExit):
        mbist.main(["--config", "huge"])
    assert "argument --config: configuration must be one of tiny, small" in capsys.readouterr().err


def test_repair_is_reported(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(repair, "products", lambda config: (128, 0, 1024))
    repair.main(["--maps", "60", "--picture", str(tmp_path / "yield.svg")])
    last = last_line(capsys)
    assert 0 <= last["value"] <= repair.GOAL
    assert set(last["detail"]["gap"]) == {"1 column", "2 columns", "2 columns + 2 rows", "4 columns + 4 rows"}
    assert last["detail"]["rtl"] == {"config": "small", "results": 1024, "wrong_without_repair": 128,
                                     "wrong_after_repair": 0}
    assert (tmp_path / "yield.svg").stat().st_size > 1000


def test_wrong_results_after_repair_are_an_error(monkeypatch):
    monkeypatch.setattr(repair, "products", lambda config: (128, 2, 1024))
    with pytest.raises(RuntimeError, match=r"^2 of 1024 results are wrong after repair$"):
        repair.main(["--maps", "6"])


def test_repair_makes_products_right():
    """Column 3 of 4 is defective, so a quarter of the results is wrong until the spare takes its place."""
    without, after, results = repair.products(CONFIGS["tiny"], "icarus")
    assert (4 * without, after) == (results, 0)


def test_maps_must_be_some(capsys):
    with pytest.raises(SystemExit):
        repair.main(["--maps", "0"])
    assert "argument --maps: must be at least 1, not 0" in capsys.readouterr().err
