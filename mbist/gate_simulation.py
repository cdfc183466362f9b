"""Fault simulation of a netlist over a whole test: every machine runs every cycle, many side by side.

Fault-parallel, levelised, two-valued and sequential: a bit of a machine word is a copy of the circuit with one fault
(Seshu, "On an improved diagnosis program", 1965). Nothing is dropped, so the signature of every faulty machine is known
and aliasing is counted, not estimated.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from .netlist import ONE, Netlist
from .signature import TAPS, WIDTH, stages
from .stuck_at import Faults, Pin

#: Words of 64 machines that one pass simulates.
WORDS = 8

#: Machines of one pass.
MACHINES = 64 * WORDS


@dataclass(frozen=True)
class Outcome:
    """What a test does to each faulty machine.

    Attributes
    ----------
    first : int [machines]
        First cycle in which an observed output differs from the fault-free machine's; -1 if never.
    signed : bool [machines]
        Whether a signature differs at the end.
    signatures : tuple of int
        Of the fault-free machine, by register.
    outputs : dict of str to bool [cycles, width]
        Observed outputs of the fault-free machine.
    """
    first: np.ndarray
    signed: np.ndarray
    signatures: tuple[int, ...]
    outputs: dict[str, np.ndarray]

    @property
    def detected(self) -> np.ndarray:
        """bool [machines]: an output differs in some cycle."""
        return self.first >= 0

    @property
    def aliased(self) -> np.ndarray:
        """bool [machines]: an output differs, but no signature does."""
        return self.detected & ~self.signed


def simulate(netlist: Netlist, stimuli: Mapping[str, np.ndarray], faults: Faults, numbers: np.ndarray, *,
             observe: tuple[str, ...], listen: np.ndarray, seed: int = 0, jobs: int | None = None) -> Outcome:
    """Runs one machine per fault, from power-up with the same random state.

    Parameters
    ----------
    stimuli : dict of str to bool [cycles, width]
        Of each input port; those that are missing are zero.
    numbers : int array
        The faults of ``faults`` that are simulated.
    observe : tuple of str
        Output ports; each has a signature register.
    listen : bool [cycles]
        Cycles in which outputs are compared and signatures updated.
    seed : int
        Of the state at power-up. What is detected must not depend on it.
    jobs : int
        Passes at a time, by default one per processor.
    """
    nets = np.concatenate([netlist.inputs[name] for name in netlist.inputs])
    cycles = len(listen)
    values = np.zeros((cycles, len(nets)), np.uint8)
    at = 0
    for name, port in netlist.inputs.items():
        if name in stimuli:
            values[:, at:at + len(port)] = stimuli[name]
        at += len(port)
    observed = np.concatenate([netlist.outputs[name] for name in observe])
    stage = np.concatenate([WIDTH * i + stages(len(netlist.outputs[name])) for i, name in enumerate(observe)])
    state = np.random.default_rng(seed).integers(0, 2, len(netlist.q)).astype(np.uint8)
    change = np.flatnonzero(np.diff(netlist.level) | np.diff(netlist.kind)) + 1
    begins = np.unique(np.concatenate([[0], change, [len(netlist.kind)]]))
    circuit = (netlist.kind[begins[:-1]], begins, *(part.astype(np.uint32) for part in (
        netlist.a, netlist.b, netlist.c, netlist.out, netlist.d, netlist.q)))
    fixed = (*circuit, netlist.nets, nets.astype(np.uint32), values, state, observed.astype(np.uint32),
             stage.astype(np.int32), len(observe), TAPS, listen.astype(np.uint8))

    compiled: Callable[..., Any] = _run

    def one_pass(some: np.ndarray, good: np.ndarray, record: bool):
        return compiled(*fixed, *_injections(netlist, faults, some), good, record)

    good = np.zeros((cycles, len(observed)), np.uint8)
    _, registers = one_pass(np.empty(0, np.int64), good, True)
    reference = registers[:, 0] & np.uint64(1)
    batches = [numbers[i:i + MACHINES] for i in range(0, len(numbers), MACHINES)]
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        results = list(pool.map(lambda some: one_pass(some, good, False), batches))
    first, signed = [np.empty(0, np.int64)], [np.empty(0, bool)]
    for some, (cycle, register) in zip(batches, results):
        first.append(cycle[:len(some)])
        bits = np.unpackbits(register.view(np.uint8), axis=1, bitorder="little")
        signed.append((bits != reference[:, None].astype(np.uint8)).any(axis=0)[:len(some)])
    outputs, at = {}, 0
    for name in observe:
        width = len(netlist.outputs[name])
        outputs[name] = good[:, at:at + width].astype(bool)
        at += width
    signatures = tuple(int(sum(int(bit) << i for i, bit in enumerate(reference[WIDTH * k:WIDTH * (k + 1)])))
                       for k in range(len(observe)))
    return Outcome(np.concatenate(first), np.concatenate(signed), signatures, outputs)


def _injections(netlist: Netlist, faults: Faults, numbers: np.ndarray):
    """Chains of faults by gate, flip-flop and net: ``heads`` name the first one, ``following`` the next; -1 ends."""
    at_gate = np.full(len(netlist.kind), -1, np.int32)
    at_flop = np.full(len(netlist.d), -1, np.int32)
    at_net = np.full(netlist.nets, -1, np.int32)
    following = np.full(len(numbers), -1, np.int32)
    sources = []
    for machine, number in enumerate(numbers):
        pin, index = Pin(faults.pin[number]), int(faults.index[number])
        if pin in (Pin.A, Pin.B, Pin.OUT):
            head, place = at_gate, index
        elif pin is Pin.D:
            head, place = at_flop, index
        else:
            head, place = at_net, index if pin is Pin.INPUT else int(netlist.q[index])
            if head[place] < 0:
                sources.append(place)
        following[machine] = head[place]
        head[place] = machine
    pins = faults.pin[numbers].astype(np.int32)
    effect = (faults.value[numbers] + 2 * faults.slow).astype(np.int32)
    gates = np.flatnonzero(at_gate >= 0)
    return gates, at_gate[gates], at_flop, at_net, np.array(sources, np.int32), following, pins, effect


@numba.njit(cache=True, inline="always")
def _force(value, machine, effect, before):
    """``value`` with the fault of ``machine`` in its bit."""
    bit = np.uint64(1) << np.uint64(machine & 63)
    old = before[machine]
    before[machine] = value & bit
    if effect == 0:
        return value & ~bit
    if effect == 1:
        return value | bit
    if effect == 2:
        return value & (old | ~bit)
    return value | (old & bit)


@numba.njit(cache=True, nogil=True)
def _gates(kind, a, b, c, out, net, begin, end):
    """Gates of one kind that do not depend on each other."""
    if kind == 0:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = net[a[g], w] & net[b[g], w]
    elif kind == 1:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = ~(net[a[g], w] & net[b[g], w])
    elif kind == 2:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = net[a[g], w] | net[b[g], w]
    elif kind == 3:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = ~(net[a[g], w] | net[b[g], w])
    elif kind == 4:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = net[a[g], w] ^ net[b[g], w]
    elif kind == 5:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = ~(net[a[g], w] ^ net[b[g], w])
    elif kind == 6:
        for g in range(begin, end):
            for w in range(WORDS):
                net[out[g], w] = ~net[a[g], w]
    else:
        for g in range(begin, end):
            for w in range(WORDS):
                choice = net[c[g], w]
                net[out[g], w] = (net[b[g], w] & choice) | (net[a[g], w] & ~choice)


@numba.njit(cache=True, nogil=True)
def _run(run_kind, run_begin, a, b, c, out, d, q, nets, input_nets, values, state, observed, stage, registers, taps,
         listen, gates, at_gate, at_flop, at_net, sources, following, pins, effect, good, record):
    """One pass. Returns the first cycle of each machine's difference, and the signature registers."""
    every = ~np.uint64(0)
    net = np.zeros((nets, WORDS), np.uint64)
    held = np.zeros((len(q), WORDS), np.uint64)
    before = np.zeros(max(1, len(pins)), np.uint64)
    left = np.zeros((4, WORDS), np.uint64)
    own = np.zeros(1, np.uint32)
    first = np.full(64 * WORDS, -1, np.int64)
    different = np.zeros(WORDS, np.uint64)
    register = np.zeros((WIDTH * registers, WORDS), np.uint64)
    top = np.zeros(WORDS, np.uint64)
    net[ONE, :] = every
    for i in range(len(q)):
        if state[i]:
            held[i, :] = every
    for cycle in range(len(listen)):
        for i in range(len(input_nets)):
            net[input_nets[i], :] = every if values[cycle, i] else np.uint64(0)
        for i in range(len(q)):
            for w in range(WORDS):
                net[q[i], w] = held[i, w]
        for i in range(len(sources)):
            n = sources[i]
            machine = at_net[n]
            while machine >= 0:
                w = machine >> 6
                net[n, w] = _force(net[n, w], machine, effect[machine], before)
                machine = following[machine]
        faulty = 0
        for r in range(len(run_kind)):
            k, begin, end = run_kind[r], run_begin[r], run_begin[r + 1]
            _gates(k, a, b, c, out, net, begin, end)
            while faulty < len(gates) and gates[faulty] < end:
                g = gates[faulty]
                for w in range(WORDS):
                    left[0, w], left[1, w], left[2, w] = net[a[g], w], net[b[g], w], net[c[g], w]
                for pin in range(2):
                    machine = at_gate[faulty]
                    while machine >= 0:
                        if pins[machine] == pin:
                            w = machine >> 6
                            left[pin, w] = _force(left[pin, w], machine, effect[machine], before)
                        machine = following[machine]
                _gates(k, own, own + 1, own + 2, own + 3, left, 0, 1)
                for w in range(WORDS):
                    net[out[g], w] = left[3, w]
                machine = at_gate[faulty]
                while machine >= 0:
                    if pins[machine] == 2:
                        w = machine >> 6
                        net[out[g], w] = _force(net[out[g], w], machine, effect[machine], before)
                    machine = following[machine]
                faulty += 1
        if record:
            for i in range(len(observed)):
                good[cycle, i] = np.uint8(net[observed[i], 0] & np.uint64(1))
        if listen[cycle]:
            for r in range(registers):
                low = WIDTH * r
                for w in range(WORDS):
                    top[w] = register[low + WIDTH - 1, w]
                for s in range(WIDTH - 1, -1, -1):
                    for w in range(WORDS):
                        shifted = register[low + s - 1, w] if s else np.uint64(0)
                        register[low + s, w] = shifted ^ (top[w] if taps >> s & 1 else np.uint64(0))
            for i in range(len(observed)):
                expected = every if good[cycle, i] else np.uint64(0)
                for w in range(WORDS):
                    seen = net[observed[i], w]
                    register[stage[i], w] ^= seen
                    different[w] |= seen ^ expected
            for w in range(WORDS):
                if different[w]:
                    for i in range(64):
                        if different[w] >> np.uint64(i) & np.uint64(1) and first[64 * w + i] < 0:
                            first[64 * w + i] = cycle
                    different[w] = 0
        for i in range(len(q)):
            for w in range(WORDS):
                held[i, w] = net[d[i], w]
            machine = at_flop[i]
            while machine >= 0:
                w = machine >> 6
                held[i, w] = _force(held[i, w], machine, effect[machine], before)
                machine = following[machine]
    return first, register
