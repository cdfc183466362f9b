"""Formal tops: Amaranth modules whose free inputs are ports and whose claims are assertions."""

import re

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib import data, stream, wiring

from .prover import Model, model


class FormalTop(Elaboratable):
    """Base of formal tops: :attr:`free` are the signals that nothing drives and that may take any value."""

    def __init__(self):
        self.free: list[Signal] = []
        self.verilog: dict[str, str] = {}
        self.flat: list[str] = []

    def release(self, *signals):
        """Makes signals free."""
        self.free += [Value.cast(signal) for signal in signals]

    def leave_out(self, component):
        """Leaves a component empty: its outputs are free."""
        component.elaborate = lambda platform: Module()
        self.release(*(signal for _, member, signal in component.signature.flatten(component)
                       if member.flow == wiring.Out))

    def model(self, name: str) -> Model:
        """The design for the solver."""
        text = rtlil.convert(self, ports=self.free, platform="formal", emit_src=False)
        script = [*(f"read_verilog -sv {file}" for file in self.verilog), "read_rtlil top.il", "prep -flatten -top top",
                  *self.flat]
        return model(name, script, {"top.il": text, **self.verilog}, _messages(text))


def _messages(text: str) -> dict[str, str]:
    """Names that assertions have once the design is flat -> their messages."""
    found = {}
    for module, body in re.findall(r"^module \\top(\S*)\n(.*?)^end$", text, re.M | re.S):
        path = "".join(f"/{part}." for part in module.split(".")[1:])
        for cell, message in re.findall(r'^  cell \$check (\S+)\n    parameter \\FORMAT "(.*)"$', body, re.M):
            found[f"$flatten{path}{cell}" if path else cell] = message
    return found


def opened(component, platform="formal") -> Module:
    """Elaborates a component now, so that claims can name what is inside; it is not elaborated again."""
    module = component.elaborate(platform)
    component.elaborate = lambda _: module
    return module


def state(module: Module, name: str, layout: data.Layout | None = None):
    """The signal called ``name`` that a module drives, as a view of ``layout`` if one is given.

    Raises
    ------
    ValueError
        If there is none or several.
    """
    found = [signal for signal in module._driving if signal.name == name]
    if len(found) != 1:
        raise ValueError(f"one signal must be called {name!r}, not {len(found)}; there are "
                         f"{', '.join(sorted(signal.name for signal in module._driving))}")
    return found[0] if layout is None else data.View(layout, found[0])


def previous(m: Module, value, *, name: str, reset_less: bool = False) -> Signal:
    """The value of the cycle before."""
    register = Signal(len(Value.cast(value)), name=name, reset_less=reset_less)
    m.d.sync += register.eq(value)
    return register


def steady(m: Module, source: stream.Interface, *, name: str):
    """Whether a stream keeps its promise in this cycle: what was shown and not taken is shown again."""
    payload = Value.cast(source.payload)
    pending = previous(m, source.valid & ~source.ready, name=f"{name}_pending")
    return ~pending | (source.valid & (payload == previous(m, payload, name=f"{name}_payload")))
