"""Options and summary of the test run. The last line is ``N passed, 0 failed``: each cocotb test counts as one."""

import pytest

from sim.rtl import SIMULATORS
from verif import benches


def pytest_addoption(parser):
    group = parser.getgroup("cimple")
    group.addoption("--sim", choices=SIMULATORS, default="verilator", help="simulator of the cocotb regression")
    group.addoption("--bench", default=None, help="only this bench of verif/benches.py")
    group.addoption("--seed", type=int, default=None, help="seed of the cocotb tests, 1 by default")


def pytest_collection_modifyitems(items):
    """The benches first, the last of them, which are cards and take longest, before the others: so that in the end no
    process works while the others have nothing left."""
    regression = [item for item in items if item.get_closest_marker("sim")]
    items[:] = regression[::-1] + [item for item in items if not item.get_closest_marker("sim")]


class Summary:
    """Counts tests as they report, and prints the count once everything else has been printed."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.coverage: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report):
        properties = dict(report.user_properties)
        if report.when != "call":
            self.failed += report.failed
        elif "cocotb_passed" in properties:
            self.passed += properties["cocotb_passed"]
            self.failed += max(properties["cocotb_failed"], int(report.failed))
        else:
            self.passed += report.passed
            self.failed += report.failed
        if report.when == "call" and properties.get("coverage"):
            self.coverage.append((report.nodeid, properties["coverage"]))

    def pytest_collectreport(self, report):
        self.failed += report.failed

    def pytest_terminal_summary(self, terminalreporter):
        if self.coverage:
            terminalreporter.section("functional coverage")
            for name, text in self.coverage:
                terminalreporter.write_line(name)
                terminalreporter.write_line(text)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not config.option.collectonly:
            reporter.write_line(f"{self.passed} passed, {self.failed} failed")


def pytest_configure(config):
    try:
        benches.cases(config.getoption("sim"), config.getoption("bench"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(), "cimple-summary")
