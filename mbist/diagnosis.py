"""From a column's wrong signature to the faults that explain it: a signature dictionary.

Nearly every stuck-at fault ends in a signature of its own, or shares it with faults of the same gates (McAnney, Savir,
"There is information in faulty signatures", ITC 1987). So one fault simulation says where to look, and the hardware has
nothing for it but the signature.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdl.config import ACT_BITS, Config

from .compute_pins import column_pins, expand
from .compute_test import TestStep
from .coverage import column_blocks, driven_nets
from .gate_simulation import simulate
from .netlist import Netlist
from .stuck_at import Faults, stuck_at

#: In :func:`column_lanes`: no lane, and several.
_NONE, _SEVERAL = -1, -2


@dataclass(frozen=True)
class Diagnosis:
    """What a signature says.

    Attributes
    ----------
    blocks : tuple of str
        Of :func:`mbist.coverage.column_blocks`, those in which the fault may be.
    lane : int or None
        If every fault that may be is one of this lane's logic.
    faults : tuple of str
        Single stuck-at faults that give the signature; none if no such fault does, as two faults at once.
    """
    blocks: tuple[str, ...] = ()
    lane: int | None = None
    faults: tuple[str, ...] = ()


class Dictionary:
    """Signatures of all columns with one stuck-at fault.

    Parameters
    ----------
    config : Config
    netlist : Netlist
        Of :func:`mbist.netlist.column_netlist`.
    faults : Faults
        Of :func:`mbist.stuck_at.stuck_at`.
    right : int
        Signature of the fault-free column.
    signatures : int [states, classes]
        Of the results of each faulty column, once for each state at power-up that was tried: where a fault keeps a
        register from being loaded, either value may have stayed.
    """

    def __init__(self, config: Config, netlist: Netlist, faults: Faults, right: int, signatures: np.ndarray):
        self.netlist, self.faults = netlist, faults
        driven = driven_nets(netlist, faults)
        self.blocks = column_blocks(netlist)[driven]
        lanes = column_lanes(config, netlist)
        pins = lanes[[faults.net(netlist, number) for number in range(len(faults))]]
        #: int [faults]: lane of the gate at which each is, else of the pin, -1 if it is no lane's.
        self.lanes = np.where(lanes[driven] == _NONE, pins, lanes[driven])
        members = np.split(np.argsort(faults.group, kind="stable"), np.cumsum(np.bincount(faults.group))[:-1])
        found = defaultdict(set)
        for state in signatures:
            for number in np.flatnonzero(state != right):
                found[int(state[number])].update(members[number].tolist())
        #: Classes of faults that make the signature wrong.
        self.classes = int((signatures != right).any(axis=0).sum())
        #: Numbers of the faults that give each wrong signature, ascending.
        self.suspects = {signature: np.array(sorted(numbers)) for signature, numbers in found.items()}

    @classmethod
    def of_run(cls, config: Config, netlist: Netlist, program: Sequence[TestStep], column: int, *,
               moved: bool = False) -> "Dictionary":
        """By simulation of a physical column in the engine's run, from two opposite states at power-up: seconds on
        ``tiny``, minutes on ``edge``.

        Raises
        ------
        ValueError
            If the engine cannot hold the program.
        """
        drive, faults = expand(config, program, moved=moved), stuck_at(netlist)
        runs = [simulate(netlist, column_pins(drive, column), faults, faults.representatives(), observe=("scaled",),
                         listen=drive.listen, seed=seed) for seed in (0, ~0)]
        return cls(config, netlist, faults, runs[0].signatures[0], np.stack([run.registers[:, 0] for run in runs]))

    def diagnose(self, signature: int) -> Diagnosis:
        """What a wrong signature says."""
        suspects = self.suspects.get(signature)
        if suspects is None:
            return Diagnosis()
        return Diagnosis(tuple(sorted(set(self.blocks[suspects]))), self._lane(suspects),
                         tuple(self.faults.name(self.netlist, int(number)) for number in suspects))

    def lanes_named(self) -> tuple[int, int]:
        """Of the faults in logic of a lane that make the signature wrong: how many it names the lane of, and how many
        there are."""
        wrong, named = np.zeros(len(self.faults), bool), np.ones(len(self.faults), bool)
        for suspects in self.suspects.values():
            wrong[suspects] = True
            named[suspects] &= self._lane(suspects) is not None
        wrong &= self.lanes != _NONE
        return int((named & wrong).sum()), int(wrong.sum())

    def _lane(self, suspects: np.ndarray) -> int | None:
        lanes = set(self.lanes[suspects].tolist())
        return lanes.pop() if len(lanes) == 1 and _NONE not in lanes else None


def column_lanes(config: Config, netlist: Netlist) -> np.ndarray:
    """int [nets]: lane of the nets that depend, within a cycle, on activations, planes and signs of one lane; -1 of all
    others. What all lanes have in common, as the bank, belongs to none."""
    lane = np.full(netlist.nets, _NONE)
    for name in ("lanes", "sign", *(f"act__{bit}" for bit in range(ACT_BITS))):
        nets = netlist.inputs[name]
        lane[nets] = np.arange(len(nets)) % config.rows
    signs = np.concatenate([netlist.registers(f"sign_{bank}") for bank in range(2)])
    for flop in (*signs, *np.flatnonzero(~netlist.flop_site)):  # those that are no sites are cells of the plane store
        net = netlist.q[flop]
        lane[net] = int(netlist.net_names[net].rpartition("[")[2][:-1])
    for gate, out in enumerate(netlist.out):
        lanes = {int(lane[net]) for net in netlist.gate_inputs(gate)} - {_NONE}
        lane[out] = _NONE if not lanes else lanes.pop() if len(lanes) == 1 else _SEVERAL
    return np.where(lane == _SEVERAL, _NONE, lane)
