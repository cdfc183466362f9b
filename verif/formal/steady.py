"""Stream stability: what a source shows and its sink does not take, it goes on showing."""

from collections.abc import Callable
from types import SimpleNamespace

from amaranth.hdl import Assert, Assume, Module
from amaranth.lib import wiring

from .design import FormalTop, steady


class SteadyStreams(FormalTop):
    """A component under any inputs: its input streams are assumed to be steady, its output streams claimed to be.

    Parameters
    ----------
    component : wiring.Component
    unless : dict of str to (function of component -> Value)
        Per output stream, what takes the claim back.
    further : function of (Module, component)
        Adds assumptions about the component's surroundings, or assertions that induction needs.
    """

    def __init__(self, component: wiring.Component, *, unless: dict[str, Callable] | None = None,
                 further: Callable | None = None):
        super().__init__()
        self.component, self.unless, self.further = component, unless or {}, further
        found: dict[str, dict] = {}
        for path, member, signal in component.signature.flatten(component):
            if member.flow == wiring.In:
                self.release(signal)
            found.setdefault("_".join(map(str, path[:-1])), {})[path[-1]] = (member.flow, signal)
        self.incoming, self.outgoing = {}, {}
        for name, members in found.items():
            if members.keys() == {"payload", "valid", "ready"}:
                side = self.outgoing if members["valid"][0] == wiring.Out else self.incoming
                side[name] = SimpleNamespace(**{member: signal for member, (_, signal) in members.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules.component = self.component
        for name, source in self.incoming.items():
            m.d.comb += Assume(steady(m, source, name=name))
        for name, source in self.outgoing.items():
            released = self.unless.get(name, lambda component: 0)(self.component)
            m.d.comb += Assert(steady(m, source, name=name, unless=released), f"{name} is steady")
        if self.further:
            self.further(m, self.component)
        return m
