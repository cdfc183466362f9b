"""Coverage of what a macro has besides its columns: broadcast, deliveries, repair switches, test port.

A fault there is simulated in the macro with one real column in place and the outputs of the others as they are without
a fault: what it does to other columns is left out. So each fault is tried with the first and the last of the columns
that it reaches.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from hdl.config import Config

from .compute_pins import Drive, column_pins, expand, macro_pins
from .compute_test import Lanes, Mask, Port, Repair, TestStep
from .coverage import Count
from .gate_simulation import respond, simulate
from .netlist import Netlist, joined
from .stuck_at import Faults, Pin, stuck_at


def switch_program(config: Config) -> tuple[TestStep, ...]:
    """Columns that differ from their neighbours, moved and not moved by repair; then every column's words."""
    own: dict[str, Any] = {"spread": True, "mask": Mask.BIT, "vectors": 12, "m_step": 3, "e_step": 5, "repeat": 6}
    return (
        TestStep(**own, repair=Repair.ALL),
        TestStep(**own),
        TestStep(spread=True, repair=Repair.SWEEP, vectors=2 * (config.cols + 1), mask=Mask.BIT, repeat=3),
        TestStep(**own, partial=True),
        TestStep(**own, partial=True, repair=Repair.ALL),
        TestStep(spread=True, wild=True, mask=Mask.RANDOM, vectors=3, length=8, m_step=3, e_step=5, reset=True,
                 repeat=8),
        TestStep(spread=True, port=Port.WRITE, mask=Mask.RANDOM, vectors=3, length=config.planes, repeat=4),
        TestStep(spread=True, keep=True, port=Port.ALL),
        TestStep(spread=True, planes=Lanes.DENSE),
    )


@dataclass(frozen=True)
class SwitchCoverage:
    """Outcome of :func:`measure_switches`.

    Attributes
    ----------
    count : Count
        Faults of the macro outside of its columns; uncollapsed.
    escapes : list of str
        A fault of each class that is neither detected nor proven untestable.
    cycles : int
    """
    count: Count
    escapes: list[str]
    cycles: int


def measure_switches(config: Config, macro: Netlist, column: Netlist, program: Sequence[TestStep]) -> SwitchCoverage:
    """Stuck-at faults of the macro outside of its columns.

    Parameters
    ----------
    macro, column : Netlist
        Of :func:`~mbist.netlist.macro_netlist` and :func:`~mbist.netlist.column_netlist`.

    Raises
    ------
    ValueError
        If the engine cannot hold the program.
    """
    drive = expand(config, program)
    stimuli = macro_pins(drive) | _columns_alone(config, column, drive)
    faults = stuck_at(macro)
    cut = [nets for name, nets in macro.inputs.items() if name.startswith("column_")]
    inside = (faults.pin == Pin.INPUT) & np.isin(faults.index, np.concatenate(cut))
    parts = [joined(macro, column, number, config.spare_cols) for number in range(config.physical_cols)]
    representatives = faults.representatives()
    places = np.stack([_places(macro, part, faults, representatives) for part in parts])
    detected = np.zeros(faults.classes, bool)

    def attempt(number: int, tried: np.ndarray) -> np.ndarray:
        part = parts[number]
        here = Faults(faults.pin[representatives], places[number], faults.value[representatives], False,
                      np.arange(faults.classes))
        return simulate(part, stimuli, here, tried, observe=tuple(part.outputs), listen=drive.listen, drop=True,
                        jobs=1).detected

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for chosen in _turns(places >= 0):
            tried = [np.flatnonzero(~detected & (chosen == number)) for number in range(config.physical_cols)]
            for classes, seen in zip(tried, pool.map(attempt, range(config.physical_cols), tried)):
                detected[classes] = seen
    from .untestable import untestable
    outside = np.unique(faults.group[~inside])
    left = outside[~detected[outside]]
    proven = np.zeros(faults.classes, bool)
    proven[left] = untestable(macro, faults, representatives[left], tuple(macro.outputs), 0)
    mine = faults.group[~inside]
    count = Count(len(mine), untestable=int(proven[mine].sum()), detected=int(detected[mine].sum()), aliased=0)
    return SwitchCoverage(count, [faults.name(macro, int(representatives[number])) for number in left
                                  if not proven[number]], drive.cycles)


def _columns_alone(config: Config, column: Netlist, drive: Drive) -> dict[str, np.ndarray]:
    """Outputs of all columns without a fault, as inputs of a macro whose columns are cut out."""
    outputs = respond(column, (column_pins(drive, number) for number in range(config.physical_cols)),
                      observe=("scaled", "word"), cycles=drive.cycles)
    return {f"column_{number}__{name}": bits for number, own in enumerate(outputs) for name, bits in own.items()}


def _places(macro: Netlist, part: Netlist, faults: Faults, numbers: np.ndarray) -> np.ndarray:
    """int [numbers]: index in ``part`` of each fault of the macro, -1 if it is not there. Nets have the same numbers,
    and pins of gates the same order."""
    gate, flop, net = (np.full(part.nets, -1) for _ in range(3))
    gate[part.out] = np.arange(len(part.out))
    flop[part.q] = np.arange(len(part.q))
    used = np.flatnonzero(part.loads)
    net[used] = used
    found = np.full(len(numbers), -1)
    for pins, at, driven in (((Pin.A, Pin.B, Pin.OUT), gate, macro.out), ((Pin.D, Pin.Q), flop, macro.q),
                             ((Pin.INPUT,), net, np.arange(macro.nets))):
        chosen = np.isin(faults.pin[numbers], pins)
        found[chosen] = at[driven[faults.index[numbers[chosen]]]]
    return found


def _turns(reached: np.ndarray) -> Iterable[np.ndarray]:
    """int [faults], for each try: the column with which a fault is tried, -1 if none is left: the first that it
    reaches, and the last.

    Parameters
    ----------
    reached : bool [columns, faults]
    """
    count, rank = reached.sum(axis=0), np.cumsum(reached, axis=0) - 1
    for number, wanted in enumerate((0 * count, count - 1)):
        match = reached & (rank == wanted) & (count > number)
        yield np.where(match.any(axis=0), match.argmax(axis=0), -1)
