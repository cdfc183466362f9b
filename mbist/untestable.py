"""Stuck-at faults that no test finds, proven by SAT.

A fault shows for the first time in a cycle that both machines begin in the same state, which the fault-free machine has
reached. So a fault is untestable if, after ``history`` cycles of the fault-free machine from any state, no input makes
an observed output or the next state of some flip-flop differ (Cheng, "Redundancy removal for sequential circuits
without reset states", IEEE TCAD 1993). What this does not prove may still be untestable: it is counted as testable.
"""

from heapq import heappop, heappush

import numpy as np
from pysat.solvers import Solver

from .netlist import Kind, Netlist
from .stuck_at import Faults, Pin

#: Clauses of a gate: literals 1, 2, 3, 4 are a, b, the output, and a multiplexer's select.
_CLAUSES: dict[Kind, tuple[tuple[int, ...], ...]] = {
    Kind.AND: ((1, -3), (2, -3), (-1, -2, 3)),
    Kind.NAND: ((1, 3), (2, 3), (-1, -2, -3)),
    Kind.OR: ((-1, 3), (-2, 3), (1, 2, -3)),
    Kind.NOR: ((-1, -3), (-2, -3), (1, 2, 3)),
    Kind.XOR: ((1, 2, -3), (-1, -2, -3), (1, -2, 3), (-1, 2, 3)),
    Kind.XNOR: ((1, 2, 3), (-1, -2, 3), (1, -2, -3), (-1, 2, -3)),
    Kind.NOT: ((1, 3), (-1, -3)),
    Kind.MUX: ((4, -1, 3), (4, 1, -3), (-4, -2, 3), (-4, 2, -3)),
}


class _Unrolled:
    """The fault-free machine over some cycles from any state, and faulty copies of the last one."""

    def __init__(self, netlist: Netlist, frames: int):
        self.netlist = netlist
        self.solver = Solver(name="cadical153")
        self.count = 0
        self.true = self.fresh()
        self.solver.add_clause([self.true])
        self.frames = [self._nets() for _ in range(frames)]
        for before, after in zip([None, *self.frames], self.frames):
            self._frame(before, after)

    def fresh(self) -> int:
        self.count += 1
        return self.count

    def _nets(self) -> list[int]:
        return [-self.true, self.true, *(0 for _ in range(self.netlist.nets - 2))]

    def _frame(self, before: list[int] | None, after: list[int]):
        n = self.netlist
        for flop in range(len(n.q)):
            # A memory holds anything: it was written before the history began.
            after[n.q[flop]] = self.fresh() if before is None or not n.flop_site[flop] else before[n.d[flop]]
        for nets in n.inputs.values():
            for net in nets:
                after[net] = self.fresh()
        for gate in range(len(n.kind)):
            after[n.out[gate]] = self.gate(gate, after[n.a[gate]], after[n.b[gate]], after[n.c[gate]])

    def gate(self, gate: int, a: int, b: int, c: int) -> int:
        """The output of a gate, as a literal."""
        out = self.fresh()
        literals = (0, a, b, out, c)
        for clause in _CLAUSES[Kind(self.netlist.kind[gate])]:
            self.solver.add_clause([literals[i] if i > 0 else -literals[-i] for i in clause])
        return out

    def shows(self, faults: Faults, number: int, ends: set[int]) -> bool:
        """Whether a fault can make one of some nets differ in the last cycle."""
        n, good = self.netlist, self.frames[-1]
        pin, index = Pin(faults.pin[number]), int(faults.index[number])
        stuck = self.true if faults.value[number] else -self.true
        if pin is Pin.D:
            value = good[n.d[index]]
            return self.solver.solve(assumptions=[-value if faults.value[number] else value])
        faulty: dict[int, int] = {}
        if pin in (Pin.A, Pin.B, Pin.OUT):
            a, b, c = (good[nets[index]] for nets in (n.a, n.b, n.c))
            if pin is Pin.OUT:
                faulty[int(n.out[index])] = stuck
            else:
                a, b = (stuck, b) if pin is Pin.A else (a, stuck)
                if n.kind[index] == Kind.NOT:
                    b = a
                faulty[int(n.out[index])] = self.gate(index, a, b, c)
        else:
            faulty[index if pin is Pin.INPUT else int(n.q[index])] = stuck
        waiting = [gate for net in faulty for gate in n.readers[net]]  # a heap: gates come in their order
        while waiting:
            gate = heappop(waiting)
            out = int(n.out[gate])
            if out not in faulty:
                faulty[out] = self.gate(gate, *(faulty.get(int(nets[gate]), good[nets[gate]])
                                                for nets in (n.a, n.b, n.c)))
                for reader in n.readers[out]:
                    heappush(waiting, reader)
        active = self.fresh()
        self.solver.add_clause([-active, *(self._differ(good[net], faulty[net]) for net in ends & faulty.keys())])
        return self.solver.solve(assumptions=[active])

    def _differ(self, x: int, y: int) -> int:
        out = self.fresh()
        for clause in ((-out, x, y), (-out, -x, -y)):
            self.solver.add_clause(list(clause))
        return out


def untestable(netlist: Netlist, faults: Faults, numbers: np.ndarray, observe: tuple[str, ...],
               history: int) -> np.ndarray:
    """bool array: which of some stuck-at faults are proven untestable.

    Parameters
    ----------
    numbers : int array
        The faults of ``faults`` that are tried.
    observe : tuple of str
        Output ports.
    history : int
        Cycles of the fault-free machine before the one in which the fault shows.
    """
    machine = _Unrolled(netlist, history + 1)
    ends = set(np.concatenate([*(netlist.outputs[name] for name in observe), netlist.d]).tolist())
    return np.array([not machine.shows(faults, int(number), ends) for number in numbers], bool)
