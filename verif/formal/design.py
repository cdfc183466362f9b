"""Formal tops: Amaranth modules whose free inputs are ports and whose claims are assertions."""

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Elaboratable, Module, Signal, Value
from amaranth.lib import stream

from .prover import Model, model


class FormalTop(Elaboratable):
    """Base of formal tops: :attr:`free` are the signals that nothing drives and that may take any value."""

    def __init__(self):
        self.free: list[Signal] = []

    def release(self, *signals):
        """Makes signals free."""
        self.free += [Value.cast(signal) for signal in signals]

    def model(self, name: str) -> Model:
        """The design for the solver."""
        text = rtlil.convert(self, ports=self.free, platform=None, emit_src=False)
        return model(name, ["read_rtlil top.il", "prep -flatten -top top"], {"top.il": text})


def opened(component) -> Module:
    """Elaborates a component now, so that claims can name what is inside; it is not elaborated again."""
    module = component.elaborate(None)
    component.elaborate = lambda platform: module
    return module


def state(module: Module, name: str) -> Signal:
    """The signal called ``name`` that a module drives.

    Raises
    ------
    ValueError
        If there is none or several.
    """
    found = [signal for signal in module._driving if signal.name == name]
    if len(found) != 1:
        raise ValueError(f"one signal must be called {name!r}, not {len(found)}; there are "
                         f"{', '.join(sorted(signal.name for signal in module._driving))}")
    return found[0]


def previous(m: Module, value, *, name: str) -> Signal:
    """The value of the cycle before."""
    register = Signal(len(Value.cast(value)), name=name)
    m.d.sync += register.eq(value)
    return register


def stalled(m: Module, source: stream.Interface, *, name: str, until=0):
    """Whether a stream keeps its rule in this cycle: what was shown and not taken is shown again.

    ``until`` names the events of the cycle before, or of this one, that release the source from it.
    """
