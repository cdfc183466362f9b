"""Every point of a test plan names tests that exist, and every cocotb test belongs to a point."""

import ast
import re
from pathlib import Path

import pytest

from verif.benches import BENCHES

VERIF = Path(__file__).resolve().parents[2] / "verif"
HEADINGS = ["Point", "Stimulus and check", "Tests"]
BLOCKS = sorted(path.stem.removeprefix("tb_") for path in VERIF.glob("tb_*.py"))


def points(plan: str) -> dict[str, list[str]]:
    """Tests by point, from the table of a plan."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in plan.splitlines() if line.startswith("|")]
    assert rows[0] == HEADINGS, f"a plan has the columns {', '.join(HEADINGS)}"
    assert all(len(row) == 3 for row in rows), "a row of a plan has three cells"
    found = {row[0]: re.findall(r"`(\w+)`", row[2]) for row in rows[2:]}
    assert len(found) == len(rows) - 2, "a plan names each point once"
    return found


def cocotb_tests(source: str) -> set[str]:
    """Names of the functions that cocotb runs as tests."""
    def is_test(decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        return ast.unparse(target) == "cocotb.test"

    return {node.name for node in ast.parse(source).body
            if isinstance(node, ast.AsyncFunctionDef) and any(map(is_test, node.decorator_list))}


def test_every_bench_has_a_plan_and_every_plan_a_bench():
    plans = {path.stem for path in (VERIF / "plans").glob("*.md")} - {"README"}
    assert plans == set(BLOCKS)
    assert {bench.module.removeprefix("verif.tb_") for bench in BENCHES} == set(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS)
def test_plan_and_bench_agree(block):
    tests = cocotb_tests((VERIF / f"tb_{block}.py").read_text())
    plan = points((VERIF / "plans" / f"{block}.md").read_text())
    assert not [point for point, named in plan.items() if not named], "points without a test"
    named = {test for names in plan.values() for test in names}
    assert named - tests == set(), "tests that the plan names do not exist"
    assert tests - named == set(), "tests are in no plan"


def test_a_plan_is_read():
    plan = "\n".join(["# X", "", "| Point | Stimulus and check | Tests |", "|---|---|---|",
                      "| a | b | `test_c`, `test_d` |", "| e | f | none |"])
    assert points(plan) == {"a": ["test_c", "test_d"], "e": []}


def test_cocotb_tests_are_found():
    source = ("@cocotb.test()\nasync def one(dut): pass\n\n@cocotb.test()\n@cocotb.parametrize(x=[1])\n"
              "async def two(dut, x): pass\n\nasync def helper(dut): pass\n")
    assert cocotb_tests(source) == {"one", "two"}
