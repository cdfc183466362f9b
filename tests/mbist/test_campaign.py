"""Campaigns: tables, files, pictures, and the same outcome from other workers."""

import csv

import pytest
from distributed import Client, LocalCluster

from mbist.campaign import campaign
from mbist.families import families
from mbist.library import LIBRARY
from mbist.notation import parse
from mbist.pictures import coverage_picture, yield_picture

TESTS = [LIBRARY["MATS"], LIBRARY["March C-"]]
FAMILIES = [families()[name] for name in ("static 1", "static 2", "decoder")]


@pytest.fixture(scope="module")
def coverage():
    return campaign(TESTS, FAMILIES)


def test_rows(coverage):
    assert coverage.columns() == ["test", "n", "static 1", "static 2", "decoder"]
    assert coverage.rows() == [["MATS", "4", "7/12", "8/72", "14/16"], ["March C-", "10", "8/12", "48/72", "16/16"]]
    assert coverage.of("March C-", "static 1", "static 2") == (56, 84)


def test_csv(coverage):
    head, *lines = csv.reader(coverage.csv().splitlines())
    assert head == ["test", "operations per address", "family", "detected", "instances"]
    assert lines[1] == ["MATS", "4", "static 2", "8", "72"]
    assert len(lines) == 6


def test_on_a_cluster(coverage):
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster, \
            Client(cluster) as client:
        there = campaign(TESTS, FAMILIES, client)
    assert there.rows() == coverage.rows()
    assert there.verdicts == coverage.verdicts


def test_two_of_one_name():
    with pytest.raises(ValueError) as raised:
        campaign([parse("c(w0)", "one"), parse("c(w1)", "one")], FAMILIES)
    assert str(raised.value) == "a campaign must have one test of a name, not 2 called 'one'"


@pytest.mark.parametrize(("suffix", "begin"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures(coverage, tmp_path, suffix, begin):
    coverage_picture(coverage, tmp_path / f"coverage{suffix}")
    yield_picture([0.5, 1, 2], {"none": [0.6, 0.4, 0.1], "one column": [0.9, 0.7, 0.4]}, tmp_path / f"yield{suffix}")
    for name in ("coverage", "yield"):
        assert (tmp_path / f"{name}{suffix}").read_bytes().startswith(begin)


def test_picture_shows_the_counts(coverage, tmp_path):
    coverage_picture(coverage, tmp_path / "coverage.svg")
    text = (tmp_path / "coverage.svg").read_text()
    assert "<!-- 48 -->" in text
    assert "<!-- March C- (10n) -->" in text
    assert text.count("<!-- all -->") == 1
