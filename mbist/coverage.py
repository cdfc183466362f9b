"""How much of a netlist a test covers, block by block."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .gate_simulation import simulate
from .netlist import Netlist
from .stuck_at import Faults, Pin

#: Blocks of a column, and the registers whose logic they are. What several have in common is the first's.
COLUMN_BLOCKS = {
    "scale": ("product", "exponent", "finished", "scaled"),
    "adder tree": ("plane_sum.", "sum"),
    "group registers": ("record_", "sign_", "late", "remaining"),
    "accumulator": ("psum",),
    "read path": ("",),
}


@dataclass(frozen=True)
class Count:
    """Faults of a block; uncollapsed."""
    faults: int
    untestable: int
    detected: int
    aliased: int

    @property
    def testable(self) -> int:
        return self.faults - self.untestable

    @property
    def percent(self) -> float:
        """Of the testable faults, those that some output shows."""
        return 100 * self.detected / self.testable if self.testable else 100.0


@dataclass(frozen=True)
class Coverage:
    """Outcome of :func:`measure`.

    Attributes
    ----------
    total : Count
    by_block : dict of str to Count
    classes, detected_classes, untestable_classes : int
        Of faults that no test tells apart.
    escapes : list of str
        A fault of each class that is neither detected nor proven untestable.
    signatures : tuple of int
        Of the fault-free machine.
    registers : int [classes, registers]
        Of the faulty machines; -1 of those that were not simulated to the end.
    """
    total: Count
    by_block: dict[str, Count]
    classes: int
    detected_classes: int
    untestable_classes: int
    escapes: list[str]
    signatures: tuple[int, ...]
    registers: np.ndarray


def column_blocks(netlist: Netlist) -> np.ndarray:
    """str [nets]: block of the gate or flip-flop that drives each net. In the accumulator, what does not depend on the
    psum before is the shifter."""
    block = np.full(netlist.nets, "read path", object)
    for name, prefixes in reversed(COLUMN_BLOCKS.items()):
        flops = np.concatenate([netlist.registers(prefix) for prefix in prefixes])
        block[netlist.fan_in(netlist.d[flops])] = name
    accumulated = netlist.fan_out(netlist.q[np.concatenate([netlist.registers("psum"), netlist.registers("late.c")])])
    block[(block == "accumulator") & ~accumulated] = "shifter"
    for name, prefixes in reversed(COLUMN_BLOCKS.items()):
        for prefix in prefixes:
            block[netlist.q[netlist.registers(prefix)]] = name
    for nets in netlist.inputs.values():
        block[nets] = "inputs"
    return block


def driven_nets(netlist: Netlist, faults: Faults) -> np.ndarray:
    """int [faults]: what the gate or flip-flop at which each fault is drives."""
    driven = netlist.out, netlist.q
    return np.array([driven[pin in (Pin.D, Pin.Q)][index] if pin != Pin.INPUT else index
                     for pin, index in zip(faults.pin, faults.index)])


def measure(netlist: Netlist, faults: Faults, pins: Mapping[str, np.ndarray], listen: np.ndarray, *,
            observe: tuple[str, ...], block: np.ndarray, prove: bool = True, power_ups: int = 2,
            aliasing: bool = False) -> Coverage:
    """Simulates one fault of each class and proves what is untestable among those that escape.

    A fault is detected if an observed output shows it from each of some random states at power-up. With ``aliasing``
    the first of them is simulated to the end, to compare signatures; else no fault counts as aliased.

    Raises
    ------
    ValueError
        If what the fault-free machine shows depends on its state at power-up: the test listens too early.
    """
    numbers = faults.representatives()
    runs = [simulate(netlist, pins, faults, numbers, observe=observe, listen=listen, seed=seed,
                     drop=not aliasing or seed > 0) for seed in range(power_ups)]
    if len({run.signatures for run in runs}) > 1:
        raise ValueError("listen must begin when the outputs no longer depend on the state at power-up")
    detected = np.all([run.detected for run in runs], axis=0)
    aliased = np.any([run.aliased for run in runs], axis=0) & detected
    untestable = np.zeros(len(numbers), bool)
    if prove:
        from .untestable import untestable as proven
        left = np.flatnonzero(~detected)
        untestable[left] = proven(netlist, faults, numbers[left], observe, 0)
    where = block[driven_nets(netlist, faults)]

    def count(chosen: np.ndarray) -> Count:
        return Count(int(chosen.sum()), *(int(of[faults.group[chosen]].sum())
                                          for of in (untestable, detected, aliased)))

    return Coverage(
        count(np.ones(len(faults), bool)), {name: count(where == name) for name in sorted(set(where))}, len(numbers),
        int(detected.sum()), int(untestable.sum()),
        [faults.name(netlist, int(number)) for number in numbers[~detected & ~untestable]], runs[0].signatures,
        runs[0].registers)
