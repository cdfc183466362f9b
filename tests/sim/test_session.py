"""Sessions: the same call on every backend. What a session does is tested on a stand-in for the chip."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode, OutputFormat, Queue
from hdl.layouts import Step, pack_step
from hdl.program import Program, ProgramError, Tensor
from mbist.library import LIBRARY
from mbist.microcode import MicrocodeError, Run
from mbist.notation import Element, March, Operation, Order
from mbist.notation import Step as MarchStep
from sim.rtl import SIMULATORS
from sim.rtl.stalls import Stalls
from sim.self_test import SelfTestStopped
from sim.session import ChipMismatch, ProgramStopped, ProgramTimeout, Session

from .rtl.toy_chip import toy_chip

CONFIG = CONFIGS["small"]
OUTPUT = 0x1008


def toy_program(first_byte: int = 1) -> tuple[Program, np.ndarray]:
    """A program of the stand-in, which inverts itself, and what it must give."""
    content = np.random.default_rng(3).integers(0, 256, 192, np.uint8)
    content[0] = first_byte
    program = Program(CONFIG.name, CONFIG.hash, 0x40, 3, ((0x40, content.tobytes()),), 0x2000,
                      inputs={"x": Tensor(0x800, (2, 3), "int8", 8)},
                      outputs={"y": Tensor(OUTPUT, (3, 64), "uint8", 64)}, writable=(OUTPUT, OUTPUT + 192))
    return program, ~content.reshape(3, 64)


INPUTS = {"x": np.zeros((2, 3), np.int8)}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_program_runs(simulator):
    session = Session(CONFIG, simulator, design=toy_chip(CONFIG))
    program, expected = toy_program()
    result = session.run(program, INPUTS, progress=True)
    assert (result.outputs["y"] == expected).all()
    assert 40 + 24 <= result.cycles <= 120
    assert result.counters["CYCLES"] == result.cycles
    assert result.cycles_per_second > 0
    assert not result.overflow
    assert not session.directory.exists()


def test_stalls_take_time_and_change_nothing_else():
    program, expected = toy_program()
    quick, late = (Session(CONFIG, "verilator", design=toy_chip(CONFIG), stalls=stalls).run(program, INPUTS)
                   for stalls in (None, Stalls(seed=1, chance=256, longest=8)))
    assert (late.outputs["y"] == expected).all()
    assert late.cycles > quick.cycles


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_stopped_program_names_cause_and_address(simulator):
    with pytest.raises(ProgramStopped, match=r"^the program was stopped with cause ILLEGAL_OPCODE \(1\) at 0x40$") as e:
        Session(CONFIG, simulator, design=toy_chip(CONFIG)).run(toy_program(0)[0], INPUTS)
    assert (e.value.cause, e.value.address) == (Cause.ILLEGAL_OPCODE, 0x40)


def test_a_program_that_does_not_end_is_given_up():
    with pytest.raises(ProgramTimeout, match=r"^the program has not ended after max_cycles = 3000 cycles$"):
        Session(CONFIG, "verilator", design=toy_chip(CONFIG)).run(toy_program(0xEE)[0], INPUTS, max_cycles=3000)


def test_a_chip_of_another_configuration_is_refused():
    other = toy_chip(CONFIG.with_(name="small", acc_vectors=32))
    with pytest.raises(ChipMismatch, match=r"^the simulated chip's register CONFIG_HASH must be 0x"):
        Session(CONFIG, "icarus", design=other).run(toy_program()[0], INPUTS)


def test_a_program_of_another_configuration_is_refused():
    with pytest.raises(ProgramError, match=r"^the program was made for configuration 'small'"):
        Session(CONFIGS["tiny"]).run(toy_program()[0], INPUTS)


def test_unknown_backend():
    with pytest.raises(ValueError, match=r"^the backend must be one of golden, verilator, icarus, not 'vcs'$"):
        Session(CONFIG, "vcs")


@pytest.mark.parametrize(("repair", "sentence"), [
    ({"REPAIR9_0": 1}, "repair must name the repair registers of tiny, not 'REPAIR9_0'"),
    ({"CONTROL": 1}, "repair must name the repair registers of tiny, not 'CONTROL'"),
    ({"REPAIR0_0": 5}, "repair must give REPAIR0_0 a column from 0 to 4, not 5"),
])
def test_no_such_repair(repair, sentence):
    with pytest.raises(ValueError) as raised:
        Session(CONFIGS["tiny"], repair=repair)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_self_tests_pass(simulator):
    config = CONFIGS["tiny"]
    session = Session(config, simulator)
    tests = [(LIBRARY["March C-"], Run(config, rows=0, hold_full=True)),
             (LIBRARY["MATS+"], Run(config, last=1, banks=(1,)))]
    results = session.self_test(tests)
    assert [(r.passed, r.fails, r.log) for r in results] == [(True, 0, ())] * 2
    assert [r.cycles for r in results] == [run.cycles(march) for march, run in tests]
    assert not session.directory.exists()


def test_self_tests_that_cannot_be_done():
    config = CONFIGS["tiny"]
    march, run = LIBRARY["MATS+"], Run(config)
    with pytest.raises(ValueError, match=r"^the backend of a self-test must be verilator or icarus, not 'golden'$"):
        Session(config).self_test([(march, run)])
    with pytest.raises(MicrocodeError, match=r"^the run of MATS\+ must be of small, not of tiny$"):
        Session(CONFIG, "icarus").self_test([(march, run)])
    reads = March("reads", (Element(Order.UP, (MarchStep((Operation(read=True, value=0),)),)),))
    with pytest.raises(SelfTestStopped,
                       match=r"^reads was not completed: cause READ_BEFORE_WRITE at microcode word 0$"):
        Session(config, "icarus").self_test([(reads, run)])


def store_program() -> Program:
    """The smallest legal program: stores accumulators that hold whatever they hold."""
    store = Instruction(Opcode.STORE, {"address": 0x1000, "stride": 64, "vectors": 2, "vector_rows": 1,
                                       "channels": CONFIG.out_cols, "format": OutputFormat.INT32})
    return Program.assemble(CONFIG, [store], entry=0, memory_bytes=0x2000, writable=(0x1000, 0x1080),
                            outputs={"y": Tensor(0x1000, (2, CONFIG.out_cols), "int32", 64)})


def test_golden_runs_without_a_clock():
    result = Session(CONFIG).run(store_program())
    assert result.outputs["y"].shape == (2, CONFIG.out_cols)
    assert result.cycles is None
    assert result.cycles_per_second is None
    assert result.counters["WRITE_BEATS"] == 2 * CONFIG.out_cols * 4 // CONFIG.bus_bytes


def test_golden_names_the_cause():
    program = Program.assemble(CONFIG, [], entry=0, memory_bytes=0x100)
    broken = Program(CONFIG.name, CONFIG.hash, 0, 1, ((0, bytes(64)),), 0x100)
    assert Session(CONFIG).run(program).outputs == {}
    with pytest.raises(ProgramStopped, match=r"ILLEGAL_OPCODE"):
        Session(CONFIG).run(broken)


def gemm_program(config, steps: int, vectors: int, rng: np.random.Generator) -> Program:
    """Random weights and activations, one GEMM, the accumulators as they are."""
    bus = config.bus_bytes
    limit = (1 << config.planes) - 1
    values = rng.integers(-limit, limit + 1, (steps, config.columns, config.rows))
    weights = b"".join(pack_step(config, Step.of_weights(step)).tobytes() for step in values)
    line = config.line_bytes
    activations = 0x400 + len(weights)
    outputs = activations + vectors * steps * line
    stride = 4 * config.out_cols
    end = outputs + vectors * stride
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {
            "address": activations, "row_bytes": vectors * steps * line, "rows": 1, "blocks": 1},
            signal=(Queue.COMPUTE,)),
        Instruction(Opcode.LOAD_WEIGHTS, {"address": 0x400, "beats": len(weights) // bus, "steps": steps}),
        Instruction(Opcode.GEMM, {"steps": steps, "vectors": vectors, "vector_rows": 1, "x_stride": steps * line,
                                  "x_end": config.act_bytes, "y_end": 1, "tap_bytes": steps * line, "taps": 1,
                                  "tap_rows": 1, "act_signed": 1, "zero_point": 3},
                    wait=(Queue.LOAD,), signal=(Queue.STORE,)),
        Instruction(Opcode.STORE, {"address": outputs, "stride": stride, "vectors": vectors, "vector_rows": 1,
                                   "channels": config.out_cols}, wait=(Queue.COMPUTE,)),
    ]
    return Program.assemble(
        config, instructions, entry=0, segments=[(0x400, weights)], memory_bytes=end, writable=(outputs, end),
        inputs={"x": Tensor(activations, (vectors * steps, config.line_bytes), "int8", line)},
        outputs={"y": Tensor(outputs, (vectors, config.out_cols), "int32", stride)})


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_chip_gives_what_the_golden_model_gives(simulator):
    config, rng = CONFIGS["tiny"], np.random.default_rng(11)
    program = gemm_program(config, steps=2, vectors=4, rng=rng)
    inputs = {"x": rng.integers(-128, 128, program.inputs["x"].shape, np.int8)}
    golden = Session(config).run(program, inputs)
    result = Session(config, simulator).run(program, inputs, max_cycles=20_000)
    assert (result.outputs["y"] == golden.outputs["y"]).all()
    assert golden.outputs["y"].any()
    assert {name: result.counters[name] for name in golden.counters} == golden.counters
