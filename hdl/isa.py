"""Instructions: one fixed 64-byte record each, little-endian, decoded by :mod:`hdl.ipu.decode`.

Every instruction begins with the same eight bytes: opcode, and the dependency tokens. There is a token counter for each
ordered pair of queues. An instruction starts when it can take one token from each queue named in ``wait``, and gives
one token to each queue named in ``signal`` when it has completed; bit ``i`` names queue ``i``. Queues run at once and
are ordered only by tokens; the instructions of one queue start and complete in program order, but the next one may
start before the one before has completed. STORE and SEND give tokens to the queues named in their ``release`` as
well, as soon as they have read what they need: from the chip, and from memory.

A GEMM walks a *window* over the activation buffer. Positions are a column ``x`` and a row ``y``, both in bytes, so that
the byte at (x, y) is at buffer address ``act_address + x + y``, modulo the buffer; it is padding unless
``0 <= x < x_end`` and ``0 <= y < y_end``. The window of vector ``i`` in row ``r`` of vectors is at
``(x + i * x_stride, y + r * y_stride)``; it is a list of bytes: for each of ``tap_rows`` rows of taps, for each of its
``taps`` taps, ``tap_bytes`` consecutive bytes. Step ``s`` takes ``line_bytes`` of that list, from
``s * line_bytes`` after the first byte on; what is beyond its end is padding. A matrix product is a window of one tap.
"""

import enum
from dataclasses import dataclass

from amaranth.hdl import Const
from amaranth.lib import data

from .config import ACT_BITS, ADDR_BITS, INSTRUCTION_BYTES, Config
from .csr import SEMAPHORES


class Queue(enum.IntEnum):
    """Queues of the IPU. LINK and RECEIVE are there with links only; VECTOR is reserved."""
    LOAD = 0
    COMPUTE = 1
    STORE = 2
    LINK = 3
    RECEIVE = 4
    VECTOR = 5


#: Queues that every chip has.
QUEUES = (Queue.LOAD, Queue.COMPUTE, Queue.STORE)

#: Queues that a chip has besides if it has links.
LINK_QUEUES = (Queue.LINK, Queue.RECEIVE)


def queues(config: Config) -> tuple[Queue, ...]:
    """The queues of a chip: as many as the lowest bits of a mask that names queues."""
    return QUEUES + LINK_QUEUES if config.links else QUEUES


class Opcode(enum.IntEnum):
    """Zero is no instruction, so that cleared memory does not execute."""
    LOAD_WEIGHTS = 0x01
    LOAD_ACTIVATIONS = 0x02
    LOAD_PARAMETERS = 0x03
    LOAD_TABLE = 0x04
    GEMM = 0x10
    TEST = 0x18
    STORE = 0x20
    STORE_COUNTERS = 0x21
    SEND = 0x30
    RECV = 0x31


class OutputFormat(enum.IntEnum):
    """What STORE writes per result."""
    INT32 = 0
    INT8 = 1
    UINT8 = 2


class ResidualFormat(enum.IntEnum):
    """What STORE adds to each result: an 8-bit value, scaled, before rounding; or an int32, to the accumulator."""
    NONE = 0
    INT8 = 1
    UINT8 = 2
    INT32 = 3


@dataclass(frozen=True)
class Field:
    """A field of an instruction: width in bits, its meaning with unit, and whether it is a signed number."""
    bits: int
    meaning: str
    signed: bool = False


HEAD = {
    "opcode": Field(8, "which instruction"),
    "wait": Field(8, "queues to take one token from before starting"),
    "signal": Field(8, "queues to give one token to when complete"),
}

#: Entries of a lookup table, one byte each, and how many tables there are.
TABLE_ENTRIES, TABLES = 256, 2

#: Positions in the activation buffer are signed and wrap around.
POSITION_BITS = 24

