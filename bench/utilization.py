"""How busy the array is: layers on the whole `edge` chip in RTL, from START to the interrupt.

Weights are spread over -128..127, so that every step has all eight planes. Instructions, weights, parameters and
activations come from AXI memory and results go back to it; nothing is left in the chip from before. Every result is
compared with exact arithmetic.

``--suite squares`` (the default) runs two square products; its value is the share of cycles in which the array
multiplies. ``--suite layers`` runs the layers of :mod:`bench.layers`; its value is the worst layer's ideal / actual,
where the ideal is what bounds the layer: the array's cycles, or the least bytes read or written by the bus.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from bench.layers import SHAPES, Shape, exact, ideal_cycles, make
from bench.report import report
from compiler.layer import Layer, Requantisation
from compiler.lower import lower
from hdl.config import Config, configuration
from sim.session import Result, Session

#: Inputs, outputs and vectors, and the least share of busy cycles that is wanted.
SIZES = {1024: 0.995, 512: 0.985}

LAYER_GOAL = 0.90

#: Weights of a layer that is run whole.
MOST_WEIGHTS = 1 << 26

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


def measure(session: Session, layer: Layer, image: int | tuple[int, int], rng: np.random.Generator) -> Result:
    """Runs a layer with random activations. Raises ``RuntimeError`` if its results are not exact."""
    program = lower(session.config, layer, image)
    x = rng.integers(-128, 128, program.inputs["x"].shape).astype(np.int8)
    result = session.run(program, {"x": x})
    if not np.array_equal(result.outputs["y"], exact(layer, x)):
        raise RuntimeError(f"the RTL's results of a layer of {layer.outputs} x {layer.inputs} are not exact")
    return result


def squares(session: Session):
    outcomes = []
    for size in tqdm(SIZES, desc="layers", unit="layer"):
        rng = np.random.default_rng(size)
        result = measure(session, square(session.config, size, rng), size, rng)
        assert result.cycles is not None
        outcomes.append(Outcome(size, result.cycles, result.counters["ARRAY_BUSY"], result.seconds))
    rows = [(f"{o.size}x{o.size}x{o.size}", o.cycles, o.busy, f"{100 * o.utilization:.3f}",
             f"{100 * SIZES[o.size]:.1f}", f"{o.cycles / o.seconds:,.0f}") for o in outcomes]
    report("utilization", round(100 * outcomes[0].utilization, 3), "% of all cycles",
           f">= {100 * SIZES[outcomes[0].size]}",
           {"suite": "squares", "read_latency": READ_LATENCY, "sizes": [
               {"size": o.size, "cycles": o.cycles, "busy": o.busy, "percent": round(100 * o.utilization, 3)}
               for o in outcomes]},
           rows, ("layer", "cycles", "array busy", "%", "goal %", "cycles / s"))


def runnable(shape: Shape) -> Shape:
    """The shape itself, or a part of its outputs where its weights are too many for a simulator's memory."""
    if shape.outputs * shape.channels <= MOST_WEIGHTS:
        return shape
    parts = -(-shape.outputs * shape.channels // MOST_WEIGHTS)
    return replace(shape, name=f"{shape.name} (1/{parts} of the outputs)", outputs=shape.outputs // parts)


def layers(session: Session, shapes: list[Shape]):
    config = session.config
    rows, details = [], []
    for shape in tqdm([runnable(s) for s in shapes], desc="layers", unit="layer"):
        rng = np.random.default_rng(len(details))
        result = measure(session, make(config, shape, rng), shape.lowered_image, rng)
        assert result.cycles is not None
        ideal, compute = ideal_cycles(config, shape), shape.compute_cycles(config)
        busy = result.counters["ARRAY_BUSY"]
        read = result.counters["READ_BEATS"]
        macs_per_cycle = config.columns * config.rows / shape.planes
        rows.append((shape.network, shape.name, shape.count, result.cycles, ideal,
                     "array" if ideal == compute else "bus", f"{ideal / result.cycles:.3f}",
                     f"{100 * busy / result.cycles:.1f}", f"{100 * read / result.cycles:.1f}",
                     f"{100 * shape.macs / macs_per_cycle / result.cycles:.1f}"))
        details.append({"network": shape.network, "layer": shape.name, "cycles": result.cycles, "ideal": ideal,
                        "ratio": round(ideal / result.cycles, 4)})
    worst = min(details, key=lambda d: d["ratio"])
    below = sum(d["ratio"] < LAYER_GOAL for d in details)
    report("utilization", worst["ratio"], "ideal / actual cycles of the worst layer", f">= {LAYER_GOAL}",
           {"suite": "layers", "read_latency": READ_LATENCY, "worst": f"{worst['network']} {worst['layer']}",
            "below_goal": below, "layers": details},
           rows, ("network", "layer", "n", "cycles", "ideal", "bound", "ratio", "array busy %", "bus busy %", "MACs %"))


def main():
    parser = argparse.ArgumentParser(prog="cimple bench utilization", description=__doc__.split("\n\n")[0])
    parser.add_argument("--suite", choices=("squares", "layers"), default="squares", help="which layers")
    parser.add_argument("--network", help="of the layers: only those of networks whose name begins so")
    arguments = parser.parse_args()
    session = Session(configuration("edge"), "verilator", read_latency=READ_LATENCY)
    if arguments.suite == "squares":
        if arguments.network:
            parser.error("argument --network: goes with --suite layers only")
        session.prepare()
        squares(session)
        return
    shapes = [s for s in SHAPES if s.network.lower().startswith((arguments.network or "").lower())]
    if not shapes:
        networks = ", ".join(dict.fromkeys(s.network for s in SHAPES))
        parser.error(f"argument --network: must begin one of {networks}, "
                     f"not {arguments.network!r}")
    session.prepare()
    layers(session, shapes)


if __name__ == "__main__":
    main()
