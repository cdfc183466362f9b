"""What the benches of the array draw: groups, steps and activations, with the awkward ones drawn often."""

from collections.abc import Callable, Iterable, Sequence
from random import Random

import numpy as np

from hdl.cim.interfaces import bist_words, classes
from hdl.config import ACT_BITS, Config
from hdl.layouts import Step

from .deliveries import Group, groups_of

#: Kinds of groups: magnitudes uint16 [rows] as a function of generator, rows and planes.
KINDS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "empty": lambda rng, rows, planes: np.zeros(rows, np.int64),
    "dense": lambda rng, rows, planes: rng.integers(0, 1 << planes, rows),
    "maximum": lambda rng, rows, planes: np.full(rows, (1 << planes) - 1),
    "minimum": lambda rng, rows, planes: np.full(rows, 1 << planes - 1),
    "one_plane": lambda rng, rows, planes: rng.integers(0, 2, rows) << rng.integers(planes),
    "few_planes": lambda rng, rows, planes: rng.integers(0, 1 << planes, rows) & rng.integers(1 << planes)
    & rng.integers(1 << planes),
    "one_row": lambda rng, rows, planes: (np.arange(rows) == rng.integers(rows)) * rng.integers(1, 1 << planes),
    "sparse": lambda rng, rows, planes: rng.integers(0, 1 << planes, rows) * (rng.random(rows) < 0.2),
}

#: How signs are drawn: bool [rows] as a function of generator and rows. Zero magnitudes may be negative in all.
SIGNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "positive": lambda rng, rows: np.zeros(rows, bool),
    "negative": lambda rng, rows: np.ones(rows, bool),
    "mixed": lambda rng, rows: rng.random(rows) < 0.5,
}

#: Kinds of activation lanes: int [rows] as a function of generator, rows, lowest and highest.
ACTIVATIONS: dict[str, Callable[[np.random.Generator, int, int, int], np.ndarray]] = {
    "lowest": lambda rng, rows, low, high: np.full(rows, low),
    "highest": lambda rng, rows, low, high: np.full(rows, high),
    "extremes": lambda rng, rows, low, high: rng.choice([low, high], rows),
    "zero": lambda rng, rows, low, high: np.zeros(rows, np.int64),
    "uniform": lambda rng, rows, low, high: rng.integers(low, high + 1, rows),
}

#: Lowest and highest value of a lane.
LANE_RANGE = (-(1 << ACT_BITS - 1), (1 << ACT_BITS - 1) - 1)


def draw_step(rng: np.random.Generator, config: Config, columns: int, *, kinds: Sequence[str] | None = None,
              signs: Sequence[str] | None = None, planes: int | None = None, hollow: float = 0.1, largest_e: int = 31
              ) -> list[Group]:
    """Groups of ``columns`` columns.

    Parameters
    ----------
    kinds, signs : sequence of str
        What to draw each column's from, of :data:`KINDS` and :data:`SIGNS`; all by default.
    planes : int
        Magnitude bits to draw from, by default all.
    hollow : float
        Probability that a column also stores planes that have no bit set.
    largest_e : int
        Of the scales.
    """
    planes = planes or config.planes
    magnitude, negative = [], []
    for _ in range(columns):
        kind = KINDS[rng.choice(list(kinds or KINDS))]
        magnitude.append(kind(rng, config.rows, planes).astype(np.uint16))
        negative.append(SIGNS[rng.choice(list(signs or SIGNS))](rng, config.rows))
    e = np.where(rng.random(columns) < 0.3, 0, rng.integers(0, largest_e + 1, columns)).astype(np.uint8)
    m = np.where(rng.random(columns) < 0.3, 0, rng.integers(0, 8, columns)).astype(np.uint8)
    masks = np.where(rng.random(columns) < hollow, rng.integers(0, 1 << planes, columns), 0)
    return groups_of(Step(np.array(magnitude), np.array(negative), m, e), masks)


def draw_lanes(rng: np.random.Generator, rows: int, *, low: int = LANE_RANGE[0], high: int = LANE_RANGE[1]
               ) -> np.ndarray:
    """Activation lanes of one vector, int16 [rows], of any kind."""
    return ACTIVATIONS[rng.choice(list(ACTIVATIONS))](rng, rows, low, high).astype(np.int16)


def draw_garbage(random: Random, config: Config, members: int) -> list[dict]:
    """Bus words that fill every cell of the ``members`` columns of every class, by deliveries that no loader makes."""
    bits = random.getrandbits

    def delivery(member: int) -> dict:
        group = {"mask": bits(config.planes), "m": bits(3), "e": bits(5), "first_slot": bits(8)}
        return {"valid": 1, "member": member, "first": 1, "lane_mask": (1 << config.units_per_beat) - 1,
                "sign": bits(config.rows), "group": group, "constant": bits(config.constant_bits)}

    return [{"load": {"row": row, "lanes": bits(config.bus_bits)},
             "deliveries": [delivery(member) for _ in range(classes(config))]}
            for row in range(config.slots // config.units_per_beat) for member in range(members)]


def draw_repair(random: Random, cols: int, spare_cols: int) -> list[int]:
    """A repair map: ascending, ``cols`` where a spare is not used."""
    return sorted(random.choice([cols, random.randrange(cols)]) for _ in range(spare_cols))


def draw_gap(random: Random, probability: float) -> Callable[[], int]:
    """Draws numbers of idle cycles, zero but with that probability."""
    return lambda: random.randrange(1, 4) if random.random() < probability else 0


def draw_reads(random: Random, config: Config, count: int) -> list[dict]:
    """BIST reads of any words."""
    return [{"column": random.randrange(config.physical_cols), "read_bank": random.randrange(2),
             "word": random.randrange(bist_words(config)), "compute": random.randrange(2)} for _ in range(count)]


def every_word(config: Config, columns: Iterable[int]) -> list[dict]:
    """BIST reads of all words of both banks of physical columns."""
    return [{"column": column, "read_bank": bank, "word": word, "compute": 0}
            for column in columns for bank in range(2) for word in range(bist_words(config))]


def written_words(config: Config, columns: Iterable[int], draw: Callable[[int, int, int], int]
                  ) -> list[tuple[dict, int]]:
    """BIST writes of all words of both banks of physical columns, of values ``draw(column, bank, word)``."""
    return [({"column": column, "write_bank": bank, "word": word}, draw(column, bank, word))
            for column in columns for bank in range(2) for word in range(bist_words(config))]


def most_planes(groups: Sequence[Group]) -> int:
    """Stored planes of the fullest column."""
    return max(len(group.planes) for group in groups)


def bit_sliced(lanes: np.ndarray) -> list[int]:
    """The words of a macro's ``act`` ports."""
    bits = (lanes.astype(np.int64)[None, :] >> np.arange(ACT_BITS)[:, None]) & 1
    packed = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def from_bit_sliced(words: Sequence[int], rows: int) -> np.ndarray:
    """The opposite of :func:`bit_sliced`, int16 [rows]."""
    raw = np.frombuffer(b"".join(word.to_bytes(rows // 8, "little") for word in words), np.uint8)
    bits = np.unpackbits(raw.reshape(ACT_BITS, rows // 8), axis=1, bitorder="little").astype(np.int16)
    value = (bits << np.arange(ACT_BITS, dtype=np.int16)[:, None]).sum(axis=0)
    return ((value ^ 1 << ACT_BITS - 1) - (1 << ACT_BITS - 1)).astype(np.int16)
