"""Fault simulation of a netlist over a whole test, many faulty machines side by side.

Fault-parallel, levelised, two-valued and sequential: a bit of a machine word is a copy of the circuit with one fault
(Seshu, "On an improved diagnosis program", 1965). If no machine is dropped, the signature of each is known and aliasing
is counted, not estimated.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from .netlist import ONE, Netlist
from .signature import TAPS, WIDTH, stages
from .stuck_at import Faults, Pin

#: Machines of one pass at most: as many as fit into a processor's cache.
MACHINES = 512

#: Share of the cycles after which machines that have shown a difference are dropped: most do so early.
DROP_AFTER = 1 / 8


@dataclass(frozen=True)
class Outcome:
    """What a test does to each faulty machine.

    Attributes
    ----------
    first : int [machines]
        First cycle in which an observed output differs from the fault-free machine's; -1 if never.
    registers : int [machines, registers]
        Signatures at the end; -1 of machines that were dropped when they were detected.
    signatures : tuple of int
        Of the fault-free machine, by register.
    outputs : dict of str to bool [cycles, width]
        Observed outputs of the fault-free machine.
    """
    first: np.ndarray
    registers: np.ndarray
    signatures: tuple[int, ...]
    outputs: dict[str, np.ndarray]

    @property
    def detected(self) -> np.ndarray:
        """bool [machines]: an output differs in some cycle."""
        return self.first >= 0

    @property
    def signed(self) -> np.ndarray:
        """bool [machines]: a signature differs at the end, or the machine was dropped."""
        return (self.registers != self.signatures).any(axis=1)

    @property
    def aliased(self) -> np.ndarray:
        """bool [machines]: an output differs, but no signature does."""
        return self.detected & ~self.signed


def simulate(netlist: Netlist, stimuli: Mapping[str, np.ndarray], faults: Faults, numbers: np.ndarray, *,
             observe: tuple[str, ...], listen: np.ndarray, seed: int = 0, drop: bool = False,
             jobs: int | None = None) -> Outcome:
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
        Of the state at power-up; ``~seed`` is its complement. What is detected must not depend on it.
    drop : bool
        Drops machines that are detected early, which is some four times as fast.
    jobs : int
        Passes at a time, by default one per processor.
    """
    cycles = len(listen)
    nets, values = _inputs(netlist, stimuli, cycles)
    observed = np.concatenate([netlist.outputs[name] for name in observe])
    stage = np.concatenate([WIDTH * i + stages(len(netlist.outputs[name])) for i, name in enumerate(observe)])
    state = (np.random.default_rng(max(seed, ~seed)).integers(0, 2, len(netlist.q)) ^ (seed < 0)).astype(np.uint8)
    circuit = _circuit(netlist)
    listen = listen.astype(np.uint8)
    compiled: Callable[..., Any] = _run

    def one_pass(some: np.ndarray, cycles: int, good: np.ndarray, record: bool = False):
        words = max(1, -(-len(some) // 64))
        return compiled(*circuit, netlist.nets, words, nets, values, state, observed.astype(np.uint32),
                        stage.astype(np.int32), len(observe), TAPS, listen[:cycles],
                        *_injections(netlist, faults, some), good, record)

    good = np.zeros((cycles, len(observed)), np.uint8)
    _, reference = one_pass(np.empty(0, np.int64), cycles, good, record=True)
    first, registers = np.full(len(numbers), -1), np.full((len(numbers), len(observe)), -1)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        for length in (int(DROP_AFTER * cycles), cycles) if drop else (cycles,):
            left = np.flatnonzero(first < 0)
            batches = [left[i:i + MACHINES] for i in range(0, len(left), MACHINES)]
            for some, (cycle, register) in zip(batches, pool.map(
                    lambda some, length=length: one_pass(numbers[some], length, good), batches)):
                first[some] = cycle[:len(some)]
                if length == cycles:
                    registers[some] = _numbers(register)[:len(some)]
    return Outcome(first, registers, tuple(_numbers(reference)[0].tolist()), _outputs(netlist, observe, good))


def respond(netlist: Netlist, stimuli: Iterable[Mapping[str, np.ndarray]], *, observe: tuple[str, ...],
            cycles: int) -> list[dict[str, np.ndarray]]:
    """Outputs of machines without a fault, each with stimuli of its own: bool [cycles, width] by port. All are zero at
    power-up."""
    words: list[np.ndarray] = []
    count, nets = 0, np.empty(0, np.uint32)
    for own in stimuli:
        nets, bits = _inputs(netlist, own, cycles)
        if count % 64 == 0:
            words.append(np.zeros(bits.shape, np.uint64))
        words[-1] |= bits.astype(np.uint64) << np.uint64(count % 64)
        count += 1
    observed = np.concatenate([netlist.outputs[name] for name in observe])
    compiled: Callable[..., Any] = _respond
    seen = compiled(*_circuit(netlist), netlist.nets, nets, np.stack(words), observed.astype(np.uint32))
    return [_outputs(netlist, observe, seen[machine // 64] >> np.uint64(machine % 64) & np.uint64(1))
            for machine in range(count)]


def _circuit(netlist: Netlist) -> tuple[np.ndarray, ...]:
    """For the compiled functions: runs of gates of a kind that do not depend on each other, gates, flip-flops."""
    change = np.flatnonzero(np.diff(netlist.level) | np.diff(netlist.kind)) + 1
    begins = np.unique(np.concatenate([[0], change, [len(netlist.kind)]]))
    return (netlist.kind[begins[:-1]], begins, *(part.astype(np.uint32) for part in (
        netlist.a, netlist.b, netlist.c, netlist.out, netlist.d, netlist.q)))


def _inputs(netlist: Netlist, stimuli: Mapping[str, np.ndarray], cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """Nets of the ports that drive something, and their values, uint8 [cycles, nets]."""
    used = {name: port for name, port in netlist.inputs.items() if netlist.loads[port].any()}
    nets = np.concatenate([np.empty(0, np.int64), *used.values()])
    values, at = np.zeros((cycles, len(nets)), np.uint8), 0
    for name, port in used.items():
        if name in stimuli:
            values[:, at:at + len(port)] = stimuli[name]
        at += len(port)
    return nets.astype(np.uint32), values


def _outputs(netlist: Netlist, observe: tuple[str, ...], seen: np.ndarray) -> dict[str, np.ndarray]:
    """By port, of the values of all ports' nets."""
    ends = np.cumsum([len(netlist.outputs[name]) for name in observe])
    return {name: bits.astype(bool) for name, bits in zip(observe, np.split(seen, ends[:-1], axis=1))}


def _numbers(register: np.ndarray) -> np.ndarray:
    """int [machines, registers] of the stages of all registers, uint64 [stages, words]."""
    bits = np.unpackbits(register.view(np.uint8), axis=1, bitorder="little").astype(np.int64)
    return np.einsum("ksm,s->mk", bits.reshape(-1, WIDTH, bits.shape[1]), 1 << np.arange(WIDTH))


def _injections(netlist: Netlist, faults: Faults, numbers: np.ndarray):
    """Places of the machines' faults, in the order in which a cycle passes them: nets of ports and flip-flops, gates,
    flip-flops' inputs. Of each kind of place: index, machine, pin and effect, ascending by index."""
    pin, place = faults.pin[numbers], faults.index[numbers].copy()
    effect = faults.value[numbers] + 2 * faults.slow
    gate, flop, output = np.isin(pin, (Pin.A, Pin.B, Pin.OUT)), pin == Pin.D, pin == Pin.Q
    place[output] = netlist.q[place[output]]
    tables = []
    for chosen in (~gate & ~flop, gate, flop):
        machines = np.flatnonzero(chosen)
        machines = machines[np.argsort(place[machines], kind="stable")]
        tables.append(np.stack([place[machines], machines, pin[machines], effect[machines]], axis=1).astype(np.int32))
    return tables


@numba.njit(cache=True, inline="always")
def _forced(value, machine, effect, before):
    """``value`` of a pin as the fault of ``machine`` shows it; right in the machine's bit only."""
    old = before[machine]
    before[machine] = value
    if effect == 0:
        return np.uint64(0)
    if effect == 1:
        return ~np.uint64(0)
    if effect == 2:
        return value & old
    return value | old


@numba.njit(cache=True, inline="always")
def _gate(kind, a, b, c):
    if kind == 0:
        return a & b
    if kind == 1:
        return ~(a & b)
    if kind == 2:
        return a | b
    if kind == 3:
        return ~(a | b)
    if kind == 4:
        return a ^ b
    if kind == 5:
        return ~(a ^ b)
    if kind == 6:
        return ~a
    return (b & c) | (a & ~c)


@numba.njit(cache=True, nogil=True)
def _gates(kind, a, b, c, out, net, begin, end):
    """Gates of one kind that do not depend on each other."""
    words = net.shape[1]
    if kind == 0:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = net[i, w] & net[j, w]
    elif kind == 1:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = ~(net[i, w] & net[j, w])
    elif kind == 2:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = net[i, w] | net[j, w]
    elif kind == 3:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = ~(net[i, w] | net[j, w])
    elif kind == 4:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = net[i, w] ^ net[j, w]
    elif kind == 5:
        for g in range(begin, end):
            i, j, o = a[g], b[g], out[g]
            for w in range(words):
                net[o, w] = ~(net[i, w] ^ net[j, w])
    elif kind == 6:
        for g in range(begin, end):
            i, o = a[g], out[g]
            for w in range(words):
                net[o, w] = ~net[i, w]
    else:
        for g in range(begin, end):
            i, j, k, o = a[g], b[g], c[g], out[g]
            for w in range(words):
                choice = net[k, w]
                net[o, w] = (net[j, w] & choice) | (net[i, w] & ~choice)


@numba.njit(cache=True, nogil=True)
def _respond(run_kind, run_begin, a, b, c, out, d, q, nets, input_nets, values, observed):
    """Observed nets of machines with ``values`` [words, cycles, input_nets] each."""
    words, cycles = values.shape[0], values.shape[1]
    net, held = np.zeros((nets, words), np.uint64), np.zeros((len(q), words), np.uint64)
    seen = np.zeros((words, cycles, len(observed)), np.uint64)
    net[ONE, :] = ~np.uint64(0)
    for cycle in range(cycles):
        for w in range(words):
            for i in range(len(input_nets)):
                net[input_nets[i], w] = values[w, cycle, i]
            for i in range(len(q)):
                net[q[i], w] = held[i, w]
        for r in range(len(run_kind)):
            _gates(run_kind[r], a, b, c, out, net, run_begin[r], run_begin[r + 1])
        for w in range(words):
            for i in range(len(observed)):
                seen[w, cycle, i] = net[observed[i], w]
            for i in range(len(q)):
                held[i, w] = net[d[i], w]
    return seen


@numba.njit(cache=True, nogil=True)
def _run(run_kind, run_begin, a, b, c, out, d, q, nets, words, input_nets, values, state, observed, stage, registers,
         taps, listen, at_net, at_gate, at_flop, good, record):
    """One pass. Returns the first cycle of each machine's difference, and the signature registers."""
    every, one = ~np.uint64(0), np.uint64(1)
    net = np.zeros((nets, words), np.uint64)
    held = np.zeros((len(q), words), np.uint64)
    before = np.zeros(64 * words, np.uint64)
    first = np.full(64 * words, -1, np.int64)
    different = np.zeros(words, np.uint64)
    seen = np.zeros(words, np.uint64)
    register = np.zeros((WIDTH * registers, words), np.uint64)
    top = np.zeros(words, np.uint64)
    net[ONE, :] = every
    for i in range(len(q)):
        if state[i]:
            held[i, :] = every
    for cycle in range(len(listen)):
        for i in range(len(input_nets)):
            value = every if values[cycle, i] else np.uint64(0)
            n = input_nets[i]
            for w in range(words):
                net[n, w] = value
        for i in range(len(q)):
            n = q[i]
            for w in range(words):
                net[n, w] = held[i, w]
        for f in range(len(at_net)):
            n, machine, effect = at_net[f, 0], at_net[f, 1], at_net[f, 3]
            w, bit = machine >> 6, one << np.uint64(machine & 63)
            net[n, w] = (net[n, w] & ~bit) | (_forced(net[n, w], machine, effect, before) & bit)
        f = 0
        for r in range(len(run_kind)):
            kind, begin, end = run_kind[r], run_begin[r], run_begin[r + 1]
            _gates(kind, a, b, c, out, net, begin, end)
            while f < len(at_gate) and at_gate[f, 0] < end:
                g, machine, pin, effect = at_gate[f, 0], at_gate[f, 1], at_gate[f, 2], at_gate[f, 3]
                w, bit = machine >> 6, one << np.uint64(machine & 63)
                x, y, z = net[a[g], w], net[b[g], w], net[out[g], w]
                if pin == 2:
                    z = _forced(z, machine, effect, before)
                elif pin == 0:
                    z = _gate(kind, _forced(x, machine, effect, before), y, net[c[g], w])
                else:
                    z = _gate(kind, x, _forced(y, machine, effect, before), net[c[g], w])
                net[out[g], w] = (net[out[g], w] & ~bit) | (z & bit)
                f += 1
        if record:
            for i in range(len(observed)):
                good[cycle, i] = np.uint8(net[observed[i], 0] & one)
        if listen[cycle]:
            for r in range(registers):
                low = WIDTH * r
                for w in range(words):
                    top[w] = register[low + WIDTH - 1, w]
                for s in range(WIDTH - 1, -1, -1):
                    for w in range(words):
                        shifted = register[low + s - 1, w] if s else np.uint64(0)
                        register[low + s, w] = shifted ^ (top[w] if taps >> s & 1 else np.uint64(0))
            different[:] = 0
            for i in range(len(observed)):
                expected = every if good[cycle, i] else np.uint64(0)
                n, s = observed[i], stage[i]
                for w in range(words):
                    register[s, w] ^= net[n, w]
                    different[w] |= net[n, w] ^ expected
            for w in range(words):
                new = different[w] & ~seen[w]
                if new:
                    seen[w] |= new
                    for i in range(64):
                        if new >> np.uint64(i) & one:
                            first[64 * w + i] = cycle
        for i in range(len(q)):
            n = d[i]
            for w in range(words):
                held[i, w] = net[n, w]
        for f in range(len(at_flop)):
            i, machine, effect = at_flop[f, 0], at_flop[f, 1], at_flop[f, 3]
            w, bit = machine >> 6, one << np.uint64(machine & 63)
            held[i, w] = (held[i, w] & ~bit) | (_forced(held[i, w], machine, effect, before) & bit)
    return first, register