#: Fields that follow the head, at byte 8, by opcode. What they leave of the record must be zero.
FIELDS: dict[Opcode, dict[str, Field]] = {
    Opcode.LOAD_WEIGHTS: {
        "address": Field(64, "first byte of the first step; a multiple of the bus width"),
        "beats": Field(32, "bus words of all steps together"),
        "steps": Field(32, "consecutive steps, at least 1"),
    },
    Opcode.LOAD_ACTIVATIONS: {
        "address": Field(64, "first byte"),
        "row_bytes": Field(24, "bytes per row, at least 1"),
        "rows": Field(16, "rows per block, at least 1"),
        "stride": Field(32, "bytes from one row to the next in memory"),
        "blocks": Field(16, "blocks of rows, at least 1"),
        "block_stride": Field(32, "bytes from one block to the next in memory"),
        "buffer_address": Field(24, "first byte of the activation buffer to write"),
        "buffer_stride": Field(24, "bytes from one row to the next in the buffer"),
        "buffer_block_stride": Field(24, "bytes from one block to the next in the buffer"),
    },
    Opcode.LOAD_PARAMETERS: {
        "address": Field(64, "first byte; a multiple of the bus width"),
        "channels": Field(16, "channels to load; whole bus words of 8-byte parameters"),
        "channel": Field(16, "first entry of the parameter memory to write; starts a bus word"),
    },
    Opcode.LOAD_TABLE: {
        "address": Field(64, f"first of {TABLE_ENTRIES} bytes; a multiple of the bus width"),
        "table": Field(8, "which table to write, 1 or 2"),
    },
    Opcode.GEMM: {
        "steps": Field(16, "steps to consume: lines of the window, at least 1"),
        "vectors": Field(16, "vectors per row of vectors, at least 1"),
        "vector_rows": Field(16, "rows of vectors, at least 1"),
        "acc_vector": Field(16, "first accumulator vector"),
        "act_address": Field(24, "activation buffer address of x = y = 0"),
        "x": Field(POSITION_BITS, "column, in bytes, of the first vector's window", signed=True),
        "y": Field(POSITION_BITS, "row, in bytes, of the first vector's window", signed=True),
        "x_stride": Field(POSITION_BITS, "from one vector to the next", signed=True),
        "y_stride": Field(POSITION_BITS, "from one row of vectors to the next", signed=True),
        "x_end": Field(24, "columns from here on, and negative ones, are padding"),
        "y_end": Field(24, "rows from here on, and negative ones, are padding"),
        "tap_bytes": Field(24, "consecutive bytes of a tap, at least 1"),
        "taps": Field(8, "taps per row of taps, at least 1"),
        "tap_rows": Field(8, "rows of taps, at least 1"),
        "tap_x_stride": Field(POSITION_BITS, "from one tap to the next", signed=True),
        "tap_y_stride": Field(POSITION_BITS, "from one row of taps to the next", signed=True),
        "first_tap": Field(8, "tap of the first row with which the first line begins"),
        "first_x": Field(POSITION_BITS, "column of that tap in the window", signed=True),
        "first_byte": Field(24, "byte of that tap with which the first line begins"),
        "accumulate": Field(1, "1: add to the accumulators; 0: start from zero"),
        "maximum": Field(1, "1: accumulators take the larger value instead of the sum"),
        "act_signed": Field(1, "activations are int8 (1) or uint8 (0)"),
        "keep": Field(1, "1: the weights of the last step stay, and the next GEMM begins with them"),
        "padding": Field(4, "zero"),
        "zero_point": Field(8, "subtracted from each activation, and the value of padding; of the activations' type"),
    },
    Opcode.TEST: {
        "macro": Field(8, "which one"),
        "begin": Field(1, "1: isolate the macro and start its compute self-test"),
        "end": Field(1, "1: wait until the test is over, and take the macro back if it has passed"),
        "padding": Field(6, "zero"),
    },
    Opcode.STORE: {
        "address": Field(64, "first byte written"),
        "vectors": Field(16, "vectors per row of vectors, at least 1"),
        "vector_rows": Field(16, "rows of vectors, at least 1"),
        "stride": Field(32, "bytes from one vector to the next"),
        "row_stride": Field(32, "bytes from one row of vectors to the next"),
        "acc_vector": Field(16, "first accumulator vector"),
        "channels": Field(16, "results per vector, from output channel 0 of the step on"),
        "channel": Field(16, "parameter memory entry of the first result"),
        "format": Field(4, "0 int32 (accumulator plus residual), 1 int8, 2 uint8"),
        "table": Field(4, "0: none; 1 or 2: 8-bit results are looked up in this table"),
        "residual": Field(4, "0: none; 1 int8 or 2 uint8: added to 8-bit results before rounding; 3 int32: added to "
                          "the accumulator"),
        "padding": Field(4, "zero"),
        "release": Field(8, "queues to give one token to when accumulators, parameters and table have been read"),
        "zero_point": Field(16, "added after rounding", signed=True),
        "low": Field(16, "smallest result, within the format", signed=True),
        "high": Field(16, "largest result, within the format", signed=True),
        "residual_address": Field(64, "first byte of the residual"),
        "residual_stride": Field(32, "bytes from one vector of the residual to the next"),
        "residual_row_stride": Field(32, "bytes from one row of vectors of the residual to the next"),
        "residual_multiplier": Field(32, "binary32 by which an 8-bit residual is multiplied; below 2^64"),
        "residual_zero_point": Field(8, "subtracted from an 8-bit residual; of its type"),
    },
    Opcode.STORE_COUNTERS: {
        "address": Field(64, "first byte written: 64-bit counters, in the order of their registers"),
    },
    Opcode.SEND: {
        "address": Field(64, "first byte read"),
        "remote_address": Field(64, "first byte written in the partner's memory; at the same place within a bus word"),
        "row_bytes": Field(24, "bytes per row, at least 1 if there are rows"),
        "rows": Field(16, "rows; 0: nothing is written"),
        "stride": Field(32, "bytes from one row to the next"),
        "remote_stride": Field(32, "the same in the partner's memory; equal modulo the bytes of a bus word"),
        "port": Field(4, "link, from 0 on"),
        "post": Field(4, "1: adds one to a semaphore of the partner when all is written there; 0: does not"),
        "semaphore": Field(8, "which one"),
        "release": Field(8, "queues to give one token to when all has been read"),
    },
    Opcode.RECV: {
        "port": Field(4, "link, from 0 on, whose partner posts"),
        "padding": Field(4, "zero"),
        "semaphore": Field(8, "which one"),
        "count": Field(16, "what it must hold, at least 1, and what is then taken off it"),
    },
}

