"""Coverage of what a macro has besides its columns: broadcast, deliveries, repair switches, test port.

A fault there is simulated in the macro with one real column in place and the outputs of the others as they are without
a fault: what it does to other columns is left out. So each fault is tried with the columns that it reaches, in turn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hdl.config import Config

from .compute_pins import Drive, column_pins, expand, macro_pins
from .compute_test import Lanes, Mask, Port, Repair, TestStep
from .coverage import Count
from .gate_simulation import simulate
from .netlist import Netlist, joined
from .stuck_at import Faults, Pin, stuck_at


def switch_program(config: Config) -> tuple[TestStep, ...]:
    """Columns that differ from their neighbours, moved and not moved by repair; then every column's words."""
    own: dict[str, Any] = {"spread": True, "mask": Mask.BIT, "vectors": 12, "m_step": 3, "e_step": 5, "repeat": 10}
    return (
        TestStep(**own, repair=Repair.ALL),
        TestStep(**own),
        TestStep(spread=True, repair=Repair.SWEEP, vectors=2 * (config.cols + 1), mask=Mask.BIT, repeat=3),
        TestStep(**own, partial=True),
        TestStep(**own, partial=True, repair=Repair.ALL),
        TestStep(spread=True, wild=True, mask=Mask.RANDOM, vectors=3, length=8, m_step=3, e_step=5, reset=True,
                 repeat=8),
        TestStep(spread=True, keep=True, port=Port.ALL),
        TestStep(spread=True, planes=Lanes.DENSE),
    )


def measure_switches(config: Config, macro: Netlist, column: Netlist,
                     program: Sequence[TestStep]) -> tuple[Count, Drive]:
    """Stuck-at faults of the macro outside of its columns, uncollapsed, and what was driven."""
    drive = expand(config, program)
    stimuli = macro_pins(drive)
    nothing = stuck_at(column), np.empty(0, np.int64)
    for number in range(config.physical_cols):
        seen = simulate(column, column_pins(drive, number), *nothing, observe=("scaled", "word"), listen=drive.listen)
        stimuli |= {f"column_{number}__{name}": bits for name, bits in seen.outputs.items()}
    faults = stuck_at(macro)
    cut = {int(net) for name, nets in macro.inputs.items() if name.startswith("column_") for net in nets}
    names = [key for key in _keys(macro, faults) if not (key[0] is Pin.INPUT and key[1] in cut)]
    pending, aliased = set(names), 0
    for number in range(config.physical_cols):
        part = joined(macro, column, number, config.spare_cols)
        here = stuck_at(part)
        keys = _keys(part, here)
        group = np.where([key in pending for key in keys], here.group, -1)
        groups, tried = np.unique(group, return_index=True)
        tried = tried[groups >= 0]
        outcome = simulate(part, stimuli, here, tried, observe=tuple(part.outputs), listen=drive.listen)
        shown = np.isin(group, here.group[tried[outcome.detected]])
        aliased += int(np.isin(group, here.group[tried[outcome.aliased]]).sum())
        pending -= {key for key, known in zip(keys, shown) if known}
    from .untestable import untestable
    left = np.array([number for number, key in enumerate(_keys(macro, faults)) if key in pending], np.int64)
    proven = untestable(macro, faults, left, tuple(macro.outputs), 0)
    return Count(len(names), int(proven.sum()), len(names) - len(pending), aliased), drive


def _keys(netlist: Netlist, faults: Faults) -> list[tuple[Pin, int, int]]:
    """Names of faults that hold in the macro and in the macro with a column in place: by net, not by gate."""
    driven = {Pin.A: netlist.out, Pin.B: netlist.out, Pin.OUT: netlist.out, Pin.D: netlist.q, Pin.Q: netlist.q,
              Pin.INPUT: np.arange(netlist.nets)}
    return [(Pin(pin), int(driven[Pin(pin)][index]), int(value))
            for pin, index, value in zip(faults.pin, faults.index, faults.value)]
