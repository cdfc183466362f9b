"""The memory's stalls: the same function in Verilog and in Python."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from hdl.config import CONFIGS
from sim.rtl import SIMULATORS, build, run
from sim.rtl.harness import AXI_MEMORY, harness
from sim.rtl.stalls import Channel, Stalls

from .toy_chip import pass_through


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stalls", [Stalls(5, 64, 7), Stalls(2**31 - 1, 256, 1)], ids=["some", "all"])
def test_the_memory_is_as_late_as_the_function_says(simulator, stalls):
    config = CONFIGS["small"]
    top = harness(pass_through(config), config, memory_bytes=16384)
    made = build(top, config, simulator=simulator, extra_sources=[AXI_MEMORY])
    results = run(made, "tests.sim.rtl.stall_bench", plusargs=stalls.plusargs,
                  environment={"STALLS": json.dumps(asdict(stalls))})
    assert len(results.passed) == 2


def test_a_share_of_transfers_is_late():
    late = Stalls(3, 64, 10).cycles(Channel.R, np.arange(1000)[:, None], np.arange(64))
    assert late.shape == (1000, 64)
    assert 0.24 < (late > 0).mean() < 0.26
    assert set(np.unique(late)) == set(range(11))
    assert not Stalls().cycles(Channel.W, np.arange(1000)).any()


def test_channels_and_seeds_differ():
    transactions = np.arange(1000)
    drawn = [Stalls(seed, 128).cycles(channel, transactions) for seed in (1, 2) for channel in Channel]
    assert len({tuple(values) for values in drawn}) == 2 * len(Channel)


@pytest.mark.parametrize(("name", "value", "rule"), [
    ("seed", -1, "from 0 to 2147483647"), ("chance", 257, "from 0 to 256"), ("longest", 0, "from 1 to 65536")])
def test_impossible_stalls_are_refused(name, value, rule):
    with pytest.raises(ValueError, match=f"^{name} must be {rule}, not {value}$"):
        Stalls(**{name: value})
