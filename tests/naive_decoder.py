"""Packed weight steps and instructions read bit by bit, as docs/formats.md describes them.

Written from that page alone and from nothing else in the repository, so that a test which finds this module and the
packer in agreement says something about both and about the page. Clarity comes before speed everywhere.
"""

from dataclasses import dataclass

RECORD_BYTES = 64
"""Length of every instruction."""

PRESENT_QUEUES = 0b11111
"""Bits of `wait`, `signal` and `release` that name a queue which some chip has."""


@dataclass(frozen=True)
class Column:
    """One group of a step: the weights of one column, as integers before the scale `(8 + m) * 2^(e - 3)`."""

    weights: list[int]
    m: int
    e: int
    negative: list[bool]
    mask: int


@dataclass(frozen=True)
class Field:
    """Bits `high` to `low` of an instruction, both included."""

    high: int
    low: int
    name: str
    signed: bool = False


HEAD = [Field(7, 0, "opcode"), Field(15, 8, "wait"), Field(23, 16, "signal"), Field(63, 24, "reserved")]

INSTRUCTIONS: dict[int, tuple[str, list[Field]]] = {
    0x01: (
        "LOAD_WEIGHTS",
        [
            Field(127, 64, "address"),
            Field(159, 128, "beats"),
            Field(191, 160, "steps"),
            Field(511, 192, "reserved"),
        ],
    ),
    0x02: (
        "LOAD_ACTIVATIONS",
        [
            Field(127, 64, "address"),
            Field(151, 128, "row_bytes"),
            Field(167, 152, "rows"),
            Field(199, 168, "stride"),
            Field(215, 200, "blocks"),
            Field(247, 216, "block_stride"),
            Field(271, 248, "buffer_address"),
            Field(295, 272, "buffer_stride"),
            Field(319, 296, "buffer_block_stride"),
            Field(511, 320, "reserved"),
        ],
    ),
    0x03: (
        "LOAD_PARAMETERS",
        [
            Field(127, 64, "address"),
            Field(143, 128, "channels"),
            Field(159, 144, "channel"),
            Field(511, 160, "reserved"),
        ],
    ),
    0x04: (
        "LOAD_TABLE",
        [
            Field(127, 64, "address"),
            Field(135, 128, "table"),
            Field(511, 136, "reserved"),
        ],
    ),
    0x10: (
        "GEMM",
        [
            Field(79, 64, "steps"),
            Field(95, 80, "vectors"),
            Field(111, 96, "vector_rows"),
            Field(127, 112, "acc_vector"),
            Field(151, 128, "act_address"),
            Field(175, 152, "x", signed=True),
            Field(199, 176, "y", signed=True),
            Field(223, 200, "x_stride", signed=True),
            Field(247, 224, "y_stride", signed=True),
            Field(271, 248, "x_end"),
            Field(295, 272, "y_end"),
            Field(319, 296, "tap_bytes"),
            Field(327, 320, "taps"),
            Field(335, 328, "tap_rows"),
            Field(359, 336, "tap_x_stride", signed=True),
            Field(383, 360, "tap_y_stride", signed=True),
            Field(391, 384, "first_tap"),
            Field(415, 392, "first_x", signed=True),
            Field(439, 416, "first_byte"),
            Field(440, 440, "accumulate"),
            Field(441, 441, "maximum"),
            Field(442, 442, "act_signed"),
            Field(443, 443, "keep"),
            Field(447, 444, "padding"),
            Field(455, 448, "zero_point"),
            Field(511, 456, "reserved"),
        ],
    ),
    0x18: (
        "TEST",
        [
            Field(71, 64, "macro"),
            Field(72, 72, "begin"),
            Field(73, 73, "end"),
            Field(79, 74, "padding"),
            Field(511, 80, "reserved"),
        ],
    ),
    0x20: (
        "STORE",
        [
            Field(127, 64, "address"),
            Field(143, 128, "vectors"),
            Field(159, 144, "vector_rows"),
            Field(191, 160, "stride"),
            Field(223, 192, "row_stride"),
            Field(239, 224, "acc_vector"),
            Field(255, 240, "channels"),
            Field(271, 256, "channel"),
            Field(275, 272, "format"),
            Field(279, 276, "table"),
            Field(283, 280, "residual"),
            Field(287, 284, "padding"),
            Field(295, 288, "release"),
            Field(311, 296, "zero_point", signed=True),
            Field(327, 312, "low", signed=True),
            Field(343, 328, "high", signed=True),
            Field(407, 344, "residual_address"),
            Field(439, 408, "residual_stride"),
            Field(471, 440, "residual_row_stride"),
            Field(503, 472, "residual_multiplier"),
            Field(511, 504, "residual_zero_point"),
        ],
    ),
    0x21: (
        "STORE_COUNTERS",
        [
            Field(127, 64, "address"),
            Field(511, 128, "reserved"),
        ],
    ),
    0x30: (
        "SEND",
        [
            Field(127, 64, "address"),
            Field(191, 128, "remote_address"),
            Field(215, 192, "row_bytes"),
            Field(231, 216, "rows"),
            Field(263, 232, "stride"),
            Field(295, 264, "remote_stride"),
            Field(299, 296, "port"),
            Field(303, 300, "post"),
            Field(311, 304, "semaphore"),
            Field(319, 312, "release"),
            Field(511, 320, "reserved"),
        ],
    ),
    0x31: (
        "RECV",
        [
            Field(67, 64, "port"),
            Field(71, 68, "padding"),
            Field(79, 72, "semaphore"),
            Field(95, 80, "count"),
            Field(511, 96, "reserved"),
        ],
    ),
}
"""Name and fields behind the head of the instruction of each opcode, in the order of the page."""


