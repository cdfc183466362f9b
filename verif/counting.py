"""Runs prepared programs on the RTL, one after another in one simulation, and reads their counters."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass

from hdl.chip import Chip
from hdl.config import Config
from sim.rtl import build, run
from sim.rtl.build import Build
from sim.rtl.design import generated
from sim.rtl.harness import AXI_MEMORY, harness
from sim.rtl.run import new_directory
from sim.rtl.stalls import Stalls

from .programs import Image

#: Bytes of the memory; programs may be smaller.
MEMORY_BYTES = 1 << 20


@dataclass(frozen=True)
class Counting:
    """A chip on Verilator, built when it is first needed."""

    config: Config
    read_latency: int = 40

    def build(self) -> Build:
        chip = generated(Chip, self.config, name="chip", view="simulation")
        top = harness(chip, self.config, memory_bytes=MEMORY_BYTES, read_latency=self.read_latency)
        return build(top, self.config, simulator="verilator", public_all=False, extra_sources=[AXI_MEMORY])

    def run(self, images: Sequence[Image], stalls: Stalls | None = None) -> list[dict[str, int]]:
        """Counters by name of each program; every program begins with a reset. Raises ``SimulationFailed`` if one does
        not end as the golden model says."""
        made = self.build()
        stalls = stalls or Stalls()
        directory = new_directory(f"counting-{self.config.name}")
        (directory / "images").write_bytes(pickle.dumps((list(images), stalls.longest)))
        run(made, "verif.counting_tb", plusargs=["+image=image.hex", *stalls.plusargs], directory=directory)
        return json.loads((directory / "counters.json").read_text())
