"""Faults at the pins of a netlist, and which of them cannot be told apart.

A *stuck-at* fault fixes a pin at 0 or 1. A *transition* fault makes a pin slow by one cycle: a pin that is slow to rise
shows 1 only if its driver was 1 in the cycle before as well (Waicukauski et al., "Transition fault simulation", IEEE
Design & Test 1987). Sites are the pins of all gates and flip-flops outside of memories (an output pin stands for the
stem of its net), and the input ports; the clock is none.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .netlist import ONE, ZERO, Kind, Netlist


class Pin(IntEnum):
    """Where a fault is. ``INPUT`` is a port; its index counts through the nets of all ports."""
    A = 0
    B = 1
    OUT = 2
    D = 3
    Q = 4
    INPUT = 5


@dataclass(frozen=True)
class Faults:
    """Single faults of one model.

    Attributes
    ----------
    pin, index : int array
        Pin and number of its gate or flip-flop, or of its net for a port.
    value : int array
        Stuck-at: the value. Transition: the old value that the pin keeps too long.
    slow : bool
        Transition faults.
    group : int array
        Class of faults that no test tells apart; classes count from 0.
    """
    pin: np.ndarray
    index: np.ndarray
    value: np.ndarray
    slow: bool
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.pin)

    @property
    def classes(self) -> int:
        return int(self.group.max(initial=-1)) + 1

    def representatives(self) -> np.ndarray:
        """One fault of each class, in the order of the classes."""
        return np.unique(self.group, return_index=True)[1]

    def net(self, netlist: Netlist, number: int) -> int:
        """The net at which a fault is."""
        index = int(self.index[number])
        return {Pin.A: netlist.a, Pin.B: netlist.b, Pin.OUT: netlist.out, Pin.D: netlist.d, Pin.Q: netlist.q,
                Pin.INPUT: np.arange(netlist.nets)}[Pin(self.pin[number])][index]

    def name(self, netlist: Netlist, number: int) -> str:
        """For reports: ``psum[3] of NAND.a / 0``."""
        pin, index = Pin(self.pin[number]), int(self.index[number])
        if pin is Pin.INPUT:
            place = "port"
        elif pin in (Pin.D, Pin.Q):
            place = f"flip-flop {netlist.net_names[netlist.q[index]]}.{pin.name.lower()}"
        else:
            place = f"{Kind(netlist.kind[index]).name} to {netlist.net_names[netlist.out[index]]}.{pin.name.lower()}"
        model = ("slow to rise", "slow to fall") if self.slow else ("stuck at 0", "stuck at 1")
        return f"{netlist.net_names[self.net(netlist, number)]}, {place}, {model[self.value[number]]}"


def stuck_at(netlist: Netlist) -> Faults:
    """All single stuck-at faults. Classes by structure: a controlling value at an input of a gate is its output's, an
    inverter's pins are one, and the only load of a net is its stem."""
    return _faults(netlist, slow=False)


def transition(netlist: Netlist) -> Faults:
    """All single transition faults. Classes: an inverter's pins, and the only load of a net with its stem."""
    return _faults(netlist, slow=True)


def _faults(netlist: Netlist, slow: bool) -> Faults:
    ports = np.unique(np.concatenate(list(netlist.inputs.values())))
    gates, flops = np.flatnonzero(netlist.gate_site), np.flatnonzero(netlist.flop_site)
    two = gates[netlist.kind[gates] != Kind.NOT]
    sites = [(Pin.A, gates), (Pin.B, two), (Pin.OUT, gates), (Pin.D, flops), (Pin.Q, flops), (Pin.INPUT, ports)]
    pins = [(pin, int(index)) for pin, indexes in sites for index in indexes]
    nets = {Pin.A: netlist.a, Pin.B: netlist.b, Pin.D: netlist.d}
    # A pin at a constant stays what it is, as a wire to a supply has no gate of its own.
    pins = [(pin, index) for pin, index in pins if pin not in nets or nets[pin][index] not in (ZERO, ONE)]
    number = {site: i for i, site in enumerate(pins)}
    parent = list(range(2 * len(pins)))

    def find(fault: int) -> int:
        while parent[fault] != fault:
            parent[fault] = parent[parent[fault]]
            fault = parent[fault]
        return fault

    def equal(first: tuple[Pin, int], value: int, second: tuple[Pin, int], other: int):
        if first in number and second in number:
            parent[find(2 * number[first] + value)] = find(2 * number[second] + other)

    stems = {int(netlist.out[g]): (Pin.OUT, int(g)) for g in gates}
    stems |= {int(netlist.q[f]): (Pin.Q, int(f)) for f in flops}
    stems |= {int(net): (Pin.INPUT, int(net)) for net in ports}
    loads = netlist.loads
    for site in pins:
        pin, index = site
        if pin in nets:
            net = int(nets[pin][index])
            if net in stems and loads[net] == 1:
                for value in range(2):
                    equal(site, value, stems[net], value)
    for gate in map(int, gates):
        kind, output = Kind(netlist.kind[gate]), (Pin.OUT, gate)
        if kind is Kind.NOT:
            for value in range(2):
                equal((Pin.A, gate), value, output, 1 - value)
        elif not slow and kind in _CONTROLLING:
            value, result = _CONTROLLING[kind]
            for pin in (Pin.A, Pin.B):
                equal((pin, gate), value, output, result)
    group = np.unique([find(fault) for fault in range(2 * len(pins))], return_inverse=True)[1]
    pin, index = np.repeat(np.array(pins, np.int64), 2, axis=0).T
    return Faults(pin, index, np.tile([0, 1], len(pins)), slow, group)


#: Controlling value of an input, and the output that it causes.
_CONTROLLING = {Kind.AND: (0, 0), Kind.NAND: (0, 1), Kind.OR: (1, 1), Kind.NOR: (1, 0)}
