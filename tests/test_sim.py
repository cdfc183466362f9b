"""The cocotb regression: every bench of ``verif/benches.py`` in every configuration, on the simulator of ``--sim``."""

import pytest

from sim.rtl import SimulationFailed
from verif import benches

pytestmark = pytest.mark.sim


def pytest_generate_tests(metafunc):
    cases = benches.cases(metafunc.config.getoption("sim"), metafunc.config.getoption("bench"))
    metafunc.parametrize("bench, config", [
        pytest.param(bench, config, id=f"{bench.name}-{config.name}", marks=[pytest.mark.formal] * bench.formal)
        for bench, config in cases])


def test_bench(bench, config, request, record_property):
    failure = ""
    try:
        made = bench.build(config, request.config.getoption("sim"))
        results = bench.run(made, seed=request.config.getoption("seed"))
    except SimulationFailed as error:
        results, failure = error.results, str(error)
    record_property("cocotb_passed", len(results.passed))
    record_property("cocotb_failed", len(results.failed))
    coverage = results.directory / "coverage.txt"
    record_property("coverage", coverage.read_text().rstrip() if coverage.is_file() else "")
    if failure:
        pytest.fail(failure, pytrace=False)
