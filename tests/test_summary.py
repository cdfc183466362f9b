"""The last line of a test run: plain tests count as one, cocotb runs as their tests; it is what CI reads."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CASES = """
import pytest

def test_plain():
    pass

def test_cocotb(record_property):
    record_property("cocotb_passed", 5)
    record_property("cocotb_failed", 0)
    record_property("coverage", "masks: 3 of 4, missing 0x0")
"""


def run(tmp_path: Path, text: str, *options: str) -> tuple[int, list[str]]:
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", *options, str(tmp_path)], cwd=tmp_path,
                            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    return result.returncode, result.stdout.splitlines()


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_all_pass(tmp_path, options):
    code, lines = run(tmp_path, CASES, *options)
    assert (code, lines[-1]) == (0, "6 passed, 0 failed")
    assert "masks: 3 of 4, missing 0x0" in lines


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_failures_of_all_kinds_count(tmp_path, options):
    code, lines = run(tmp_path, CASES + """
def test_fails():
    assert False

def test_cocotb_fails(record_property):
    record_property("cocotb_passed", 2)
    record_property("cocotb_failed", 3)
    assert False

def test_no_results(record_property):
    record_property("cocotb_passed", 0)
    record_property("cocotb_failed", 0)
    assert False

@pytest.fixture
def broken():
    raise ValueError

def test_setup(broken):
    pass
""", *options)
    assert (code, lines[-1]) == (1, "8 passed, 6 failed")


def test_a_file_that_cannot_be_imported_is_a_failure(tmp_path):
    code, lines = run(tmp_path, "import nothing_of_that_name\n")
    assert (code, lines[-1]) == (2, "0 passed, 1 failed")
