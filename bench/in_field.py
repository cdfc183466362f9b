"""What a compute self-test of one macro costs a program that runs, and what it finds: on the RTL of `edge`.

A program of repeated layers runs with a test of one macro in its middle, as if one macro were tested per millisecond at
1 GHz, and without it. First all macros are in use, and the test is a pause; then the layers have no more output
channels than one macro has columns, and the macro that is tested is one that they do not use. The value is the larger
loss. Results must be equal. Then a column of a macro is defective: the program must stop and name it.
"""

import argparse
import re
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from bench.report import report
from hdl.config import CONFIGS, Config, configuration
from hdl.csr import Cause
from hdl.ipu.field_test import MACRO_STRIDE
from hdl.isa import Instruction, Opcode, OutputFormat, Queue
from hdl.layouts import Step, pack_step
from hdl.program import Program, Tensor
from hdl.verilog import Generated
from mbist.compute_test import column_program
from mbist.signature_file import Expected
from sim.golden.compute_test import expected_runs
from sim.rtl import generated
from sim.session import ProgramStopped, Session, chip

GOAL = 2.0

#: Cycles from one test to the next: a millisecond at 1 GHz.
PERIOD = 1_000_000

#: Steps of a layer.
STEPS = 4


def layers(config: Config, cycles: int, channels: int, macro: int | None, *, beside: bool, seed: int = 3) -> Program:
    """A program of about ``cycles`` cycles whose layers add up in the accumulators.

    Parameters
    ----------
    channels : int
        Output channels that the layers have.
    macro : int or None
        Tested in the middle, if any.
    beside : bool
        The layers behind the test run on meanwhile, for half of the program that is left; else the test is a pause.
    """
    rng = np.random.default_rng(seed)
    vectors = min(config.acc_vectors, config.act_bytes // config.line_bytes)
    count = max(4, cycles // (STEPS * vectors * config.planes))
    limit = 1 << config.planes
    weights = rng.integers(1 - limit, limit, (config.grid_k, config.out_cols, config.rows))
    weights[:, :channels, 0] = limit - 1  # every plane is stored
    weights[:, channels:] = 0
    step = pack_step(config, Step.of_weights(weights.reshape(config.columns, config.rows)))
    beats = len(step) // config.bus_bytes
    x = Tensor(1 << 20, (vectors, config.line_bytes), "int8", config.line_bytes)
    y = Tensor(2 << 20, (vectors, channels), "int32", 4 * config.out_cols)
    stored = 3 << 20
    length = vectors * config.line_bytes
    instructions = [Instruction(Opcode.LOAD_ACTIVATIONS, {
        "address": x.address, "rows": 1, "row_bytes": length, "blocks": 1}, signal=(Queue.COMPUTE,))]

    def test(**when: int) -> Instruction:
        return Instruction(Opcode.TEST, {"macro": macro or 0, **when}, signal=(Queue.LOAD,) if when.get("end") else ())

    for layer in range(count):
        ends = False
        if macro is not None and layer == count // 2:
            ends = not beside
            instructions.append(test(begin=1, end=not beside))
        if macro is not None and beside and layer == 3 * count // 4:
            ends = True
            instructions.append(test(end=1))
        instructions += [
            Instruction(Opcode.LOAD_WEIGHTS, {"address": stored, "beats": STEPS * beats, "steps": STEPS},
                        wait=(Queue.COMPUTE,) if ends else ()),
            Instruction(Opcode.GEMM, {
                "steps": STEPS, "vectors": vectors, "vector_rows": 1, "x_stride": config.line_bytes, "x_end": length,
                "y_end": 1, "tap_bytes": config.line_bytes, "taps": 1, "tap_rows": STEPS, "act_signed": 1,
                "accumulate": layer > 0}, wait=() if layer else (Queue.LOAD,),
                signal=(Queue.STORE,) if layer == count - 1 else ()),
        ]
    instructions.append(Instruction(Opcode.STORE, {
        "address": y.address, "stride": 4 * config.out_cols, "vectors": vectors, "vector_rows": 1,
        "channels": channels, "format": OutputFormat.INT32}, wait=(Queue.COMPUTE,)))
    return Program.assemble(config, instructions, entry=0, segments=[(stored, step.tobytes() * STEPS)],
                            memory_bytes=4 << 20, inputs={"x": x}, outputs={"y": y}, writable=(y.address, stored))


def defective(source: Generated, config: Config, macro: int, column: int) -> Generated:
    """The chip with bit 0 of one column's results stuck at 1, in the simulation view."""
    name = f"macro_{macro // config.grid_n}_{macro % config.grid_n}"
    text = source.text
    for module, inside in (("macro", None), ("tested_macro", "macro")):
        body = re.search(rf"^module {module}\s*\(.*?^endmodule\n", text, re.M | re.S)
        assert body is not None, f"the chip has no module {module}"
        broken = body[0].replace(f"module {module}", f"module broken_{module}", 1)
        if inside is None:
            broken, found = re.subn(rf"(scaled_{column} <= \{{.*, wide\[31:0\])\}};", r"\1 | 32'd1};", broken)
        else:
            broken, found = re.subn(rf"^  {inside} (?=\S)", f"  broken_{inside} ", broken, flags=re.M)
        assert found == 1, f"{found} places in {module}"
        text += f"\n{broken}"
    text, found = re.subn(rf"^  tested_macro (\\?{name} )", r"  broken_tested_macro \1", text, flags=re.M)
    assert found == 1, f"{found} instances {name}"
    return Generated(source.name, text, source.ports)


def measure(config: Config, cycles: int, test: Expected, *, beside: bool, simulator: str) -> dict[str, int]:
    """Cycles of a program without a test and with one, which must have equal results."""
    channels = config.cols if beside else config.out_cols
    macro = config.grid_n - 1
    session = Session(config, simulator, field_test=(column_program(config), test))
    found, outputs = {}, []
    for name, tested in (("without", None), ("with", macro)):
        program = layers(config, cycles, channels, tested, beside=beside)
        x = {"x": np.random.default_rng(5).integers(-128, 128, program.inputs["x"].shape).astype(np.int8)}
        result = session.run(program, x)
        assert result.cycles is not None
        found[name] = result.cycles
        outputs += [result.outputs["y"], Session(config).run(program, x).outputs["y"]]
    if any(not np.array_equal(outputs[0], other) for other in outputs[1:]):
        raise RuntimeError("the results with and without a test, and the golden model's, are not the same")
    return found


def located(config: Config, test: Expected, macro: int, column: int, *, simulator: str) -> bool:
    """Whether a defective column stops a program and is named."""
    design = defective(generated(chip, config, name="chip", view="simulation"), config, macro, column)
    session = Session(config, simulator, design=design, field_test=(column_program(config), test))
    program = layers(config, 0, config.out_cols, macro, beside=False)
    try:
        session.run(program, {"x": np.zeros(program.inputs["x"].shape, np.int8)})
    except ProgramStopped as stopped:
        return (stopped.cause, stopped.address) == (Cause.SELF_TEST, macro * MACRO_STRIDE + column)
    return False


def main(given: Sequence[str] | None = None):
    parser = argparse.ArgumentParser(prog="cimple bench in-field", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="edge", choices=CONFIGS, help="edge by default")
    parser.add_argument("--sim", default="verilator", choices=("verilator", "icarus"), help="verilator by default")
    parser.add_argument("--cycles", type=int, default=PERIOD, help=f"of a program, {PERIOD} by default")
    options = parser.parse_args(given)
    config = configuration(options.config)
    test = expected_runs(config, column_program(config))[0]
    kinds = {"pause": False, **({"macro idle": True} if config.grid_n > 1 else {})}
    cycles = {name: measure(config, options.cycles, test, beside=beside, simulator=options.sim)
              for name, beside in tqdm(kinds.items(), desc="programs", unit="pair")}
    macro, column = config.macros - 1, config.cols // 2
    if not located(config, test, macro, column, simulator=options.sim):
        raise RuntimeError(f"the defective column {column} of macro {macro} was not named")
    extra = {name: c["with"] - c["without"] for name, c in cycles.items()}
    losses = {name: 100 * more / PERIOD for name, more in extra.items()}
    detection = config.macros * PERIOD + test.cycles
    report("in-field", round(max(losses.values()), 3), "% of the throughput, one macro tested per 10^6 cycles",
           f"<= {GOAL}", {
               "config": config.name, "test_cycles": test.cycles, "cycles": cycles,
               "loss": {name: round(loss, 4) for name, loss in losses.items()},
               "worst_detection_cycles": detection, "defect": {"macro": macro, "column": column, "named": True}},
           [(name, c["without"], c["with"], extra[name], f"{losses[name]:.3f}") for name, c in cycles.items()],
           ("test", "cycles without", "with", "more", "% of 10^6"))


if __name__ == "__main__":
    main()
