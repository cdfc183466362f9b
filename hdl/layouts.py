"""Bit layouts of everything that crosses memory besides instructions, and the packing of a step.

All memory is little-endian: bit ``i`` of a bus word is bit ``i mod 8`` of byte ``i // 8``. Row ``r`` of a unit (sign
word or plane) is bit ``r`` of that unit. ``docs/formats.md`` describes the packed step for people who write a
decoder.
"""

from dataclasses import dataclass

import numpy as np
from amaranth.lib import data

from .config import Config


def scale_layout() -> data.StructLayout:
    """A group's scale ``F = (8 + m) * 2^(e - 3)``; plain integers have ``m = 0, e = 0``, which is 1."""
    return data.StructLayout({"m": 3, "e": 5})


def header_layout(config: Config) -> data.StructLayout:
    """Header of a group: which magnitude bits are stored, and the scale; the padding is zero."""
    return data.StructLayout({
        "mask": config.planes,
        "scale": scale_layout(),
        "padding": config.header_bits - config.planes - config.scale_bits,
    })


def parameter_layout() -> data.StructLayout:
    """Requantisation parameters of one output channel; ``multiplier`` is an IEEE binary32."""
    return data.StructLayout({"bias": 32, "multiplier": 32})


PARAMETER_BYTES = parameter_layout().size // 8


@dataclass(frozen=True)
class Step:
    """The weights of one bank of the whole grid, unpacked.

    Attributes
    ----------
    magnitude : uint16 [columns, rows]
        Magnitudes, below ``2^planes``; columns in grid order.
    negative : bool [columns, rows]
        Signs. A zero magnitude may be negative; it still is zero.
    m, e : uint8 [columns]
        Group scales.
    """

    magnitude: np.ndarray
    negative: np.ndarray
    m: np.ndarray
    e: np.ndarray

    @classmethod
    def of_weights(cls, weights: np.ndarray, m=0, e=0) -> "Step":
        """A step of signed integer weights ``[columns, rows]``, with one scale per column or one for all."""
        weights = np.asarray(weights)
        columns = weights.shape[0]
        return cls(np.abs(weights.astype(np.int64)).astype(np.uint16), weights < 0,
                   np.broadcast_to(np.uint8(m), columns).copy(), np.broadcast_to(np.uint8(e), columns).copy())

    @property
    def masks(self) -> np.ndarray:
        """uint16 [columns]: the magnitude bits that are set anywhere in the group, which are the planes stored."""
        return np.bitwise_or.reduce(self.magnitude, axis=1)

    @property
    def weights(self) -> np.ndarray:
        """int64 [columns, rows]: signed integers, the scale not applied."""
        magnitude = self.magnitude.astype(np.int64)
        return np.where(self.negative, -magnitude, magnitude)


def column_starts(masks: np.ndarray) -> np.ndarray:
    """int64 [columns]: the unit in which each column's sign word stands, counted from the first."""
    lengths = 1 + np.bitwise_count(np.asarray(masks, np.uint16)).astype(np.int64)
    return np.cumsum(lengths) - lengths


def step_units(masks: np.ndarray) -> int:
    """Sign words and planes of a step with these masks."""
    return int(len(masks) + np.bitwise_count(np.asarray(masks, np.uint16)).sum())


def step_beats(config: Config, masks: np.ndarray) -> int:
    """Bus words of a step with these masks."""
    return config.header_beats + -(-step_units(masks) // config.units_per_beat)


def pack_step(config: Config, step: Step) -> np.ndarray:
    """The bytes of a step as they lie in memory, a whole number of bus words, uint8.

    Raises
    ------
    ValueError
        If the shape is not the grid's or a magnitude or scale does not fit its field.
    """
    shape = (config.columns, config.rows)
    if step.magnitude.shape != shape:
        raise ValueError(f"a step of {config.name!r} is {shape[0]} columns x {shape[1]} rows, "
                         f"not {' x '.join(map(str, step.magnitude.shape))}")
    if step.magnitude.max() >= 1 << config.planes:
        raise ValueError(f"weight magnitudes must be below 2^planes = {1 << config.planes}, "
                         f"not {int(step.magnitude.max())}")
    masks = step.masks
    bits = np.arange(config.planes)
    stored = (masks[:, None] >> bits) & 1 == 1
    planes = (step.magnitude[:, None, :] >> bits[:, None]) & 1  # [columns, planes, rows]
    units = np.concatenate([step.negative[:, None, :], planes.astype(bool)], axis=1)
    units = units[np.concatenate([np.ones((config.columns, 1), bool), stored], axis=1)]  # [units, rows], in order

    layout = header_layout(config)
    headers = (masks.astype(np.uint32) << layout["mask"].offset
               | step.m.astype(np.uint32) << layout["scale"].offset + scale_layout()["m"].offset
               | step.e.astype(np.uint32) << layout["scale"].offset + scale_layout()["e"].offset)
    header_bytes = headers.astype(f"<u{config.header_bits // 8}").view(np.uint8)
    unit_bytes = np.packbits(units, axis=1, bitorder="little").reshape(-1)
    padding = -len(unit_bytes) % config.bus_bytes
    return np.concatenate([header_bytes, unit_bytes, np.zeros(padding, np.uint8)])


def unpack_step(config: Config, image: np.ndarray) -> tuple[Step, int]:
    """The step that begins an image (uint8), and its length in bytes.

    Raises
    ------
    ValueError
        If the image ends before the step does.
    """
    layout = header_layout(config)
    header_bytes = config.header_beats * config.bus_bytes
    if len(image) < header_bytes:
        raise ValueError(f"the image must hold the step's {header_bytes} bytes of headers, not {len(image)} bytes")
    headers = image[:header_bytes].view(f"<u{config.header_bits // 8}").astype(np.uint32)
    masks = (headers >> layout["mask"].offset) & (1 << config.planes) - 1
    scale = headers >> layout["scale"].offset
    length = step_beats(config, masks) * config.bus_bytes
    if len(image) < length:
        raise ValueError(f"the image must hold the step's {length} bytes, not {len(image)} bytes")
    units = np.unpackbits(image[header_bytes:length].reshape(-1, config.rows // 8), axis=1, bitorder="little")
    starts = column_starts(masks)
    magnitude = np.zeros((config.columns, config.rows), np.uint16)
    rank = np.zeros(config.columns, np.int64)
    for bit in range(config.planes):
        stored = (masks >> bit) & 1 == 1
        rank[stored] += 1
        magnitude[stored] |= units[(starts + rank)[stored]].astype(np.uint16) << bit
    m = (scale >> scale_layout()["m"].offset) & 7
    e = (scale >> scale_layout()["e"].offset) & 31
    return Step(magnitude, units[starts].astype(bool), m.astype(np.uint8), e.astype(np.uint8)), length
