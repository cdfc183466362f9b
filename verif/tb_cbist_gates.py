"""Compute self-test of columns that are gates: each fault that the fault simulator finds is found, in its column.

The plan is ``verif/plans/cbist_gates.md``.
"""

from random import Random

import cocotb
import numpy as np

from mbist.compute_pins import column_pins, expand
from mbist.compute_test import TestStep, column_program
from mbist.diagnosis import Dictionary
from mbist.gate_simulation import simulate
from sim.golden.compute_test import macro_signatures

from .compute_self_test import ComputeSelfTestOfGates
from .gate_macro import FAULTS, injectable, netlist
from .tb_cbist import CONFIG, ComputeBench

FAST = cocotb.SIM_NAME.lower().startswith("verilator")

#: Faults that are injected, and what with: the whole program takes Icarus minutes.
INJECTED = 240 if FAST else 12

PROGRAM: tuple[TestStep, ...] = column_program(CONFIG) if FAST else column_program(CONFIG)[::4]


def predicted(column: int, faults: list[int]) -> dict[str, tuple[int, np.ndarray]]:
    """Signature of a column's results and words: without a fault, and [states, faults] with each injectable fault from
    two opposite states at power-up."""
    every, numbers = injectable(CONFIG)
    drive = expand(CONFIG, PROGRAM)
    runs = [simulate(netlist(CONFIG), column_pins(drive, column), every, numbers[faults], observe=("scaled", "word"),
                     listen=drive.listen, seed=seed) for seed in (0, ~0)]
    return {name: (runs[0].signatures[i], np.stack([run.registers[:, i] for run in runs]))
            for i, name in enumerate(("scaled", "word"))}


@cocotb.test()
async def test_faults(dut):
    """Random stuck-at faults in random columns and macros: which signatures are wrong is what the fault simulator says,
    all others are right, and votes agree with expectations. A wrong signature of results is the predicted one; what it
    says in column 0 includes the fault, and its lane."""
    bench = await ComputeBench.start(dut, ComputeSelfTestOfGates)
    golden = macro_signatures(CONFIG, PROGRAM)
    expected = golden.columns[0], golden.words
    dut.fault.value = dut.faulty.value = dut.faulty_macro.value = 0
    await bench.begin(PROGRAM, expected=expected)
    await bench.ended()
    assert await bench.wrong() == set(), "without a fault"
    random = Random(cocotb.RANDOM_SEED)
    chosen = random.sample(range(FAULTS), INJECTED)
    detected = in_lanes = named = 0
    dictionary = Dictionary.of_run(CONFIG, netlist(CONFIG), PROGRAM, 0)
    _, numbers = injectable(CONFIG)
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
                right, states = prediction[name]
                says = set(states[:, number] != right)
                if name == "word" and vote and CONFIG.macros == 1:
                    says = {False}  # its own vote
                assert (place in wrong) in says, f"{name} of column {column}, fault {fault}: {wrong}"
            assert wrong <= {(macro, column), (macro, CONFIG.cols)}, f"fault {fault} of column {column}: {wrong}"
            detected += any((states[:, number] != right).all() for right, states in prediction.values())
            right, states = prediction["scaled"]
            if (states[:, number] == right).any() or states[0, number] != states[1, number]:
                continue
            signature = (await bench.signatures())[macro][column]
            assert signature == states[0, number], f"signature of column {column}, fault {fault}"
            if column == 0:
                assert numbers[fault] in dictionary.suspects[signature]
                lane = dictionary.lanes[numbers[fault]]
                in_lanes += lane >= 0
                named += lane >= 0 and dictionary.diagnose(signature).lane == lane
    cocotb.log.info(f"{detected} of {INJECTED} faults detected and located, the lane of {named} of {in_lanes}")
    assert (detected > 0.9 * INJECTED and named > 0.8 * in_lanes > 0) or not FAST
