"""Instructions: one fixed 64-byte record each, little-endian, decoded by :mod:`hdl.ipu.decode`.

Every instruction begins with the same eight bytes: opcode, and the dependency tokens. There is a token counter for each
ordered pair of queues. An instruction starts when it can take one token from each queue named in ``wait``, and gives
one token to each queue named in ``signal`` when it has completed; bit ``i`` names queue ``i``. Queues run at once and
are ordered only by tokens; the instructions of one queue run in program order.
"""

import enum
from dataclasses import dataclass

from amaranth.hdl import Const
from amaranth.lib import data

from .config import ACT_BITS, ADDR_BITS, INSTRUCTION_BYTES, Config


class Queue(enum.IntEnum):
    """Queues of the IPU. VECTOR and LINK are reserved."""
    LOAD = 0
    COMPUTE = 1
    STORE = 2
    VECTOR = 3
    LINK = 4


#: Queues that this hardware has.
QUEUES = (Queue.LOAD, Queue.COMPUTE, Queue.STORE)


class Opcode(enum.IntEnum):
    """Zero is no instruction, so that cleared memory does not execute."""
    LOAD_WEIGHTS = 0x01
    LOAD_ACTIVATIONS = 0x02
    LOAD_PARAMETERS = 0x03
    GEMM = 0x10
    STORE = 0x20


class OutputFormat(enum.IntEnum):
    """What STORE writes per result."""
    INT32 = 0
    INT8 = 1
    UINT8 = 2


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

#: Fields that follow the head, at byte 8, by opcode. What they leave of the record must be zero.
FIELDS: dict[Opcode, dict[str, Field]] = {
    Opcode.LOAD_WEIGHTS: {
        "address": Field(64, "first byte of the first step; a multiple of the bus width"),
        "beats": Field(32, "bus words of all steps together"),
        "steps": Field(32, "consecutive steps, at least 1"),
    },
    Opcode.LOAD_ACTIVATIONS: {
        "address": Field(64, "first byte; a multiple of the bus width"),
        "stride": Field(32, "bytes from one row to the next in memory; a multiple of the bus width"),
        "rows": Field(16, "rows to load, at least 1"),
        "row_beats": Field(16, "bus words per row, at least 1"),
        "buffer_beat": Field(32, "first bus word of the activation buffer to write"),
        "buffer_stride": Field(32, "bus words from one row to the next in the buffer"),
    },
    Opcode.LOAD_PARAMETERS: {
        "address": Field(64, "first byte; a multiple of the bus width"),
        "channels": Field(16, "channels to load; whole bus words of 8-byte parameters"),
        "channel": Field(16, "first entry of the parameter memory to write; starts a bus word"),
    },
    Opcode.GEMM: {
        "steps": Field(16, "steps to consume: the K loop, at least 1"),
        "vectors": Field(16, "vectors per step, at least 1"),
        "act_line": Field(32, "activation buffer line of the first vector's first step"),
        "act_vector_stride": Field(16, "lines from one vector to the next"),
        "act_step_stride": Field(16, "lines from one step to the next"),
        "acc_vector": Field(16, "first accumulator vector"),
        "accumulate": Field(1, "1: add to the accumulators; 0: start from zero"),
        "act_signed": Field(1, "activations are int8 (1) or uint8 (0)"),
        "keep": Field(1, "1: the weights of the last step stay, and the next GEMM begins with them"),
        "padding": Field(5, "zero"),
        "zero_point": Field(8, "subtracted from each activation; of the activations' type"),
    },
    Opcode.STORE: {
        "address": Field(64, "first byte written; a multiple of the bus width"),
        "stride": Field(32, "bytes from one vector to the next; a multiple of the bus width"),
        "vectors": Field(16, "vectors to store, at least 1"),
        "channels": Field(16, "results per vector, from output channel 0 of the step on"),
        "acc_vector": Field(16, "first accumulator vector"),
        "channel": Field(16, "parameter memory entry of the first result"),
        "format": Field(8, "0 int32 (accumulator as it is), 1 int8, 2 uint8"),
        "padding": Field(8, "zero"),
        "zero_point": Field(16, "added after rounding", signed=True),
        "low": Field(16, "smallest result, within the format", signed=True),
        "high": Field(16, "largest result, within the format", signed=True),
    },
}

