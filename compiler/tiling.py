"""How a layer is cut so that each piece fits the chip, and which way of cutting takes least time.

A *vector tile* is a rectangle of results' pixels, an *output tile* the channels of one step's columns. A *chunk* is the
part of a window whose activations are in the buffer at once: some of its rows of taps and some channels. A *piece* is
one chunk of one output tile of one vector tile.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product

import numpy as np

from hdl.config import Config
from hdl.isa import POSITION_BITS

from .geometry import Geometry
from .window import LayerError, Span

#: A run of things: the first one, and how many.
Run = tuple[int, int]

#: Share of the cycles in which the bus is expected to bring a word: a tiling that needs more is no good choice.
BUS_SHARE = 0.9

#: So many words cost a cycle even where loading hides behind computing: now and then it does not.
WORDS_PER_CYCLE = 16

#: Cycles that a GEMM takes beside its vectors, about.
PRODUCT_CYCLES = 16


def even(count: int, parts: int) -> tuple[Run, ...]:
    """Cuts ``count`` things into ``parts`` runs whose lengths differ by one at most."""
    bounds = [count * i // parts for i in range(parts + 1)]
    return tuple((a, b - a) for a, b in pairwise(bounds))


def slices(count: int, size: int) -> tuple[Run, ...]:
    """Cuts ``count`` things into runs of ``size``, the last maybe smaller."""
    return tuple((first, min(size, count - first)) for first in range(0, count, size))


@dataclass(frozen=True)
class OutputTile:
    """Outputs of one step, and the channels of the image that they look at."""

    outputs: Run
    channels: Run


@dataclass(frozen=True)
class Chunk:
    """Rows of taps, and channels, counted from the first of the output tile."""

    tap_rows: Run
    channels: Run


@dataclass(frozen=True)
class Taps:
    """The list of bytes that a GEMM's window is: ``rows`` rows of ``taps`` taps of ``size`` bytes."""

    size: int
    taps: int
    rows: int

    @property
    def bytes(self) -> int:
        return self.size * self.taps * self.rows

    def segments(self, line_bytes: int) -> np.ndarray:
        """int [steps]: pieces of taps in the line of each step, see :func:`sim.golden.window.segments`."""
        first = np.arange(0, self.bytes, line_bytes)
        end = np.minimum(first + line_bytes, self.bytes)
        return -(-end // self.size) - first // self.size


@dataclass(frozen=True)
class Tiling:
    """How a layer is cut.

    Attributes
    ----------
    config : Config
    geometry : Geometry
    rows, columns : tuple of Run
        Of the vector tiles: all pairs.
    outputs : tuple of OutputTile
    tap_rows : tuple of Run
        Of the chunks.
    chunk_channels : int
        Channels of a chunk; the last may have less.
    whole_pixels : bool
        All channels of the image are loaded, whatever the output tile looks at.
    """

    config: Config
    geometry: Geometry
    rows: tuple[Run, ...]
    columns: tuple[Run, ...]
    outputs: tuple[OutputTile, ...]
    tap_rows: tuple[Run, ...]
    chunk_channels: int
    whole_pixels: bool

    def chunks(self, tile: OutputTile) -> list[Chunk]:
        return [Chunk(rows, channels) for rows in self.tap_rows
                for channels in slices(tile.channels[1], self.chunk_channels)]

    def loaded_channels(self, tile: OutputTile, chunk: Chunk) -> Run:
        """Channels of the image that lie in the buffer."""
        if self.whole_pixels:
            return 0, self.geometry.channels
        return tile.channels[0] + chunk.channels[0], chunk.channels[1]

    def tap_channels(self, chunk: Chunk) -> int:
        """Bytes of the window per tap. For the maximum each tap has a step of its own, so it fills whole lines."""
        line = self.config.line_bytes
        return -(-chunk.channels[1] // line) * line if self.geometry.layer.maximum else chunk.channels[1]

    def taps(self, tile: OutputTile, chunk: Chunk, columns: Span) -> Taps:
        """A row of taps is one tap if it is one run of bytes in the buffer."""
        size, taps = self.tap_channels(chunk), self.geometry.columns.taps
        if columns.dilation == 1 and size == self.loaded_channels(tile, chunk)[1]:
            size, taps = size * taps, 1
        return Taps(size, taps, chunk.tap_rows[1])

    def steps(self, chunk: Chunk) -> int:
        return -(-self.tap_channels(chunk) * self.geometry.columns.taps * chunk.tap_rows[1] // self.config.line_bytes)

    @cached_property
    def shares_loads(self) -> bool:
        """All output tiles of a vector tile use the same activations."""
        one_chunk = len(self.tap_rows) == 1 and self.chunk_channels >= max(t.channels[1] for t in self.outputs)
        return one_chunk and (self.whole_pixels or len({t.channels for t in self.outputs}) == 1)

    @cached_property
    def loads(self) -> int:
        """How often activations are loaded."""
        chunks = len(self.tap_rows) * sum(-(-t.channels[1] // self.chunk_channels) for t in self.outputs)
        return len(self.rows) * len(self.columns) * (1 if self.shares_loads else chunks)

    @property
    def buffer_bytes(self) -> int:
        """What a load may take: half the buffer, so that the next one runs beside the computation, if there is one."""
        return self.config.act_bytes if self.loads == 1 else self.config.act_bytes // 2

    def fits(self) -> bool:
        """All loads fit the buffer, and all positions their fields."""
        most = max(t.channels[1] for t in self.outputs)
        channels = self.geometry.channels if self.whole_pixels else min(self.chunk_channels, most)
        spans = [[(axis.span(first, count, *taps), count, taps[1]) for first, count in runs for taps in chunks]
                 for axis, runs, chunks in ((self.geometry.rows, self.rows, self.tap_rows),
                                            (self.geometry.columns, self.columns, ((0, self.geometry.columns.taps),)))]
        height, width = (max(span.loaded for span, _, _ in axis) for axis in spans)
        rows, columns = (max(span.reach(count, taps) for span, count, taps in axis) for axis in spans)
        reach = max(rows * width * channels, (columns + 1) * channels)
        return height * width * channels <= self.buffer_bytes and reach < 1 << POSITION_BITS - 1

    def keeps_scales(self) -> bool:
        """No group of lanes holds weights of different scales."""
        layer, rows = self.geometry.layer, self.config.rows
        if (layer.m == layer.m[:, :1]).all() and (layer.e == layer.e[:, :1]).all():
            return True
        if layer.groups > 1 or layer.maximum:
            return False
        for chunk in self.chunks(self.outputs[0]):
            scale = lane_inputs(self.geometry, chunk) // rows
            scale = np.concatenate([scale, np.full(-len(scale) % rows, scale[-1])]).reshape(-1, rows)
            if (scale != scale[:, :1]).any():
                return False
        return True

    def cost(self, bus_share: float = BUS_SHARE) -> tuple[float, int]:
        """What tilings are compared by: estimated cycles if the bus brings a word in ``bus_share`` of all cycles, with
        an addition for every word; then the bus words read.

        A tile takes the longest of computing, loading, and storing the results of the tile before; a step as many
        cycles per vector as it has planes, or pieces of taps if they are more. Equal steps are loaded once.
        """
        rows = Counter((run[1], *(self.geometry.rows.span(*run, *taps).loaded for taps in self.tap_rows))
                       for run in self.rows)
        columns = Counter((run[1], replace(self.geometry.columns.span(*run), start=0, window=0))
                          for run in self.columns)
        cycles, words, first = 0.0, 0, 0
        for (height, *loaded_rows), (width, span) in product(rows, columns):
            count = rows[height, *loaded_rows] * columns[width, span]
            loaded = dict(zip(self.tap_rows, loaded_rows))
            for place, (tile, tiles) in enumerate(self._kinds):
                compute = loading = activations = 0
                for chunk in self.chunks(tile):
                    segments = self.taps(tile, chunk, span).segments(self.config.line_bytes)
                    compute += height * width * int(np.maximum(segments, self._planes(tile)).sum())
                    compute += PRODUCT_CYCLES * (len(segments) if self.geometry.is_uniform else 1)
                    if not self.geometry.is_uniform:
                        loading += len(segments) * self._step_words(tile)
                    activations += self._load_words(loaded[chunk.tap_rows], span, self.loaded_channels(tile, chunk)[1])
                loads = (tiles if not self.shares_loads else 1 if place == 0 else 0)
                storing = height * width * -(-tile.outputs[1] // self.config.post_lanes)
                cycles += count * tiles * max(compute, (loading + activations * loads / tiles) / bus_share, storing)
                words += count * (tiles * loading + loads * activations)
                first = first or self._step_words(tile)
        return cycles + first + self._first_words() + words / WORDS_PER_CYCLE, words

    def _first_words(self) -> int:
        """Bus words of the activations with which the first products begin."""
        geometry, rows, columns = self.geometry, self.rows[0][1], self.columns[0][1]
        row_span = geometry.rows.span(0, rows, *self.tap_rows[0])
        column_span = geometry.columns.span(0, columns)
        if rows > 1:
            height, width = row_span.needed(-(-rows // 8), self.tap_rows[0][1]), column_span.loaded
        else:
            height, width = row_span.loaded, column_span.needed(-(-columns // 8), geometry.columns.taps)
        tile = self.outputs[0]
        return -(-height * width * self.loaded_channels(tile, self.chunks(tile)[0])[1] // self.config.bus_bytes)

    @cached_property
    def _kinds(self) -> list[tuple[OutputTile, int]]:
        """One output tile of each size, and how many there are of it."""
        kinds = Counter((t.outputs[1], t.channels[1]) for t in self.outputs)
        samples = {(t.outputs[1], t.channels[1]): t for t in reversed(self.outputs)}
        return [(samples[kind], count) for kind, count in kinds.items()]

    def _load_words(self, height: int, columns: Span, channels: int) -> int:
        """Bus words of a load of activations, about: runs of bytes that are not aligned begin and end within a word."""
        bus = self.config.bus_bytes
        if channels == self.geometry.channels and columns.step == 1:
            return -(-height * columns.loaded * channels // bus) + height
        aligned = channels % bus == self.geometry.channels % bus == 0
        return height * columns.loaded * (-(-channels // bus) + (not aligned))

    def _step_words(self, tile: OutputTile) -> int:
        """Bus words of a step, about: at most."""
        config = self.config
        units = config.columns + self._planes(tile) * config.grid_k * tile.outputs[1]
        return config.header_beats + -(-units // config.units_per_beat)

    def _planes(self, tile: OutputTile) -> int:
        """Cycles that a step takes per vector, at most. If a group of lanes has one weight only, they are its bits."""
        layer = self.geometry.layer
        single = layer.group_channels == 1 and tile.channels[1] >= self.config.rows
        return max(1, self.geometry.single_planes if single else self.geometry.planes)


def lane_inputs(geometry: Geometry, chunk: Chunk) -> np.ndarray:
    """int: which of an output's inputs each byte of the window belongs to, in a layer of one group."""
    (row, rows), (channel, channels) = chunk.tap_rows, chunk.channels
    taps = np.arange(row * geometry.columns.taps, (row + rows) * geometry.columns.taps)
    return (taps[:, None] * geometry.channels + np.arange(channel, channel + channels)).reshape(-1)


def search(config: Config, geometry: Geometry) -> Tiling:
    """The tiling of least cost.

    Raises
    ------
    LayerError
        If nothing fits the configuration.
    """
    best, least, fits = None, (float("inf"), 0), False
    for loops in geometry.alternatives(config):
        for outputs in _output_tilings(config, loops):
            if loops.vectors * _lines(config, loops, outputs) * loops.single_planes > least[0]:
                continue
            for tiling in _cuts(config, loops, outputs):
                if not tiling.fits():
                    continue
                fits = True
                if tiling.keeps_scales() and (cost := tiling.cost()) < least:
                    best, least = tiling, cost
    if best is None and fits:
        raise LayerError("m and e must be the same for all inputs of an output where its inputs are not taken in their "
                         f"own order, as with {geometry.layer.groups} groups of channels on {config.name!r}")
    if best is None:
        raise LayerError("width of the window must be such that one channel of a row of it fits half of act_bytes = "
                         f"{config.act_bytes}, not {geometry.columns.taps} with dilation {geometry.columns.dilation}")
    return best


def _cuts(config: Config, geometry: Geometry, outputs: tuple[OutputTile, ...]) -> Iterator[Tiling]:
    half = config.acc_vectors // 2
    height, width = geometry.rows.outputs, geometry.columns.outputs
    most = max(t.channels[1] for t in outputs)
    for columns in _counts(width, half):
        for rows in _counts(height, half // -(-width // columns)):
            whole = Tiling(config, geometry, even(height, rows), even(width, columns), outputs,
                           ((0, geometry.rows.taps),), most, False)
            if len(outputs) > 1 and geometry.layer.groups > 1:
                yield replace(whole, whole_pixels=True)
            if whole.fits():
                yield whole
            else:
                yield from _chunked(whole, most)


def _chunked(whole: Tiling, most: int) -> Iterator[Tiling]:
    """The same with chunks of channels, and of rows of taps if even one channel does not fit."""
    config, geometry = whole.config, whole.geometry
    for tap_rows in sorted({max(1, geometry.rows.taps >> i) for i in range(8)}, reverse=True):
        cut = replace(whole, tap_rows=slices(geometry.rows.taps, tap_rows))
        pixels = (max(geometry.rows.span(*run, 0, tap_rows).loaded for run in whole.rows)
                  * max(geometry.columns.span(*run).loaded for run in whole.columns))
        room = min(most, config.act_bytes // 2 // pixels)
        if room == 0 or (geometry.layer.maximum and room < most):
            continue  # a tap of the maximum is one step
        sizes = {room // unit * unit for unit in (config.line_bytes, config.rows, 1)} - {0}
        for size in sorted({*sizes, -(-most // -(-most // room))}):
            yield replace(cut, chunk_channels=size)


def _counts(count: int, most: int) -> list[int]:
    """In how many runs to cut ``count`` things so that none is longer than ``most``: all at first, then by doubling."""
    least = -(-count // most)
    tried = {*range(least, least + 4), *(least << i for i in range(1, 20)), count}
    return sorted(n for n in tried if least <= n <= count)


def _lines(config: Config, geometry: Geometry, outputs: tuple[OutputTile, ...]) -> int:
    """Steps of a vector tile, at least."""
    taps = geometry.rows.taps * geometry.columns.taps
    return sum(-(-t.channels[1] * taps // config.line_bytes) for t in outputs)


def _output_tilings(config: Config, geometry: Geometry) -> list[tuple[OutputTile, ...]]:
    """Ways to share out the outputs: as many groups at once as fit, or fewer."""
    layer = geometry.layer
    outputs = layer.outputs // layer.groups
    limit = config.out_cols // outputs
    if layer.maximum:
        limit = min(limit, config.line_bytes // layer.group_channels)
    limit = min(limit, layer.groups)
    if limit <= 1:
        return [tuple(OutputTile((g * outputs + first, count), (g * layer.group_channels, layer.group_channels))
                      for g in range(layer.groups) for first, count in slices(outputs, config.out_cols))]

    def tiles(at_once: int) -> tuple[OutputTile, ...]:
        return tuple(OutputTile((first * outputs, count * outputs),
                                (first * layer.group_channels, count * layer.group_channels))
                     for first, count in slices(layer.groups, at_once))

    ranked = sorted(range(limit, 0, -1), key=lambda at_once: _lines(config, geometry, tiles(at_once)))
    return [tiles(at_once) for at_once in dict.fromkeys([*ranked[:3], *(limit >> i for i in range(8))]) if at_once]
