"""Named configurations, derived numbers, and refusals."""

import dataclasses
import re

import pytest

from hdl.config import CONFIGS, Config, ConfigError, configuration


def test_the_named_configurations_are_those_of_the_architecture():
    assert list(CONFIGS) == ["tiny", "small", "ulx3s", "edge", "edge11", "m50"]
    geometry = {name: (c.rows, c.cols, c.grid_k, c.grid_n, c.planes, c.bus_bits, c.acc_vectors)
                for name, c in CONFIGS.items()}
    assert geometry["tiny"] == (8, 4, 1, 1, 4, 64, 4)
    assert geometry["small"] == (16, 8, 2, 2, 8, 64, 16)
    assert geometry["ulx3s"] == (64, 32, 1, 1, 8, 64, 64)
    assert geometry["edge"] == (64, 64, 2, 2, 8, 512, 256)
    assert geometry["edge11"] == (64, 64, 2, 2, 11, 512, 256)
    assert CONFIGS["m50"].cores * CONFIGS["m50"].macros == 112


def test_a_full_step_of_edge_is_that_of_the_architecture():
    edge = configuration("edge")
    assert edge.max_step_beats * edge.bus_bytes == 18_944
    assert edge.max_step_beats == 296


def test_the_hash_follows_every_field_but_the_name():
    edge = configuration("edge")
    assert edge.with_(name="other").hash == edge.hash
    changed = {"rows": 128, "cols": 32, "grid_k": 1, "grid_n": 1, "cores": 2, "planes": 7, "bus_bits": 256,
               "acc_vectors": 128, "act_bytes": 1 << 15, "post_lanes": 8, "outstanding_reads": 8,
               "prefetch_beats": 64, "spare_cols": 0, "links": 1, "link_lanes": 4}
    assert set(changed) == {f.name for f in dataclasses.fields(Config)} - {"name"}
    hashes = set()
    for name, value in changed.items():
        extra = {"post_lanes": 8} if name == "bus_bits" else {}
        hashes.add(edge.with_(**{name: value} | extra).hash)
    assert len(hashes | {edge.hash}) == len(changed) + 1


@pytest.mark.parametrize(("change", "message"), [
    ({"rows": 48}, "rows must be a power of two from 8 to 256, not 48"),
    ({"rows": 512}, "rows must be a power of two from 8 to 256, not 512"),
    ({"rows": "64"}, "rows must be a whole number, not '64'"),
    ({"cols": 3}, "cols must be a power of two from 2 to 256, not 3"),
    ({"grid_k": 3}, "grid_k must be a power of two from 1 to 16, not 3"),
    ({"grid_n": 0}, "grid_n must be from 1 to 16, not 0"),
    ({"cores": 9}, "cores must be from 1 to 8, not 9"),
    ({"planes": 12}, "planes must be from 1 to 11, not 12"),
    ({"planes": 0}, "planes must be from 1 to 11, not 0"),
    ({"bus_bits": 96}, "bus_bits must be 64, 128, 256 or 512, not 96"),
    ({"rows": 256, "bus_bits": 128, "post_lanes": 4}, "bus_bits must be from rows to 8 x rows = 256 to 2048, not 128"),
    ({"acc_vectors": 100}, "acc_vectors must be a power of two from 2 to 4096, not 100"),
    ({"act_bytes": 1000}, "act_bytes must be a power of two from 2 x rows x grid_k = 256 to 4194304, not 1000"),
    ({"post_lanes": 32}, "post_lanes must be a power of two up to bus_bits / 32 = 16, not 32"),
    ({"cols": 2, "grid_n": 1, "grid_k": 1}, "cols must make the headers of a step fill whole bus words: "),
    ({"outstanding_reads": 3}, "outstanding_reads must be a power of two from 1 to 16, not 3"),
    ({"prefetch_beats": 32}, "prefetch_beats must be a power of two of at least 64, not 32"),
    ({"spare_cols": 5}, "spare_cols must be from 0 to 4, not 5"),
    ({"links": 3}, "links must be from 0 to 2, not 3"),
    *(({"links": 1, "link_lanes": lanes}, "link_lanes must be a power of two that leaves each lane 8 to 64 of the 512 "
                                          f"bits of the bus, not {lanes}") for lanes in (3, 4)),
    ({"links": 1, "spare_cols": 3, "grid_k": 8, "grid_n": 8},
     "links must be 0 with more than 128 spare columns, not 1 with 192"),
    ({"link_lanes": 17}, "link_lanes must be from 1 to 16, not 17"),
    ({"name": "no name"}, "name must be an identifier, not 'no name'"),
    ({"cols": 4, "grid_k": 4, "grid_n": 2}, "cols must be at least bus_bits / rows = 8, or the whole grid one macro, "
                                            "not 4"),
    ({"rows": 8, "bus_bits": 64, "post_lanes": 2, "act_bytes": 64},
     "rows must be at least the 16 bits of a header, or the grid at most 4 columns, not 8 with 256 columns"),
])
def test_what_cannot_be_built_is_refused_with_one_sentence(change, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        configuration("edge").with_(**change)


def test_post_lanes_must_divide_the_output_channels():
    with pytest.raises(ConfigError, match="post_lanes must divide cols x grid_n = 8, not 16"):
        configuration("edge").with_(rows=128, cols=8, grid_n=1, grid_k=4)


def test_an_unknown_configuration_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"configuration must be one of tiny, small, .* not 'huge'"):
        configuration("huge")
