"""The simulator's own memory, on both simulators, driven by independent AXI agents."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from sim.rtl import SIMULATORS, build, run
from sim.rtl.harness import AXI_MEMORY, harness
from sim.rtl.image import write_image

from .toy_chip import pass_through

MEMORY_BYTES = 16384


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(("name", "read_latency"), [("small", 40), ("edge", 2)])
def test_memory(simulator, name, read_latency, tmp_path):
    config = CONFIGS[name]
    top = harness(pass_through(config), config, memory_bytes=MEMORY_BYTES, read_latency=read_latency)
    made = build(top, config, simulator=simulator, extra_sources=[AXI_MEMORY])
    image = tmp_path / "image.hex"
    memory = np.random.default_rng(1).integers(0, 256, MEMORY_BYTES, np.uint8)
    memory[4000:9000] = 0
    write_image(image, memory, config.bus_bytes)
    results = run(made, "tests.sim.rtl.memory_bench", directory=tmp_path / "run",
                  plusargs=[f"+image={image}", f"+dump={tmp_path}/run/dump.hex"],
                  environment={"READ_LATENCY": str(read_latency), "MEMORY_BYTES": str(MEMORY_BYTES),
                               "IMAGE": str(image)})
    assert len(results.passed) == 4


def test_harness_refuses_a_memory_that_is_no_whole_bus_words():
    config = CONFIGS["edge"]
    with pytest.raises(ValueError, match=r"^memory_bytes must be a multiple of the bus's 64 bytes .* not 100$"):
        harness(pass_through(config), config, memory_bytes=100)
