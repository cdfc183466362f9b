"""Parts of the documents that are printed from ``hdl/``, so that they cannot drift from it.

A document marks such a part with ``<!-- begin generated NAME -->`` and ``<!-- end generated NAME -->``, each on a line
of its own; :data:`PARTS` says which names there are. ``python -m cimple.docs --write`` renews the parts of all
documents, ``--check`` tells which are not up to date and exits with 1.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from amaranth.lib import data

from hdl.bist.microcode import Kind, pause_layout, step_layout
from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.cim.loader import Loader
from hdl.cim.macro import Macro
from hdl.config import CONFIGS, Config
from hdl.csr import BistCause, Cause, Register, link_registers, registers
from hdl.ipu.store import Store
from hdl.isa import (
    FIELDS,
    LINK_QUEUES,
    QUEUE_OF,
    QUEUES,
    Opcode,
    Queue,
    head_layout,
    instruction_layout,
    parameter_entries,
)
from hdl.isa import HEAD as HEAD_FIELDS
from hdl.layouts import Step, column_starts, header_layout, pack_step, parameter_layout
from hdl.transport.packet import answer_layout as packet_answer_layout
from hdl.transport.packet import header_layout as packet_header_layout
from mbist.library import LIBRARY
from mbist.microcode import MicrocodeError, Run, assemble

from .chip_ports import instantiation, port_rows
from .header import cause_meanings

DOCS = Path(__file__).resolve().parent.parent / "docs"


class DocumentError(ValueError):
    """A document whose markers are not in order, or that cannot be read."""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bits(low: int, width: int) -> str:
    return f"{low}" if width == 1 else f"{low + width - 1}:{low}"


def _hex(content: np.ndarray) -> str:
    return content.tobytes().hex(" ")


# Instructions


def queue_table() -> str:
    """The queues and their bits in ``wait`` and ``signal``."""
    states = dict.fromkeys(QUEUES, "present") | dict.fromkeys(LINK_QUEUES, "present with links")
    return _table(["bit", "queue", "state"],
                  [(queue.value, queue.name, states.get(queue, "reserved")) for queue in Queue])


def opcode_table() -> str:
    """The opcodes and the queues that execute them."""
    return _table(["opcode", "instruction", "queue"],
                  [(f"{opcode:#04x}", opcode.name, QUEUE_OF[opcode].name) for opcode in Opcode])


def _field_rows(layout: data.StructLayout, meanings: dict[str, tuple[str, bool]], base: int) -> list[tuple]:
    rows = []
    for name in layout.members:
        offset, width = base + layout[name].offset, layout[name].width
        if width:
            meaning, is_signed = meanings.get(name, ("zero", False))
            rows.append((f"{offset // 8}", _bits(offset, width), name, f"{'s' if is_signed else 'u'}{width}", meaning))
    return rows


def instruction_tables() -> str:
    """Every field of every instruction: first byte and bits in the 64-byte record, type, meaning."""
    columns = ["byte", "bits", "field", "type", "meaning"]
    head = {name: (field.meaning, field.signed) for name, field in HEAD_FIELDS.items()}
    sections = [f"Head of every instruction:\n\n{_table(columns, _field_rows(head_layout(), head, 0))}"]
    for opcode in Opcode:
        layout = instruction_layout(opcode)
        body = {name: (field.meaning, field.signed) for name, field in FIELDS[opcode].items()}
        rows = _field_rows(layout["body"].shape, body, layout["body"].offset)
        sections.append(f"`{opcode.name}`, opcode {opcode:#04x}, queue {QUEUE_OF[opcode].name}:\n\n"
                        + _table(columns, rows))
    return "\n\n".join(sections)


# The packed step


def header_table() -> str:
    """The fields of a group's header, for every size it can have."""
    rows = []
    for config in (CONFIGS["tiny"], CONFIGS["edge"], CONFIGS["edge11"]):
        layout = header_layout(config)
        scale = layout["scale"]
        m, e = (scale.shape[name] for name in ("m", "e"))
        rows.append((config.planes, config.header_bits, _bits(layout["mask"].offset, config.planes),
                     _bits(scale.offset + m.offset, m.width), _bits(scale.offset + e.offset, e.width),
                     _bits(layout["padding"].offset, layout["padding"].width) if layout["padding"].width else "none"))
    return _table(["planes", "header bits", "mask", "m", "e", "padding"], rows)


