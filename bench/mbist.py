"""What March tests detect: every test of the library against every family of faults, by exhaustive fault simulation.

An instance is a fault and an order of its cells; it counts as detected if the test finds it at every place, from every
power-up state and whatever order its elements in either order take. ``static`` is the 12 static faults of one cell and
the 36 of two cells in both orders.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bench.report import report
from mbist.campaign import Coverage, campaign
from mbist.families import families
from mbist.library import LIBRARY, read_library
from mbist.pictures import coverage_picture

STATIC = ("static 1", "static 2")

#: Static instances that the literature says these tests detect.
GOALS = {"March C-": 56, "March SS": 84, "March RAW": 84, "March AB": 84, "March SL": 84}


def main(given: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="cimple bench mbist", description=__doc__.split("\n\n")[0])
    parser.add_argument("--tests", type=Path, help="a file of further tests, 'name: test # source' per line")
    parser.add_argument("--csv", type=Path, help="write the table to this file")
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
    static = {name: coverage.of(name, *STATIC) for name in tests}
    rows = [(name, n, "{}/{}".format(*static[name]), *counts[2:])
            for name, n, *counts in coverage.rows()]
    report("mbist", static["March SS"][0], f"of {static['March SS'][1]} static instances detected by March SS",
           f"= {GOALS['March SS']}",
           {"static": {name: static[name][0] for name in tests},
            "goals": {name: {"goal": goal, "met": static[name][0] == goal} for name, goal in GOALS.items()},
            "verdicts": coverage.verdicts, "verdicts_per_minute": round(60 * coverage.verdicts / seconds)},
           rows, ("test", "n", "static", *coverage.columns()[4:]))


if __name__ == "__main__":
    main()
