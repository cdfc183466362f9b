"""Instruction records, and the rules that legal ones keep."""

import numpy as np
import pytest

from hdl.config import CONFIGS, INSTRUCTION_BYTES, configuration
from hdl.isa import (
    FIELDS,
    QUEUE_OF,
    Instruction,
    Opcode,
    Queue,
    fields_layout,
    format_range,
    illegal_fields,
    opcodes,
    queues,
)

LINKED = configuration("small").with_(links=2)


@pytest.mark.parametrize("opcode", Opcode)
def test_encoding_round_trips(opcode):
    rng = np.random.default_rng(opcode)
    for _ in range(50):
        fields = {}
        for name, field in FIELDS[opcode].items():
            value = int.from_bytes(rng.bytes(9), "little") % (1 << field.bits)
            fields[name] = value - (1 << field.bits - 1) if field.signed else value
        instruction = Instruction(opcode, fields, wait=(Queue.COMPUTE,), signal=(Queue.LOAD, Queue.STORE))
        record = instruction.encode()
        assert len(record) == INSTRUCTION_BYTES
        assert Instruction.decode(record) == instruction


@pytest.mark.parametrize("opcode", Opcode)
def test_every_field_fits_the_record(opcode):
    assert fields_layout(opcode).size <= 8 * INSTRUCTION_BYTES - 64
    assert opcode in QUEUE_OF


def test_a_field_out_of_range_is_refused():
    with pytest.raises(ValueError, match="GEMM vectors must be from 0 to 65535, not 65536"):
        Instruction(Opcode.GEMM, {"vectors": 65536})
    with pytest.raises(ValueError, match="STORE low must be from -32768 to 32767, not -32769"):
        Instruction(Opcode.STORE, {"low": -32769})


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="GEMM has no field 'beats'; it has steps, vectors"):
        Instruction(Opcode.GEMM, {"beats": 1})


@pytest.mark.parametrize(("record", "message"), [
    (bytes(64), "opcode must be one of 0x01, .* not 0x00"),
    (bytes(63), "an instruction is 64 bytes, not 63"),
    (bytes([1, 0, 0, 1]) + bytes(60), "reserved bits of LOAD_WEIGHTS must be zero"),
    (bytes([1]) + bytes(62) + b"\x80", "reserved bits of LOAD_WEIGHTS must be zero"),
    (bytes([0x10, 1 << Queue.VECTOR]) + bytes(62), "GEMM names a queue that does not exist"),
])
def test_what_is_no_instruction_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        Instruction.decode(record)


def test_queues_and_instructions_of_links():
    for config in CONFIGS.values():
        assert len(queues(config)) == 3
        assert set(Opcode) - set(opcodes(config)) == {Opcode.SEND, Opcode.RECV}
    assert queues(LINKED) == tuple(Queue(number) for number in range(5))
    assert opcodes(LINKED) == tuple(Opcode)
    record = Instruction(Opcode.GEMM, {}, signal=(Queue.LINK,)).encode()
    assert Instruction.decode(record, queues(LINKED)).signal == (Queue.LINK,)
    with pytest.raises(ValueError, match=r"^GEMM names a queue that does not exist$"):
        Instruction.decode(record, queues(CONFIGS["small"]))


LEGAL = {
    Opcode.LOAD_WEIGHTS: {"address": 64, "beats": 1, "steps": 1},
    Opcode.LOAD_ACTIVATIONS: {"address": 67, "row_bytes": 5, "rows": 2, "blocks": 3, "buffer_address": 1,
                              "buffer_stride": 5, "buffer_block_stride": 10, "stride": 3, "block_stride": 999},
    Opcode.LOAD_PARAMETERS: {"address": 64, "channels": 16, "channel": 16},
    Opcode.LOAD_TABLE: {"address": 64, "table": 1},
    Opcode.GEMM: {"steps": 2, "vectors": 2, "vector_rows": 3, "acc_vector": 10, "x": -5, "x_stride": 7, "x_end": 4096,
                  "y_end": 1, "tap_bytes": 5, "taps": 3, "tap_rows": 2, "first_tap": 2, "first_byte": 4},
    Opcode.STORE: {"address": 67, "stride": 7, "vectors": 2, "vector_rows": 3, "acc_vector": 10, "channels": 7,
                   "format": 1, "table": 2, "residual": 2, "release": 7, "low": -128, "high": 127,
                   "residual_address": 3, "residual_multiplier": 0x5F7F_FFFF},
    Opcode.STORE_COUNTERS: {"address": 3},
    Opcode.SEND: {"address": 67, "remote_address": 3, "row_bytes": 5, "rows": 2, "stride": 8, "port": 1, "post": 1,
                  "semaphore": 15, "release": 31},
    Opcode.RECV: {"port": 1, "semaphore": 15, "count": 1},
}