#: Queue that executes each opcode.
QUEUE_OF = {
    Opcode.LOAD_WEIGHTS: Queue.LOAD,
    Opcode.LOAD_ACTIVATIONS: Queue.LOAD,
    Opcode.LOAD_PARAMETERS: Queue.LOAD,
    Opcode.GEMM: Queue.COMPUTE,
    Opcode.STORE: Queue.STORE,
}


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

    def encode(self) -> bytes:
        """The 64 bytes."""
        head = {"opcode": self.opcode, "wait": sum(1 << q for q in self.wait),
                "signal": sum(1 << q for q in self.signal)}
        value: Const = instruction_layout(self.opcode).const(
            {"head": head, "body": {name: int(value) for name, value in self.fields.items()}}).as_value()
        return (value.value & (1 << 8 * INSTRUCTION_BYTES) - 1).to_bytes(INSTRUCTION_BYTES, "little")

    @classmethod
    def decode(cls, record: bytes) -> "Instruction":
        """The instruction of a 64-byte record.

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
        queues = sum(1 << q for q in QUEUES)
        if (head.wait | head.signal) & ~queues:
            raise ValueError(f"{opcode.name} names a queue that does not exist")
        return cls(opcode, {name: body[name] for name in FIELDS[opcode]},
                   tuple(q for q in QUEUES if head.wait >> q & 1), tuple(q for q in QUEUES if head.signal >> q & 1))


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
    if "address" in FIELDS[f.opcode]:
        require(f["address"] % bus == 0 and f["address"] < 1 << ADDR_BITS, "address",
                f"a multiple of {bus} below 2^{ADDR_BITS}")
    match f.opcode:
        case Opcode.LOAD_WEIGHTS:
            require(f["steps"] > 0, "steps", "at least 1")
            require(f["beats"] > 0, "beats", "at least 1")
        case Opcode.LOAD_ACTIVATIONS:
            require(f["stride"] % bus == 0, "stride", f"a multiple of {bus}")
            require(f["rows"] > 0, "rows", "at least 1")
            require(f["row_beats"] > 0, "row_beats", "at least 1")
            last = f["buffer_beat"] + (f["rows"] - 1) * f["buffer_stride"] + f["row_beats"]
            require(last <= config.act_bytes // bus, "buffer_beat",
                    f"such that the last row ends in the buffer's {config.act_bytes // bus} bus words")
        case Opcode.LOAD_PARAMETERS:
            per_beat = 8 * bus // 64
            require(f["channels"] > 0 and f["channels"] % per_beat == 0, "channels", f"a multiple of {per_beat}, not 0")
            require(f["channel"] % per_beat == 0, "channel", f"a multiple of {per_beat}")
            require(f["channel"] + f["channels"] <= parameter_entries(config), "channel",
                    f"such that the last is below {parameter_entries(config)}")
        case Opcode.GEMM:
            require(f["steps"] > 0, "steps", "at least 1")
            require(f["vectors"] > 0, "vectors", "at least 1")
            require(f["acc_vector"] + f["vectors"] <= config.acc_vectors, "acc_vector",
                    f"such that the last is below {config.acc_vectors}")
            last = (f["act_line"] + (f["vectors"] - 1) * f["act_vector_stride"]
                    + (f["steps"] - 1) * f["act_step_stride"])
            require(last < config.act_lines, "act_line", f"such that the last is below {config.act_lines}")
            require(f["padding"] == 0, "padding", "0")
        case Opcode.STORE:
            require(f["stride"] % bus == 0, "stride", f"a multiple of {bus}")
            require(f["vectors"] > 0, "vectors", "at least 1")
            require(0 < f["channels"] <= config.out_cols, "channels", f"from 1 to {config.out_cols}")
            require(f["acc_vector"] + f["vectors"] <= config.acc_vectors, "acc_vector",
                    f"such that the last is below {config.acc_vectors}")
            require(f["channel"] % config.post_lanes == 0
                    and f["channel"] + f["channels"] <= parameter_entries(config), "channel",
                    f"a multiple of {config.post_lanes} and such that the last is below {parameter_entries(config)}")
            require(f["format"] in list(OutputFormat), "format", "0, 1 or 2")
            require(f["padding"] == 0, "padding", "0")
            if f["format"] in (OutputFormat.INT8, OutputFormat.UINT8):
                low, high = format_range(OutputFormat(f["format"]))
                require(low <= f["low"] <= f["high"], "low", f"from {low} to high")
                require(f["high"] <= high, "high", f"up to {high}")
    return broken


def activation_range(signed: bool) -> tuple[int, int]:
    """Smallest and largest activation of a type; a lane after the zero point has :data:`ACT_BITS` bits."""
    assert ACT_BITS == 9
    return (-128, 127) if signed else (0, 255)
