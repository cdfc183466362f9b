"""The numbers of the first table of `docs/link.md`."""

from dataclasses import dataclass

UNIT_BITS = 64
FLIT_UNITS = 24
BLOCK_BITS = 128
ROUND_BLOCKS = 16


@dataclass(frozen=True)
class Geometry:
    """What both ends have to agree on: lanes, bits of a lane per cycle, virtual channels.

    Raises `ValueError` for what the page does not allow.
    """

    lanes: int
    lane_bits: int
    channels: int = 2

    def __post_init__(self) -> None:
        if self.lanes not in (1, 2, 4, 8, 16):
            raise ValueError(f"lanes must be 1, 2, 4, 8 or 16, not {self.lanes}")
        if self.lane_bits not in (8, 16, 32, 64):
            raise ValueError(f"lane_bits must be 8, 16, 32 or 64, not {self.lane_bits}")
        if not 64 <= self.word_bits <= 512:
            raise ValueError(f"lanes * lane_bits must be 64 to 512, not {self.word_bits}")
        if not 1 <= self.channels <= 4:
            raise ValueError(f"channels must be 1 to 4, not {self.channels}")

    @property
    def word_bits(self) -> int:
        """Bits of a line word, and of a beat."""
        return self.lanes * self.lane_bits

    @property
    def units(self) -> int:
        """Units of a line word."""
        return self.word_bits // UNIT_BITS

    @property
    def flit_words(self) -> int:
        """Line words of a flit."""
        return FLIT_UNITS // self.units

    @property
    def skip_flits(self) -> int:
        """Flits between two skip words."""
        return 1023 // self.flit_words

    @property
    def block_cycles(self) -> int:
        """Lane words of a training block."""
        return BLOCK_BITS // self.lane_bits

    @property
    def round_cycles(self) -> int:
        """Lane words of a round of training."""
        return ROUND_BLOCKS * self.block_cycles

    @property
    def skew(self) -> int:
        """Lane words by which lanes may differ."""
        return min(16, 8 * BLOCK_BITS // self.lane_bits) - 2

    def room(self, word: int) -> int:
        """Units of payload in line word `word` of a flit: the last one ends with the trailer."""
        return self.units - (word == self.flit_words - 1)

    def most_beats(self, remainder: int) -> int:
        """How many beats can begin in a flit that begins with `remainder` units of the beat before."""
        return self.flit_words - (remainder == self.units - 1)