#: Queue that executes each opcode.
QUEUE_OF = {
    Opcode.LOAD_WEIGHTS: Queue.LOAD,
    Opcode.LOAD_ACTIVATIONS: Queue.LOAD,
    Opcode.LOAD_PARAMETERS: Queue.LOAD,
    Opcode.LOAD_TABLE: Queue.LOAD,
    Opcode.GEMM: Queue.COMPUTE,
    Opcode.TEST: Queue.COMPUTE,
    Opcode.STORE: Queue.STORE,
    Opcode.STORE_COUNTERS: Queue.STORE,
    Opcode.SEND: Queue.LINK,
    Opcode.RECV: Queue.RECEIVE,
}


def opcodes(config: Config) -> tuple[Opcode, ...]:
    """The instructions that a chip knows."""
    return tuple(opcode for opcode in Opcode if QUEUE_OF[opcode] in queues(config))


def _shape(field: Field):
    from amaranth.hdl import signed, unsigned
    return signed(field.bits) if field.signed else unsigned(field.bits)


def head_layout() -> data.StructLayout:
    """The first eight bytes of every instruction."""
    members = {name: _shape(field) for name, field in HEAD.items()}
    return data.StructLayout(members | {"reserved": 64 - sum(f.bits for f in HEAD.values())})


def fields_layout(opcode: Opcode) -> data.StructLayout:
    """The fields after the head, without what is reserved."""
    return data.StructLayout({name: _shape(field) for name, field in FIELDS[opcode].items()})


def body_layout(opcode: Opcode) -> data.StructLayout:
    """The 56 bytes after the head; ``reserved`` is what the fields leave."""
    fields = fields_layout(opcode)
    return data.StructLayout(fields.members | {"reserved": 8 * INSTRUCTION_BYTES - 64 - fields.size})


def instruction_layout(opcode: Opcode) -> data.StructLayout:
    """The whole record."""
    return data.StructLayout({"head": head_layout(), "body": body_layout(opcode)})


