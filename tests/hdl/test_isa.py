"""Instruction records, and the rules that legal ones keep."""

import numpy as np
import pytest

from hdl.config import INSTRUCTION_BYTES, configuration
from hdl.isa import (
    FIELDS,
    QUEUE_OF,
    Instruction,
    Opcode,
    Queue,
    fields_layout,
    format_range,
    illegal_fields,
)


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
    (bytes([0x10, 1 << Queue.LINK]) + bytes(62), "GEMM names a queue that does not exist"),
])
def test_what_is_no_instruction_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        Instruction.decode(record)


LEGAL = {
    Opcode.LOAD_WEIGHTS: {"address": 64, "beats": 1, "steps": 1},
    Opcode.LOAD_ACTIVATIONS: {"address": 64, "rows": 2, "row_beats": 2, "buffer_stride": 2, "stride": 64},
    Opcode.LOAD_PARAMETERS: {"address": 64, "channels": 16, "channel": 16},
    Opcode.GEMM: {"steps": 2, "vectors": 2, "act_vector_stride": 1, "act_step_stride": 2},
    Opcode.STORE: {"address": 64, "stride": 64, "vectors": 2, "channels": 7, "format": 1, "low": -128, "high": 127},
}


@pytest.mark.parametrize("opcode", Opcode)
def test_the_examples_are_legal(opcode):
    assert illegal_fields(configuration("small"), Instruction(opcode, LEGAL[opcode])) == []


@pytest.mark.parametrize(("opcode", "change", "named"), [
    (Opcode.LOAD_WEIGHTS, {"address": 4}, "address"), (Opcode.LOAD_WEIGHTS, {"address": 1 << 40}, "address"),
    (Opcode.LOAD_WEIGHTS, {"steps": 0}, "steps"), (Opcode.LOAD_WEIGHTS, {"beats": 0}, "beats"),
    (Opcode.LOAD_ACTIVATIONS, {"stride": 4}, "stride"), (Opcode.LOAD_ACTIVATIONS, {"rows": 0}, "rows"),
    (Opcode.LOAD_ACTIVATIONS, {"row_beats": 0}, "row_beats"),
    (Opcode.LOAD_ACTIVATIONS, {"buffer_beat": 509}, "buffer_beat"),
    (Opcode.LOAD_ACTIVATIONS, {"buffer_stride": 511}, "buffer_beat"),
    (Opcode.LOAD_PARAMETERS, {"channels": 0}, "channels"), (Opcode.LOAD_PARAMETERS, {"channel": 17}, "channel"),
    (Opcode.GEMM, {"steps": 0}, "steps"), (Opcode.GEMM, {"vectors": 0}, "vectors"),
    (Opcode.GEMM, {"acc_vector": 15}, "acc_vector"), (Opcode.GEMM, {"act_line": 125}, "act_line"),
    (Opcode.GEMM, {"padding": 1}, "padding"),
    (Opcode.STORE, {"stride": 1}, "stride"), (Opcode.STORE, {"vectors": 0}, "vectors"),
    (Opcode.STORE, {"channels": 0}, "channels"), (Opcode.STORE, {"channels": 17}, "channels"),
    (Opcode.STORE, {"acc_vector": 15}, "acc_vector"), (Opcode.STORE, {"channel": 1}, "channel"),
    (Opcode.STORE, {"channel": 26}, "channel"), (Opcode.STORE, {"format": 3}, "format"),
    (Opcode.STORE, {"padding": 1}, "padding"), (Opcode.STORE, {"low": -129}, "low"),
    (Opcode.STORE, {"high": 128}, "high"), (Opcode.STORE, {"low": 5, "high": 4}, "low"),
])
def test_each_rule_is_named_when_it_is_broken(opcode, change, named):
    broken = illegal_fields(configuration("small"), Instruction(opcode, LEGAL[opcode] | change))
    assert len(broken) == 1
    assert broken[0].startswith(f"{opcode.name} {named} must be ")


def test_formats():
    assert [format_range(f) for f in (1, 2)] == [(-128, 127), (0, 255)]
