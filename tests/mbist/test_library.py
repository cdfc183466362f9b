"""The library: lengths that the literature gives, and how users add tests."""

import pytest

from mbist.library import LIBRARY, read_library
from mbist.notation import NotationError

#: Operations per address and pauses, as published.
LENGTHS = {
    "MATS": (4, 0), "MATS+": (5, 0), "MATS++": (6, 0), "March X": (6, 0), "March Y": (8, 0), "March C": (11, 0),
    "March C-": (10, 0), "March C+": (14, 0), "March A": (15, 0), "March B": (17, 0), "March U": (13, 0),
    "March LR": (14, 0), "March LA": (22, 0), "March SR": (14, 0), "March SS": (22, 0), "March MSS": (18, 0),
    "March RAW": (26, 0), "March AB": (22, 0), "March SL": (41, 0), "March MSL": (23, 0), "March G": (23, 2),
    "March PS": (23, 0), "PMOVI": (13, 0), "IFA-9": (12, 2), "IFA-13": (16, 2),
}


def test_lengths():
    ours = {name for name, march in LIBRARY.items() if march.source.startswith("this project")}
    assert {name: (march.complexity, str(march).count("del"))
            for name, march in LIBRARY.items() if name not in ours} == LENGTHS
    assert ours == {"March K", "March 2A", "March 2B"}


def test_every_test_has_a_source():
    assert all(march.source for march in LIBRARY.values())


def test_users_lines():
    library = read_library(["# mine", "", "one: {c(w0); c(r0)} # me", "two: c(w1); d(r1)"])
    assert {name: str(march) for name, march in library.items()} == {"one": "{c(w0); c(r0)}", "two": "{c(w1); d(r1)}"}


def test_two_of_one_name():
    with pytest.raises(ValueError) as raised:
        read_library(["one: c(w0)", "one: c(w1)"])
    assert str(raised.value) == "a library must have one test of a name, not two called 'one'"


def test_a_line_that_is_wrong():
    with pytest.raises(NotationError, match=r"^one: character 1 of the March test must be an order"):
        read_library(["one: x(w0)"])
