"""The March controller with macros of which one has a fault: what ``tb_mbist`` tests."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.bist.march import March
from hdl.config import Config
from hdl.verilog import once

from .faulty_macro import FaultyMacro, fault_layout


class SelfTest(wiring.Component):
    """:class:`~hdl.bist.march.March`, its registers as ports, and the macros of a core.

    Members
    -------
    <register>, blocked, discard, request, data, busy, stopped : as of the controller
    fault : In(fault_layout), faulty : In(macros)
        The fault, and the macros that have it.
    """

    def __init__(self, config: Config):
        self.config = config
        march = March(config)
        march._MustUse__silence = True  # it is here for its signature
        members = {name: member for name, member in march.signature.members.items()
                   if name != "words"}
        super().__init__({**members, "fault": In(fault_layout(config)), "faulty": In(config.macros)})

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.march = march = March(config)
        for name, member in self.signature.members.items():
            if name not in ("fault", "faulty"):
                mine, its = getattr(self, name), getattr(march, name)
                m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
        for number in range(config.macros):
            macro = FaultyMacro(config)
            m.submodules[f"macro_{number}"] = once(macro, platform)
            m.d.comb += [
                macro.bist.eq(march.request),
                macro.bist_data.eq(march.data),
                march.words[number].eq(macro.word),
                *(point.eq(config.cols) for point in macro.repair),
            ]
            with m.If(self.faulty[number]):
                m.d.comb += macro.fault.eq(self.fault)
        return m
