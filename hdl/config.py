"""The one parameter object that builds hardware, golden model, compiler and documents.

A :class:`Config` is data: it is frozen, it is checked when it is made, and every number that follows from it is a
property of it. Named configurations are in :data:`CONFIGS`; :func:`configuration` looks one up.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace

#: Bumped whenever a format that programs depend on changes (packed steps, instructions, registers).
FORMAT_VERSION = 4

#: Magnitude of an activation lane: 9 bits, signed. int8, uint8 and either minus a zero point fit.
ACT_BITS = 9

#: Width of an accumulator and of a scaled partial sum.
ACC_BITS = 32

#: Bytes of one instruction.
INSTRUCTION_BYTES = 64

#: Width of an AXI4 address. Instruction and register fields are 64 bits wide; the upper bits must be zero.
ADDR_BITS = 40

#: Instructions that wait in front of each queue.
QUEUE_DEPTH = 8

#: AXI4 bursts end at multiples of this many bytes.
BURST_BOUNDARY = 4096

#: Longest AXI4 burst issued, in beats; one 4 KiB page of a 512-bit bus.
MAX_BURST_BEATS = 64

#: Repair registers that fit in front of those of the links.
REPAIR_REGISTERS = 128


class ConfigError(ValueError):
    """A configuration that does not exist or cannot be built; the message names the field, its value and the rule."""


def clog2(value: int) -> int:
    """Bits needed to count ``value`` different things: ``ceil(log2(value))``."""
    return (value - 1).bit_length()


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _parameter(default: int, meaning: str, allowed: str):
    """A dataclass field that carries its own line of the integration page."""
    return field(default=default, metadata={"meaning": meaning, "range": allowed})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Parameters of one chip. See ``docs/integration.md`` for the table of ranges and meanings.

    Raises
    ------
    ConfigError
        If a field is out of range or two fields do not fit each other.
    """

    name: str = field(default="custom", metadata={"meaning": "name carried by files, not part of the hash",
                                                  "range": "an identifier"})
    rows: int = _parameter(64, "lanes of a column, input channels of a group", "power of two, 8 to 256")
    cols: int = _parameter(64, "columns of a macro", "power of two, 2 to 256")
    grid_k: int = _parameter(2, "macros whose results add up", "power of two, 1 to 16")
    grid_n: int = _parameter(2, "macros side by side along the output channels", "1 to 16")
    cores: int = _parameter(1, "cores of the chip", "1 to 8")
    planes: int = _parameter(8, "bit-planes that a bank stores per column", "1 to 11")
    bus_bits: int = _parameter(512, "width of the AXI4 data bus", "64, 128, 256 or 512; rows to 8 x rows")
    acc_vectors: int = _parameter(256, "vectors that the accumulators hold", "power of two, 2 to 4096")
    act_bytes: int = _parameter(65536, "activation buffer, bytes", "power of two, at least two lines of rows x grid_k")
    post_lanes: int = _parameter(16, "post-processing results per cycle", "power of two up to bus_bits / 32")
    outstanding_reads: int = _parameter(16, "read bursts in flight per DMA channel", "power of two, 1 to 16")
    prefetch_beats: int = _parameter(128, "bus words of weights that are fetched ahead",
                                     "power of two, at least one burst of 64")
    spare_cols: int = _parameter(1, "spare columns per macro", "0 to 4")
    links: int = _parameter(0, "chip-to-chip ports", "0 to 2")
    link_lanes: int = _parameter(8, "lanes of a chip-to-chip port",
                                 "1 to 16; with links a power of two, bus_bits / 64 to bus_bits / 8")

    def __post_init__(self):
        self._check_ranges()
        self._check_fit()

    def _check_ranges(self):
        def require(ok: bool, name: str, rule: str):
            if not ok:
                raise ConfigError(f"{name} must be {rule}, not {getattr(self, name)!r}")

        for f in fields(self):
            if f.name == "name":
                require(isinstance(self.name, str) and self.name.isidentifier(), "name", "an identifier")
            else:
                value = getattr(self, f.name)
                require(isinstance(value, int) and not isinstance(value, bool), f.name, "a whole number")
        for name, low, high in (("rows", 8, 256), ("cols", 2, 256), ("grid_k", 1, 16), ("acc_vectors", 2, 4096),
                                ("outstanding_reads", 1, 16)):
            value = getattr(self, name)
            require(is_power_of_two(value) and low <= value <= high, name, f"a power of two from {low} to {high}")
        for name, low, high in (("grid_n", 1, 16), ("cores", 1, 8), ("planes", 1, 11), ("spare_cols", 0, 4),
                                ("links", 0, 2), ("link_lanes", 1, 16)):
            require(low <= getattr(self, name) <= high, name, f"from {low} to {high}")
        require(self.bus_bits in (64, 128, 256, 512), "bus_bits", "64, 128, 256 or 512")
        require(is_power_of_two(self.post_lanes) and self.post_lanes * ACC_BITS <= self.bus_bits,
                "post_lanes", f"a power of two up to bus_bits / {ACC_BITS} = {self.bus_bits // ACC_BITS}")
        require(is_power_of_two(self.prefetch_beats) and self.prefetch_beats >= MAX_BURST_BEATS,
                "prefetch_beats", f"a power of two of at least {MAX_BURST_BEATS}")
        require(is_power_of_two(self.act_bytes) and 2 * self.line_bytes <= self.act_bytes <= 1 << 22,
                "act_bytes", f"a power of two from 2 x rows x grid_k = {2 * self.line_bytes} to {1 << 22}")

    def _check_fit(self):
        if not self.rows <= self.bus_bits <= 8 * self.rows:
            raise ConfigError(f"bus_bits must be from rows to 8 x rows = {self.rows} to {8 * self.rows}, "
                              f"not {self.bus_bits!r}")
        if (self.columns * self.header_bits) % self.bus_bits:
            raise ConfigError(f"cols must make the headers of a step fill whole bus words: {self.columns} columns x "
                              f"{self.header_bits} bits is no multiple of {self.bus_bits}, with cols = {self.cols!r}")
        if self.headers_per_beat < min(self.units_per_beat, self.columns):
            raise ConfigError(f"rows must be at least the {self.header_bits} bits of a header, or the grid at most "
                              f"{self.headers_per_beat} columns, not {self.rows!r} with {self.columns} columns")
        if self.cols < min(self.units_per_beat, self.columns):
            raise ConfigError(f"cols must be at least bus_bits / rows = {self.units_per_beat}, or the whole grid one "
                              f"macro, not {self.cols!r}")
        if self.out_cols % self.post_lanes:
            raise ConfigError(f"post_lanes must divide cols x grid_n = {self.out_cols}, not {self.post_lanes!r}")
        if self.links:
            self._check_links()

    def _check_links(self):
        lane_bits = self.bus_bits / self.link_lanes
        if not (is_power_of_two(self.link_lanes) and 8 <= lane_bits <= 64):
            raise ConfigError(f"link_lanes must be a power of two that leaves each lane 8 to 64 of the {self.bus_bits} "
                              f"bits of the bus, not {self.link_lanes!r}")
        if self.macros * self.spare_cols > REPAIR_REGISTERS:
            raise ConfigError(f"links must be 0 with more than {REPAIR_REGISTERS} spare columns, not {self.links!r} "
                              f"with {self.macros * self.spare_cols}")

    # The grid

    @property
    def macros(self) -> int:
        """Macros of a core's grid."""
        return self.grid_k * self.grid_n

    @property
    def columns(self) -> int:
        """Columns of the whole grid, spares not counted. Grid order: K, then N, then column ascending."""
        return self.macros * self.cols

    @property
    def out_cols(self) -> int:
        """Output channels of a step: columns that remain after the K reduction."""
        return self.grid_n * self.cols

    @property
    def physical_cols(self) -> int:
        """Columns of a macro, spares included."""
        return self.cols + self.spare_cols

    # The packed step

    @property
    def scale_bits(self) -> int:
        return 8

    @property
    def header_bits(self) -> int:
        """Bits of a group's header: mask and scale, padded."""
        return 16 if self.planes + self.scale_bits <= 16 else 32

    @property
    def headers_per_beat(self) -> int:
        return self.bus_bits // self.header_bits

    @property
    def header_beats(self) -> int:
        """Bus words of headers at the start of a step."""
        return self.columns // self.headers_per_beat

    @property
    def units_per_beat(self) -> int:
        """Units (sign words or planes, ``rows`` bits each) in one bus word: its lanes."""
        return self.bus_bits // self.rows

    @property
    def slots(self) -> int:
        """Plane slots of a bank of a column. Unit ``u`` of a step is stored in slot ``u mod slots``, so a plane never
        leaves the lane of the bus in which it came."""
        return 1 << clog2(max(self.planes, self.units_per_beat))

    @property
    def max_units(self) -> int:
        """Most units a step can have."""
        return self.columns * (self.planes + 1)

    @property
    def max_step_beats(self) -> int:
        """Bus words of the longest step."""
        return self.header_beats + -(-self.max_units // self.units_per_beat)

    # Widths

    @property
    def row_bits(self) -> int:
        """Depth of the adder tree."""
        return clog2(self.rows)

    @property
    def sum_bits(self) -> int:
        """Signed sum of ``rows`` activation lanes."""
        return ACT_BITS + self.row_bits

    @property
    def psum_bits(self) -> int:
        """Signed, exact: ``|psum| <= rows x 256 x (2^planes - 1)``."""
        return self.sum_bits + self.planes

    @property
    def constant_bits(self) -> int:
        """Negation constant, unsigned: ``<= rows x (2^planes - 1)``."""
        return self.planes + self.row_bits

    # Buffers

    @property
    def bus_bytes(self) -> int:
        return self.bus_bits // 8

    @property
    def line_bytes(self) -> int:
        """Activation buffer line: what the grid consumes per vector."""
        return self.rows * self.grid_k

    @property
    def act_lines(self) -> int:
        return self.act_bytes // self.line_bytes

    # Identity

    @property
    def hash(self) -> int:
        """64 bits that change with every field but the name, and with the formats: programs carry it, the chip has it
        in a register, and the driver refuses a program made for another."""
        parameters = {k: v for k, v in asdict(self).items() if k != "name"}
        text = json.dumps({"format": FORMAT_VERSION} | parameters, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    def with_(self, **changes) -> "Config":
        """A copy with fields changed; it is called ``custom`` unless ``name`` is among them."""
        return replace(self, **({"name": "custom"} | changes))


_EDGE = Config(name="edge")

#: The supported configurations.
CONFIGS: dict[str, Config] = {c.name: c for c in (
    Config(name="tiny", rows=8, cols=4, grid_k=1, grid_n=1, planes=4, bus_bits=64, acc_vectors=4, act_bytes=64,
           post_lanes=2, outstanding_reads=2, prefetch_beats=64),
    Config(name="small", rows=16, cols=8, grid_k=2, grid_n=2, planes=8, bus_bits=64, acc_vectors=16, act_bytes=4096,
           post_lanes=2),
    Config(name="ulx3s", rows=64, cols=32, grid_k=1, grid_n=1, planes=8, bus_bits=64, acc_vectors=64, act_bytes=16384,
           post_lanes=2),
    _EDGE,
    _EDGE.with_(name="edge11", planes=11),
    _EDGE.with_(name="m50", planes=11, cores=2, grid_k=8, grid_n=7, act_bytes=1 << 18),
)}


def configuration(name: str) -> Config:
    """The named configuration.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    try:
        return CONFIGS[name]
    except KeyError:
        raise ConfigError(f"configuration must be one of {', '.join(CONFIGS)}, not {name!r}") from None
