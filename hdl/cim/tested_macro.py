"""A macro with what the compute self-test needs of it."""

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import Config
from ..verilog import once
from .interfaces import test_signature
from .macro import Macro
from .signature import WIDTH, Signature


def _ports(config: Config) -> set[str]:
    macro = Macro(config)
    macro._MustUse__silence = True  # it is here for its signature
    return set(macro.signature.members)


def chain_length(config: Config) -> int:
    """Signatures of a macro: of each logical column's results, and of the words that the test port reads."""
    return config.cols + 1


class TestedMacro(wiring.Component):
    """:class:`~hdl.cim.macro.Macro` between multiplexers and signature registers.

    While it is ``isolated``, the compute self-test drives all its inputs, and its results and words are zero for
    everybody else. Results go into a signature per logical column, so the repair inputs choose which physical columns
    are tested. Signatures are a chain: columns ascending, then the test port's.

    Members
    -------
    issue, act, load, deliveries, repair, bist, bist_data, word, scaled : as of the macro
    isolated : In(1)
    test : In(test_signature)
    i_signature : In(32), o_signature : Out(32)
        Ends of the chain; the output is that of column 0.

    Parameters
    ----------
    config : Config
    macro : class
        What has the ports of a macro; others that it has are passed on.
    """

    module_name = "tested_macro"

    __test__ = False

    def __init__(self, config: Config, macro=Macro):
        self.config = config
        self.macro = macro(config)
        self.macro._MustUse__silence = True  # a module that occurs once is elaborated for the first one only
        members = {name: member for name, member in self.macro.signature.members.items() if name != "psum"}
        self.extra = sorted(set(members) - _ports(config))
        super().__init__(members | {"isolated": In(1), "test": In(test_signature(config)), "i_signature": In(WIDTH),
                                    "o_signature": Out(WIDTH)})

    def elaborate(self, platform):
        m = Module()
        m.domains.macro = ClockDomain(local=True)
        m.d.comb += [ClockSignal("macro").eq(ClockSignal()),
                     ResetSignal("macro").eq(ResetSignal() | (self.isolated & self.test.reset))]
        m.submodules.macro = DomainRenamer("macro")(once(self.macro, platform))
        self._drive(m)
        self._results(m, platform)
        return m

    def _drive(self, m):
        """From the array, or from the self-test."""
        macro, test = self.macro, self.test

        def choose(pin, given, tested):
            m.d.comb += pin.eq(Mux(self.isolated, tested, given))

        for name in ("issue", "bist", "bist_data"):
            choose(getattr(macro, name), getattr(self, name), getattr(test, name))
        for pin, given, tested in zip(macro.act, self.act, test.act):
            choose(pin, given, tested)
        for name in macro.load.signature.members:
            choose(getattr(macro.load, name), getattr(self.load, name), getattr(test.load, name))
        for pin, given, valid, opposed in zip(macro.deliveries, self.deliveries, test.valid, test.opposed):
            choose(pin.valid, given.valid, valid)
            choose(pin.member, given.member, test.member)
            for name in ("first", "lane_mask", "sign", "group", "constant"):
                offered = Value.cast(getattr(test, name))
                choose(getattr(pin, name), getattr(given, name), offered ^ opposed.replicate(len(offered)))
        for pin, given in zip(macro.repair, self.repair):
            choose(pin, given, test.repair)
        for name in self.extra:
            m.d.comb += getattr(macro, name).eq(getattr(self, name))

    def _results(self, m, platform):
        """To the array, and into the signatures."""
        chain = []
        for number in range(chain_length(self.config)):
            value = self.macro.scaled[number].as_value() if number < self.config.cols else self.macro.word
            signature = Signature(len(value))
            m.submodules[f"signature_{number}"] = once(signature, platform)
            m.d.comb += [
                signature.value.eq(value),
                signature.clear.eq(self.test.clear),
                signature.listen.eq(self.test.listen & self.isolated),
                signature.shift.eq(self.test.shift),
            ]
            chain.append(signature)
        for signature, behind in zip(chain, [*(s.o_signature for s in chain[1:]), self.i_signature]):
            m.d.comb += signature.i_signature.eq(behind)
        m.d.comb += self.o_signature.eq(chain[0].o_signature)
        with m.If(~self.isolated):
            m.d.comb += [self.word.eq(self.macro.word),
                         *(shown.eq(scaled) for shown, scaled in zip(self.scaled, self.macro.scaled))]