def bit(data: bytes, index: int) -> int:
    """Bit `index` of `data`: bit `index mod 8` of byte `index // 8`, bit 0 of a byte having the value 1."""
    return data[index // 8] >> (index % 8) & 1


def number(data: bytes, low: int, width: int) -> int:
    """The unsigned number in the `width` bits of `data` from bit `low` on."""
    value = 0
    for i in range(width):
        value += bit(data, low + i) * 2**i
    return value


def decode_step(data: bytes, *, rows: int, columns: int, planes: int, bus_bits: int) -> tuple[list[Column], int]:
    """The columns of the packed step at the start of `data`, in column order, and the step's length in bytes.

    The length includes the zeros up to the end of the last bus word, which must be there. What is behind the step is
    not looked at. Padding may hold anything, as for hardware, and a stored plane may be all zero.
    """
    header_bits = 16 if planes + 8 <= 16 else 32
    if columns * header_bits % bus_bits != 0:
        raise ValueError(f"{columns} headers of {header_bits} bits do not fill whole bus words of {bus_bits} bits.")
    if bus_bits % rows != 0:
        raise ValueError(f"A unit of {rows} bits would cross the end of a bus word of {bus_bits} bits.")
    header_words = columns * header_bits // bus_bits
    if len(data) * 8 < header_words * bus_bits:
        raise ValueError(f"The headers take {header_words * bus_bits // 8} bytes, but there are only {len(data)}.")

    headers: list[tuple[int, int, int]] = []
    units = 0
    for i in range(columns):
        start = i * header_bits
        mask = number(data, start, planes)
        headers.append((mask, number(data, start + planes, 3), number(data, start + planes + 3, 5)))
        units += 1
        for b in range(planes):
            units += mask >> b & 1

    unit_words = 0
    while unit_words * bus_bits < units * rows:
        unit_words += 1
    length = (header_words + unit_words) * bus_bits // 8
    if len(data) < length:
        raise ValueError(f"The step takes {length} bytes, but there are only {len(data)}.")

    result: list[Column] = []
    position = header_words * bus_bits
    for mask, m, e in headers:
        negative: list[bool] = []
        for r in range(rows):
            negative.append(bit(data, position + r) == 1)
        position += rows
        magnitudes = [0] * rows
        for b in range(planes):
            if mask >> b & 1:
                for r in range(rows):
                    magnitudes[r] += bit(data, position + r) * 2**b
                position += rows
        weights: list[int] = []
        for r in range(rows):
            weights.append(-magnitudes[r] if negative[r] else magnitudes[r])
        result.append(Column(weights, m, e, negative, mask))
    return result, length


def decode_instruction(record: bytes) -> dict[str, int | str]:
    """The fields of an instruction by name, and its own name as `instruction`; `reserved` and `padding` are left out.

    `zero_point` of a GEMM and that of a residual are the u8 of the table whatever type they have. Refuses what no
    configuration can run because of its encoding: an unknown opcode, bits that must be zero and reserved queues. The
    rules for the values of the fields, most of which need a configuration, are not checked.
    """
    if len(record) != RECORD_BYTES:
        raise ValueError(f"An instruction is {RECORD_BYTES} bytes, not {len(record)}.")
    opcode = record[0]
    if opcode not in INSTRUCTIONS:
        raise ValueError(f"There is no opcode {opcode:#04x}.")
    name, fields = INSTRUCTIONS[opcode]
    result: dict[str, int | str] = {"instruction": name}
    for field in HEAD + fields:
        width = field.high - field.low + 1
        value = number(record, field.low, width)
        if field.signed and value >= 2 ** (width - 1):
            value -= 2**width
        if field.name in ("reserved", "padding"):
            if value != 0:
                raise ValueError(f"Bits {field.high}:{field.low} of a {name} are not zero.")
            continue
        if field.name in ("wait", "signal", "release") and value & ~PRESENT_QUEUES:
            raise ValueError(f"The field {field.name} of a {name} names a reserved queue: {value:#04x}.")
        result[field.name] = value
    return result
