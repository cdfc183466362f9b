"""Generated parts of the documents: up to date, complete, and refused when their markers are not in order."""

import re

import numpy as np
import pytest

from cimple import docs
from hdl.config import CONFIGS, Config
from hdl.csr import Cause, registers
from hdl.isa import FIELDS, Instruction, Opcode, Queue
from hdl.layouts import unpack_step
from hdl.program import Program

FORMATS = (docs.DOCS / "formats.md").read_text(encoding="utf-8")


def rows_of(text: str) -> list[list[str]]:
    """The cells of every line of the tables in a text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines()
            if line.startswith("|") and not line.startswith("| ---")]


@pytest.mark.parametrize("path", docs.documents(docs.DOCS), ids=lambda path: path.name)
def test_documents_are_what_hdl_says(path):
    text = path.read_text(encoding="utf-8")
    assert docs.renew(text, path.name) == text, "run python -m cimple.docs --write"


def test_formats_has_its_tables():
    for name in ("header", "step", "step example", "parameter record", "queues", "opcodes", "instructions"):
        assert f"<!-- begin generated {name} -->" in FORMATS


@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_instruction_table_decodes_an_instruction(opcode):
    """The bits that the table prints, and nothing else of hdl, give back the fields of an encoded instruction."""
    fields = {name: (1 << field.bits - 1) - 1 if field.signed else (1 << field.bits) - 1 - i % 16
              for i, (name, field) in enumerate(FIELDS[opcode].items()) if field.bits > 1}
    fields |= {name: -5 for name, field in FIELDS[opcode].items() if field.signed}
    record = int.from_bytes(Instruction(opcode, fields, wait=(Queue.LOAD, Queue.STORE)).encode(), "little")
    _, head, *bodies = re.split(r"^(?:Head|`).*:$", docs.instruction_tables(), flags=re.M)
    decoded, covered = {}, 0
    for byte, bits, name, kind, _ in [*rows_of(head)[1:], *rows_of(bodies[list(Opcode).index(opcode)])[1:]]:
        high, low = (int(part) for part in (bits if ":" in bits else f"{bits}:{bits}").split(":"))
        if name == "reserved" and low < 64:
            assert high == 63
        assert int(byte) == low // 8
        assert int(kind[1:]) == high - low + 1
        assert low == covered
        covered = high + 1
        value = record >> low & (1 << high - low + 1) - 1
        decoded[name] = value - (1 << high - low + 1) if kind[0] == "s" and value >> high - low else value
    assert covered == 512
    assert decoded == {"opcode": opcode, "wait": 0b101, "signal": 0, "reserved": 0,
                       **{name: fields.get(name, 0) for name in FIELDS[opcode]}}


def test_example_is_the_step_that_the_page_says():
    dump = re.search(r"```\n(.*?)```", docs.step_example(), re.S)
    assert dump is not None
    content = bytes.fromhex("".join(line.split(": ")[1] for line in dump[1].splitlines()))
    step, length = unpack_step(CONFIGS["tiny"], np.frombuffer(content, np.uint8))
    assert length == len(content) == 24
    assert step.weights[2].tolist() == [5, 0, -4, 0, 0, 0, 1, -1]
    assert (step.masks[2], step.m[2], step.e[2]) == (0b0101, 3, 4)
    assert content[4:6] == bytes.fromhex("3502")
    assert "0x0235" in FORMATS


def test_program_header_is_described(tmp_path):
    program = Program.assemble(CONFIGS["tiny"], [], entry=0, memory_bytes=64)
    program.save(tmp_path / "program")
    members = re.findall(r'"(\w+)": ', (tmp_path / "program").read_bytes()[16:].decode())
    assert len(members) >= 10
    section = FORMATS[FORMATS.index("## The program file"):]
    assert not [member for member in members if f"`{member}`" not in section]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_csr_table_has_every_register_and_field(config):
    names = [row[1] for row in rows_of(docs.csr_table(registers(config)))[1:]]
    assert names == [name for register in registers(config)
                     for name in (register.name, *(f"{register.name}.{f}" for f in register.fields))]


def test_registers_of_links_are_those_of_one_port():
    names = [row[1] for row in rows_of(docs.link_register_table())[1:]]
    assert {"LINK0_CONTROL", "LINK0_STATUS.undelivered", "SEMAPHORE15", "SEMAPHORE_CLEAR"} <= set(names)
    assert not [name for name in names if name.startswith("LINK1")]


def test_packet_table_has_both_beats():
    assert [row[0] for row in rows_of(docs.packet_table())[1:]].count("answer") == 2
    assert {row[2] for row in rows_of(docs.packet_table())[1:]} == {"kind", "post", "semaphore", "last_byte", "address",
                                                                   "cause"}


def test_cause_table_says_what_every_address_is():
    rows = rows_of(docs.cause_table())[1:]
    assert [row[1] for row in rows] == [cause.name for cause in Cause]
    assert [row[1] for row in rows if row[2] == "0"] == ["NONE"]


def test_parameter_table_has_every_parameter():
    rows = rows_of(docs.parameter_table())[1:]
    assert [row[0] for row in rows] == list(Config.__dataclass_fields__)
    assert all(all(row) for row in rows)


def test_configuration_table_has_every_value():
    rows = {row[0]: row[1:] for row in rows_of(docs.configuration_table())}
    for i, (name, config) in enumerate(CONFIGS.items()):
        assert rows["parameter"][i] == name
        assert {key: row[i] for key, row in rows.items() if key != "parameter"} == {
            key: str(getattr(config, key)) for key in Config.__dataclass_fields__ if key != "name"}


@pytest.mark.parametrize(("text", "message"), [
    ("<!-- begin generated nonsense -->", "x.md:1: generated part must be one of queues, "),
    ("\n<!-- end generated queues -->", "x.md:2: generated part 'queues' must begin and end once, not nested"),
    ("<!-- begin generated queues -->\n<!-- begin generated queues -->",
     "x.md:2: generated part 'queues' must begin and end once, not nested"),
    ("<!-- begin generated queues -->\n<!-- end generated opcodes -->",
     "x.md:2: generated part 'opcodes' must begin and end once, not nested"),
    ("<!-- begin generated queues -->",
     "x.md: generated part 'queues' must end with <!-- end generated queues -->"),
])
def test_renew_refuses_markers_that_are_not_in_order(text, message):
    with pytest.raises(docs.DocumentError, match=f"^{re.escape(message)}"):
        docs.renew(text, "x.md")


def test_command_line(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- begin generated queues -->\nold\n<!-- end generated queues -->\nend\n")
    folder = ["--folder", str(tmp_path)]
    assert docs.main(["--check", *folder]) == 1
    assert capsys.readouterr().out == "page.md must be what hdl/ says; run python -m cimple.docs --write\n"
    assert docs.main(["--write", *folder]) == 0
    assert capsys.readouterr().out == "page.md written\n"
    assert page.read_text() == ("# Page\n<!-- begin generated queues -->\n\n" + docs.queue_table()
                                + "\n\n<!-- end generated queues -->\nend\n")
    assert docs.main(["--check", *folder]) == 0
    assert docs.main(["--write", *folder]) == 0
    assert capsys.readouterr().out == ""
    page.write_text("<!-- begin generated queues -->\n")
    assert docs.main(["--write", *folder]) == 2
    assert capsys.readouterr().err.startswith("page.md: generated part 'queues' must end")
    assert page.read_text() == "<!-- begin generated queues -->\n"


def test_command_line_refuses_a_missing_folder(tmp_path, capsys):
    missing = tmp_path / "missing"
    assert docs.main(["--check", "--folder", str(missing)]) == 2
    assert capsys.readouterr().err == f"folder must be one that exists, not {str(missing)!r}\n"
