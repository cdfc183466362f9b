"""Building and running, on both simulators."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from hdl.config import CONFIGS
from hdl.verilog import Generated
from sim.rtl import SIMULATORS, BuildFailed, SimulationFailed, build, run
from sim.rtl import build as build_function
from sim.rtl.paths import ROOT, build_root

from .toy import Toy

CONFIG = CONFIGS["small"]
BENCH = "tests.sim.rtl.toy_bench"
EXPECTED = {"EXPECTED_CONFIG": "small"}


def toy(config):
    return Toy()


@pytest.fixture(scope="module", params=SIMULATORS)
def built(request):
    return build(toy, CONFIG, simulator=request.param, name="toy")


def test_tests_run(built):
    results = run(built, BENCH, environment=EXPECTED)
    assert results.passed == ("adds", "knows_the_configuration")
    assert results.failed == ()
    assert "adds passed" in results.log.read_text()


def test_one_test_runs(built):
    assert run(built, BENCH, testcase="adds").passed == ("adds",)


def test_a_failing_test_is_named_with_its_log(built):
    with pytest.raises(SimulationFailed) as e:
        run(built, BENCH, environment=EXPECTED | {"FAIL": "1"}, seed=7)
    results = e.value.results
    assert str(e.value) == (f"{BENCH} on toy-small-{built.simulator} (seed 7): failed: knows_the_configuration; "
                            f"see {results.log}")
    assert results.passed == ("adds",)
    assert "assert" in results.log.read_text()


def test_a_module_without_tests_fails(built):
    with pytest.raises(SimulationFailed, match=r"it has no test of that name"):
        run(built, BENCH, testcase="nothing")
    with pytest.raises(SimulationFailed, match=r"the simulator stopped before the tests had ended|it has no tests"):
        run(built, "tests.sim.rtl.toy")


def test_a_simulation_that_does_not_end_is_ended(built):
    begin = time.monotonic()
    with pytest.raises(SimulationFailed, match=r"it took longer than 4 s; see "):
        run(built, BENCH, environment=EXPECTED | {"HANG": "1"}, timeout=4)
    assert time.monotonic() - begin < 20


def test_the_second_build_builds_nothing(built):
    log = built.directory / "build.log"
    before = log.stat().st_mtime_ns
    again = build(toy, CONFIG, simulator=built.simulator, name="toy")
    assert not again.built
    assert again.directory == built.directory
    assert log.stat().st_mtime_ns == before


def test_an_interrupted_build_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path))
    first = build(toy, CONFIG, simulator="icarus", name="toy")
    (first.directory / "complete").unlink()
    (first.directory / "sim.vvp").write_text("half")
    again = build(toy, CONFIG, simulator="icarus", name="toy")
    assert again.built
    assert again.directory == first.directory
    assert run(again, BENCH, environment=EXPECTED).passed


def test_two_processes_build_once(tmp_path):
    code = ("from hdl.config import CONFIGS; from sim.rtl import build; from tests.sim.rtl.test_build_run import toy; "
            "print(build(toy, CONFIGS['small'], simulator='icarus', name='toy').built)")
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                             env={"CIMPLE_BUILD_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == ["False\n", "True\n"]


def test_what_changes_the_model_changes_the_build(tmp_path, monkeypatch):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path))
    text = "module top(input wire clk, output wire o);\n  leaf leaf(.o(o));\nendmodule\n"
    ports = {"clk": ("input", 1), "o": ("output", 1)}
    leaf = tmp_path / "leaf.sv"
    directories = set()
    for value in (0, 1):
        leaf.write_text(f"module leaf(output wire o); assign o = {value}; endmodule\n")
        for waves in (False, True):
            directories.add(build(Generated("top", text, ports), CONFIG, simulator="icarus", waves=waves,
                                  extra_sources=[leaf]).directory)
    assert len(directories) == 4


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_verilog_that_is_none_fails_with_its_log(simulator, tmp_path, monkeypatch):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path))
    with pytest.raises(BuildFailed) as e:
        build(Generated("top", "module top; wrong endmodule", {}), CONFIG, simulator=simulator)
    assert str(e.value).startswith(f"{simulator} did not build top-small-{simulator}: ")
    log = Path(str(e.value).rpartition("; see ")[2])
    assert "syntax error" in log.read_text()


def test_verilator_warnings_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path))
    text = ("module top(output wire a); leaf leaf(); assign a = 0; endmodule\n"
            "module leaf(output wire x); assign x = 0; endmodule\n")
    with pytest.raises(BuildFailed, match="PINMISSING"):
        build(Generated("top", text, {"a": ("output", 1)}), CONFIG)


def test_only_ports_are_public_unless_asked():
    closed = build(toy, CONFIG, name="toy")
    opened = build(toy, CONFIG, name="toy", public_all=True)
    assert closed.directory != opened.directory
    assert "--no-public-flat-rw" in (closed.directory / "build.json").read_text()
    assert not (opened.directory / "ports.vlt").exists()
    assert run(opened, BENCH, environment=EXPECTED).passed


def test_threads():
    threaded = build(toy, CONFIG, name="toy", threads=2)
    assert run(threaded, BENCH, environment=EXPECTED).passed


def test_waves_must_be_asked_for_when_building():
    made = build(toy, CONFIG, name="toy")
    with pytest.raises(ValueError, match=r"^waves must be asked for when building, this build was made with"):
        run(made, BENCH, waves=True)


def test_a_build_directory_with_blanks_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("CIMPLE_BUILD_DIR", str(tmp_path / "a b"))
    with pytest.raises(ValueError, match=r"^the build directory must have no blanks in its path"):
        build_function(toy, CONFIG, simulator="icarus", name="toy")


def test_the_build_directory_is_in_the_source_tree(monkeypatch):
    monkeypatch.delenv("CIMPLE_BUILD_DIR", raising=False)
    assert build_root() == ROOT / "build"
