"""The program file, memory images and tensors."""

import numpy as np
import pytest

from hdl.config import configuration
from hdl.isa import Instruction, Opcode
from hdl.program import Program, ProgramError, Tensor


@pytest.fixture
def program():
    x, y = Tensor(1024, (2, 10), "int8", 16), Tensor(2048, (2, 3), "int32", 16)
    return Program.assemble(configuration("small"), [Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1})], entry=64,
                            segments=[(512, b"abc")], memory_bytes=4096, inputs={"x": x}, outputs={"y": y},
                            writable=(2048, 4096), remote=(3072, 4096))


def test_a_file_round_trips(program, tmp_path):
    program.save(tmp_path / "p")
    assert Program.load(tmp_path / "p") == program
    assert [f.name for f in tmp_path.iterdir()] == ["p"]


def test_an_image_holds_segments_and_inputs(program):
    x = np.arange(20, dtype=np.int8).reshape(2, 10)
    image = program.image({"x": x})
    assert bytes(image[512:515]) == b"abc"
    assert Instruction.decode(bytes(image[64:128])) == program.instructions[0]
    assert list(image[1040:1050]) == list(range(10, 20))
    assert np.array_equal(program.inputs["x"].read(image), x)


def test_results_are_read_by_stride(program):
    image = np.zeros(4096, np.uint8)
    values = np.array([[1, -2, 3], [4, 5, -6]], np.int32)
    program.outputs["y"].write(image, values)
    assert np.array_equal(program.results(image)["y"], values)


def test_another_configuration_is_refused(program):
    program.check(configuration("small"))
    with pytest.raises(ProgramError, match=r"made for configuration 'small' \([0-9a-f]{16}\), this chip is 'edge'"):
        program.check(configuration("edge"))


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, r"the inputs must be \['x'\], not \[\]"),
    ({"x": np.zeros((2, 9), np.int8)}, r"must be int8 \[2, 10\], not int8 \[2, 9\]"),
    ({"x": np.zeros((2, 10), np.uint8)}, r"must be int8 \[2, 10\], not uint8 \[2, 10\]"),
])
def test_wrong_inputs_are_refused(program, inputs, message):
    with pytest.raises(ProgramError, match=message):
        program.image(inputs)


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "p").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ProgramError, match="is not a cimple program: it does not begin with CIMPLE01"):
        Program.load(tmp_path / "p")
    with pytest.raises(ProgramError, match="cannot be read: No such file"):
        Program.load(tmp_path / "missing")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b[:-3] + b"\0" + b[-2:],
                                    lambda b: b[:16] + b"[" + b[17:]])
def test_a_damaged_program_is_refused(program, tmp_path, damage):
    program.save(tmp_path / "p")
    (tmp_path / "p").write_bytes(damage((tmp_path / "p").read_bytes()))
    with pytest.raises(ProgramError, match="is a damaged cimple program; compile it again"):
        Program.load(tmp_path / "p")