def step_table() -> str:
    """The numbers of a packed step for every named configuration."""
    return _table(
        ["configuration", "rows", "cols", "grid_k", "grid_n", "planes", "bus bits", "columns", "header bits",
         "header bus words", "units per bus word", "longest step, bus words"],
        [(c.name, c.rows, c.cols, c.grid_k, c.grid_n, c.planes, c.bus_bits, c.columns, c.header_bits, c.header_beats,
          c.units_per_beat, c.max_step_beats) for c in CONFIGS.values()])


def step_example() -> str:
    """A step of ``tiny``, byte by byte."""
    config = CONFIGS["tiny"]
    weights = np.zeros((config.columns, config.rows), int)
    weights[0, :8] = [1, -1, 0, 3, 2, -2, 0, 0]
    weights[2, :8] = [5, 0, -4, 0, 0, 0, 1, -1]
    weights[3, :8] = [-8, 0, 0, 0, 0, 0, 0, 8]
    step = Step.of_weights(weights, m=np.array([0, 0, 3, 0]), e=np.array([0, 0, 4, 3]))
    image = pack_step(config, step)
    header_bytes, unit_bytes = config.header_bits // 8, config.rows // 8

    headers, units = [], []
    first = config.header_beats * config.bus_bytes
    for c, start in enumerate(column_starts(step.masks)):
        m, e, mask = int(step.m[c]), int(step.e[c]), int(step.masks[c])
        content = image[c * header_bytes:(c + 1) * header_bytes]
        headers.append((c, ", ".join(map(str, weights[c])), f"{mask:0{config.planes}b}", m, e,
                        f"(8 + {m}) x 2^({e} - 3) = {(8 + m) * 2 ** e // 8}",
                        f"{int.from_bytes(content.tobytes(), 'little'):#0{2 + 2 * header_bytes}x}",
                        f"{c * header_bytes}", _hex(content)))
        names = ["sign word", *(f"plane {b}" for b in range(config.planes) if mask >> b & 1)]
        for u, name in enumerate(names, start=int(start)):
            at = first + u * unit_bytes
            content = image[at:at + unit_bytes]
            bits = "".join(map(str, np.unpackbits(content, bitorder="little")))
            units.append((u, at, c, name, bits, _hex(content)))
    end = int(units[-1][1]) + unit_bytes
    dump = "\n".join(f"{at:04x}: {_hex(image[at:at + config.bus_bytes])}"
                     for at in range(0, len(image), config.bus_bytes))
    return "\n\n".join([
        _table(["column", "weights, row 0 first", "mask", "m", "e", "F", "header", "byte", "bytes"], headers),
        _table(["unit", "byte", "column", "what", "bits, row 0 first", "bytes"], units),
        f"Bytes {end} to {len(image) - 1} are padding. The whole step, one bus word per line:",
        f"```\n{dump}\n```"])


