"""The arrows between the rooms: a room imports only from rooms to its left, and nothing imports the rest."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("hdl", "mbist", "sim", "compiler", "cimple")
OUTSIDE = ("verif", "bench", "fpga", "tests")


def imported(file: Path, tree: ast.AST) -> set[str]:
    """Top-level names that a file imports, relative imports resolved; also those inside functions."""
    package = file.relative_to(ROOT).parts[:-1]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[:len(package) - node.level + 1]
                names.add(base[0] if base else (node.module or "").split(".")[0])
            else:
                names.add((node.module or "").split(".")[0])
    return names


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_its_left(room):
    forbidden = set(ROOMS[ROOMS.index(room) + 1:]) | set(OUTSIDE)
    broken = [f"{file.relative_to(ROOT)} imports {', '.join(sorted(wrong))}" for file in files(room)
              if (wrong := imported(file, ast.parse(file.read_text())) & forbidden)]
    assert not broken


def test_only_the_runner_uses_the_cocotb_runner():
    users = {file.relative_to(ROOT).as_posix() for room in (*ROOMS, *OUTSIDE) for file in files(room)
             if "cocotb_tools" in imported(file, ast.parse(file.read_text()))}
    assert users == {"sim/rtl/worker.py"}


def test_hdl_evaluates_its_annotations():
    """Amaranth reads them."""
    assert not [file for file in files("hdl") if "from __future__ import annotations" in file.read_text()]


def test_relative_imports_are_resolved():
    tree = ast.parse("from .. import hdl\nfrom ..rtl import run\nfrom ...cimple import cli\nimport numpy.linalg")
    assert imported(ROOT / "sim" / "rtl" / "deep" / "x.py", tree) == {"sim", "numpy"}
    assert imported(ROOT / "sim" / "x.py", ast.parse("def f():\n    from tests.x import y")) == {"tests"}
