"""The cocotb runner's default build makes every signal public; Verilator then splits no record into its fields."""

import subprocess

import pytest

from hdl.chip import Chip
from hdl.config import configuration
from sim.rtl.build import NO_WARNINGS
from sim.rtl.design import generated
from sim.rtl.tools import find_verilator


@pytest.mark.parametrize("view", ["generic", "simulation"])
def test_no_field_of_a_record_depends_on_another_of_the_same(view, tmp_path):
    """Such a record is a loop (UNOPTFLAT) when its bits are kept together."""
    verilator = find_verilator()
    source = tmp_path / "chip.v"
    source.write_text(generated(Chip, configuration("tiny"), name="chip", view=view).text)
    done = subprocess.run([verilator.executable, "--cc", "--public-flat-rw", "--Mdir", tmp_path / "made",
                           *(f"-Wno-{warning}" for warning in NO_WARNINGS), source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