def parameter_record() -> str:
    """The fields of the requantisation parameters of one channel, and how many a chip holds."""
    layout = parameter_layout()
    types = {"bias": "signed integer", "multiplier": "IEEE 754 binary32"}
    record = _table(["byte", "bits", "field", "type"],
                    [(layout[name].offset // 8, _bits(layout[name].offset, layout[name].width), name, types[name])
                     for name in layout.members])
    entries = _table(["configuration", "parameter memory entries"],
                     [(c.name, parameter_entries(c)) for c in CONFIGS.values()])
    return f"{record}\n\n{entries}"


# The architecture page


def latency_table() -> str:
    """Cycles through the pipelines, for every configuration that has RTL."""
    configs = [config for config in CONFIGS.values() if config.cores == 1]
    rows: list[tuple[str, str, Callable[[Config], int]]] = [
        ("a bus word is accepted by the loader", "it is written into the bank", lambda config: Loader.LATENCY),
        ("a plane is issued", "its sum leaves the adder tree", Column.sum_latency),
        ("a vector's last plane is issued", "its scaled psums leave the macro", Macro.latency),
        ("a vector's last plane is issued", "its accumulators can be read", Array.latency),
        ("an accumulator is read", "its 8-bit result is there", lambda config: Store.PIPELINE - 1),
    ]
    return _table(["from", "to", *(config.name for config in configs)],
                  [(begin, end, *(cycles(config) for config in configs)) for begin, end, cycles in rows])


# The integration page


def port_table() -> str:
    """Every port of the chip's Verilog."""
    return _table(["port", "direction", "width", "meaning"], port_rows())


def instantiation_template() -> str:
    """Verilog that instantiates ``small``."""
    return f"```verilog\n{instantiation(CONFIGS['small'])}\n```"


def csr_table(described: Iterable[Register]) -> str:
    """A line per register and per field."""
    rows: list[tuple] = []
    for register in described:
        rows.append((f"{register.offset:#05x}", register.name, "31:0", register.access.value, register.meaning))
        rows += [("", f"{register.name}.{name}", _bits(low, width), "", meaning)
                 for name, (low, width, meaning) in register.fields.items()]
    return _table(["offset", "register", "bits", "access", "meaning"], rows)


def link_register_table() -> str:
    """The registers that a chip with one link has besides."""
    return csr_table(link_registers(CONFIGS["small"].with_(links=1)))


def packet_table() -> str:
    """The fields of headers and answers."""
    return _table(["beat", "bits", "field"],
                  [(beat, _bits(field.offset, field.width), name)
                   for beat, layout in (("header", packet_header_layout()), ("answer", packet_answer_layout()))
                   for name, field in layout])


def cause_table() -> str:
    """The values of register CAUSE and the address that each names."""
    addresses = dict(re.findall(r"^\s*(\w+) = \d+\s+#: (.*)$", inspect.getsource(Cause), re.M))
    return _table(["value", "cause", "ERROR_ADDRESS"],
                  [(cause.value, cause.name, addresses.get(cause.name, "0")) for cause in Cause])


def bist_cause_table() -> str:
    """The values of field BIST_STATUS.cause."""
    return _table(["value", "cause", "meaning"],
                  [(cause.value, cause.name, meaning) for cause, meaning in cause_meanings(BistCause).items()])


def microcode_table() -> str:
    """The two kinds of microcode words, bit by bit."""
    rows = [(kind.name, _bits(field.offset, field.width), name, int(kind) if name == "kind" else "")
            for kind, layout in ((Kind.STEP, step_layout()), (Kind.PAUSE, pause_layout())) for name, field in layout]
    return _table(["word", "bits", "field", "value"], rows)


def march_table() -> str:
    """What each test of the library costs over all addresses: words of microcode, and cycles without its pauses."""
    configs = [CONFIGS[name] for name in ("small", "edge")]
    rows: list[tuple] = []
    for name, march in LIBRARY.items():
        try:
            words: object = len(assemble(march).words)
        except MicrocodeError:
            rows.append((name, f"{march.complexity}n", "not of a macro", *["" for _ in configs]))
            continue
        banks = (0,) if march.uses_partner else (0, 1)
        runs = [Run(config, banks=banks, partner=march.uses_partner) for config in configs]
        rows.append((name, f"{march.complexity}n", words,
                     *(run.cycles(march) - march.pause_cycles for run in runs)))
    return _table(["test", "cycles per address", "microcode words", *(f"cycles, {config.name}" for config in configs)],
                  rows)


def parameter_table() -> str:
    """The fields of a configuration: range, default, meaning."""
    return _table(["parameter", "range", "default", "meaning"],
                  [(f.name, f.metadata["range"], f.default, f.metadata["meaning"]) for f in fields(Config)])


def configuration_table() -> str:
    """The named configurations, a column each."""
    names = [f.name for f in fields(Config) if f.name != "name"]
    return _table(["parameter", *CONFIGS], [(name, *(getattr(c, name) for c in CONFIGS.values())) for name in names])


#: What a document can have generated, by the name in its markers.
PARTS: dict[str, Callable[[], str]] = {
    "queues": queue_table,
    "opcodes": opcode_table,
    "instructions": instruction_tables,
    "header": header_table,
    "step": step_table,
    "step example": step_example,
    "parameter record": parameter_record,
    "latencies": latency_table,
    "ports": port_table,
    "instantiation": instantiation_template,
    "causes": cause_table,
    "self-test causes": bist_cause_table,
    "microcode": microcode_table,
    "march costs": march_table,
    "parameters": parameter_table,
    "configurations": configuration_table,
    "packets": packet_table,
    "link registers": link_register_table,
} | {f"registers {name}": lambda config=config: csr_table(registers(config)) for name, config in CONFIGS.items()}

_MARKER = re.compile(r"^<!-- (begin|end) generated (.+?) -->$")


def renew(text: str, where: str) -> str:
    """A document's text with every generated part as it is printed now.

    Raises
    ------
    DocumentError
        If a marker names no part, or has no partner. ``where`` is how the message calls the document.
    """
    lines: list[str] = []
    part = None
    for number, line in enumerate(text.splitlines(), start=1):
        marker = _MARKER.match(line)
        if marker is None:
            if part is None:
                lines.append(line)
            continue
        kind, name = marker.groups()
        if name not in PARTS:
            raise DocumentError(f"{where}:{number}: generated part must be one of {', '.join(PARTS)}, not {name!r}")
        if (kind == "begin") != (part is None) or (kind == "end" and name != part):
            raise DocumentError(f"{where}:{number}: generated part {name!r} must begin and end once, not nested")
        if kind == "begin":
            part = name
            lines += [line, "", PARTS[name](), ""]
        else:
            part = None
            lines.append(line)
    if part is not None:
        raise DocumentError(f"{where}: generated part {part!r} must end with <!-- end generated {part} -->")
    return "\n".join(lines) + "\n"


def documents(folder: Path) -> list[Path]:
    """The documents of a folder. Raises :class:`DocumentError` if it does not exist."""
    if not folder.is_dir():
        raise DocumentError(f"folder must be one that exists, not {str(folder)!r}")
    return sorted(folder.rglob("*.md"))


def stale(folder: Path) -> list[Path]:
    """Documents that :func:`renew` would change."""
    return [path for path in documents(folder)
            if (text := path.read_text(encoding="utf-8")) != renew(text, path.name)]


def write(folder: Path) -> list[Path]:
    """Renews the documents of a folder and returns those that changed."""
    changed = stale(folder)
    for path in changed:
        path.write_text(renew(path.read_text(encoding="utf-8"), path.name), encoding="utf-8")
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, 1 if ``--check`` found a document that is not up to date, 2 if a document is not in order."""
    parser = argparse.ArgumentParser(prog="python -m cimple.docs", description="generated parts of the documents")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="renew them")
    action.add_argument("--check", action="store_true", help="tell which are not up to date")
    parser.add_argument("--folder", type=Path, default=DOCS, help="folder of the documents")
    options = parser.parse_args(arguments)
    try:
        changed = write(options.folder) if options.write else stale(options.folder)
    except DocumentError as error:
        print(error, file=sys.stderr)
        return 2
    for path in changed:
        print(f"{path.name} written" if options.write
              else f"{path.name} must be what hdl/ says; run python -m cimple.docs --write")
    return 0 if options.write or not changed else 1


if __name__ == "__main__":
    sys.exit(main())
