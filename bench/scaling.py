"""What two and four chips gain over one: layers on cards of `edge` chips in RTL, joined by cables without errors.

A figure is the time from START, which all chips see in the same cycle, to the last chip's interrupt: activations lie on
every chip at the start, results lie on every chip at the end. Every result on every chip is compared with the golden
model's of one chip. Weights and activations are random; GELU is not computed.

* MiniLM-L6's feed-forward pair, 384 -> 1536 -> 384. 512 vectors are two sentences of the longest that the model is made
  for, 256 tokens. The first layer is split by outputs, the second by inputs: nothing is sent between them, and int32
  sums of the second go round the ring while the next ones are computed.
* Llama-3-8B's down projection, 14336 -> 4096, by inputs, as it follows an up projection split by outputs. 64 vectors
  are the smallest power of two with which a step takes longer to multiply, 512 cycles, than to load, 296.
* One layer of 256 x 256 that is applied 32 times to 2 vectors, each time to its own results, as a recurrent network
  does. Its weights are four steps, what two chips' banks hold. Between two GEMMs an array keeps one bank: one chip
  loads three steps again each time, 888 bus words; two chips load one of their two each, at the same time. So a call
  takes a third, as long as sending results round takes no longer. Four chips have two half-filled steps each.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tqdm import tqdm

from bench.report import report
from compiler.layer import Layer, Requantisation
from compiler.split import Split, split
from hdl.config import Config, configuration
from hdl.program import Program
from hdl.topology import CARD_SIZES
from sim.card import Card
from sim.session import Session

#: Least speed-up by number of chips.
GOALS = {2: 1.9, 4: 3.7}

RESIDENT_GOAL = 2.0

CALLS = 32


@dataclass(frozen=True)
class Case:
    """Layers of these sizes, on so many vectors; ``calls`` times the same one if it is more than once."""

    name: str
    sizes: tuple[int, ...]
    vectors: int
    ways: tuple[Split, ...]
    goals: dict[int, float]
    calls: int = 1

    @property
    def how(self) -> str:
        """How it is split."""
        return ", ".join(way.value for way in self.ways)

    def layers(self, config: Config) -> list[Layer]:
        rng = np.random.default_rng(sum(self.sizes))
        return [dense(config, *size, rng) for size in pairwise(self.sizes)] * self.calls

    def activations(self) -> np.ndarray:
        return np.random.default_rng(self.vectors).integers(-128, 128, (self.vectors, self.sizes[0])).astype(np.int8)


CASES = (
    Case("MiniLM-L6 pair", (384, 1536, 384), 512, (Split.OUTPUT, Split.INPUT), GOALS),
    Case("Llama-3-8B down", (14336, 4096), 64, (Split.INPUT,), GOALS),
    Case(f"resident, {CALLS} x", (256, 256), 2, (Split.OUTPUT,), {2: RESIDENT_GOAL}, CALLS),
)


@dataclass(frozen=True)
class Outcome:
    """A case on a card: cycles to the last interrupt, and of all chips' arrays the share that was busy."""

    case: Case
    chips: int
    cycles: int
    busy: float
    weight_beats: int
    seconds: float


def dense(config: Config, inputs: int, outputs: int, rng: np.random.Generator) -> Layer:
    """A layer whose steps have all planes. Results use the whole of int8, and still do if they are its input again."""
    weights = rng.integers(-128, 128, (outputs, inputs), dtype=np.int16)
    gain = rng.uniform(1, 2, outputs) / (np.std(np.arange(-128, 128)) * np.sqrt(inputs))
    return Layer.of_weights(weights, config.rows, requantisation=Requantisation(
        rng.integers(-1 << 10, 1 << 10, outputs).astype(np.int32), gain.astype(np.float32)))


def compiled(config: Config, case: Case, chips: int) -> list[Program]:
    return split(config, case.layers(config), case.vectors, chips, case.ways * case.calls)


def golden(config: Config, case: Case) -> np.ndarray:
    """Results of one chip on the golden model."""
    (program,) = compiled(config, case, 1)
    return Session(config).run(program, {"x": case.activations()}).outputs["y"]


def measure(card: Card, case: Case, programs: Sequence[Program], wanted: np.ndarray) -> Outcome:
    """Runs a case. Raises ``RuntimeError`` if results of any chip are not the golden model's."""
    results = card.run(programs, [{"x": case.activations()}] * card.chips)
    for chip, result in enumerate(results):
        if not np.array_equal(result.outputs["y"], wanted):
            raise RuntimeError(f"the RTL's results of {case.name!r} on chip {chip} of {card.chips} are not those of "
                               "the golden model")
    cycles = max(result.cycles for result in results if result.cycles is not None)
    busy = sum(result.counters["ARRAY_BUSY"] for result in results)
    return Outcome(case, card.chips, cycles, busy / (cycles * card.chips),
                   sum(result.counters["WEIGHT_BEATS"] for result in results), results[0].seconds)


def measure_all(config: Config, cases: Sequence[Case]) -> list[Outcome]:
    """Every case on every card. The golden model computes while the simulators are built."""
    cards = [Card(config, chips, "verilator") for chips in CARD_SIZES]
    with ProcessPoolExecutor(1) as pool:
        wanted = [pool.submit(golden, config, case) for case in cases]
        with tqdm(total=len(cards) * (1 + len(cases)), desc="cards", unit="step") as bar:
            programs = {}
            for card in cards:
                programs[card] = [compiled(config, case, card.chips) for case in cases]
                card.prepare(max(p.memory_bytes for chips in programs[card] for p in chips))
                bar.update()
            outcomes = []
            for number, case in enumerate(cases):
                for card in cards:
                    outcomes.append(measure(card, case, programs[card][number], wanted[number].result()))
                    bar.update()
    return outcomes


def main():
    outcomes = measure_all(configuration("edge").with_(links=2, name="edge_card"), CASES)
    alone = {o.case.name: o.cycles for o in outcomes if o.chips == 1}
    rows, details = [], []
    for o in outcomes:
        speedup, goal = alone[o.case.name] / o.cycles, o.case.goals.get(o.chips)
        rows.append((o.case.name, o.case.vectors, o.case.how, o.chips, f"{o.cycles:,}", f"{speedup:.3f}",
                     "" if goal is None else f">= {goal}", f"{100 * o.busy:.1f}", f"{o.weight_beats:,}"))
        details.append({"case": o.case.name, "sizes": o.case.sizes, "vectors": o.case.vectors, "calls": o.case.calls,
                        "split": o.case.how, "chips": o.chips, "cycles": o.cycles, "speedup": round(speedup, 4),
                        "busy": round(o.busy, 4), "weight_beats": o.weight_beats,
                        "cycles_per_second": round(o.cycles / o.seconds)})
    worst = {n: min(d["speedup"] for d in details if d["chips"] == n and d["calls"] == 1) for n in GOALS}
    report("scaling", worst[2], "x on two chips, the least of the layers", f">= {GOALS[2]}",
           {"four_chips": worst[4], "four_chips_goal": f">= {GOALS[4]}", "cases": details}, rows,
           ("layers", "vectors", "split by", "chips", "cycles", "speed-up", "goal", "busy %", "weight words"))


if __name__ == "__main__":
    main()
