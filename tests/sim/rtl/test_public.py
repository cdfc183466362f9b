"""The cocotb runner's default build makes every signal public; Verilator then splits no record into its fields."""

import subprocess

import pytest

from hdl.chip import Chip
from hdl.config import configuration
from hdl.link.link import Link
from hdl.link.parameters import link_parameters
from sim.rtl.build import NO_WARNINGS
from sim.rtl.design import generated
from sim.rtl.tools import find_verilator
from verif.geometries import CABLE, TINY_RING


def link(config):
    return Link(link_parameters(config))


@pytest.mark.parametrize(("component", "config", "view"), [
    (Chip, configuration("tiny"), "generic"), (Chip, configuration("tiny"), "simulation"),
    (link, configuration("tiny"), "generic"), (link, CABLE, "generic"), (Chip, TINY_RING, "simulation"),
], ids=["chip", "chip, simulation view", "link of one unit", "link", "chip with links"])
def test_no_field_of_a_record_depends_on_another_of_the_same(component, config, view, tmp_path):
    """Such a record is a loop (UNOPTFLAT) when its bits are kept together."""
    verilator = find_verilator()
    source = tmp_path / "top.v"
    source.write_text(generated(component, config, name="top", view=view).text)
    done = subprocess.run([verilator.executable, "--cc", "--public-flat-rw", "--Mdir", tmp_path / "made",
                           *(f"-Wno-{warning}" for warning in NO_WARNINGS), source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
