"""Does the cycle model predict every counter of the RTL, and how much sooner does it know?

Random programs on `tiny`, `small` and `edge`, with memories that are late or not; and at a fixed latency two square
INT8 layers and those of :mod:`bench.layers` on `edge`. Every prediction is made before the RTL runs; the figure is the
largest difference of any counter.
Speed is simulated cycles per second of wall time, the RTL's from START to the interrupt, the model's from the memory
image to the counters, and without reading the program.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from bench.layers import SHAPES, make
from bench.report import report
from bench.utilization import runnable, square
from compiler.lower import lower
from hdl.config import configuration
from sim.cycle import predict
from sim.rtl.stalls import Stalls
from sim.session import Session
from verif.counting import MEMORY_BYTES, Counting
from verif.programs import RandomProgram

#: Configuration, programs per memory.
PROGRAMS = {"tiny": 25, "small": 25, "edge": 8}

MEMORIES = (Stalls(), Stalls(1, 3, 300), Stalls(2, 40, 8), Stalls(3, 200, 30))

SIZES = (512, 1024)

SPEED_GOAL = 1000


@dataclass(frozen=True)
class Comparison:
    """Programs whose counters were predicted, the most that one was wrong by, and the cycles that they took."""
    title: str
    programs: int
    difference: int
    cycles: int


@dataclass(frozen=True)
class Speed:
    """Simulated cycles per second."""
    rtl: float
    predicted: float
    without_reading: float


def difference(predicted: dict[str, int], counted: dict[str, int]) -> int:
    return max(abs(predicted[name] - counted[name]) for name in counted)


def random_programs(name: str, count: int, stalls: Stalls, rng: np.random.Generator) -> Comparison:
    """Predicts random programs, then runs them."""
    config = configuration(name)
    images = [RandomProgram(config, rng, gemms=int(rng.integers(1, 12)), memory_bytes=MEMORY_BYTES).finish()
              for _ in range(count)]
    predicted = [predict(config, (i.relocatable, i.entry - i.base, i.count), stalls=stalls).counters for i in images]
    counted = Counting(config).run(images, stalls)
    late = f"{stalls.chance} of 256 late by up to {stalls.longest}" if stalls.chance else "never late"
    return Comparison(f"{name}, memory {late}", count, max(map(difference, predicted, counted)),
                      sum(counters["CYCLES"] for counters in counted))


def layer(session: Session, size: int) -> tuple[Comparison, Speed]:
    """Predicts a square layer, then runs it."""
    config = session.config
    rng = np.random.default_rng(size)
    program = lower(config, square(config, size, rng), size)
    predicted = [predict(config, program) for _ in range(5)]
    result = session.run(program, {"x": rng.integers(-128, 128, (size, size)).astype(np.int8)})
    assert result.cycles_per_second is not None
    cycles = predicted[0].cycles
    return (Comparison(f"edge, {size}x{size}x{size}", 1, difference(predicted[0].counters, result.counters), cycles),
            Speed(result.cycles_per_second, cycles / min(p.seconds for p in predicted),
                  cycles / min(p.running_seconds for p in predicted)))


def suite(session: Session) -> Comparison:
    """Predicts every layer of the suite, then runs it."""
    worst = cycles = 0
    for number, shape in enumerate(tqdm(SHAPES, desc="layers", unit="layer")):
        rng = np.random.default_rng(number)
        program = lower(session.config, make(session.config, runnable(shape), rng), shape.lowered_image)
        predicted = predict(session.config, program)
        x = rng.integers(-128, 128, program.inputs["x"].shape).astype(np.int8)
        worst = max(worst, difference(predicted.counters, session.run(program, {"x": x}).counters))
        cycles += predicted.cycles
    return Comparison("edge, layers of five networks", len(SHAPES), worst, cycles)


def main():
    rng = np.random.default_rng(1)
    cases = [(name, count, stalls) for name, count in PROGRAMS.items() for stalls in MEMORIES]
    comparisons = [random_programs(*case, rng) for case in tqdm(cases, desc="random programs", unit="memory")]
    session = Session(configuration("edge"), "verilator")
    session.prepare()
    measured = {size: layer(session, size) for size in tqdm(SIZES, desc="square layers", unit="layer")}
    comparisons += [suite(session), *(comparison for comparison, _ in measured.values())]
    rows = [(c.title, c.programs, f"{c.cycles:,}", c.difference, "", "", "") for c in comparisons[:-len(SIZES)]]
    rows += [(c.title, c.programs, f"{c.cycles:,}", c.difference, f"{s.rtl:,.0f}",
              f"{s.predicted:,.0f} ({s.predicted / s.rtl:,.0f} x)",
              f"{s.without_reading:,.0f} ({s.without_reading / s.rtl:,.0f} x)") for c, s in measured.values()]
    report("cycle-model", max(c.difference for c in comparisons), "largest difference of any counter",
           f"0, and >= {SPEED_GOAL} x the RTL's speed",
           {"programs": sum(c.programs for c in comparisons), "cycles": sum(c.cycles for c in comparisons),
            "sizes": [{"size": size, "rtl": round(s.rtl), "model": round(s.predicted),
                       "model_without_reading": round(s.without_reading), "ratio": round(s.predicted / s.rtl, 1),
                       "ratio_without_reading": round(s.without_reading / s.rtl, 1)}
                      for size, (_, s) in measured.items()]},
           rows, ("programs", "number", "cycles", "difference", "RTL cycles/s", "model cycles/s", "without reading"))


if __name__ == "__main__":
    main()
