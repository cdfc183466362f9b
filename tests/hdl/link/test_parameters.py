"""Geometry of the link: derived numbers, and the sentence of every refusal."""

import pytest

from hdl.config import CONFIGS, ConfigError
from hdl.link.parameters import LinkParameters, link_parameters


@pytest.mark.parametrize(("lanes", "lane_bits", "words", "flits"), [(8, 64, 3, 341), (4, 32, 12, 85), (8, 8, 24, 42)])
def test_geometry_is_that_of_the_specification(lanes, lane_bits, words, flits):
    p = LinkParameters(lanes=lanes, lane_bits=lane_bits)
    assert (p.flit_words, p.skip_flits) == (words, flits)
    assert 600e-6 < 1 / (p.skip_flits * p.flit_words + 1) < 1.1e-3, "skip words must make up for two clocks of 300 ppm"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_beat_is_a_bus_word(name):
    assert link_parameters(CONFIGS[name]).word_bits == CONFIGS[name].bus_bits


@pytest.mark.parametrize(("changes", "message"), [
    ({"lanes": 3}, "lanes must be a power of two from 1 to 16, not 3"),
    ({"lane_bits": 128}, "lane_bits must be a power of two from 8 to 64, not 128"),
    ({"lanes": 4, "lane_bits": 8}, "lane_bits must make lanes x lane_bits from 64 to 512, not 8 with 4 lanes"),
    ({"lanes": 16}, "lane_bits must make lanes x lane_bits from 64 to 512, not 64 with 16 lanes"),
    ({"channels": 5}, "channels must be from 1 to 4, not 5"),
    ({"channels": True}, "channels must be a whole number, not True"),
    ({"replay_flits": 128}, "replay_flits must be a power of two from 4 to 64, not 128"),
    ({"receive_beats": 2}, "receive_beats must be a power of two from 4 to 256, not 2"),
    ({"lane_timeout": 1}, "lane_timeout must be from 64 to 1048576, not 1"),
    ({"training_timeout": 1}, "training_timeout must be from 1024 to 16777216, not 1"),
    ({"ack_timeout": 1}, "ack_timeout must be from 64 to 1048576, not 1"),
    ({"retrain_replays": 1}, "retrain_replays must be from 2 to 255, not 1"),
    ({"retrain_bad_flits": 1}, "retrain_bad_flits must be from 2 to 255, not 1"),
])
def test_refusals(changes, message):
    with pytest.raises(ConfigError) as error:
        LinkParameters(**changes)
    assert str(error.value) == message


def test_a_configuration_whose_lanes_do_not_fit_is_refused():
    with pytest.raises(ConfigError, match="lanes must be a power of two from 1 to 16, not 3"):
        link_parameters(CONFIGS["edge"].with_(link_lanes=3))
