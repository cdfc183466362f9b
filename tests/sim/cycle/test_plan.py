"""Plans: what a program makes each part do, against the golden model and the programs of the benches."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.isa import Opcode
from hdl.layouts import step_beats
from sim.cycle.plan import plan
from sim.golden import window
from sim.golden.core import header_masks
from verif.programs import transfers

from .programs import images, memory_of

NAMES = ["tiny", "small", "edge", "edge11"]


@pytest.mark.parametrize("name", NAMES)
def test_lines_have_the_pieces_of_the_golden_model(name):
    config = CONFIGS[name]
    for image in images(config, 10, 1):
        expected = [window.segments(config, f, step) for f in image.instructions if f.opcode == Opcode.GEMM
                    for step in range(f["steps"])]
        assert plan(config, *memory_of(image)).pieces[:-1].tolist() == expected


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_their_headers(name):
    config = CONFIGS[name]
    for image in images(config, 10, 2):
        memory, _, _ = memory_of(image)
        units, planes = [], []
        for f in image.instructions:
            if f.opcode == Opcode.LOAD_WEIGHTS:
                at = f["address"]
                for _ in range(f["steps"]):
                    masks = header_masks(config, memory[at:])
                    units.append(step_beats(config, masks) - config.header_beats)
                    planes.append(int(np.bitwise_count(masks).max()))
                    at += step_beats(config, masks) * config.bus_bytes
        made = plan(config, *memory_of(image))
        assert made.step_units[:-1].tolist() == units
        assert made.step_planes[:-1].tolist() == planes


@pytest.mark.parametrize("name", NAMES)
def test_bursts_carry_every_run(name):
    config = CONFIGS[name]
    bus = config.bus_bytes
    for image in images(config, 10, 3):
        runs = [run for f in image.instructions for run in transfers(config, f)]
        made = plan(config, *memory_of(image))
        ends = [*made.first_burst[1:], len(made.burst_beats) - 1]
        for channel, first, end in zip(("fetch", "weights", "load", "residual", "write"), made.first_burst, ends):
            expected = [-(-(address % bus + size) // bus) for kind, address, size in runs if kind == channel]
            if channel == "fetch":
                expected = [-(-64 * image.count // bus)]
            assert made.burst_last[first:end].sum() == len(expected)
            assert made.burst_beats[first:end].sum() == sum(expected)
