"""Verilog of a component, with modules that occur many times emitted once, and the views of the leaves.

Amaranth emits one Verilog module per instance. A component that is wrapped in :func:`once` is emitted one time under
its :attr:`module_name` and instantiated, which keeps elaboration and simulator builds short. Without a
:class:`VerilogPlatform` (Amaranth's own simulator, formal flow) :func:`once` changes nothing.

A *leaf* may have several views with one contract. The ``generic`` view is what Amaranth elaborates and is the only one
that gate-level work may use; the ``simulation`` view is text for a simulator's host, proven equal in ``make formal``.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Elaboratable, Instance, ResetSignal, Value
from amaranth.lib import wiring

VIEWS = ("generic", "simulation")


class OnceComponent(Protocol):
    """A component with a name for its Verilog module; equal names must mean equal modules."""
    module_name: str
    signature: wiring.Signature


@runtime_checkable
class HasSimulationView(Protocol):
    """A leaf that has a simulation view."""

    def simulation_view(self) -> str:
        """Verilog text of a module called :attr:`module_name` with the same ports and the same behaviour."""


@dataclass
class VerilogPlatform:
    """What elaboration collects: the text of every module that is emitted once, by name, leaves first."""
    view: str = "generic"
    modules: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.view not in VIEWS:
            raise ValueError(f"view must be one of {', '.join(VIEWS)}, not {self.view!r}")

    def instance(self, component) -> Instance:
        component._MustUse__silence = True  # it stands for its module and is elaborated for the first one only
        name = component.module_name
        if name not in self.modules:
            if self.view == "simulation" and isinstance(component, HasSimulationView):
                text = component.simulation_view()
            else:
                text = _convert(component, name, self)
            self.modules[name] = text
        ports = {f"{'o' if member.flow == wiring.Out else 'i'}_{'__'.join(map(str, path))}": signal
                 for path, member, signal in component.signature.flatten(component)
                 if len(Value.cast(signal))}  # Verilog has no ports of no width
        declared = module_ports(self.modules[name], name)
        if "clk" in declared:
            ports["i_clk"] = ClockSignal()
        if "rst" in declared:
            ports["i_rst"] = ResetSignal()
        return Instance(name, **ports)


def once(component, platform) -> Elaboratable:
    """The component itself, or, on a :class:`VerilogPlatform`, an instance of its module wired to its ports."""
    return platform.instance(component) if isinstance(platform, VerilogPlatform) else component


def _convert(component, name: str, platform: VerilogPlatform) -> str:
    text = verilog.convert(component, name=name, platform=platform, emit_src=False, strip_internal_attrs=True)
    return _ASSERTION.sub(r"`ifndef SYNTHESIS\n\g<0>`endif\n", _MEMORY_INIT.sub("", text))


#: Amaranth zeroes every memory at time 0. Real SRAM does not, and zeros would hide reads of what was never written.
_MEMORY_INIT = re.compile(r"^  initial begin\n(?:    \\?\S+ ?\[\d+\] = [^;]*;\n)+  end\n", re.M)

#: An assertion with its message; synthesis tools that read plain Verilog do not know them.
_ASSERTION = re.compile(r"^    if \(1'h1\) begin\n(?:      .*\n)*?      assert \(.*\);\n    end\n", re.M)


def module_ports(text: str, name: str) -> dict[str, tuple[str, int]]:
    """Ports of a module in Verilog text: name -> (``"input"`` or ``"output"``, width)."""
    body = re.search(rf"^module \\?{re.escape(name)}\s*\(.*?^endmodule", text, re.M | re.S)
    if body is None:
        raise ValueError(f"the text has no module {name!r}")
    ports = {}
    for direction, high, names in re.findall(
            r"\b(input|output)\s+(?:(?:wire|reg|logic|signed)\s+)*(?:\[(\d+):0\]\s*)?(\w+)", body[0]):
        ports[names] = (direction, int(high or 0) + 1)
    return ports


@dataclass(frozen=True)
class Generated:
    """Verilog text, self-contained, and the ports of its top module."""
    name: str
    text: str
    ports: dict[str, tuple[str, int]]


def generate(component, *, name: str, view: str = "generic") -> Generated:
    """Verilog of ``component`` as module ``name``. Deterministic: equal parameters give equal text.

    Raises
    ------
    ValueError
        If there is no such view.
    """
    platform = VerilogPlatform(view)
    top = _convert(component, name, platform)
    text = "\n".join([*platform.modules.values(), top])
    return Generated(name, text, module_ports(text, name))


def snake_case(name: str) -> str:
    """``PlaneSum`` -> ``plane_sum``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


