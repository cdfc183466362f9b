"""Whether loading really runs beside computing: the whole `edge` chip in RTL on chained steps.

A chain of steps runs in one GEMM instruction, so every step's load must hide behind the computation of the one before,
or the other way round: the ideal time is the sum over steps of the longer of the two. The measured time is everything
from START to the interrupt: fetching, activations, the first load, which nothing can hide, and storing the results.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from bench.report import report
from hdl.config import Config, configuration
from hdl.isa import Instruction, Opcode, OutputFormat, Queue
from hdl.layouts import Step, pack_step
from hdl.program import Program, Tensor
from sim.session import Session

STEPS, TAPS = 512, 128
GOAL = 1.02

#: Planes per step and vectors, by load : compute on `edge` (296 bus words of 8 planes, 168 of 4 planes).
CASES = ((8, 74), (8, 37), (4, 84), (4, 42), (4, 21))


@dataclass(frozen=True)
class Outcome:
    planes: int
    vectors: int
    load: int
    compute: int
    cycles: int

    @property
    def ideal(self) -> int:
        return STEPS * max(self.load, self.compute)

    @property
    def ratio(self) -> float:
        return self.cycles / self.ideal


def chain(config: Config, planes: int, vectors: int, rng: np.random.Generator) -> tuple[Program, int]:
    """A program of :data:`STEPS` chained steps on the same activations, and the bus words of one step."""
    magnitude = rng.integers(0, 1 << planes, (config.columns, config.rows))
    magnitude[:, 0] = (1 << planes) - 1  # every plane is stored
    step = pack_step(config, Step.of_weights(np.where(rng.random(magnitude.shape) < 0.5, -magnitude, magnitude)))
    beats = len(step) // config.bus_bytes
    row = config.out_cols * 4
    x = Tensor(4096, (vectors, config.line_bytes), "int8", config.line_bytes)
    y = Tensor(x.address + 4096 * -(-vectors * config.line_bytes // 4096), (vectors, config.out_cols), "int32", row)
    weights = y.address + 4096 * -(-vectors * row // 4096)
    length = vectors * config.line_bytes
    program = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {"address": x.address, "rows": 1, "row_bytes": length, "blocks": 1},
                    signal=(Queue.COMPUTE,)),
        Instruction(Opcode.LOAD_WEIGHTS, {"address": weights, "beats": STEPS * beats, "steps": STEPS}),
        # One tap per step, and all of them at the same place.
        Instruction(Opcode.GEMM, {"steps": STEPS, "vectors": vectors, "vector_rows": 1, "x_stride": config.line_bytes,
                                  "x_end": length, "y_end": 1, "tap_bytes": config.line_bytes, "taps": TAPS,
                                  "tap_rows": STEPS // TAPS, "act_signed": 1},
                    wait=(Queue.LOAD,), signal=(Queue.STORE,)),
        Instruction(Opcode.STORE, {"address": y.address, "stride": row, "vectors": vectors, "vector_rows": 1,
                                   "channels": config.out_cols, "format": OutputFormat.INT32}, wait=(Queue.COMPUTE,)),
    ]
    return Program.assemble(config, program, entry=0, segments=[(weights, step.tobytes() * STEPS)],
                            memory_bytes=weights + STEPS * len(step), inputs={"x": x}, outputs={"y": y},
                            writable=(y.address, weights)), beats


def measure(session: Session, golden: Session, planes: int, vectors: int) -> Outcome:
    """Runs one case on the RTL. Raises ``RuntimeError`` if its results are not the golden model's."""
    rng = np.random.default_rng(planes * 1000 + vectors)
    program, load = chain(session.config, planes, vectors, rng)
    x = {"x": rng.integers(-128, 128, (vectors, session.config.line_bytes)).astype(np.int8)}
    result = session.run(program, x)
    if not np.array_equal(result.outputs["y"], golden.run(program, x).outputs["y"]):
        raise RuntimeError(f"the RTL's results with {planes} planes and {vectors} vectors are not the golden model's")
    assert result.cycles is not None
    return Outcome(planes, vectors, load, vectors * planes, result.cycles)


def main():
    config = configuration("edge")
    session, golden = Session(config, "verilator"), Session(config, "golden")
    session.prepare()
    outcomes = [measure(session, golden, *case) for case in tqdm(CASES, desc="chains", unit="chain")]
    worst = max(outcomes, key=lambda outcome: outcome.ratio)
    rows = [(f"{o.load / o.compute:.2f}", o.planes, o.vectors, o.load, o.compute, o.cycles, o.ideal, f"{o.ratio:.4f}")
            for o in outcomes]
    report("overlap", round(worst.ratio, 5), "total / ideal cycles", f"<= {GOAL}",
           {"steps": STEPS, "cases": [{"planes": o.planes, "vectors": o.vectors, "load": o.load, "compute": o.compute,
                                       "cycles": o.cycles, "ratio": round(o.ratio, 5)} for o in outcomes]},
           rows, ("load : compute", "planes", "vectors", "load / step", "compute / step", "cycles", "ideal", "ratio"))


if __name__ == "__main__":
    main()
