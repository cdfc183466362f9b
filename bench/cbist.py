"""How many faults at the gates the compute self-test finds.

A column of the macro is mapped to gates, every single stuck-at fault at a pin is simulated over the whole test, and
what escapes is proven untestable by SAT or counted against the figure; then the same of a whole macro, whose columns
are driven alike. ``docs/cbist.md`` explains the test.
"""

import argparse
import os
import time
from collections.abc import Sequence

from tqdm import tqdm

from bench import in_field
from bench.report import report
from hdl.cim.interfaces import classes
from hdl.config import CONFIGS, Config, configuration
from mbist.compute_pins import Drive, column_pins, driven_alike, expand
from mbist.compute_test import STEP_BITS, TestStep, column_program
from mbist.coverage import Coverage, column_blocks, measure
from mbist.diagnosis import Dictionary
from mbist.netlist import column_netlist, macro_netlist
from mbist.stuck_at import stuck_at, transition
from mbist.switches import SwitchCoverage, measure_switches, switch_program
from sim.golden.compute_test import column_outputs, signature

GOAL = 99.9
MACRO_GOAL = 99.5
CYCLES = 4000
OBSERVE = ("scaled", "word")


class Column:
    """A column at its gates, and what is measured of it."""

    def __init__(self, config: Config, program: Sequence[TestStep]):
        self.config, self.program = config, program
        self.netlist = column_netlist(config)
        self.faults = stuck_at(self.netlist)
        self.block = column_blocks(self.netlist)

    def turns(self) -> list[int]:
        """Columns differ in the cycles of their loads: those with the first turn and with the last."""
        return sorted({0, self.config.cols - classes(self.config)})

    def stuck(self, drive: Drive, number: int, *, aliasing: bool = False) -> Coverage:
        return measure(self.netlist, self.faults, column_pins(drive, number), drive.listen, observe=OBSERVE,
                       block=self.block, aliasing=aliasing)

    def slow(self, drive: Drive, number: int) -> Coverage:
        return measure(self.netlist, transition(self.netlist), column_pins(drive, number), drive.listen,
                       observe=OBSERVE, block=self.block, prove=False, power_ups=1)

    def dictionary(self, coverage: Coverage) -> Dictionary:
        """Of the signatures of results, from one that was measured with ``aliasing``."""
        return Dictionary(self.config, self.netlist, self.faults, coverage.signatures[0], coverage.registers[:, :1].T)

    def check(self, drive: Drive, number: int, coverage: Coverage):
        """Refuses a netlist that does not answer as the golden model."""
        golden = column_outputs(self.config, column_pins(drive, number))
        if coverage.signatures != tuple(signature(golden[name], drive.listen) for name in OBSERVE):
            raise RuntimeError(f"the netlist's signatures of column {number} are not the golden model's")


def worst(coverages: Sequence[Coverage]) -> Coverage:
    return min(coverages, key=lambda coverage: coverage.total.percent)


def in_macro(column: Column, done: tqdm) -> tuple[Coverage, int]:
    """A column in the macro's own two runs, and their cycles: in the second one all columns are moved, so that spares
    take part. Only those with the first turn and the last are simulated, since all are driven alike."""
    config, coverages, cycles = column.config, [], 0
    for moved in (False, True):
        drive = expand(config, column.program, moved=moved)
        shift = config.spare_cols if moved else 0
        used = range(shift, config.cols + shift)
        for number in used:
            if not driven_alike(drive, number, used[0]):
                raise RuntimeError(f"column {number} is not driven as column {used[0]} is")
        cycles += drive.cycles
        if not moved:
            coverages = [column.stuck(drive, number) for number in column.turns()]
        done.update()
    return worst(coverages), cycles