@pytest.mark.parametrize("opcode", Opcode)
def test_the_examples_are_legal(opcode):
    assert illegal_fields(LINKED, Instruction(opcode, LEGAL[opcode])) == []


@pytest.mark.parametrize(("opcode", "change", "named"), [
    *((opcode, {"address": 4}, "address")
      for opcode in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_TABLE)),
    *((opcode, {"address": 1 << 40}, "address") for opcode in FIELDS
      if "address" in FIELDS[opcode] and opcode != Opcode.SEND),
    (Opcode.LOAD_WEIGHTS, {"steps": 0}, "steps"), (Opcode.LOAD_WEIGHTS, {"beats": 0}, "beats"),
    *((Opcode.LOAD_ACTIVATIONS, {name: 0}, name) for name in ("row_bytes", "rows", "blocks")),
    (Opcode.LOAD_ACTIVATIONS, {"buffer_address": 4067}, "buffer_address"),
    (Opcode.LOAD_ACTIVATIONS, {"buffer_stride": 4071}, "buffer_address"),
    (Opcode.LOAD_ACTIVATIONS, {"buffer_block_stride": 2043}, "buffer_address"),
    (Opcode.LOAD_PARAMETERS, {"channels": 0}, "channels"), (Opcode.LOAD_PARAMETERS, {"channel": 17}, "channel"),
    (Opcode.LOAD_TABLE, {"table": 0}, "table"), (Opcode.LOAD_TABLE, {"table": 3}, "table"),
    *((Opcode.GEMM, {name: 0}, name) for name in ("steps", "vectors", "vector_rows", "tap_rows")),
    (Opcode.GEMM, {"acc_vector": 11}, "acc_vector"), (Opcode.GEMM, {"vectors": 3}, "acc_vector"),
    (Opcode.GEMM, {"act_address": 4096}, "act_address"), (Opcode.GEMM, {"x_end": 4097}, "x_end"),
    (Opcode.GEMM, {"y_end": 4097}, "y_end"), (Opcode.GEMM, {"first_tap": 3}, "first_tap"),
    (Opcode.GEMM, {"first_byte": 5}, "first_byte"), (Opcode.GEMM, {"padding": 1}, "padding"),
    (Opcode.STORE, {"residual_address": 1 << 40}, "residual_address"),
    (Opcode.STORE, {"vectors": 0}, "vectors"), (Opcode.STORE, {"vector_rows": 0}, "vector_rows"),
    (Opcode.STORE, {"channels": 0}, "channels"), (Opcode.STORE, {"channels": 17}, "channels"),
    (Opcode.STORE, {"acc_vector": 11}, "acc_vector"), (Opcode.STORE, {"vector_rows": 4}, "acc_vector"),
    (Opcode.STORE, {"channel": 1}, "channel"), (Opcode.STORE, {"channel": 26}, "channel"),
    (Opcode.STORE, {"format": 3}, "format"), (Opcode.STORE, {"table": 3}, "table"),
    (Opcode.STORE, {"format": 0, "residual": 0}, "table"), (Opcode.STORE, {"format": 0, "table": 0}, "residual"),
    (Opcode.STORE, {"residual": 4}, "residual"), (Opcode.STORE, {"padding": 1}, "padding"),
    (Opcode.STORE, {"residual": 3}, "residual_multiplier"),
    (Opcode.STORE, {"residual": 3, "residual_multiplier": 1 << 31}, "residual_multiplier"),
    (Opcode.STORE, {"residual": 3, "residual_multiplier": 0, "residual_zero_point": 1}, "residual_zero_point"),
    (Opcode.STORE, {"release": 32}, "release"),
    (Opcode.STORE, {"residual_multiplier": 0x5F80_0000}, "residual_multiplier"),
    (Opcode.STORE, {"residual_multiplier": 0xFFC0_0000}, "residual_multiplier"),
    (Opcode.STORE, {"low": -129}, "low"), (Opcode.STORE, {"high": 128}, "high"),
    (Opcode.STORE, {"low": 5, "high": 4}, "low"),
    (Opcode.SEND, {"address": 1 << 40 | 3}, "address"),
    (Opcode.SEND, {"remote_address": 1 << 40 | 3}, "remote_address"),
    (Opcode.SEND, {"remote_address": 4}, "remote_address"), (Opcode.SEND, {"remote_stride": 4}, "remote_stride"),
    (Opcode.SEND, {"row_bytes": 0}, "row_bytes"), (Opcode.SEND, {"port": 2}, "port"),
    (Opcode.SEND, {"post": 2}, "post"), (Opcode.SEND, {"semaphore": 16}, "semaphore"),
    (Opcode.SEND, {"release": 32}, "release"),
    (Opcode.RECV, {"port": 2}, "port"), (Opcode.RECV, {"padding": 1}, "padding"),
    (Opcode.RECV, {"semaphore": 16}, "semaphore"), (Opcode.RECV, {"count": 0}, "count"),
])
def test_each_rule_is_named_when_it_is_broken(opcode, change, named):
    broken = illegal_fields(LINKED, Instruction(opcode, LEGAL[opcode] | change))
    assert len(broken) == 1
    assert broken[0].startswith(f"{opcode.name} {named} must be ")


