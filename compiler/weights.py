"""The packed steps of a tiled layer, and where they lie in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdl.config import Config
from hdl.layouts import Step, pack_step

from .layer import Layer, LayerError
from .tiling import Chunk, OutputTile, Run, Tiling, lane_inputs


@dataclass(frozen=True)
class Image:
    """A packed step in memory."""

    address: int
    bytes: int
    planes: int


def check(config: Config, layer: Layer):
    """Raises :class:`LayerError` if the weights or their scales are not for this configuration."""
    largest = int(layer.magnitudes.max())
    if largest >= 1 << config.planes:
        raise LayerError(f"weight magnitudes must be below 2^planes = {1 << config.planes}, not {largest}")
    groups = -(-layer.inputs // config.rows)
    if layer.m.shape[1] != groups:
        raise LayerError(f"m must have one scale per group of {config.rows} inputs, {groups}, not {layer.m.shape[1]}")


def pack(tiling: Tiling, address: int) -> tuple[list[list[list[Image]]], bytes]:
    """The images of all steps by output tile and chunk, and their bytes from ``address`` on.

    Steps follow one another as they are used; one that equals the one before is not stored again.
    """
    images: list[list[list[Image]]] = []
    stored: list[bytes] = []
    end, last = address, None
    for tile in tiling.outputs:
        images.append([])
        for chunk in tiling.chunks(tile):
            images[-1].append([])
            for step in _steps(tiling, tile, chunk):
                content = pack_step(tiling.config, step).tobytes()
                if last is None or content != stored[-1]:
                    last = Image(end, len(content), int(np.bitwise_count(step.masks).max()))
                    stored.append(content)
                    end += len(content)
                images[-1][-1].append(last)
    return images, b"".join(stored)


def packed(config: Config, layer: Layer, outputs: Run, line: Run) -> bytes:
    """The packed step of up to a line of a fully connected layer's inputs, from a multiple of ``rows`` on, and up to an
    output tile."""
    (first, count), (begin, length) = outputs, line
    chosen = slice(first, first + count)
    groups = slice(begin // config.rows, -(-(begin + length) // config.rows))
    lanes = np.zeros((config.out_cols, config.line_bytes), np.int16)
    lanes[:count, :length] = layer.weights[chosen, begin:begin + length]
    scales = np.zeros((2, config.out_cols, config.grid_k), np.uint8)
    scales[:, :count, :groups.stop - groups.start] = np.stack([layer.m, layer.e])[:, chosen, groups]
    (step,) = grid_steps(config, lanes, scales)
    return pack_step(config, step).tobytes()


def parameters(config: Config, layer: Layer, tiles: Sequence[Run]) -> bytes:
    """Bias and multiplier of runs of outputs, each padded to a whole output tile."""
    table = np.zeros((len(tiles), config.out_cols), np.dtype([("bias", "<i4"), ("multiplier", "<f4")]))
    if (r := layer.requantisation) is not None:
        for (first, count), row in zip(tiles, table):
            row["bias"][:count] = r.bias[first:first + count]
            row["multiplier"][:count] = r.multiplier[first:first + count]
    return table.tobytes()


def _steps(tiling: Tiling, tile: OutputTile, chunk: Chunk) -> list[Step]:
    config = tiling.config
    steps = tiling.steps(chunk)
    lanes = np.zeros((config.out_cols, steps * config.line_bytes), np.int16)
    window = _window(tiling, tile, chunk)
    lanes[:len(window), :window.shape[1]] = window
    scales = np.zeros((2, config.out_cols, steps * config.grid_k), np.uint8)
    scales[:, :len(window)] = _scales(tiling, tile, chunk, steps * config.grid_k)
    return grid_steps(config, lanes, scales)


def grid_steps(config: Config, lanes: np.ndarray, scales: np.ndarray) -> list[Step]:
    """The steps of an output tile.

    Parameters
    ----------
    lanes : int16 [out_cols, steps x line_bytes]
    scales : uint8 [2, out_cols, steps x grid_k]
        m and e of each group.
    """
    steps = lanes.shape[1] // config.line_bytes
    # [n, column, step, k, row] -> [step, k, n, column, row]
    grid = (config.grid_n, config.cols, steps, config.grid_k)
    weights = lanes.reshape(*grid, config.rows).transpose(2, 3, 0, 1, 4).reshape(steps, config.columns, config.rows)
    m, e = (s.reshape(grid).transpose(2, 3, 0, 1).reshape(steps, config.columns) for s in scales)
    return [Step.of_weights(*step) for step in zip(weights, m, e)]


def _window(tiling: Tiling, tile: OutputTile, chunk: Chunk) -> np.ndarray:
    """int16 [outputs, bytes of the window]: block-diagonal in a grouped layer."""
    layer, geometry = tiling.geometry.layer, tiling.geometry
    (row, rows), (channel, channels) = chunk.tap_rows, chunk.channels
    by_tap = layer.weights.reshape(layer.outputs, geometry.rows.taps, geometry.columns.taps, layer.group_channels)
    first, outputs = tile.outputs
    begin, size = tile.channels[0] + channel, layer.group_channels
    window = np.zeros((outputs, rows, geometry.columns.taps, tiling.tap_channels(chunk)), np.int16)
    per_group = layer.outputs // layer.groups
    for group in range(first // per_group, (first + outputs - 1) // per_group + 1):
        low, high = max(begin, group * size), min(begin + channels, (group + 1) * size)
        if low < high:
            mine = slice(max(first, group * per_group), min(first + outputs, (group + 1) * per_group))
            window[mine.start - first:mine.stop - first, ..., low - begin:high - begin] = \
                by_tap[mine, row:row + rows, :, low - group * size:high - group * size]
    return window.reshape(outputs, -1)


def _scales(tiling: Tiling, tile: OutputTile, chunk: Chunk, groups: int) -> np.ndarray:
    """uint8 [2, outputs, groups of lanes]: m and e."""
    layer = tiling.geometry.layer
    first, outputs = tile.outputs
    scales = np.stack([layer.m, layer.e])[:, first:first + outputs]
    if (scales == scales[..., :1]).all():
        return np.repeat(scales[..., :1], groups, axis=2)
    rows = tiling.config.rows
    of_lane = lane_inputs(tiling.geometry, chunk)[::rows] // rows
    chosen = np.zeros((2, outputs, groups), np.uint8)
    chosen[..., :len(of_lane)] = scales[..., of_lane]
    return chosen
