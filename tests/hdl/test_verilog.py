"""Verilog generation: repeatable, once per module, without paths, and quick."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.chip import Chip
from hdl.cim.count_ones import CountOnes
from hdl.cim.macro import Macro
from hdl.config import ConfigError, configuration
from hdl.verilog import generate, module_ports, once


class Inverter(wiring.Component):
    module_name = "inverter"

    def __init__(self):
        super().__init__({"i": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(~self.i)
        return m


class Pair(wiring.Component):
    def __init__(self):
        super().__init__({"i": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        first, second = Inverter(), Inverter()
        m.submodules.first = once(first, platform)
        m.submodules.second = once(second, platform)
        m.d.comb += [first.i.eq(self.i), second.i.eq(first.o), self.o.eq(second.o)]
        return m


def test_a_module_is_emitted_once():
    generated = generate(Pair(), name="pair")
    assert generated.text.count("module inverter(") == 1
    assert generated.text.count("inverter first (") == generated.text.count("inverter second (") == 1
    assert generated.ports == {"clk": ("input", 1), "i": ("input", 4), "o": ("output", 4), "rst": ("input", 1)}


def test_generation_is_repeatable_and_names_no_files():
    texts = {generate(Chip(configuration("tiny")), name="chip").text for _ in range(2)}
    assert len(texts) == 1
    assert ".py:" not in texts.pop()


@pytest.mark.parametrize("name", ["tiny", "small", "ulx3s", "edge", "edge11"])
@pytest.mark.parametrize("leaf", [Macro, CountOnes])
def test_the_views_have_the_same_ports(leaf, name):
    config = configuration(name)
    generic = generate(leaf(config), name=leaf.module_name)
    component = leaf(config)
    component._MustUse__silence = True
    assert module_ports(component.simulation_view(), leaf.module_name) == generic.ports


def test_memories_have_no_initial_contents():
    assert "initial begin" not in generate(Chip(configuration("tiny")), name="chip").text


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="view must be one of generic, simulation, not 'fast'"):
        generate(Inverter(), name="inverter", view="fast")


def test_more_than_one_core_is_refused():
    with pytest.raises(ConfigError, match="cores must be 1 for RTL, not 2"):
        Chip(configuration("m50"))


def test_repeated_modules_of_edge_are_emitted_once():
    """What keeps its elaboration short: 260 columns, 4 macros and 128 accumulators."""
    text = generate(Chip(configuration("edge")), name="chip").text
    for name, instances in (("column", 65), ("macro", 4), ("accumulator", 128), ("requantise", 16)):
        assert len(re.findall(rf"^module {name}\(", text, re.M)) == 1
        assert len(re.findall(rf"^  {name} \w+ \($", text, re.M)) == instances


def test_synthesis_sees_no_assertions():
    text = generate(Chip(configuration("tiny")), name="chip").text
    for_synthesis = re.sub(r"^`ifndef SYNTHESIS\n.*?^`endif\n", "", text, flags=re.M | re.S)
    assert text.count("assert (") > 0
    assert "assert (" not in for_synthesis


def test_links_are_ports_and_nothing_else_changes():
    def ports(links: int) -> dict[str, wiring.Member]:
        chip = Chip(configuration("tiny").with_(links=links))
        chip._MustUse__silence = True  # it is here for its signature
        return dict(chip.signature.members)

    plain, linked = ports(0), ports(2)
    assert linked.keys() - plain.keys() == {
        f"link{port}_{name}" for port in range(2) for name in ("tx", "rx", "rx_clk")}
    assert linked["link1_tx"] == Out(64)
    assert linked["link1_rx"] == In(64)
    changed = {name for name, member in plain.items() if linked[name] != member}
    assert changed == {"m_axi_arid", "m_axi_rid", "m_axi_awid", "m_axi_bid"}
