"""What March tests detect: every test of the library against every family of faults, by exhaustive fault simulation.

An instance is a fault and an order of its cells; it counts as detected if the test finds it at every place, from every
power-up state and whatever order its elements in either order take. ``static`` is the 12 static faults of one cell and
the 36 of two cells in both orders. ``cycles`` is what the March controller in the RTL of a chip takes for the test, its
pauses left out, over all addresses of its macros at once: columns x words x banks of one macro.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bench.report import report
from hdl.config import Config, ConfigError, configuration
from mbist.campaign import Coverage, campaign
from mbist.families import families
from mbist.library import LIBRARY, read_library
from mbist.microcode import MicrocodeError, Run, assemble
from mbist.notation import Element, March
from mbist.pictures import coverage_picture
from sim.rtl import SIMULATORS
from sim.session import Session

STATIC = ("static 1", "static 2")

#: Static instances that the literature says these tests detect.
GOALS = {"March C-": 56, "March SS": 84, "March RAW": 84, "March AB": 84, "March SL": 84}

#: Cycles of the controller over those of the test's operations.
ENGINE_GOAL = 1.01


def engine_cycles(config: Config, simulator: str, tests: Mapping[str, March]) -> dict[str, tuple[int, int]]:
    """Per test that a macro can do: cycles of the controller in RTL without pauses, and n x addresses.

    Raises ``RuntimeError`` if a test fails on the fault-free chip.
    """
    runs = {}
    for name, march in tests.items():
        short = replace(march, elements=tuple(e for e in march.elements if isinstance(e, Element)))
        run = Run(config, banks=(0,), partner=True) if march.uses_partner else Run(config)
        with suppress(MicrocodeError):
            assemble(short)
            runs[name] = short, run
    results = Session(config, simulator).self_test(list(runs.values()))
    for name, result in zip(runs, results):
        if not result.passed:
            raise RuntimeError(f"{name} fails on a chip without faults")
    return {name: (result.cycles, march.complexity * len(run.addresses))
            for (name, (march, run)), result in zip(runs.items(), results)}


def _configuration(name: str) -> Config:
    try:
        return configuration(name)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(given: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="cimple bench mbist", description=__doc__.split("\n\n")[0])
    parser.add_argument("--tests", type=Path, help="a file of further tests, 'name: test # source' per line")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
    parser.add_argument("--config", default="edge", type=_configuration, help="of the chip; edge by default")
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator", help="simulator of the chip")
    parser.add_argument("--picture", type=Path, help="draw the table to this file, .png, .svg or .pdf")
    arguments = parser.parse_args(given)
    tests = dict(LIBRARY)
    if arguments.tests:
        try:
            tests |= read_library(arguments.tests.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError) as error:
            parser.error(f"argument --tests: {error}")
    begin = time.perf_counter()
    outcomes = {}
    for test in tqdm(tests.values(), desc="tests", unit="test"):
        outcomes |= campaign([test], families().values()).outcomes
    seconds = time.perf_counter() - begin
    coverage = Coverage(tuple(tests.values()), tuple(families().values()), outcomes)
    if arguments.csv:
        arguments.csv.write_text(coverage.csv(), encoding="utf-8")
    if arguments.picture:
        coverage_picture(coverage, arguments.picture)
    controller = engine_cycles(arguments.config, arguments.sim, tests)
    static = {name: coverage.of(name, *STATIC) for name in tests}
    rows = [(name, n, controller[name][0] if name in controller else "not of a macro", "{}/{}".format(*static[name]),
             *counts[2:]) for name, n, *counts in coverage.rows()]
    report("mbist", static["March SS"][0], f"of {static['March SS'][1]} static instances detected by March SS",
           f"= {GOALS['March SS']}",
           {"static": {name: static[name][0] for name in tests},
            "goals": {name: {"goal": goal, "met": static[name][0] == goal} for name, goal in GOALS.items()},
            "engine": {"config": arguments.config.name,
                       "largest_ratio": max(cycles / ideal for cycles, ideal in controller.values()),
                       "goal": ENGINE_GOAL, "cycles": {name: cycles for name, (cycles, _) in controller.items()}},
            "verdicts": coverage.verdicts, "verdicts_per_minute": round(60 * coverage.verdicts / seconds)},
           rows, ("test", "n", "cycles", "static", *coverage.columns()[4:]))


if __name__ == "__main__":
    main()
