"""Which chip computes what, and in which order."""

from itertools import groupby

import numpy as np
import pytest

from compiler.layer import Layer
from compiler.placement import Placement, Split
from hdl.config import configuration

CONFIG = configuration("small").with_(links=2, name="small_card")
LAYER = Layer.of_weights(np.ones((128, 96), int), CONFIG.rows)


def placed(chips: int, vectors: int, way: Split | int) -> Placement:
    return Placement(CONFIG, [LAYER], vectors, chips, [way])


@pytest.mark.parametrize("way", [Split.OUTPUT, Split.INPUT, 1], ids=str)
@pytest.mark.parametrize("vectors", [5, 32, 50])
@pytest.mark.parametrize("chips", [2, 4])
def test_every_product_is_computed_once(chips, vectors, way):
    done = np.zeros((vectors, 128, 96), int)
    placement = placed(chips, vectors, way)
    for chip in range(chips):
        for block in placement.blocks(chip):
            (v, vs), (n, ns), (k, ks) = block.vectors, block.outputs, block.inputs
            done[v:v + vs, n:n + ns, k:k + ks] += 1
    assert (done == 1).all()


@pytest.mark.parametrize("vectors", [5, 32, 50])
@pytest.mark.parametrize("chips", [2, 4])
def test_sums_go_round_in_turns(chips, vectors):
    """In each turn every chip computes blocks of another owner: of the one before it first, its own at last. 32 vectors
    are a tile for each chip, or two; of 5 and 50 every tile goes round by outputs."""
    placement = placed(chips, vectors, Split.INPUT)
    for chip in range(chips):
        rounds = [placement.blocks(chip)] if vectors == 32 else [
            [b for b in placement.blocks(chip) if b.vectors == tile] for tile in placement.vector_tiles]
        for blocks in rounds:
            owners = [owner for owner, _ in groupby(block.owner for block in blocks)]
            assert owners == [(chip - 1 - turn) % chips for turn in range(chips)]


@pytest.mark.parametrize("vectors", [5, 32, 50])
@pytest.mark.parametrize("chips", [2, 4])
def test_owned_results_are_those_of_the_blocks(chips, vectors):
    placement = placed(chips, vectors, Split.INPUT)
    for chip in range(chips):
        own = np.zeros((vectors, 128), bool)
        for block in placement.blocks(chip):
            if block.owner == chip:
                own[block.vectors[0]:sum(block.vectors), block.outputs[0]:sum(block.outputs)] = True
        (v, vs), (n, ns) = placement.owned(0, chip)
        assert own.sum() == vs * ns == own[v:v + vs, n:n + ns].sum()


def test_tiles_of_vectors_fit_accumulators_and_buffer():
    assert placed(2, 50, Split.OUTPUT).vector_tiles == ((0, 7), (7, 7), (14, 7), (21, 7), (28, 7), (35, 7), (42, 8))
    tiny = CONFIG.with_(act_bytes=64, acc_vectors=16, name="tiny_buffer")
    layer = Layer.of_weights(np.ones((4, 4), int), tiny.rows)
    assert Placement(tiny, [layer], 3, 2, [Split.OUTPUT]).vector_tiles == ((0, 1), (1, 1), (2, 1))
