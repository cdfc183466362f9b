"""The geometry of a link, and its time-outs."""

from dataclasses import dataclass, fields

from ..config import Config, ConfigError, clog2, is_power_of_two

#: Bits of the unit that flits are counted in; trailer and configuration hash are one unit each.
UNIT_BITS = 64

#: Units of a flit, the trailer included, whatever the width of the link.
FLIT_UNITS = 24

#: Line words from one skip word to the next are at most this many: one in 1024 is 977 ppm, and two clocks of
#: +-300 ppm differ by 600.
SKIP_PERIOD = 1024

#: Bits of a training block on one lane, and blocks of a round.
BLOCK_BITS = 128
ROUND_BLOCKS = 16


@dataclass(frozen=True, kw_only=True)
class LinkParameters:
    """What both ends of a link are built with.

    Attributes
    ----------
    lanes : int
        Power of two, 1 to 16.
    lane_bits : int
        Bits per lane and cycle: 8, 16, 32 or 64; ``lanes x lane_bits`` from 64 to 512.
    channels : int
        Virtual channels, 1 to 4.
    replay_flits : int
        Flits that may be unacknowledged, power of two, 4 to 64. Full rate needs a round trip of less than
        ``replay_flits x flit_words`` cycles.
    receive_beats : int
        Payload beats that the receiver holds per virtual channel, power of two, 4 to 256.
    lane_timeout : int
        Cycles of the receive clock that a receiver waits, when its first lane has locked, for the others.
    training_timeout : int
        Cycles of an attempt to train, and of the exchange of HELLO flits.
    ack_timeout : int
        Cycles without progress of the acknowledgements after which flits are replayed.
    retrain_replays : int
        Replays in a row without progress after which the link retrains.
    retrain_bad_flits : int
        Bad flits, less two for each good one, after which the link retrains: that many in a row, and sooner or later if
        more than two of three are bad.

    Raises
    ------
    ConfigError
        If a field is out of range.
    """

    lanes: int = 8
    lane_bits: int = 64
    channels: int = 2
    replay_flits: int = 32
    receive_beats: int = 64
    lane_timeout: int = 4096
    training_timeout: int = 32768
    ack_timeout: int = 1024
    retrain_replays: int = 16
    retrain_bad_flits: int = 32

    def __post_init__(self):
        def require(ok: bool, name: str, rule: str):
            if not ok:
                raise ConfigError(f"{name} must be {rule}, not {getattr(self, name)!r}")

        for f in fields(self):
            value = getattr(self, f.name)
            require(isinstance(value, int) and not isinstance(value, bool), f.name, "a whole number")
        for name, low, high in (("lanes", 1, 16), ("lane_bits", 8, 64), ("replay_flits", 4, 64),
                                ("receive_beats", 4, 256)):
            value = getattr(self, name)
            require(is_power_of_two(value) and low <= value <= high, name, f"a power of two from {low} to {high}")
        for name, low, high in (("channels", 1, 4), ("lane_timeout", 64, 1 << 20), ("training_timeout", 1024, 1 << 24),
                                ("ack_timeout", 64, 1 << 20), ("retrain_replays", 2, 255),
                                ("retrain_bad_flits", 2, 255)):
            require(low <= getattr(self, name) <= high, name, f"from {low} to {high}")
        if not UNIT_BITS <= self.word_bits <= 8 * UNIT_BITS:
            raise ConfigError(f"lane_bits must make lanes x lane_bits from {UNIT_BITS} to {8 * UNIT_BITS}, "
                              f"not {self.lane_bits!r} with {self.lanes} lanes")

    @property
    def word_bits(self) -> int:
        """Bits of a line word, and of a payload beat: what all lanes carry in a cycle."""
        return self.lanes * self.lane_bits

    @property
    def units(self) -> int:
        """Units of a line word."""
        return self.word_bits // UNIT_BITS

    @property
    def unit_bits(self) -> int:
        """Width of a number of units less than a line word's; at least one."""
        return max(1, clog2(self.units))

    @property
    def flit_words(self) -> int:
        """Line words of a flit."""
        return FLIT_UNITS // self.units

    @property
    def skip_flits(self) -> int:
        """Flits from one skip word to the next."""
        return (SKIP_PERIOD - 1) // self.flit_words

    @property
    def block_words(self) -> int:
        """Lane words of a training block."""
        return BLOCK_BITS // self.lane_bits

    @property
    def round_words(self) -> int:
        """Lane words of a round of training blocks."""
        return ROUND_BLOCKS * self.block_words

    @property
    def skew_words(self) -> int:
        """Depth of the deskew buffers in lane words; lanes may differ by two words less."""
        return min(16, self.round_words // 2)


def link_parameters(config: Config, **changes: int) -> LinkParameters:
    """The link of a chip: its lanes together as wide as its bus, so that a payload beat is a bus word.

    Raises
    ------
    ConfigError
        If ``link_lanes`` is no power of two or does not fit the bus.
    """
    return LinkParameters(**({"lanes": config.link_lanes, "lane_bits": config.bus_bits // config.link_lanes} | changes))
