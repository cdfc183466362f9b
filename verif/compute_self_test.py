"""The compute self-test with the macros of a core: what ``tb_cbist`` and ``tb_cbist_gates`` test."""

from amaranth.hdl import Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.bist.compute import ComputeTest
from hdl.cim.interfaces import connect_test
from hdl.cim.macro import Macro
from hdl.cim.tested_macro import TestedMacro
from hdl.config import Config
from hdl.verilog import once

from .gate_macro import FAULT_BITS, GateMacro

_INSIDE = ("test", "i_signature", "o_signature", "isolated", "field_test")


class ComputeSelfTest(wiring.Component):
    """:class:`~hdl.bist.compute.ComputeTest`, its registers as ports, and the macros of a core.

    Members
    -------
    <register>, blocked, marching, discard, busy, stopped : as of the self-test
    isolated : Out(macros)
    pins : Out
        All inputs of macro 0, in the order of its signature, and its reset above them.
    """

    macro: type = Macro

    def __init__(self, config: Config, **more):
        self.config = config
        controller, macro = ComputeTest(config), Macro(config)
        for component in (controller, macro):
            component._MustUse__silence = True  # it is here for its signature
        members = {name: member for name, member in controller.signature.members.items() if name not in _INSIDE}
        width = sum(len(Value.cast(signal)) for _, member, signal in macro.signature.flatten(macro)
                    if member.flow == In)
        super().__init__({**members, **more, "isolated": Out(config.macros), "pins": Out(width + 1)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.compute_test = test = ComputeTest(config)
        for name, member in test.signature.members.items():
            if name not in _INSIDE:
                mine, its = getattr(self, name), getattr(test, name)
                m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
        m.d.comb += self.isolated.eq(test.isolated)
        macros = [TestedMacro(config, self.macro) for _ in range(config.macros)]
        for number, macro in enumerate(macros):
            # The first one's pins are looked at, so it is no module of its own.
            m.submodules[f"macro_{number}"] = once(macro, platform) if number else macro
            connect_test(m, source=test.test, sink=macro.test)
            m.d.comb += macro.isolated.eq(test.isolated[number])
            self._more(m, number, macro)
        for macro, behind in zip(macros, [*(after.o_signature for after in macros[1:]), test.o_signature]):
            m.d.comb += macro.i_signature.eq(behind)
        first = macros[0].macro
        m.d.comb += [
            test.i_signature.eq(macros[0].o_signature),
            self.pins.eq(Cat(*(Value.cast(signal) for path, member, signal in first.signature.flatten(first)
                               if member.flow == In and path[0] not in macros[0].extra),
                             test.test.reset & test.isolated[0])),
        ]
        return m

    def _more(self, m, number: int, macro: TestedMacro):
        """Other ports of the macros."""


class ComputeSelfTestOfGates(ComputeSelfTest):
    """The same with columns of gates.

    Members
    -------
    fault : In, faulty_macro : In(macros), faulty : In(physical columns)
        A fault, and the macros and columns that have it.
    """

    macro = GateMacro

    def __init__(self, config: Config):
        super().__init__(config, fault=In(FAULT_BITS), faulty_macro=In(config.macros),
                         faulty=In(config.physical_cols))

    def _more(self, m, number: int, macro: TestedMacro):
        m.d.comb += [macro.fault.eq(self.fault), macro.faulty.eq(Mux(self.faulty_macro[number], self.faulty, 0))]
