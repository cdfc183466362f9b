"""The files that hold the tree together: Makefile, pyproject.toml, .ci/run."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("hdl", "mbist", "sim", "compiler", "cimple")
TARGETS = {"help", "sim", "test", "formal", "demo", "verilog", "waves", "bench", "doctor", "lint", "docs", "clean"}


def make(*arguments: str) -> str:
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout


def test_make_lists_every_target():
    lines = make().splitlines()
    assert {line.split()[1] for line in lines} == TARGETS
    assert all(len(line.split()) > 2 for line in lines)
    assert make("help").splitlines() == lines


def test_make_only_calls_python():
    recipes = re.findall(r"^\t@?(.*)$", (ROOT / "Makefile").read_text(), re.M)
    help_lines = [line for line in recipes if line.startswith(("sed", "\t", "printf"))]
    assert len(help_lines) == 2
    others = [line for line in recipes if line not in help_lines]
    assert all(re.match(r"\$\((PY|PYTEST|PYTHON)\) |touch \$@|rm -rf ", line) for line in others)


@pytest.mark.parametrize(("arguments", "expected"), [
    (("sim",), "tests/test_sim.py --sim verilator"),
    (("sim", "SIM=icarus", "TB=macro", "SEED=3"), "tests/test_sim.py --sim icarus --bench macro --seed 3"),
    (("waves", "TB=macro", "CONFIG=tiny", "SIM=icarus"),
     '-m cimple waves --bench "macro" --config tiny --sim icarus'),
    (("verilog", "CONFIG=edge"), "-m cimple verilog --config edge"),
    (("bench", "NAME=sim-speed"), "-m cimple bench sim-speed"),
    (("test", "JOBS=1"), '-n 1 -m "not formal" --sim verilator'),
    (("formal",), "-m formal"),
])
def test_make_passes_its_variables_on(arguments, expected):
    assert expected in make("-n", *arguments)


def test_every_dependency_says_why():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r'    "[\w\[\]-]+([><=]=?[^"]*)?",$', line) and "ignore" not in lines[number]:
            said = lines[number - 1]
            assert said.startswith("    # "), f"line {number + 1}: {line.strip()} needs a comment that says why"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {"demo", "formal", "dev"}
    assert project["scripts"] == {"cimple": "cimple.cli:main"}


def test_everything_in_the_rooms_is_packaged():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    for room in ROOMS:
        for file in (ROOT / room).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert (file.parent / "__init__.py").is_file(), f"{file.parent} has no __init__.py"
                assert file.suffix == ".py" or any(fnmatch(file.name, pattern) for pattern in patterns), file


@pytest.mark.parametrize(("said", "code", "last"), [
    ("3 passed, 0 failed", 0, "9 passed, 0 failed"),
    ("3 passed, 1 failed", 1, "9 passed, 3 failed"),
    ("no such target", 2, "0 passed, 0 failed"),
])
def test_ci_counts_what_its_commands_say(tmp_path, said, code, last):
    """With a stand-in for make."""
    fake = tmp_path / "make"
    fake.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    fake.chmod(0o755)
    (tmp_path / "iverilog").symlink_to("/bin/true")
    result = subprocess.run([ROOT / ".ci" / "run"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True,
                            text=True)
    assert result.stdout.splitlines()[-1] == last
    assert result.returncode == (1 if code else 0)
    assert [line for line in result.stdout.splitlines() if line.startswith("== ") and not line.endswith(" s")] == [
        "== make lint", "== make test", "== make sim SIM=icarus", "== make formal"]


def test_nothing_names_a_machine():
    """Committed files hold no paths of a machine and no hosts of a registry."""
    wrong = re.compile(r"/(home|root|work|opt|Users)/\w|\bpypi\.org\b|index-url")
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name != "tests/test_skeleton.py":
            found = wrong.search((ROOT / name).read_text(errors="replace"))
            assert not found, f"{name} names {found[0]}"
