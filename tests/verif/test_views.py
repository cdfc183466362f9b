"""Simulation views against generic views under random inputs."""

from dataclasses import replace

import pytest

from hdl.config import Config, configuration
from hdl.verilog import Generated
from sim.rtl import SimulationFailed, build, run
from verif.formal.views import count_ones_miter, miter

TWO_SPARES = configuration("small").with_(name="two_spares", spare_cols=2, planes=7, grid_k=1)
WIDEST = configuration("edge").with_(name="widest", rows=256)
PORTS = {"clk": ("input", 1), "rst": ("input", 1), "cycles": ("output", 64), "mismatches": ("output", 64)}


def compare(config: Config, cycles: int, text: str):
    top = Generated("miter", text, PORTS)
    made = build(top, config, simulator="verilator")
    return run(made, "verif.formal.views_tb", environment={"CIMPLE_CYCLES": str(cycles)})


@pytest.mark.formal
@pytest.mark.parametrize("config", [configuration("tiny"), configuration("edge"), WIDEST], ids=lambda c: c.name)
def test_counts_agree_on_random_inputs(config):
    assert compare(config, 1_000_000, count_ones_miter(config)).passed == ("test_views_are_equal",)


@pytest.mark.formal
@pytest.mark.parametrize(("config", "cycles"), [
    (configuration("tiny"), 1_000_000), (configuration("small"), 200_000), (TWO_SPARES, 200_000),
    (configuration("edge"), 1_000_000)], ids=lambda value: getattr(value, "name", None))
def test_the_views_agree_on_random_inputs(config, cycles):
    assert compare(config, cycles, miter(config)).passed == ("test_views_are_equal",)


@pytest.mark.formal
@pytest.mark.parametrize(("original", "mutant"), [
    ("? 32'(late_constants[c]) : psum_q[c]", "? 0 : psum_q[c]"),
    ("<<< exponents[0]) >>> 3", "<<< exponents[0]) >>> 4"),
], ids=["constant", "scale"])
def test_a_wrong_view_is_found(original, mutant):
    text = miter(configuration("tiny"))
    assert original in text
    with pytest.raises(SimulationFailed, match="test_views_are_equal"):
        compare(replace(configuration("tiny"), name="mutant"), 20_000, text.replace(original, mutant))
