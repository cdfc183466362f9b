"""How fast the RTL of the whole `edge` chip simulates under Verilator: cycles per second of wall time.

A dense GEMM (8 planes, changing activations), with the AXI memory inside the simulator. Three builds of the same chip:
the simulation view of the leaves with only the top's ports public, which is what sessions use; the generic view built
the same way; and the simulation view as the cocotb runner builds by default, with every signal public. (The generic
view with every signal public is half a gigabyte of C++ and compiles for an hour.)
"""

import argparse
import os
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from bench.report import report
from compiler.layer import Layer
from compiler.lower import lower
from hdl.config import configuration
from sim.session import Session

GOAL, RATIO_GOAL = 50_000, 7.0


@dataclass(frozen=True)
class Case:
    """A build, and how many outputs its layer has: slow builds run fewer cycles."""
    title: str
    view: str
    public_all: bool
    outputs: int


CASES = (
    Case("simulation view, top ports public", "simulation", False, 4096),
    Case("generic view, top ports public", "generic", False, 512),
    Case("simulation view, runner's default build", "simulation", True, 512),
)

INPUTS, VECTORS = 1024, 128


def measure(case: Case, threads: int) -> tuple[int, float]:
    """Cycles, and cycles per second; the first, short run warms up. Raises ``RuntimeError`` on a wrong result."""
    config = configuration("edge")
    session = Session(config, "verilator", view=case.view, public_all=case.public_all, threads=threads)
    rng = np.random.default_rng(1)
    rates = []
    for outputs in (128, case.outputs):
        weights = rng.integers(-255, 256, (outputs, INPUTS))
        x = rng.integers(-128, 128, (VECTORS, INPUTS)).astype(np.int8)
        result = session.run(lower(config, Layer.of_weights(weights, config.rows), VECTORS), {"x": x})
        if not np.array_equal(result.outputs["y"], x.astype(np.int64) @ weights.T):
            raise RuntimeError(f"the results of {case.title!r} are wrong")
        assert result.cycles is not None
        assert result.cycles_per_second is not None
        rates.append((result.cycles, result.cycles_per_second))
    return rates[-1]


def main():
    parser = argparse.ArgumentParser(prog="cimple bench sim-speed", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of the simulation")
    threads = parser.parse_args().threads
    measured = [(case, *measure(case, threads)) for case in tqdm(CASES, desc="builds and runs", unit="build")]
    rates = [rate for _, _, rate in measured]
    report("sim-speed", round(rates[0]), "cycles/s", f">= {GOAL}, and >= {RATIO_GOAL} x the generic view",
           {"generic": round(rates[1]), "default_build": round(rates[2]), "over_generic": round(rates[0] / rates[1], 2),
            "over_default_build": round(rates[0] / rates[2], 2), "threads": threads, "cores": os.cpu_count()},
           [(case.title, cycles, f"{rate:,.0f}", f"{rates[0] / rate:.1f} x") for case, cycles, rate in measured],
           ("build", "cycles", "cycles/s", "simulation view is"))


if __name__ == "__main__":
    main()
