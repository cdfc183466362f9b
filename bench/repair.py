"""How good repair is: must-repair and repair-most against the exact search, on random defect maps of an `edge` macro.

The value is the largest difference between the shares of maps that the two repair, over all kinds of spares: what a
macro offers, and more columns and plane rows than it has. Then a defect is put into a column of every macro of the RTL
(`small`): the self-test finds it, the analysis gives the repair registers, and a matrix product is exact again.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench.report import report
from compiler.layer import Layer
from compiler.lower import lower
from hdl.cim.interfaces import bist_words
from hdl.config import Config, configuration
from hdl.verilog import Generated
from mbist.library import LIBRARY
from mbist.microcode import Run
from mbist.pictures import yield_picture
from mbist.redundancy import Spares, exact, random_defects, repair_most
from mbist.repair_map import defect_map, is_repaired, repair_registers, spares
from sim.rtl import generated
from sim.session import Session, chip

MAPS = 10_000
GOAL = 2.0

#: Mean defects per macro; equally many maps of each.
MEANS = (0.25, 0.5, 1, 2, 4, 8)

#: Spare columns and plane rows; the first is what the macro of `edge` has.
SPARES = (Spares(1), Spares(2), Spares(2, 2), Spares(4, 4))

#: The physical column of every macro that is defective in the RTL.
COLUMN = 3


def described(kind: Spares) -> str:
    parts = [f"{count} {name}{'s' * (count > 1)}" for count, name in ((kind.columns, "column"), (kind.rows, "row"))
             if count]
    return " + ".join(parts)


def shares(config: Config, kind: Spares, maps: int, rng: np.random.Generator) -> np.ndarray:
    """Means x (good without repair, repaired by repair-most, by the exact search), as shares of at least ``maps``.

    Raises ``RuntimeError`` if a repair leaves a defect.
    """
    shape = 2 * bist_words(config) + kind.rows, config.cols + kind.columns
    each = -(-maps // len(MEANS))
    good = np.zeros((len(MEANS), 3))
    for row, mean in enumerate(MEANS):
        for _ in range(each):
            defects = random_defects(shape, mean, rng)
            repairs = repair_most(defects, kind), exact(defects, kind)
            if any(repair is not None and repair.remaining(defects).any() for repair in repairs):
                raise RuntimeError(f"a repair with {described(kind)} leaves a defect")
            good[row] += not defects.any(), *(repair is not None for repair in repairs)
    return good / each


def defective(source: Generated, column: int) -> Generated:
    """The chip with a stuck bit line: bit 0 of every plane that one column of each macro reads is 1."""
    module = re.search(r"^module column\(.*?^endmodule\n", source.text, re.M | re.S)
    assert module is not None
    broken, stores = re.subn(r"^  plane_store (.*?)\.plane\(plane\)",
                             r"  wire [$bits(plane)-1:0] stored;\n  assign plane = stored | 1'b1;\n"
                             r"  plane_store \1.plane(stored)", module[0], flags=re.M | re.S)
    text, columns = re.subn(rf"^  column column_{column} \(", f"  broken_column column_{column} (", source.text,
                            flags=re.M)
    assert (stores, columns) == (1, 1)
    broken = broken.replace("module column(", "module broken_column(", 1)
    return Generated(source.name, f"{text}\n{broken}", source.ports)


def repaired(session: Session) -> dict[str, int]:
    """The repair registers that the self-test of each macro asks for; it is run again with them.

    Raises ``RuntimeError`` if it fails in columns that are in use then.
    """
    config = session.config
    tests = [(LIBRARY["March SS"], Run(config, hold_full=True, macro=macro)) for macro in range(config.macros)]
    failing = [[address for address, _ in result.log] for result in session.self_test(tests)]
    repairs = [repair_most(defect_map(config, addresses), spares(config)) for addresses in failing]
    if None in repairs:
        raise RuntimeError("a macro has more defects than its spare columns repair")
    registers = repair_registers(config, [repair for repair in repairs if repair is not None])
    again = [[address for address, _ in result.log] for result in session.self_test(tests)]
    for macro, addresses in enumerate(again):
        points = [registers[f"REPAIR{macro}_{spare}"] for spare in range(config.spare_cols)]
        if not is_repaired(config, points, addresses):
            raise RuntimeError(f"macro {macro} fails in a column that its repair leaves in use")
    return registers


def products(config: Config, simulator: str = "verilator") -> tuple[int, int, int]:
    """Wrong results of a matrix product on the defective chip without repair and after it, and how many there are."""
    rng = np.random.default_rng(7)
    largest = min(127, (1 << config.planes) - 1)
    weights = rng.integers(-largest, largest + 1, (2 * config.out_cols, 2 * config.line_bytes))
    layer = Layer.of_weights(weights, config.rows)
    program = lower(config, layer, 2 * config.acc_vectors)
    x = rng.integers(-128, 128, program.inputs["x"].shape).astype(np.int8)
    expected = Session(config).run(program, {"x": x}).outputs["y"]
    design = defective(generated(chip, config, name="chip"), COLUMN)
    registers = repaired(Session(config, simulator, view="generic", design=design))
    wrong = [int(np.count_nonzero(Session(config, simulator, view="generic", design=design, repair=repair)
                                  .run(program, {"x": x}).outputs["y"] != expected)) for repair in ({}, registers)]
    return wrong[0], wrong[1], expected.size


def main(given: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="cimple bench repair", description=__doc__.split("\n\n")[0])
    parser.add_argument("--maps", type=int, default=MAPS, help=f"defect maps per kind of spares, {MAPS} by default")
    parser.add_argument("--picture", type=Path, help="draw yield against defects to this file, .png, .svg or .pdf")
    arguments = parser.parse_args(given)
    if arguments.maps < 1:
        parser.error(f"argument --maps: must be at least 1, not {arguments.maps}")
    edge, small = configuration("edge"), configuration("small")
    good = {described(kind): shares(edge, kind, arguments.maps, np.random.default_rng(11))
            for kind in tqdm(SPARES, desc="spares", unit="kind")}
    without, after, results = products(small)
    if after:
        raise RuntimeError(f"{after} of {results} results are wrong after repair")
    if arguments.picture:
        lines = {"no repair": good[described(SPARES[0])][:, 0], **{name: table[:, 1] for name, table in good.items()}}
        yield_picture(MEANS, {name: line.tolist() for name, line in lines.items()}, arguments.picture)
    gaps = {name: 100 * float(table[:, 2].mean() - table[:, 1].mean()) for name, table in good.items()}
    rows = [(name, mean, *(f"{100 * share:.2f}" for share in line), f"{100 * (line[2] - line[1]):.2f}")
            for name, table in good.items() for mean, line in zip(MEANS, table)]
    report("repair", round(max(gaps.values()), 4), "points fewer maps repaired than by the exact search", f"<= {GOAL}",
           {"maps": arguments.maps, "gap": {name: round(gap, 4) for name, gap in gaps.items()},
            "yield": {name: {str(mean): round(100 * float(line[1]), 2) for mean, line in zip(MEANS, table)}
                      for name, table in good.items()},
            "rtl": {"config": small.name, "results": results, "wrong_without_repair": without,
                    "wrong_after_repair": after}},
           rows, ("spares", "mean defects", "good %", "repair-most %", "exact %", "gap"))


if __name__ == "__main__":
    main()
