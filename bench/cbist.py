"""How many faults at the gates the compute self-test finds.

A column of the macro is mapped to gates, every single stuck-at fault at a pin is simulated over the whole test, and
what escapes is proven untestable by SAT or counted against the figure. ``docs/cbist.md`` explains the test.
"""

import argparse
import time

from tqdm import tqdm

from bench.report import report
from hdl.cim.interfaces import classes
from hdl.config import CONFIGS, configuration
from mbist.compute_pins import column_pins, expand
from mbist.compute_test import STEP_BITS, column_program
from mbist.coverage import Coverage, column_blocks, measure
from mbist.netlist import column_netlist, macro_netlist
from mbist.stuck_at import stuck_at, transition
from mbist.switches import measure_switches, switch_program
from sim.golden.compute_test import column_outputs, signature

GOAL = 99.9
CYCLES = 4000
OBSERVE = ("scaled", "word")


def main():
    parser = argparse.ArgumentParser(prog="cimple bench cbist", description=__doc__)
    parser.add_argument("--config", default="edge", choices=CONFIGS, help="edge by default")
    parser.add_argument("--escapes", action="store_true", help="lists the faults of the column that escape")
    parser.add_argument("--macro", action="store_true", help="the whole macro: columns, spares and switches")
    options = parser.parse_args()
    begun = time.monotonic()
    config = configuration(options.config)
    program = column_program(config)
    netlist = column_netlist(config)
    block = column_blocks(netlist)
    # Columns differ in the cycle in which their load comes: those with the first turn and with the last.
    columns = sorted({0, config.cols - classes(config)})
    stuck: dict[int, Coverage] = {}
    for column in tqdm(columns, desc="columns", unit="column"):
        drive = expand(config, program, (column,))
        pins = column_pins(drive, column)
        stuck[column] = measure(netlist, stuck_at(netlist), pins, drive.listen, observe=OBSERVE, block=block)
        golden = column_outputs(config, pins)
        expected = tuple(signature(golden[name], drive.listen) for name in OBSERVE)
        if stuck[column].signatures != expected:
            raise RuntimeError(f"the netlist's signatures of column {column} are not the golden model's")
    drive = expand(config, program, (0,))
    slow = measure(netlist, transition(netlist), column_pins(drive, 0), drive.listen, observe=OBSERVE, block=block,
                   prove=False, power_ups=1)
    worst = min(stuck.values(), key=lambda coverage: coverage.total.percent)
    rows = [(name, count.faults, count.untestable, count.detected, f"{count.percent:.3f}", count.aliased,
             f"{slow_count.percent:.3f}")
            for name, count, slow_count in [*((name, worst.by_block[name], slow.by_block[name])
                                              for name in worst.by_block), ("all", worst.total, slow.total)]]
    detail: dict[str, object] = {}
    if options.macro:
        # Spares take the place of columns while the program runs again with all columns moved.
        switches, switched = measure_switches(config, macro_netlist(config, netlist), netlist, switch_program(config))
        detected = config.physical_cols * worst.total.detected + switches.detected
        testable = config.physical_cols * worst.total.testable + switches.testable
        rows.append(("switches", switches.faults, switches.untestable, switches.detected, f"{switches.percent:.3f}",
                     switches.aliased, ""))
        detail = {"macro_percent": round(100 * detected / testable, 4), "switches_percent": round(switches.percent, 4),
                  "macro_cycles": 2 * expand(config, program).cycles + switched.cycles}
    if options.escapes:
        print("\n".join(worst.escapes))
    report("cbist", round(worst.total.percent, 4), "% of testable stuck-at faults of a column", f">= {GOAL}", {
        "config": config.name, "cycles": drive.cycles, "cycles_goal": CYCLES, "gates": netlist.gates,
        "flip_flops": netlist.flops, "faults": worst.total.faults, "classes": worst.classes,
        "untestable": worst.total.untestable, "aliased": worst.total.aliased,
        "collapsed_percent": round(100 * worst.detected_classes / (worst.classes - worst.untestable_classes), 4),
        "transition_percent": round(slow.total.percent, 4),
        "columns": {str(column): round(coverage.total.percent, 4) for column, coverage in stuck.items()},
        "escapes": len(worst.escapes), "table_steps": len(program), "table_bits": len(program) * STEP_BITS,
        **detail, "seconds": round(time.monotonic() - begun, 1)}, rows,
        ("block", "faults", "untestable", "detected", "% of testable", "aliased", "transition %"))


if __name__ == "__main__":
    main()