@pytest.mark.parametrize(("output_format", "residuals"), [(0, (0, 3)), (1, (0, 1, 2, 3)), (2, (0, 1, 2, 3))])
def test_which_residuals_go_with_which_results(output_format, residuals):
    fields = LEGAL[Opcode.STORE] | {"format": output_format, "table": 0, "low": 0, "high": 1, "residual_multiplier": 0}
    for residual in range(16):
        broken = illegal_fields(configuration("small"), Instruction(Opcode.STORE, fields | {"residual": residual}))
        assert broken == ([] if residual in residuals else [
            f"STORE residual must be from 0 to 3, and 0 or 3 with int32 results, not {residual}"])


def test_what_an_int32_residual_does_not_use_is_zero():
    fields = LEGAL[Opcode.STORE] | {"residual": 3, "residual_multiplier": 1, "residual_zero_point": 2}
    assert illegal_fields(configuration("small"), Instruction(Opcode.STORE, fields)) == [
        "STORE residual_multiplier must be a binary32 below 2^64, and 0 with an int32 residual, not 1",
        "STORE residual_zero_point must be 0 with an int32 residual, not 2"]


@pytest.mark.parametrize(("count", "first"), [("taps", "first_tap"), ("tap_bytes", "first_byte")])
def test_what_is_none_has_no_first(count, first):
    broken = illegal_fields(configuration("small"), Instruction(Opcode.GEMM, LEGAL[Opcode.GEMM] | {count: 0, first: 0}))
    assert [sentence.split()[1] for sentence in broken] == [count, first]


def test_a_send_of_nothing_has_no_bytes():
    assert illegal_fields(LINKED, Instruction(Opcode.SEND, LEGAL[Opcode.SEND] | {"rows": 0, "row_bytes": 0})) == []


def test_a_chip_without_links_has_no_port():
    broken = illegal_fields(configuration("small"), Instruction(Opcode.RECV, LEGAL[Opcode.RECV]))
    assert broken == ["RECV port must be below 0, not 1"]


def test_release_is_a_field_of_store_and_send():
    assert Instruction(Opcode.STORE, {"release": 5}).release == 5
    assert Instruction(Opcode.SEND, {"release": 5}).release == 5
    assert Instruction(Opcode.GEMM, {}).release == 0


def test_formats():
    assert [format_range(f) for f in (1, 2)] == [(-128, 127), (0, 255)]
