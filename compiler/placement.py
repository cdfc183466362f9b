"""Which chip of a card computes what of a chain of layers, and in which order.

The vectors are cut into tiles that fit the accumulators. A *block* is a tile of vectors times an output tile, of the
inputs that one chip multiplies. Where a layer is split by inputs, a block's sum comes together on its way round the
ring and ends at its *owner*; every chip takes the blocks of its owners in the order in which the sums pass by, its own
at last, so that a partial sum arrives while the chip computes the block before.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hdl.config import Config

from .layer import Layer, LayerError
from .tiling import Run, even, slices
from .window import POINT


class Split(enum.Enum):
    """How the chips share a layer. Instead of one of these, the number of the chip that computes all of it."""

    OUTPUT = "output"  #: each has some outputs, and needs all inputs
    INPUT = "input"  #: each has some inputs, and partial sums of all outputs


Way = Split | int

#: A layer's tile follows that of the layer before after so many tiles: what it needs has come meanwhile.
SKEW = 1.5


@dataclass(frozen=True)
class Block:
    """Results that a chip computes at once.

    Attributes
    ----------
    layer : int
        Number of it in the chain.
    vectors, outputs, inputs : Run
        ``inputs`` are those that this chip multiplies.
    owner : int
        Chip that requantises the results.
    """

    layer: int
    vectors: Run
    outputs: Run
    inputs: Run
    owner: int


@dataclass(frozen=True)
class Placement:
    """A chain of fully connected layers on a card.

    Raises
    ------
    LayerError
        If the layers do not form a chain, or a layer or its split is none of those that are supported.
    """

    config: Config
    layers: Sequence[Layer]
    vectors: int
    chips: int
    ways: Sequence[Way]

    def __post_init__(self):
        if not self.layers or len(self.ways) != len(self.layers):
            raise LayerError(f"ways must be one per layer, {len(self.layers)}, not {len(self.ways)}")
        if self.vectors < 1:
            raise LayerError(f"vectors must be at least 1, not {self.vectors!r}")
        for way in self.ways:
            if not isinstance(way, Split) and not 0 <= way < self.chips:
                raise LayerError(f"the chip of a layer must be from 0 to {self.chips - 1}, not {way!r}")
        for number, layer in enumerate(self.layers):
            if layer.window != POINT or layer.groups > 1 or layer.maximum or layer.residual is not None:
                raise LayerError(f"layer {number} must be fully connected and without residual to be split")
            if self.ways[number] is Split.INPUT and not all(self.inputs(number, c)[1] for c in range(self.chips)):
                raise LayerError(f"layer {number} must have inputs for each of {self.chips} chips in units of "
                                 f"{self.config.rows}, not {layer.inputs} of them")
        for number, (a, b) in enumerate(pairwise(self.layers)):
            if (a.outputs, a.output_dtype) != (b.inputs, b.act_dtype):
                raise LayerError(f"layer {number + 1} must take what layer {number} gives, {a.output_dtype} "
                                 f"[{a.outputs}], not {b.act_dtype} [{b.inputs}]")

    @property
    def vector_tiles(self) -> tuple[Run, ...]:
        """Half the accumulators hold a tile, and so do two lines of the activation buffer."""
        most = min(self.config.acc_vectors // 2, self.config.act_lines // 2)
        return even(self.vectors, -(-self.vectors // most))

    def inputs(self, layer: int, chip: int) -> Run:
        """Inputs of a layer that a chip multiplies; the length may be 0."""
        count = self.layers[layer].inputs
        match self.ways[layer]:
            case Split.OUTPUT:
                return 0, count
            case Split.INPUT:
                return _share(count, self.config.rows, self.chips, chip)
            case way:
                return 0, count if way == chip else 0

    def outputs(self, layer: int, chip: int) -> Run:
        """Outputs of a layer for which a chip multiplies; the length may be 0."""
        count = self.layers[layer].outputs
        match self.ways[layer]:
            case Split.OUTPUT:
                return _share(count, self.config.rows, self.chips, chip)
            case Split.INPUT:
                return 0, count if self.inputs(layer, chip)[1] else 0
            case way:
                return 0, count if way == chip else 0

    def reduces(self, layer: int) -> bool:
        """Results are sums of what several chips have."""
        return self.ways[layer] is Split.INPUT and self.chips > 1

    def owns_rows(self, layer: int) -> bool:
        """The chip where a result ends has all outputs of its vectors."""
        return self._reduces_by_vectors if self.reduces(layer) else not isinstance(self.ways[layer], Split)

    def owned(self, layer: int, chip: int) -> tuple[Run, Run]:
        """Vectors and outputs of a layer that end at a chip."""
        if not self.reduces(layer):
            return (0, self.vectors), self.outputs(layer, chip)
        if self._reduces_by_vectors:
            return _joined([run for i, run in enumerate(self.vector_tiles) if self._owner(layer, i, 0) == chip]), \
                (0, self.layers[layer].outputs)
        tiles = self._output_tiles(layer, chip)
        return (0, self.vectors), _joined([run for i, run in enumerate(tiles) if self._owner(layer, 0, i) == chip])

    def blocks(self, chip: int) -> list[Block]:
        """What a chip computes, in order."""
        order = sorted(range(len(self.vector_tiles)), key=lambda i: self._turn(i, chip))
        groups = sorted((place + SKEW * layer, layer, place) for layer in range(len(self.layers))
                        for place in range(len(order)))
        return [block for _, layer, place in groups
                for block in self._group(layer, order[place], chip, back=(layer + place) % 2 == 1)]

    def _group(self, layer: int, tile: int, chip: int, back: bool) -> list[Block]:
        """Blocks of a tile of vectors, those of the highest outputs first if ``back``: when there and back take turns,
        the array begins with the weights that it has."""
        blocks = [Block(layer, self.vector_tiles[tile], run, self.inputs(layer, chip),
                        self._owner(layer, tile, i) if self.reduces(layer) else chip)
                  for i, run in enumerate(self._output_tiles(layer, chip))]
        return sorted(blocks[::-1] if back else blocks, key=lambda block: (chip - block.owner - 1) % self.chips)

    def _output_tiles(self, layer: int, chip: int) -> list[Run]:
        first, count = self.outputs(layer, chip)
        return [(first + a, n) for a, n in slices(count, self.config.out_cols)]

    @property
    def _reduces_by_vectors(self) -> bool:
        """A sum's owner depends on its vectors, else on its outputs."""
        return len(self.vector_tiles) % self.chips == 0

    def _owner(self, layer: int, tile: int, output: int) -> int:
        if self._reduces_by_vectors:
            return tile * self.chips // len(self.vector_tiles)
        return output * self.chips // -(-self.layers[layer].outputs // self.config.out_cols)

    def _turn(self, tile: int, chip: int) -> int:
        """When a tile of vectors has its turn on a chip: its own at last, if sums go round by vectors."""
        if self._reduces_by_vectors and any(self.reduces(layer) for layer in range(len(self.layers))):
            return (chip - self._owner(0, tile, 0) - 1) % self.chips
        return 0


def _share(count: int, unit: int, chips: int, chip: int) -> Run:
    """A chip's share of things that are dealt out in units."""
    first, units = even(-(-count // unit), chips)[chip]
    return min(first * unit, count), min(count, (first + units) * unit) - min(first * unit, count)


def _joined(runs: Sequence[Run]) -> Run:
    """Consecutive runs as one."""
    return (runs[0][0], sum(count for _, count in runs)) if runs else (0, 0)
