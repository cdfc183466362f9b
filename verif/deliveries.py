"""The loader in software: a step as bus words, and as the deliveries that its columns must receive.

Written from the formats and from the contract of the load port, not from the loader; plain whole numbers, one unit
(sign word or plane) each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from hdl.cim.interfaces import classes
from hdl.config import Config
from hdl.layouts import Step, header_layout

from .layout import Codec


@dataclass(frozen=True)
class Group:
    """One column's part of a step, as stored.

    Attributes
    ----------
    mask : int
        Magnitude bits that are stored; a stored plane may have no bit set.
    m, e : int
        Scale.
    sign : int
        Sign word.
    planes : tuple of int
        Stored planes by ascending bit.
    """

    mask: int
    m: int
    e: int
    sign: int
    planes: tuple[int, ...]

    @property
    def units(self) -> tuple[int, ...]:
        return (self.sign, *self.planes)

    @property
    def bits(self) -> tuple[int, ...]:
        """The magnitude bit of each stored plane."""
        return tuple(bit for bit in range(self.mask.bit_length()) if self.mask >> bit & 1)

    @property
    def constants(self) -> tuple[int, ...]:
        """The negation constant after each unit."""
        weights = (0, *(1 << bit for bit in self.bits))
        counts = [(unit & self.sign).bit_count() * weight for unit, weight in zip(self.units, weights)]
        return tuple(sum(counts[:i + 1]) for i in range(len(counts)))


def word_of(bits: np.ndarray) -> int:
    """A unit of booleans by row as a number, row 0 lowest."""
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def rows_of(word: int, rows: int) -> np.ndarray:
    """A unit as booleans by row, bool [rows]."""
    return np.unpackbits(np.frombuffer(word.to_bytes(rows // 8, "little"), np.uint8), bitorder="little").astype(bool)


def groups_of(step: Step, masks: np.ndarray | None = None) -> list[Group]:
    """The groups of a step in grid order; ``masks`` may store planes that have no bit set."""
    stored = step.masks if masks is None else np.asarray(masks) | step.masks
    groups = []
    for magnitude, negative, m, e, mask in zip(step.magnitude, step.negative, step.m, step.e, stored):
        bits = [bit for bit in range(int(mask).bit_length()) if mask >> bit & 1]
        planes = tuple(word_of(magnitude >> bit & 1) for bit in bits)
        groups.append(Group(int(mask), int(m), int(e), word_of(negative), planes))
    return groups


def step_of(config: Config, groups: Sequence[Group]) -> Step:
    """The step that groups store."""
    magnitude = np.zeros((len(groups), config.rows), np.uint16)
    for column, group in enumerate(groups):
        for bit, plane in zip(group.bits, group.planes):
            magnitude[column] |= rows_of(plane, config.rows).astype(np.uint16) << np.uint16(bit)
    return Step(magnitude, np.array([rows_of(g.sign, config.rows) for g in groups]),
                np.array([g.m for g in groups], np.uint8), np.array([g.e for g in groups], np.uint8))


def step_words(config: Config, groups: Sequence[Group], filling: Random | None = None) -> list[int]:
    """The bus words of a step; ``filling`` draws the bits that nobody reads, which else are zero."""
    codec = Codec(header_layout(config))
    padding = codec.unpack((1 << codec.bits) - 1)["padding"]

    def spare(limit: int) -> int:
        return filling.randint(0, limit) if filling else 0

    headers = [codec.pack({"mask": g.mask, "scale": {"m": g.m, "e": g.e}, "padding": spare(padding)}) for g in groups]
    units = [unit for group in groups for unit in group.units]
    units += [spare((1 << config.rows) - 1) for _ in range(-len(units) % config.units_per_beat)]
    return _words(headers, config.header_bits, config.bus_bits) + _words(units, config.rows, config.bus_bits)


def headers_of(config: Config, words: Sequence[int]) -> list[dict]:
    """The headers of a step, from its first bus words."""
    codec = Codec(header_layout(config))
    return [codec.unpack(bits) for bits in _pieces(words[:config.header_beats], config.header_bits, config.bus_bits)]


def beats_of(config: Config, words: Sequence[int]) -> int:
    """How many bus words the step has whose headers these words begin with."""
    units = sum(1 + header["mask"].bit_count() for header in headers_of(config, words))
    return config.header_beats + -(-units // config.units_per_beat)


def groups_of_words(config: Config, words: Sequence[int]) -> list[Group]:
    """The groups of the step that these bus words are."""
    units = iter(_pieces(words[config.header_beats:], config.rows, config.bus_bits))
    return [Group(header["mask"], header["scale"]["m"], header["scale"]["e"], next(units),
                  tuple(next(units) for _ in range(header["mask"].bit_count())))
            for header in headers_of(config, words)]


def column_deliveries(config: Config, group: Group, start: int) -> dict[int, dict]:
    """What a column whose sign word is unit ``start`` of its step receives: bus word of units -> delivery.

    A delivery has the members of :func:`~hdl.cim.interfaces.delivery_signature` but ``member``.
    """
    per_beat, units = config.units_per_beat, group.units
    deliveries: dict[int, dict] = {}
    for number, constant in enumerate(group.constants):
        beat, lane = divmod(start + number, per_beat)
        delivery = deliveries.setdefault(beat, {
            "valid": 1, "first": 0, "lane_mask": 0, "sign": units[0],
            "group": {"mask": group.mask, "m": group.m, "e": group.e, "first_slot": (start + 1) % config.slots},
        })
        if number == 0:
            delivery["first"] = 1
        else:
            delivery["lane_mask"] |= 1 << lane
        delivery["constant"] = constant
    return deliveries


def step_loads(config: Config, groups: Sequence[Group], filling: Random | None = None) -> list[dict]:
    """Ports ``load`` (but ``bank``) and ``deliveries`` per bus word of units."""
    words = step_words(config, groups, filling)[config.header_beats:]
    count = classes(config)
    loads: list[dict] = [{"load": {"row": beat % (config.slots // config.units_per_beat), "lanes": word},
                          "deliveries": [{"valid": 0} for _ in range(count)]} for beat, word in enumerate(words)]
    start = 0
    for column, group in enumerate(groups):
        for beat, delivery in column_deliveries(config, group, start).items():
            deliveries = loads[beat]["deliveries"]
            assert not deliveries[column % count]["valid"], "two columns of a class in one bus word"
            deliveries[column % count] = delivery | {"member": column // count}
        start += len(group.units)
    return loads


def _words(pieces: Sequence[int], width: int, word_width: int) -> list[int]:
    """Pieces put together to words, the first lowest."""
    per_word = word_width // width
    return [sum(piece << i * width for i, piece in enumerate(pieces[at:at + per_word]))
            for at in range(0, len(pieces), per_word)]


def _pieces(words: Sequence[int], width: int, word_width: int) -> list[int]:
    """The opposite of :func:`_words`."""
    return [word >> low & (1 << width) - 1 for word in words for low in range(0, word_width, width)]
