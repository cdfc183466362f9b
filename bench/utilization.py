"""How busy the array is: square INT8 layers on the whole `edge` chip in RTL, from START to the interrupt.

Weights are spread over -128..127, so that every step has all eight planes. Instructions, weights, parameters and
activations come from AXI memory and results go back to it; nothing is left in the chip from before.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from bench.report import report
from compiler.layer import Layer, Requantisation
from compiler.lower import lower
from hdl.config import Config, configuration
from sim.session import Session

#: Inputs, outputs and vectors, and the least share of busy cycles that is wanted.
SIZES = {1024: 0.995, 512: 0.985}

READ_LATENCY = 40


@dataclass(frozen=True)
class Outcome:
    size: int
    cycles: int
    busy: int
    seconds: float

    @property
    def utilization(self) -> float:
        return self.busy / self.cycles


def square(config: Config, size: int, rng: np.random.Generator) -> Layer:
    """A layer of ``size`` inputs and outputs whose results use the whole of int8."""
    weights = rng.integers(-128, 128, (size, size))
    spread = 74 * 74 * np.sqrt(size)  # standard deviation of an accumulator
    requantisation = Requantisation(rng.integers(-1 << 20, 1 << 20, size).astype(np.int32),
                                    rng.uniform(20, 40, size).astype(np.float32) / np.float32(spread))
    return Layer.of_weights(weights, config.rows, requantisation=requantisation)


def measure(session: Session, golden: Session, size: int) -> Outcome:
    """Runs one size on the RTL. Raises ``RuntimeError`` if its results are not the golden model's."""
    rng = np.random.default_rng(size)
    program = lower(session.config, square(session.config, size, rng), size)
    x = {"x": rng.integers(-128, 128, (size, size)).astype(np.int8)}
    result = session.run(program, x)
    if not np.array_equal(result.outputs["y"], golden.run(program, x).outputs["y"]):
        raise RuntimeError(f"the RTL's results of {size}x{size}x{size} are not the golden model's")
    assert result.cycles is not None
    return Outcome(size, result.cycles, result.counters["ARRAY_BUSY"], result.seconds)


def main():
    config = configuration("edge")
    session, golden = Session(config, "verilator", read_latency=READ_LATENCY), Session(config, "golden")
    session.prepare()
    outcomes = [measure(session, golden, size) for size in tqdm(SIZES, desc="layers", unit="layer")]
    rows = [(f"{o.size}x{o.size}x{o.size}", o.cycles, o.busy, f"{100 * o.utilization:.3f}",
             f"{100 * SIZES[o.size]:.1f}", f"{o.cycles / o.seconds:,.0f}") for o in outcomes]
    report("utilization", round(100 * outcomes[0].utilization, 3), "% of all cycles", f">= {100 * SIZES[1024]}",
           {"read_latency": READ_LATENCY, "sizes": [
               {"size": o.size, "cycles": o.cycles, "busy": o.busy, "percent": round(100 * o.utilization, 3)}
               for o in outcomes]},
           rows, ("layer", "cycles", "array busy", "%", "goal %", "cycles / s"))


if __name__ == "__main__":
    main()
