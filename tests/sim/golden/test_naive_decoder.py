"""What hdl packs and encodes, read back by the decoder that was written from docs/formats.md alone."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hdl.config import Config, configuration
from hdl.isa import Instruction, Opcode, Queue
from hdl.layouts import Step, pack_step, unpack_step
from tests.naive_decoder import INSTRUCTIONS, Column, decode_instruction, decode_step

CONFIGURATIONS = ("tiny", "small", "ulx3s", "edge", "edge11")

LONGEST_STEP = {"tiny": 4, "small": 80, "ulx3s": 296, "edge": 296, "edge11": 400}
"""In bus words, from the page."""

EXAMPLE = bytes.fromhex("0300000035028801 220b380084c10501 8100000000000000")
"""The step of `tiny` that the page prints."""

EXAMPLE_WEIGHTS = [
    [1, -1, 0, 3, 2, -2, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [5, 0, -4, 0, 0, 0, 1, -1],
    [-8, 0, 0, 0, 0, 0, 0, 8],
]
EXAMPLE_M, EXAMPLE_E = [0, 0, 3, 0], [0, 0, 4, 3]

PRESENT = (Queue.LOAD, Queue.COMPUTE, Queue.STORE, Queue.LINK, Queue.RECEIVE)


@pytest.fixture(params=CONFIGURATIONS)
def config(request: pytest.FixtureRequest) -> Config:
    return configuration(request.param)


def column_count(config: Config) -> int:
    return config.grid_k * config.grid_n * config.cols


def packed(config: Config, step: Step) -> bytes:
    return np.asarray(pack_step(config, step)).tobytes()


def decoded(config: Config, data: bytes) -> tuple[list[Column], int]:
    return decode_step(
        data, rows=config.rows, columns=column_count(config), planes=config.planes, bus_bits=config.bus_bits
    )


def random_weights(config: Config, rng: np.random.Generator) -> np.ndarray:
    """Weights of which every column has its own set of planes, often the empty one, and its own sparsity."""
    columns = column_count(config)
    allowed = rng.integers(2**config.planes, size=(columns, 1)) * (rng.random((columns, 1)) < 0.8)
    kept = rng.random((columns, config.rows)) < rng.random((columns, 1))
    magnitudes = (rng.integers(2**config.planes, size=(columns, config.rows)) & allowed) * kept
    return magnitudes * rng.choice((-1, 1), size=magnitudes.shape)


def random_scales(config: Config, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(8, size=column_count(config)), rng.integers(32, size=column_count(config))


def expected_mask(weights: Sequence[int]) -> int:
    """The planes of which at least one bit is set."""
    mask = 0
    for weight in weights:
        mask |= abs(weight)
    return mask


def check(columns: list[Column], weights: Sequence[Sequence[int]], m: Sequence[int], e: Sequence[int]) -> None:
    """Columns hold exactly these weights and scales, sign bits follow the weights, and no empty plane is stored."""
    assert len(columns) == len(weights)
    for column, its_weights, its_m, its_e in zip(columns, weights, m, e):
        assert column.weights == list(its_weights)
        assert (column.m, column.e) == (its_m, its_e)
        assert column.mask == expected_mask(its_weights)
        for weight, negative in zip(column.weights, column.negative):
            assert weight == 0 or negative == (weight < 0)


@pytest.mark.parametrize("seed", range(3))
def test_random_steps_back_to_back(config: Config, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = []
    for _ in range(4):
        steps.append((random_weights(config, rng), *random_scales(config, rng)))
    images = [packed(config, Step.of_weights(weights, m=m, e=e)) for weights, m, e in steps]
    data = b"".join(images)
    position = 0
    for (weights, m, e), image in zip(steps, images):
        columns, length = decoded(config, data[position:])
        check(columns, weights.tolist(), m.tolist(), e.tolist())
        assert length == len(image)
        position += length
    assert position == len(data)


def test_one_scale_for_all_columns(config: Config) -> None:
    weights = random_weights(config, np.random.default_rng(0))
    columns, _ = decoded(config, packed(config, Step.of_weights(weights, m=5, e=19)))
    check(columns, weights.tolist(), [5] * len(columns), [19] * len(columns))


def test_example_of_the_page() -> None:
    config = configuration("tiny")
    columns, length = decoded(config, EXAMPLE)
    assert length == 24
    check(columns, EXAMPLE_WEIGHTS, EXAMPLE_M, EXAMPLE_E)
    step = Step.of_weights(np.array(EXAMPLE_WEIGHTS), m=np.array(EXAMPLE_M), e=np.array(EXAMPLE_E))
    assert packed(config, step) == EXAMPLE


def test_all_zero_groups_have_a_sign_word_and_no_plane(config: Config) -> None:
    weights = np.zeros((column_count(config), config.rows), dtype=int)
    data = packed(config, Step.of_weights(weights))
    columns, length = decoded(config, data)
    check(columns, weights.tolist(), [0] * len(columns), [0] * len(columns))
    header_bits = 16 if config.planes <= 8 else 32
    header_words = column_count(config) * header_bits // config.bus_bits
    sign_words = -(-column_count(config) * config.rows // config.bus_bits)
    assert length == len(data) == (header_words + sign_words) * config.bus_bits // 8


def test_one_all_zero_group_among_others(config: Config) -> None:
    for zero in (0, column_count(config) // 2, column_count(config) - 1):
        weights = np.ones((column_count(config), config.rows), dtype=int)
        weights[zero] = 0
        columns, _ = decoded(config, packed(config, Step.of_weights(weights, m=7, e=31)))
        check(columns, weights.tolist(), [7] * len(columns), [31] * len(columns))
        assert columns[zero].mask == 0


def test_negative_zero_is_zero_and_keeps_its_sign(config: Config) -> None:
    rng = np.random.default_rng(1)
    weights = random_weights(config, rng)
    m, e = random_scales(config, rng)
    negative = (weights < 0) | ((weights == 0) & (rng.random(weights.shape) < 0.5))
    assert (negative & (weights == 0)).any()
    columns, _ = decoded(config, packed(config, Step(abs(weights), negative, m, e)))
    check(columns, weights.tolist(), m.tolist(), e.tolist())
    assert [column.negative for column in columns] == negative.tolist()


@pytest.mark.parametrize("sign", [1, -1])
def test_largest_magnitude(config: Config, sign: int) -> None:
    """All planes of all columns: the longest step."""
    weights = np.full((column_count(config), config.rows), sign * (2**config.planes - 1))
    data = packed(config, Step.of_weights(weights, m=7, e=31))
    columns, length = decoded(config, data)
    check(columns, weights.tolist(), [7] * len(columns), [31] * len(columns))
    assert length == len(data) == LONGEST_STEP[config.name] * config.bus_bits // 8


def test_each_plane_alone(config: Config) -> None:
    """One weight per column, in a row and a plane that go round."""
    weights = np.zeros((column_count(config), config.rows), dtype=int)
    for i in range(column_count(config)):
        weights[i, i % config.rows] = (-1) ** i * 2 ** (i % config.planes)
    columns, _ = decoded(config, packed(config, Step.of_weights(weights)))
    check(columns, weights.tolist(), [0] * len(columns), [0] * len(columns))
    for i, column in enumerate(columns):
        assert column.mask == 2 ** (i % config.planes)


def test_stored_plane_of_zeros_is_accepted() -> None:
    """The page's example with plane 2 of column 1 stored, which is empty; the packer's own reader agrees."""
    config = configuration("tiny")
    data = bytes.fromhex("0300040035028801 220b38000084c105 0181000000000000")
    columns, length = decoded(config, data)
    assert length == 24
    assert [column.weights for column in columns] == EXAMPLE_WEIGHTS
    assert columns[1].mask == 0b0100
    step, _ = unpack_step(config, np.frombuffer(data, dtype=np.uint8))
    assert np.where(step.negative, -step.magnitude.astype(int), step.magnitude).tolist() == EXAMPLE_WEIGHTS


def test_padding_is_ignored() -> None:
    """Bits 15:12 of every header and what follows the last unit may hold anything."""
    data = bytearray(EXAMPLE)
    for i in range(4):
        data[2 * i + 1] |= 0xF0
    data[17:] = b"\xff" * 7
    assert decoded(configuration("tiny"), bytes(data)) == decoded(configuration("tiny"), EXAMPLE)


def test_padding_is_written_as_zeros(config: Config) -> None:
    """The filling of headers and of the last bus word is zero."""
    rng = np.random.default_rng(2)
    weights = random_weights(config, rng)
    data = packed(config, Step.of_weights(weights))
    header_bits = 16 if config.planes <= 8 else 32
    headers = column_count(config) * header_bits // 8
    for i in range(column_count(config)):
        header = int.from_bytes(data[i * header_bits // 8 : (i + 1) * header_bits // 8], "little")
        assert header >> (config.planes + 8) == 0
    units = sum(1 + expected_mask(its_weights).bit_count() for its_weights in weights.tolist())
    assert not any(data[headers + units * config.rows // 8 :])


def test_truncated_step_is_refused(config: Config) -> None:
    data = packed(config, Step.of_weights(random_weights(config, np.random.default_rng(3))))
    header_bytes = column_count(config) * (16 if config.planes <= 8 else 32) // 8
    for length in (0, 1, header_bytes - 1):
        with pytest.raises(ValueError, match=r"^The headers take \d+ bytes, but there are only \d+\.$"):
            decoded(config, data[:length])
    for length in (header_bytes, len(data) - config.bus_bits // 8, len(data) - 1):
        with pytest.raises(ValueError, match=rf"^The step takes {len(data)} bytes, but there are only {length}\.$"):
            decoded(config, data[:length])


def test_geometries_that_cannot_be_packed_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill whole bus words"):
        decode_step(bytes(64), rows=8, columns=3, planes=4, bus_bits=64)
    with pytest.raises(ValueError, match="would cross the end of a bus word"):
        decode_step(bytes(64), rows=24, columns=4, planes=4, bus_bits=64)


def random_queues(rng: np.random.Generator) -> tuple[Queue, ...]:
    return tuple(queue for queue in PRESENT if rng.random() < 0.5)


def queue_bits(queues: tuple[Queue, ...]) -> int:
    bits = 0
    for queue in queues:
        bits |= 1 << int(queue)
    return bits


Draw = Callable[..., int]


def load_weights(draw: Draw) -> dict[str, int]:
    return {"address": 64 * draw(0, 2**34 - 1), "beats": draw(1, 2**32 - 1), "steps": draw(1, 2**32 - 1)}


def load_activations(draw: Draw) -> dict[str, int]:
    return {
        "address": draw(0, 2**40 - 1),
        "row_bytes": draw(1, 2**24 - 1),
        "rows": draw(1, 2**16 - 1),
        "stride": draw(0, 2**32 - 1),
        "blocks": draw(1, 2**16 - 1),
        "block_stride": draw(0, 2**32 - 1),
        "buffer_address": draw(0, 2**24 - 1),
        "buffer_stride": draw(0, 2**24 - 1),
        "buffer_block_stride": draw(0, 2**24 - 1),
    }


def load_parameters(draw: Draw) -> dict[str, int]:
    return {
        "address": 64 * draw(0, 2**34 - 1),
        "channels": 8 * draw(1, 2**13 - 1),
        "channel": 8 * draw(0, 2**13 - 1),
    }


def load_table(draw: Draw) -> dict[str, int]:
    return {"address": 64 * draw(0, 2**34 - 1), "table": draw(1, 2)}


def gemm(draw: Draw) -> dict[str, int]:
    taps, tap_bytes = draw(1, 255), draw(1, 2**24 - 1)
    fields = {
        "steps": draw(1, 2**16 - 1),
        "vectors": draw(1, 2**16 - 1),
        "vector_rows": draw(1, 2**16 - 1),
        "acc_vector": draw(0, 2**16 - 1),
        "act_address": draw(0, 2**24 - 1),
        "x_end": draw(0, 2**24 - 1),
        "y_end": draw(0, 2**24 - 1),
        "tap_bytes": tap_bytes,
        "taps": taps,
        "tap_rows": draw(1, 255),
        "first_tap": draw(0, taps - 1),
        "first_byte": draw(0, tap_bytes - 1),
        "accumulate": draw(0, 1),
        "maximum": draw(0, 1),
        "act_signed": draw(0, 1),
        "keep": draw(0, 1),
        "zero_point": draw(0, 255),
    }
    for name in ("x", "y", "x_stride", "y_stride", "tap_x_stride", "tap_y_stride", "first_x"):
        fields[name] = draw(-(2**23), 2**23 - 1)
    return fields


def store(draw: Draw) -> dict[str, int]:
    output_format = draw(0, 2)
    smallest, largest = {0: (-(2**15), 2**15 - 1), 1: (-128, 127), 2: (0, 255)}[output_format]
    low = draw(smallest, largest)
    residual = draw(0, 3) if output_format else 3 * draw(0, 1)
    scaled = residual != 3
    return {
        "address": draw(0, 2**40 - 1),
        "vectors": draw(1, 2**16 - 1),
        "vector_rows": draw(1, 2**16 - 1),
        "stride": draw(0, 2**32 - 1),
        "row_stride": draw(0, 2**32 - 1),
        "acc_vector": draw(0, 2**16 - 1),
        "channels": draw(1, 2**16 - 1),
        "channel": draw(0, 2**16 - 1),
        "format": output_format,
        "table": draw(0, 2) if output_format else 0,
        "residual": residual,
        "release": draw(0, 31),
        "zero_point": draw(-(2**15), 2**15 - 1),
        "low": low,
        "high": draw(low, largest),
        "residual_address": draw(0, 2**40 - 1),
        "residual_stride": draw(0, 2**32 - 1),
        "residual_row_stride": draw(0, 2**32 - 1),
        "residual_multiplier": scaled * (draw(0, 1) << 31 | draw(0, 190) << 23 | draw(0, 2**23 - 1)),
        "residual_zero_point": scaled * draw(0, 255),
    }


def store_counters(draw: Draw) -> dict[str, int]:
    return {"address": draw(0, 2**40 - 1)}


def send(draw: Draw) -> dict[str, int]:
    address, stride = draw(0, 2**40 - 1), draw(0, 2**32 - 1)
    return {
        "address": address,
        "remote_address": 64 * draw(0, 2**34 - 1) + address % 64,
        "row_bytes": draw(1, 2**24 - 1),
        "rows": draw(0, 2**16 - 1),
        "stride": stride,
        "remote_stride": 64 * draw(0, 2**26 - 1) + stride % 64,
        "port": draw(0, 1),
        "post": draw(0, 1),
        "semaphore": draw(0, 15),
        "release": draw(0, 31),
    }


def recv(draw: Draw) -> dict[str, int]:
    return {"port": draw(0, 1), "semaphore": draw(0, 15), "count": draw(1, 2**16 - 1)}


RANDOM_FIELDS = {
    Opcode.LOAD_WEIGHTS: load_weights,
    Opcode.LOAD_ACTIVATIONS: load_activations,
    Opcode.LOAD_PARAMETERS: load_parameters,
    Opcode.LOAD_TABLE: load_table,
    Opcode.GEMM: gemm,
    Opcode.STORE: store,
    Opcode.STORE_COUNTERS: store_counters,
    Opcode.SEND: send,
    Opcode.RECV: recv,
}
"""For each opcode, field values that are legal for a bus of 64 bytes and memories that are large enough."""


def drawn(opcode: Opcode, rng: np.random.Generator) -> dict[str, int]:
    return RANDOM_FIELDS[opcode](lambda low, high: int(rng.integers(low, high, endpoint=True)))


def test_every_opcode_is_known_to_both() -> None:
    assert {int(opcode): opcode.name for opcode in Opcode} == {code: name for code, (name, _) in INSTRUCTIONS.items()}


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_random_instructions(opcode: Opcode) -> None:
    rng = np.random.default_rng(int(opcode))
    for _ in range(200):
        fields, wait, signal = drawn(opcode, rng), random_queues(rng), random_queues(rng)
        record = Instruction(opcode, fields, wait, signal).encode()
        assert len(record) == 64
        assert decode_instruction(record) == {
            "instruction": opcode.name,
            "opcode": int(opcode),
            "wait": queue_bits(wait),
            "signal": queue_bits(signal),
            **fields,
        }


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_each_bit_of_each_field(opcode: Opcode) -> None:
    """Every bit set alone, legal value or not: it is read where it is written."""
    zeros = dict.fromkeys(drawn(opcode, np.random.default_rng(0)), 0)
    for field in INSTRUCTIONS[opcode][1]:
        if field.name in ("reserved", "padding"):
            continue
        width = field.high - field.low + 1
        for i in range(width):
            value = -(2**i) if field.signed and i == width - 1 else 2**i
            record = Instruction(opcode, {**zeros, field.name: value}).encode()
            if field.name == "release" and i > 4:
                with pytest.raises(ValueError, match=rf"^The field release of a {opcode.name} names a reserved queue"):
                    decode_instruction(record)
                continue
            read = decode_instruction(record)
            assert {name: read[name] for name in zeros} == {**zeros, field.name: value}


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_bits_that_must_be_zero(opcode: Opcode) -> None:
    """Padding and reserved bits are encoded as zeros, and any one of them that is set is refused."""
    fields = drawn(opcode, np.random.default_rng(0))
    record = Instruction(opcode, fields).encode()
    for field in INSTRUCTIONS[opcode][1]:
        if field.name not in ("reserved", "padding"):
            continue
        for i in range(field.low, field.high + 1):
            broken = bytearray(record)
            assert broken[i // 8] >> i % 8 & 1 == 0
            broken[i // 8] |= 1 << i % 8
            with pytest.raises(ValueError, match=rf"^Bits {field.high}:{field.low} of a {opcode.name} are not zero\.$"):
                decode_instruction(bytes(broken))


def test_bad_records_are_refused() -> None:
    record = Instruction(Opcode.GEMM, drawn(Opcode.GEMM, np.random.default_rng(0))).encode()
    with pytest.raises(ValueError, match=r"^An instruction is 64 bytes, not 63\.$"):
        decode_instruction(record[:-1])
    for opcode in set(range(256)) - {0x01, 0x02, 0x03, 0x04, 0x10, 0x20, 0x21, 0x30, 0x31}:
        with pytest.raises(ValueError, match=r"^There is no opcode 0x[0-9a-f]{2}\.$"):
            decode_instruction(bytes([opcode]) + record[1:])
    for i in range(3, 64 // 8):
        with pytest.raises(ValueError, match=r"^Bits 63:24 of a GEMM are not zero\.$"):
            decode_instruction(record[:i] + b"\x01" + record[i + 1 :])
    for byte, name in ((1, "wait"), (2, "signal")):
        for queue in range(5, 8):
            broken = record[:byte] + bytes([1 << queue]) + record[byte + 1 :]
            with pytest.raises(ValueError, match=rf"^The field {name} of a GEMM names a reserved queue"):
                decode_instruction(broken)
