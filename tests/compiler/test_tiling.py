"""How layers are cut: what tiles cover, and what the search prefers."""

import numpy as np
import pytest

from compiler.convolution import convolution
from compiler.geometry import Geometry
from compiler.layer import Layer
from compiler.tiling import Taps, Tiling, even, search, slices
from hdl.config import configuration
from hdl.isa import Instruction, Opcode
from sim.golden.window import segments


def tiling_of(name: str, layer: Layer, image: int | tuple[int, int]) -> Tiling:
    config = configuration(name)
    if isinstance(image, int):
        return search(config, Geometry.of_vectors(layer, image))
    return search(config, Geometry.of_image(config, layer, *image))


@pytest.mark.parametrize("count", [1, 7, 64, 100])
def test_runs_cover_everything_once(count):
    for runs in (*(even(count, parts) for parts in range(1, count + 1)), *(slices(count, n) for n in (1, 5, count))):
        assert [i for first, size in runs for i in range(first, first + size)] == list(range(count))
    assert {size for _, size in even(count, min(3, count))} <= {count // min(3, count), count // min(3, count) + 1}


@pytest.mark.parametrize(("size", "taps", "rows"), [(21, 1, 7), (192, 1, 3), (5, 3, 3), (128, 3, 3), (1000, 1, 1)])
def test_segments_are_those_of_the_model(size, taps, rows):
    config = configuration("edge")
    gemm = Instruction(Opcode.GEMM, {"tap_bytes": size, "taps": taps, "tap_rows": rows})
    counted = Taps(size, taps, rows).segments(config.line_bytes)
    assert len(counted) == -(-size * taps * rows // config.line_bytes)
    assert counted.tolist() == [segments(config, gemm, step) for step in range(len(counted))]


def test_a_product_of_many_inputs_is_cut_in_whole_lines():
    config = configuration("edge")
    tiling = tiling_of("edge", Layer.of_weights(np.ones((256, 4096), np.int8), config.rows), 128)
    assert tiling.chunk_channels % config.line_bytes == 0
    assert tiling.chunk_channels < 4096


def test_a_vector_alone_takes_all_inputs_at_once():
    config = configuration("edge")
    tiling = tiling_of("edge", Layer.of_weights(np.ones((256, 4096), np.int8), config.rows), 1)
    assert (tiling.chunk_channels, tiling.loads) == (4096, 1)


def test_images_of_point_windows_become_vectors():
    config = configuration("edge")
    layer = convolution(np.ones((64, 1, 1, 64), np.int8), config.rows)
    assert tiling_of("edge", layer, (14, 14)).geometry.columns.size == 196


def test_depthwise_tiles_fill_their_lines():
    config = configuration("edge")
    layer = convolution(np.full((128, 3, 3, 1), 127), config.rows, groups=128, padding=(1, 1, 1, 1))
    tiling = tiling_of("edge", layer, (28, 28))
    assert sum(tiling.steps(chunk) for tile in tiling.outputs for chunk in tiling.chunks(tile)) == 9


@pytest.mark.parametrize("name", ["small", "edge"])
def test_more_pieces_of_taps_than_planes_are_avoided(name):
    """Few channels at a time would make lines of many pieces."""
    config = configuration(name)
    rng = np.random.default_rng(1)
    layer = convolution(rng.integers(-127, 128, (256, 3, 3, 1)), config.rows, groups=256, padding=(1, 1, 1, 1))
    tiling = tiling_of(name, layer, (20, 20))
    span = tiling.geometry.columns.span(*tiling.columns[0])
    pieces = [tiling.taps(tile, chunk, span).segments(config.line_bytes).max()
              for tile in tiling.outputs for chunk in tiling.chunks(tile)]
    assert max(pieces) <= 7