@dataclass(frozen=True)
class Instruction:
    """One instruction as the compiler and the golden model see it.

    Parameters
    ----------
    opcode : Opcode
    fields : dict
        Values by field name; fields left out are zero.
    wait, signal : tuple of Queue
        Dependency tokens.
    """

    opcode: Opcode
    fields: dict[str, int]
    wait: tuple[Queue, ...] = ()
    signal: tuple[Queue, ...] = ()

    def __post_init__(self):
        known = FIELDS[self.opcode]
        for name, value in self.fields.items():
            if name not in known:
                raise ValueError(f"{self.opcode.name} has no field {name!r}; it has {', '.join(known)}")
            field = known[name]
            low, high = (-(1 << field.bits - 1), 1 << field.bits - 1) if field.signed else (0, 1 << field.bits)
            if not low <= value < high:
                raise ValueError(f"{self.opcode.name} {name} must be from {low} to {high - 1}, not {value!r}")

    def __getitem__(self, name: str) -> int:
        return self.fields.get(name, 0)

    @property
    def queue(self) -> Queue:
        return QUEUE_OF[self.opcode]

    @property
    def release(self) -> int:
        """Queues that get a token when the instruction has read what it needs from the chip, as a mask."""
        return self["release"]

    def encode(self) -> bytes:
        """The 64 bytes."""
        head = {"opcode": self.opcode, "wait": sum(1 << q for q in self.wait),
                "signal": sum(1 << q for q in self.signal)}
        value: Const = instruction_layout(self.opcode).const(
            {"head": head, "body": {name: int(value) for name, value in self.fields.items()}}).as_value()
        return (value.value & (1 << 8 * INSTRUCTION_BYTES) - 1).to_bytes(INSTRUCTION_BYTES, "little")

    @classmethod
    def decode(cls, record: bytes, present: tuple[Queue, ...] = QUEUES + LINK_QUEUES) -> "Instruction":
        """The instruction of a 64-byte record, for a chip with the queues ``present``.

        Raises
        ------
        ValueError
            If the opcode, a queue or a reserved bit is not allowed.
        """
        if len(record) != INSTRUCTION_BYTES:
            raise ValueError(f"an instruction is {INSTRUCTION_BYTES} bytes, not {len(record)}")
        head = head_layout().from_bits(int.from_bytes(record[:8], "little"))
        try:
            opcode = Opcode(head.opcode)
        except ValueError:
            raise ValueError(f"opcode must be one of {', '.join(f'{o:#04x}' for o in Opcode)}, "
                             f"not {head.opcode:#04x}") from None
        body = body_layout(opcode).from_bits(int.from_bytes(record[8:], "little"))
        if head.reserved or body.reserved:
            raise ValueError(f"reserved bits of {opcode.name} must be zero")
        if (head.wait | head.signal) & ~sum(1 << q for q in present):
            raise ValueError(f"{opcode.name} names a queue that does not exist")
        return cls(opcode, {name: body[name] for name in FIELDS[opcode]},
                   tuple(q for q in present if head.wait >> q & 1), tuple(q for q in present if head.signal >> q & 1))


#: Instructions whose data begin at a multiple of the bus width.
ALIGNED = (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE)

#: Fields that hold an address.
ADDRESSES = ("address", "residual_address", "remote_address")

#: First exponent field of a residual multiplier that is refused: a residual then never overflows a binary32.
RESIDUAL_EXPONENT_END = 127 + 64


def format_range(output_format: OutputFormat) -> tuple[int, int]:
    """Smallest and largest result of an 8-bit output format."""
    return {OutputFormat.INT8: (-128, 127), OutputFormat.UINT8: (0, 255)}[output_format]


def parameter_entries(config: Config) -> int:
    """Entries of the parameter memory: two tiles, so that one can be loaded while the other is used."""
    return 2 * config.out_cols


