"""The software loader against the packer of the formats and the golden model."""

from random import Random

import numpy as np
import pytest

from hdl.cim.interfaces import classes
from hdl.config import CONFIGS
from hdl.layouts import Step, pack_step
from sim.golden import column
from verif.cells import Cells
from verif.deliveries import (
    beats_of,
    column_deliveries,
    groups_of,
    groups_of_words,
    step_loads,
    step_of,
    step_words,
)
from verif.geometries import BARE, ODD
from verif.stimuli import bit_sliced, draw_lanes, draw_step, from_bit_sliced

GEOMETRIES = [CONFIGS["tiny"], CONFIGS["small"], CONFIGS["ulx3s"], ODD, BARE]


@pytest.fixture(params=GEOMETRIES, ids=lambda config: config.name)
def config(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def random_step(config, rng) -> Step:
    shape = (config.columns, config.rows)
    magnitude = rng.integers(0, 1 << config.planes, shape) & rng.integers(0, 1 << config.planes, (shape[0], 1))
    return Step(magnitude.astype(np.uint16), rng.random(shape) < 0.5, rng.integers(0, 8, shape[0]).astype(np.uint8),
                rng.integers(0, 32, shape[0]).astype(np.uint8))


def test_words_are_those_of_the_packer(config, rng):
    step = random_step(config, rng)
    words = step_words(config, groups_of(step))
    assert b"".join(word.to_bytes(config.bus_bytes, "little") for word in words) == pack_step(config, step).tobytes()


def test_words_are_read_back(config, rng):
    groups = draw_step(rng, config, config.columns, hollow=0.5)
    words = step_words(config, groups, Random(1))
    assert beats_of(config, words[:config.header_beats]) == len(words)
    assert groups_of_words(config, words) == groups


def test_a_step_is_read_back(config, rng):
    step = random_step(config, rng)
    again = step_of(config, groups_of(step, np.full(config.columns, (1 << config.planes) - 1)))
    for name in ("magnitude", "negative", "m", "e"):
        assert np.array_equal(getattr(step, name), getattr(again, name))


def test_constants_are_those_of_the_golden_model(config, rng):
    step = random_step(config, rng)
    constants = [group.constants[-1] for group in groups_of(step)]
    plane = column.planes(step.magnitude, config.planes)
    assert constants == column.negation_constant(plane, step.negative).tolist()


def test_deliveries_fill_the_cells(config, rng):
    groups = draw_step(rng, config, config.columns, hollow=0.5)
    cells = Cells(config, config.columns)
    for values in step_loads(config, groups):
        for number, delivery in enumerate(values["deliveries"]):
            if delivery["valid"]:
                bank = cells.columns[delivery["member"] * classes(config) + number][1]
                bank.write(values["load"]["row"], values["load"]["lanes"], delivery)
    assert [column[1].contents for column in cells.columns] == groups
    assert [column[1].constant for column in cells.columns] == [group.constants[-1] for group in groups]


def test_a_delivery_by_hand():
    """A group of two planes whose sign word is the last unit of a bus word of four."""
    config = CONFIGS["small"]
    group = groups_of(Step.of_weights(np.array([[-1, 4] + [0] * 14]), m=2, e=3))[0]
    first, second = column_deliveries(config, group, 7).items()
    header = {"mask": 0b101, "m": 2, "e": 3, "first_slot": 0}
    assert first == (1, {"valid": 1, "first": 1, "lane_mask": 0, "sign": 1, "group": header, "constant": 0})
    assert second == (2, {"valid": 1, "first": 0, "lane_mask": 0b0011, "sign": 1, "group": header, "constant": 1})


def test_lanes_are_bit_sliced_and_back(rng):
    lanes = draw_lanes(rng, 64)
    assert np.array_equal(from_bit_sliced(bit_sliced(lanes), 64), lanes)