def main(arguments: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="cimple bench cbist", description=__doc__)
    parser.add_argument("--config", default="edge", choices=CONFIGS, help="edge by default")
    parser.add_argument("--column", action="store_true", help="a column only, not the macro")
    parser.add_argument("--escapes", action="store_true", help="lists the faults that escape")
    parser.add_argument("--in-field", action="store_true", help="cimple bench in-field, with its options")
    options, others = parser.parse_known_args(arguments)
    if options.in_field:
        in_field.main(["--config", options.config, *others])
        return
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    begun = time.monotonic()
    config = configuration(options.config)
    with tqdm(total=4 if options.column else 8, desc="measurements", unit="") as done:
        column = Column(config, column_program(config))
        done.update()
        drives = {number: expand(config, column.program, (number,)) for number in column.turns()}
        stuck: dict[int, Coverage] = {}
        for number, drive in drives.items():
            stuck[number] = column.stuck(drive, number, aliasing=number == 0)
            column.check(drive, number, stuck[number])
        done.update(2)
        dictionary = column.dictionary(stuck[0])
        slow = column.slow(drives[0], 0)
        done.update()
        switches: SwitchCoverage | None = None
        if not options.column:
            whole, cycles = in_macro(column, done)
            macro = macro_netlist(config, column.netlist)
            done.update()
            switches = measure_switches(config, macro, column.netlist, switch_program(config))
            done.update()
    least, drive = worst(list(stuck.values())), drives[0]
    rows = [(name, count.faults, count.untestable, count.detected, f"{count.percent:.3f}",
             f"{other.percent:.3f}") for name, count, other in
            [*((name, least.by_block[name], slow.by_block[name]) for name in least.by_block),
             ("column", least.total, slow.total)]]
    named, in_lanes = dictionary.lanes_named()
    detail: dict[str, object] = {}
    if switches is not None:
        columns = config.physical_cols
        detected = columns * whole.total.detected + switches.count.detected
        testable = columns * whole.total.testable + switches.count.testable
        untestable = columns * whole.total.untestable + switches.count.untestable
        rows += [("outside of columns", switches.count.faults, switches.count.untestable, switches.count.detected,
                  f"{switches.count.percent:.3f}", ""),
                 ("macro", testable + untestable, untestable, detected, f"{100 * detected / testable:.3f}", "")]
        detail = {"macro_percent": round(100 * detected / testable, 4), "macro_goal": f">= {MACRO_GOAL}",
                  "outside_percent": round(switches.count.percent, 4), "outside_faults": switches.count.faults,
                  "outside_escapes": len(switches.escapes), "column_in_macro_percent": round(whole.total.percent, 4),
                  "macro_cycles": cycles + switches.cycles}
    if options.escapes:
        print("\n".join([*least.escapes, *(switches.escapes if switches else ())]))
    report("cbist", round(least.total.percent, 4), "% of testable stuck-at faults of a column", f">= {GOAL}", {
        "config": config.name, "cycles": drive.cycles, "cycles_goal": CYCLES, "gates": column.netlist.gates,
        "flip_flops": column.netlist.flops, "faults": least.total.faults, "classes": least.classes,
        "untestable": least.total.untestable, "simulated_for_aliasing": stuck[0].total.detected,
        "aliased": stuck[0].total.aliased,
        "lane_percent": round(100 * named / in_lanes, 4), "lane_faults": in_lanes,
        "wrong_signatures": len(dictionary.suspects), "wrong_classes": dictionary.classes,
        "collapsed_percent": round(100 * least.detected_classes / (least.classes - least.untestable_classes), 4),
        "transition_percent": round(slow.total.percent, 4),
        "columns": {str(number): round(coverage.total.percent, 4) for number, coverage in stuck.items()},
        "escapes": len(least.escapes), "table_steps": len(column.program),
        "table_bits": len(column.program) * STEP_BITS, **detail, "seconds": round(time.monotonic() - begun, 1),
        "processor_seconds": round(sum(os.times()[:4]), 1)}, rows,
        ("block", "faults", "untestable", "detected", "% of testable", "transition %"))


if __name__ == "__main__":
    main()
