"""How a program opens: what the slices of the first piece cover, and in which order they are loaded."""

from collections import Counter

import numpy as np
import pytest

from compiler import weights
from compiler.convolution import convolution
from compiler.geometry import Geometry
from compiler.layer import Layer
from compiler.lower import lower
from compiler.opening import CHANNEL_SLICES, FIRST_PARTS, Slice, opening
from compiler.pieces import Piece, pieces
from compiler.pooling import average_pool
from compiler.tiling import search
from compiler.window import Window
from hdl.config import configuration
from hdl.isa import Instruction, Opcode, Queue

from .reference import check, random_activations, random_weights


def linear(name: str, inputs: int, outputs: int) -> Layer:
    config = configuration(name)
    return Layer.of_weights(random_weights(config, np.random.default_rng(0), outputs, inputs), config.rows)


def opened(name: str, layer: Layer, image: int | tuple[int, int]) -> tuple[Piece, list[Slice]]:
    config = configuration(name)
    geometry = (Geometry.of_vectors(layer, image) if isinstance(image, int)
                else Geometry.of_image(config, layer, *image))
    tiling = search(config, geometry)
    piece = pieces(tiling, weights.pack(tiling, 0)[0])[0]
    return piece, opening(tiling, piece)


def global_window(config_name: str) -> tuple[Layer, tuple[int, int]]:
    """One result per output, with dilated taps and rows of taps that see nothing but padding."""
    config = configuration(config_name)
    channels = config.line_bytes
    taps = random_weights(config, np.random.default_rng(1), 20, 5, 3, channels)
    return convolution(taps, config.rows, dilation=(1, 2), padding=(2, 0, 0, 0)), (3, 5)


CASES = pytest.mark.parametrize(("name", "layer", "image"), [
    ("small", linear("small", 480, 20), 10), ("small", linear("small", 40, 20), 10),
    ("small", linear("small", 8, 9), 3), ("edge", linear("edge", 960, 160), 49), ("edge", linear("edge", 4096, 10), 1),
    ("small", *global_window("small")),
    ("edge", average_pool(256, Window(7, 7), 64), (7, 7)), ("edge", average_pool(64, Window(3, 3), 64), (9, 9)),
    ("small", convolution(random_weights(configuration("small"), np.random.default_rng(2), 20, 3, 3, 16), 16), (6, 6)),
])


@CASES
def test_slices_take_each_step_and_load_each_byte_once(name, layer, image):
    piece, slices = opened(name, layer, image)
    assert sorted(step for cut in slices for step in cut.steps) == list(range(len(piece.images)))
    assert all(cut.parts == 1 or len(cut.steps) == 1 for cut in slices)
    loaded = np.zeros((piece.row_span.loaded, piece.column_span.loaded, piece.loaded_channels[1]), int)
    for cut in slices:
        if cut.region is not None:
            rows, columns, channels = (slice(first, first + count) for first, count in (
                cut.region.rows, cut.region.columns, cut.region.channels))
            loaded[rows, columns, channels] += 1
    assert (loaded == 1).all()


@CASES
def test_the_programs_first_loads_fill_the_buffer_once(name, layer, image):
    piece, _ = opened(name, layer, image)
    program = lower(configuration(name), layer, image)
    size = piece.row_span.loaded * piece.column_span.loaded * piece.loaded_channels[1]
    written: Counter[int] = Counter()
    for instruction in program.instructions:
        if instruction.opcode == Opcode.LOAD_ACTIVATIONS and sum(written.values()) < size:
            written.update(addresses(instruction))
    assert written == Counter(range(size))


def addresses(load: Instruction) -> list[int]:
    """Bytes of the buffer that a LOAD_ACTIVATIONS writes."""
    return [load["buffer_address"] + block * load["buffer_block_stride"] + row * load["buffer_stride"] + byte
            for block in range(load["blocks"]) for row in range(load["rows"]) for byte in range(load["row_bytes"])]


def test_a_point_is_cut_into_channels():
    _, slices = opened("edge", linear("edge", 960, 160), 49)
    assert [(cut.steps, cut.parts) for cut in slices[:3]] == [([7], FIRST_PARTS), ([0], 2), ([1], 2)]
    assert [cut.region.channels for cut in slices[:2] if cut.region] == [(896, 64), (0, 128)]
    _, slices = opened("edge", linear("edge", 4096, 10), 1)
    assert len(slices) == 1 + CHANNEL_SLICES
    assert len(opened("edge", linear("edge", 200, 10), 9)[1]) == 2  # 200 channels are no whole words
    assert opened("edge", linear("edge", 200, 10), 9)[1][1].region is None


def test_a_global_window_is_cut_into_rows_of_taps():
    """A global pool is one load of the image, in as many parts."""
    layer = average_pool(256, Window(7, 7), 64)
    _, slices = opened("edge", layer, (7, 7))
    assert [len(cut.steps) for cut in slices] == [7] * 6 + [3, 3, 1]
    program = lower(configuration("edge"), layer, (7, 7))
    loads = [i for i in program.instructions if i.opcode == Opcode.LOAD_ACTIVATIONS]
    assert sum(i["row_bytes"] * i["rows"] * i["blocks"] for i in loads) == 256 * 49


def test_rows_of_padding_are_not_loaded():
    layer, image = global_window("small")
    _, slices = opened("small", layer, image)
    # The first row of taps comes with a row of the image in any case, which the third looks at.
    assert [cut.region and cut.region.rows for cut in slices] == [(0, 1), None, None, (1, 1), (2, 1)]
    check(configuration("small"), layer, random_activations(layer, np.random.default_rng(3), *image, layer.channels),
          seeds=4)


def test_two_loads_are_under_way():
    program = lower(configuration("edge"), linear("edge", 960, 160), 49)
    loads = [i for i in program.instructions if i.opcode == Opcode.LOAD_ACTIVATIONS]
    assert [Queue.LOAD in i.wait for i in loads] == [False] * 2 + [True] * (len(loads) - 2)
    assert [Queue.LOAD in i.signal for i in loads] == [True] * (len(loads) - 2) + [False] * 2


def test_weights_come_among_the_activations_of_the_step_before():
    program = lower(configuration("edge"), linear("edge", 960, 160), 49).instructions
    loads = [i for i in program if i.queue is Queue.LOAD]
    second = [i for i, load in enumerate(loads) if load.opcode == Opcode.LOAD_WEIGHTS][1]
    assert sum(load.opcode == Opcode.LOAD_ACTIVATIONS for load in loads[:second]) < FIRST_PARTS
    assert program.index(loads[second]) < program.index(next(i for i in program if i.opcode == Opcode.GEMM))
