"""Compute self-test of columns that are gates: each fault that the fault simulator finds is found, in its column.

The plan is ``verif/plans/cbist_gates.md``.
"""

from random import Random

import cocotb
import numpy as np

from mbist.compute_pins import column_pins, expand
from mbist.compute_test import TestStep, column_program
from mbist.gate_simulation import simulate
from sim.golden.compute_test import macro_signatures

from .compute_self_test import ComputeSelfTestOfGates
from .gate_macro import FAULTS, injectable, netlist
from .tb_cbist import CONFIG, ComputeBench

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: Faults that are injected, and what with: the whole program takes Icarus minutes.
INJECTED = 240 if FAST else 12

PROGRAM: tuple[TestStep, ...] = column_program(CONFIG) if FAST else column_program(CONFIG)[::4]


def predicted(column: int, faults: list[int]) -> dict[str, np.ndarray]:
    """Whether the signatures of a column's results and words differ, by injectable fault: 1, 0, or -1 if that depends
    on the state at power-up."""
    every, numbers = injectable(CONFIG)
    drive = expand(CONFIG, PROGRAM)
    pins = column_pins(drive, column)
    found = {}
    for name in ("scaled", "word"):
        seen = [simulate(netlist(CONFIG), pins, every, numbers[faults], observe=(name,), listen=drive.listen,
                         seed=seed).signed for seed in range(2)]
        found[name] = np.where(seen[0] == seen[1], seen[0].astype(int), -1)
    return found


@cocotb.test()
async def test_faults(dut):
    """Random stuck-at faults in random columns and macros: which signatures are wrong is what the fault simulator says,
    all others are right, and votes agree with expectations."""
    bench = await ComputeBench.start(dut, ComputeSelfTestOfGates)
    golden = macro_signatures(CONFIG, PROGRAM)
    expected = golden.columns[0], golden.words
    dut.fault.value = dut.faulty.value = dut.faulty_macro.value = 0
    await bench.begin(PROGRAM, expected=expected)
    await bench.ended()
    assert await bench.wrong() == set(), "without a fault"
    random = Random(cocotb.RANDOM_SEED)
    chosen = random.sample(range(FAULTS), INJECTED)
    detected = 0
    for column in range(CONFIG.cols):
        mine = chosen[column::CONFIG.cols]
        prediction = predicted(column, mine)
        for number, fault in enumerate(mine):
            macro, vote = random.randrange(CONFIG.macros), random.random() < 0.5
            dut.fault.value, dut.faulty.value, dut.faulty_macro.value = fault + 1, 1 << column, 1 << macro
            await bench.begin(PROGRAM, expected=expected, vote=vote)
            await bench.ended()
            wrong = await bench.wrong()
            for place, name in (((macro, column), "scaled"), ((macro, CONFIG.cols), "word")):
                says = prediction[name][number]
                if name == "word" and vote and CONFIG.macros == 1:
                    says = 0  # its own vote
                assert says < 0 or (place in wrong) == bool(says), f"{name} of column {column}, fault {fault}: {wrong}"
            assert wrong <= {(macro, column), (macro, CONFIG.cols)}, f"fault {fault} of column {column}: {wrong}"
            detected += prediction["scaled"][number] > 0 or prediction["word"][number] > 0
    cocotb.log.info(f"{detected} of {INJECTED} faults detected and located")
    assert detected > 0.9 * INJECTED or not FAST
