"""The C header: it compiles, and what it says is what ``hdl`` says."""

import re
import subprocess

import pytest

from cimple.header import c_header, cause_meanings
from hdl import csr, isa
from hdl.config import CONFIGS


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize(("compiler", "standard", "language"), [("gcc", "c99", "c"), ("g++", "c++11", "c++")])
def test_it_compiles(tmp_path, name, compiler, standard, language):
    header = tmp_path / f"cimple_{name}.h"
    header.write_text(c_header(CONFIGS[name]))
    constants = re.findall(r"#define (CIMPLE_\w+) ", header.read_text())
    source = tmp_path / "use.c"
    twice = f'#include "{header.name}"\n' * 2
    source.write_text(f"{twice}uint64_t all[] = {{{', '.join(constants)}}};\n")
    subprocess.run([compiler, "-x", language, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic",
                    "-fsyntax-only", str(source)], check=True)


def values(name: str) -> dict[str, int]:
    return {constant: int(re.sub(r"UINT64_C\((\w+)\)", r"\1", value).rstrip("u"), 0)
            for constant, value in re.findall(r"#define CIMPLE_(\w+) (\S+)", c_header(CONFIGS[name])) if value}


def test_numbers_are_those_of_hdl():
    config, said = CONFIGS["small"], values("small")
    assert said["CONFIG_HASH"] == config.hash
    assert said["ROWS"] == config.rows
    for register in csr.registers(config):
        assert said[f"REG_{register.name}"] == register.offset
        for name, (low, width, _) in register.fields.items():
            assert said[f"{register.name}_{name.upper()}_MASK"] == ((1 << width) - 1) << low
    for cause in csr.Cause:
        assert said[f"CAUSE_{cause.name}"] == cause


def test_instruction_fields_are_where_encode_puts_them():
    said = values("edge")
    for opcode, fields in isa.FIELDS.items():
        for name, field in fields.items():
            encoded = int.from_bytes(isa.Instruction(opcode, {name: 1}).encode(), "little")
            assert encoded & 0xFF == said[f"OP_{opcode.name}"]
            assert encoded >> said[f"{opcode.name}_{name.upper()}_LSB"] == 1
            assert said[f"{opcode.name}_{name.upper()}_BITS"] == field.bits


def test_no_name_is_defined_twice():
    names = re.findall(r"#define (CIMPLE_\w+) ", c_header(CONFIGS["m50"]))
    assert len(names) == len(set(names))


def test_every_cause_has_its_meaning():
    meanings = cause_meanings(csr.Cause)
    assert list(meanings) == list(csr.Cause)
    assert meanings[csr.Cause.ILLEGAL_OPCODE] == "of the instruction"


def test_links_have_their_constants():
    text = c_header(CONFIGS["small"].with_(links=2))
    names = re.findall(r"#define (CIMPLE_\w+) ", text)
    assert len(names) == len(set(names))
    for line in ("CIMPLE_REG_LINK1_CONTROL 0x700u", "CIMPLE_REG_SEMAPHORE_CLEAR 0x840u", "CIMPLE_SEMAPHORES 16u",
                 "CIMPLE_LINK_CAUSE_NO_PARTNER 1u", "CIMPLE_WINDOW0_FLAGS_REMOTE_MASK 8u"):
        assert re.search(rf"^#define {line}\b", text, re.M), line