def illegal_fields(config: Config, instruction: Instruction) -> list[str]:
    """Rules of the hardware that an instruction breaks, as sentences; empty if it is legal.

    :mod:`hdl.ipu.decode` checks the same rules in the same order and stops with cause ``ILLEGAL_FIELD``.
    """
    broken = []

    def require(ok: bool, name: str, rule: str):
        if not ok:
            broken.append(f"{instruction.opcode.name} {name} must be {rule}, not {instruction[name]}")

    f = instruction
    bus = config.bus_bytes

    def counts(*names: str):
        for name in names:
            require(f[name] > 0, name, "at least 1")

    if f.opcode in ALIGNED:
        require(f["address"] % bus == 0, "address", f"a multiple of {bus}")
    for name in ADDRESSES:
        require(f[name] < 1 << ADDR_BITS, name, f"below 2^{ADDR_BITS}")
    match f.opcode:
        case Opcode.LOAD_WEIGHTS:
            counts("steps", "beats")
        case Opcode.LOAD_ACTIVATIONS:
            counts("row_bytes", "rows", "blocks")
            end = (f["buffer_address"] + (f["rows"] - 1) * f["buffer_stride"]
                   + (f["blocks"] - 1) * f["buffer_block_stride"] + f["row_bytes"])
            require(end <= config.act_bytes, "buffer_address",
                    f"such that the last row ends in the buffer's {config.act_bytes} bytes")
        case Opcode.LOAD_PARAMETERS:
            per_beat = 8 * bus // 64
            require(f["channels"] > 0 and f["channels"] % per_beat == 0, "channels", f"a multiple of {per_beat}, not 0")
            require(f["channel"] % per_beat == 0, "channel", f"a multiple of {per_beat}")
            require(f["channel"] + f["channels"] <= parameter_entries(config), "channel",
                    f"such that the last is below {parameter_entries(config)}")
        case Opcode.LOAD_TABLE:
            require(1 <= f["table"] <= TABLES, "table", f"from 1 to {TABLES}")
        case Opcode.GEMM:
            counts("steps", "vectors", "vector_rows", "tap_bytes", "taps", "tap_rows")
            require(f["acc_vector"] + f["vectors"] * f["vector_rows"] <= config.acc_vectors, "acc_vector",
                    f"such that the last is below {config.acc_vectors}")
            require(f["act_address"] < config.act_bytes, "act_address", f"below {config.act_bytes}")
            for name in ("x_end", "y_end"):
                require(f[name] <= config.act_bytes, name, f"up to {config.act_bytes}")
            require(f["first_tap"] < f["taps"], "first_tap", "below taps")
            require(f["first_byte"] < f["tap_bytes"], "first_byte", "below tap_bytes")
            require(f["padding"] == 0, "padding", "0")
        case Opcode.TEST:
            require(f["macro"] < config.macros, "macro", f"below {config.macros}")
            require(f["begin"] + f["end"] > 0, "begin", "1, or end")
            require(f["padding"] == 0, "padding", "0")
        case Opcode.STORE:
            counts("vectors", "vector_rows")
            require(0 < f["channels"] <= config.out_cols, "channels", f"from 1 to {config.out_cols}")
            require(f["acc_vector"] + f["vectors"] * f["vector_rows"] <= config.acc_vectors, "acc_vector",
                    f"such that the last is below {config.acc_vectors}")
            require(f["channel"] % config.post_lanes == 0
                    and f["channel"] + f["channels"] <= parameter_entries(config), "channel",
                    f"a multiple of {config.post_lanes} and such that the last is below {parameter_entries(config)}")
            require(f["format"] in list(OutputFormat), "format", "0, 1 or 2")
            is_int32 = f["format"] == OutputFormat.INT32
            require(f["table"] <= (0 if is_int32 else TABLES), "table", f"up to {TABLES}, and 0 with int32 results")
            residuals = [ResidualFormat.NONE, ResidualFormat.INT32] if is_int32 else list(ResidualFormat)
            require(f["residual"] in residuals, "residual", "from 0 to 3, and 0 or 3 with int32 results")
            require(f["padding"] == 0, "padding", "0")
            require(f["release"] < 1 << len(queues(config)), "release", "of queues that exist")
            scaled = f["residual"] != ResidualFormat.INT32
            require((f["residual_multiplier"] >> 23 & 0xFF) < RESIDUAL_EXPONENT_END
                    and (scaled or f["residual_multiplier"] == 0), "residual_multiplier",
                    "a binary32 below 2^64, and 0 with an int32 residual")
            require(scaled or f["residual_zero_point"] == 0, "residual_zero_point", "0 with an int32 residual")
            if f["format"] in (OutputFormat.INT8, OutputFormat.UINT8):
                low, high = format_range(OutputFormat(f["format"]))
                require(low <= f["low"] <= f["high"], "low", f"from {low} to high")
                require(f["high"] <= high, "high", f"up to {high}")
        case Opcode.SEND:
            require(f["row_bytes"] > 0 or f["rows"] == 0, "row_bytes", "at least 1")
            for name, other in (("remote_address", "address"), ("remote_stride", "stride")):
                require((f[name] - f[other]) % bus == 0, name, f"equal to {other} modulo {bus}")
            require(f["port"] < config.links, "port", f"below {config.links}")
            require(f["post"] <= 1, "post", "0 or 1")
            require(f["semaphore"] < SEMAPHORES, "semaphore", f"below {SEMAPHORES}")
            require(f["release"] < 1 << len(queues(config)), "release", "of queues that exist")
        case Opcode.RECV:
            counts("count")
            require(f["port"] < config.links, "port", f"below {config.links}")
            require(f["padding"] == 0, "padding", "0")
            require(f["semaphore"] < SEMAPHORES, "semaphore", f"below {SEMAPHORES}")
    return broken


def activation_range(signed: bool) -> tuple[int, int]:
    """Smallest and largest activation of a type; a lane after the zero point has :data:`ACT_BITS` bits."""
    assert ACT_BITS == 9
    return (-128, 127) if signed else (0, 255)
