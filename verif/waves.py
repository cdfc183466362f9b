"""Waves of one bench: ``python -m verif.waves --bench macro --config small --sim verilator``."""

import argparse
import shlex
import shutil
import sys

from hdl.config import configuration
from sim.rtl import SIMULATORS, BuildFailed, MissingTool, SimulationFailed
from sim.rtl.paths import build_root
from sim.rtl.waves import write_gtkw

from .benches import bench


def main(arguments: list[str] | None = None) -> int:
    """Runs the bench with waves and prints the paths; the tests may fail, which is what one looks at waves for."""
    parser = argparse.ArgumentParser(prog="cimple waves", description=__doc__)
    parser.add_argument("--bench", required=True, help="name in verif/benches.py")
    parser.add_argument("--config", default="small")
    parser.add_argument("--sim", choices=SIMULATORS, default="verilator")
    parser.add_argument("--testcase", help="only this cocotb test")
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    try:
        chosen, config = bench(options.bench), configuration(options.config)
        made = chosen.build(config, options.sim, waves=True)
        directory = build_root() / "waves" / made.name
        shutil.rmtree(directory, ignore_errors=True)
        try:
            results = chosen.run(made, seed=options.seed, waves=True, testcase=options.testcase, directory=directory)
        except SimulationFailed as failed:
            print(failed, file=sys.stderr)
            results = failed.results
        save = write_gtkw(made, results, chosen.signals)
    except (ValueError, MissingTool, BuildFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"waves    {results.waves}\nsignals  {save}\nopen     gtkwave {shlex.quote(str(save))}")
    return 1 if results.failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
