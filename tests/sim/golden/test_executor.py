"""Programs: what each instruction does, how queues wait for one another, and every cause that stops a program."""

import re

import numpy as np
import pytest

from hdl.config import CONFIGS, INSTRUCTION_BYTES
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode, OutputFormat, Queue
from hdl.layouts import Step, pack_step, step_beats
from sim.golden.executor import execute
from sim.golden.gemm import gemm
from sim.golden.post import requantise

from .programs import Layer, LayerProgram, memory_of

TINY, SMALL = CONFIGS["tiny"], CONFIGS["small"]
LOAD, COMPUTE, STORE = Queue.LOAD, Queue.COMPUTE, Queue.STORE
DATA, OUT = 0x1000, 0x8000


def step_of(config, value=1, **scales):
    return Step.of_weights(np.full((config.columns, config.rows), value), **scales)


def packed(config, *steps):
    return np.concatenate([pack_step(config, step) for step in steps]).tobytes()


def load_weights(config, content, steps=1, address=DATA, **tokens):
    return Instruction(Opcode.LOAD_WEIGHTS, {
        "address": address, "beats": len(content) // config.bus_bytes, "steps": steps}, **tokens)


def store(config, vectors=1, channels=None, stride=64, **others):
    wait = others.pop("wait", (COMPUTE,))
    return Instruction(Opcode.STORE, {
        "address": OUT, "vectors": vectors, "channels": channels or config.out_cols, "stride": stride} | others,
        wait=wait)


def int32_at(memory, address, count):
    return memory[address:address + 4 * count].view(np.int32)


def run(config, instructions, *segments, seed=0, **others):
    return execute(config, *memory_of(config, instructions, *segments, **others), seed=seed)


# Whole programs


LAYERS = [
    ("tiny", 10, 30, 2), ("small", 40, 100, 5), ("ulx3s", 70, 150, 6), ("edge", 200, 300, 7), ("edge11", 130, 140, 3),
    ("m50", 460, 520, 2)]


@pytest.mark.parametrize(("name", "outputs", "inputs", "vectors"), LAYERS, ids=[layer[0] for layer in LAYERS])
@pytest.mark.parametrize("output_format", OutputFormat)
def test_layer_equals_the_fast_path(name, outputs, inputs, vectors, output_format):
    config = CONFIGS[name]
    rng = np.random.default_rng(30)
    signed = output_format is not OutputFormat.UINT8
    layer = Layer.random(rng, config, outputs, inputs, act_dtype="int8" if signed else "uint8",
                         act_zero_point=-5 if signed else 130, output_format=output_format, zero_point=17)
    x = rng.integers(0, 256, (vectors, inputs), dtype=np.uint8).view(layer.act_dtype)
    program = LayerProgram(config, layer, vectors)
    execution, y = program.run(x)

    assert execution.cause is Cause.NONE
    acc, overflow = gemm(config, layer.weights, x, zero_point=layer.act_zero_point, m=layer.m, e=layer.e)
    expected = acc
    if output_format is not OutputFormat.INT32:
        expected = requantise(acc, layer.bias, layer.multiplier, layer.zero_point, *layer.limits)
    assert (y == expected).all()
    assert execution.overflow == overflow
    assert len(execution.steps) == program.tiles * -(-inputs // config.line_bytes)


def test_any_order_gives_the_same_memory():
    rng = np.random.default_rng(31)
    layer = Layer.random(rng, SMALL, 100, 70, output_format=OutputFormat.INT8)
    x = rng.integers(-128, 128, (4, 70), dtype=np.int8)
    program = LayerProgram(SMALL, layer, 4)
    runs = [program.run(x, seed)[0] for seed in range(8)]
    for other in runs[1:]:
        assert (other.memory == runs[0].memory).all()
        assert other.steps == runs[0].steps


def test_a_missing_token_shows_in_some_order():
    """The GEMM gives zeros; where STORE overtakes it, what the accumulators held at power-up."""
    content = packed(TINY, step_of(TINY, 0))
    instructions = [
        load_weights(TINY, content),
        Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1}),
        store(TINY, wait=())]
    zero = [not run(TINY, instructions, (DATA, content), seed=seed).memory[OUT:OUT + 16].any() for seed in range(16)]
    assert any(zero)
    assert not all(zero)


def test_memory_given_is_not_changed():
    content = packed(TINY, step_of(TINY))
    memory, entry, count = memory_of(TINY, [store(TINY, wait=())], (DATA, content))
    before = memory.copy()
    execution = execute(TINY, memory, entry, count)
    assert (memory == before).all()
    assert not (execution.memory == before).all()


def test_no_instructions():
    execution = run(TINY, [])
    assert (execution.cause, execution.address, execution.steps, execution.read_beats) == (Cause.NONE, 0, (), 0)


# Power-up


def test_storage_is_random_at_power_up():
    instructions = [store(SMALL, 16, stride=64, wait=())]
    first, same, other = (int32_at(run(SMALL, instructions, seed=seed).memory, OUT, 256) for seed in (1, 1, 2))
    assert (first == same).all()
    assert not (first == other).all()
    assert np.count_nonzero(first) > 250


def test_activation_buffer_is_random_at_power_up():
    """The weights are ones, so the results are sums of activations."""
    content = packed(SMALL, step_of(SMALL))
    instructions = [load_weights(SMALL, content),
                    Instruction(Opcode.GEMM, {"steps": 1, "vectors": 16, "act_vector_stride": 1}, signal=(STORE,)),
                    store(SMALL, 16)]
    results = int32_at(run(SMALL, instructions, (DATA, content)).memory, OUT, 256).reshape(16, 16)
    assert len(set(results[:, 0].tolist())) > 10


# Instructions


def test_load_activations_strides():
    """Rows come from and go to strided places; every byte is read back through a column with one weight."""
    config = TINY
    rows = np.arange(1, 73, dtype=np.uint8).reshape(9, 8)
    weights = np.zeros((8, config.columns, config.rows), int)
    for r in range(8):
        weights[r, :, r] = 1
    content = packed(config, *[Step.of_weights(w) for w in weights])
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {
            "address": 0x4000, "stride": 24, "rows": 3, "row_beats": 2, "buffer_beat": 0, "buffer_stride": 3},
            signal=(COMPUTE,)),
        load_weights(config, content, steps=8)]
    for r in range(8):
        instructions.append(Instruction(Opcode.GEMM, {
            "steps": 1, "vectors": 3, "act_line": 1, "act_vector_stride": 3},
            wait=(LOAD,) if r == 0 else (STORE,), signal=(STORE,)))
        instructions.append(Instruction(Opcode.STORE, {
            "address": OUT + 256 * r, "vectors": 3, "channels": 1, "stride": 8}, wait=(COMPUTE,), signal=(COMPUTE,)))
    # lines 1, 4, 7 are the second bus words of the rows
    execution = run(config, instructions, (DATA, content), (0x4000, rows.tobytes()))
    assert execution.cause is Cause.NONE
    for r in range(8):
        for v in range(3):
            assert int32_at(execution.memory, OUT + 256 * r + 8 * v, 1)[0] == rows[3 * v + 1, r]


@pytest.mark.parametrize("zero_point", [-128, -3, 127])
def test_gemm_strides_and_accumulate(zero_point):
    """Line of vector v in step s is 1 + 2 v + 1 s; a second GEMM adds the same again."""
    config = TINY
    rng = np.random.default_rng(32)
    lines = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    weights = rng.integers(-15, 16, (4, config.columns, config.rows))
    content = packed(config, *[Step.of_weights(w) for w in weights])
    fields = {"steps": 2, "vectors": 3, "act_line": 1, "act_vector_stride": 2, "act_step_stride": 1,
              "acc_vector": 1, "act_signed": 1, "zero_point": zero_point % 256}
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {"address": 0x4000, "rows": 1, "row_beats": 8}, signal=(COMPUTE,)),
        load_weights(config, content, steps=4),
        Instruction(Opcode.GEMM, fields, wait=(LOAD,)),
        Instruction(Opcode.GEMM, fields | {"accumulate": 1}, signal=(STORE,)),
        store(config, 3, acc_vector=1)]
    execution = run(config, instructions, (DATA, content), (0x4000, lines.tobytes()))
    act = lines.view(np.int8).astype(int) - zero_point
    for v in range(3):
        expected = sum(weights[s] @ act[1 + 2 * v + s % 2] for s in range(4))
        assert int32_at(execution.memory, OUT + 64 * v, 4).tolist() == expected.tolist()
    assert [(s.instruction, s.vectors) for s in execution.steps] == [(2, 3), (2, 3), (3, 3), (3, 3)]


def test_a_kept_step_is_used_again():
    """Vectors 0 and 1 of the last step by one GEMM, vector 2 by the next; the weights are loaded once."""
    config = TINY
    rng = np.random.default_rng(33)
    lines = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    weights = rng.integers(-15, 16, (2, config.columns, config.rows))
    content = packed(config, *[Step.of_weights(w) for w in weights])
    fields = {"act_vector_stride": 1, "act_signed": 1}
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {"address": 0x4000, "rows": 1, "row_beats": 8}, signal=(COMPUTE,)),
        load_weights(config, content, steps=2),
        Instruction(Opcode.GEMM, fields | {"steps": 2, "vectors": 2, "act_step_stride": 4, "keep": 1}, wait=(LOAD,)),
        Instruction(Opcode.GEMM, fields | {"steps": 1, "vectors": 1, "act_line": 6, "acc_vector": 2},
                    signal=(STORE,)),
        store(config, 3)]
    execution = run(config, instructions, (DATA, content), (0x4000, lines.tobytes()))
    act = lines.view(np.int8).astype(int)
    expected = [weights[0] @ act[v] + weights[1] @ act[4 + v] for v in range(2)] + [weights[1] @ act[6]]
    assert [int32_at(execution.memory, OUT + 64 * v, 4).tolist() for v in range(3)] == [e.tolist() for e in expected]
    assert execution.weight_beats == len(content) // config.bus_bytes


def test_gemm_of_empty_steps_initialises_with_zero():
    content = packed(SMALL, step_of(SMALL, 0), step_of(SMALL, 0))
    instructions = [load_weights(SMALL, content, steps=2),
                    Instruction(Opcode.GEMM, {"steps": 2, "vectors": 16}, signal=(STORE,)), store(SMALL, 16)]
    execution = run(SMALL, instructions, (DATA, content))
    assert (int32_at(execution.memory, OUT, 256) == 0).all()
    assert execution.array_busy == 0
    assert not execution.overflow


def test_load_parameters_and_store_only_what_was_asked():
    """Channels 2 to 4 of 4 are written; every byte around them stays."""
    config = TINY
    content = packed(config, step_of(config, 0))
    parameters = np.zeros((4, 2), np.uint32)
    parameters[:, 0] = np.array([10, -20, 30, -40], np.int32).view(np.uint32)
    parameters[:, 1] = np.array([1, 2, -0.5, 1], np.float32).view(np.uint32)
    instructions = [
        load_weights(config, content),
        Instruction(Opcode.LOAD_PARAMETERS, {"address": 0x4000, "channels": 4, "channel": 4}, signal=(STORE,)),
        Instruction(Opcode.GEMM, {"steps": 1, "vectors": 2}, signal=(STORE,)),
        store(config, 2, 3, stride=8, channel=4, format=OutputFormat.INT8, zero_point=1, low=-30, high=127,
              wait=(LOAD, COMPUTE))]
    memory, entry, count = memory_of(config, instructions, (DATA, content), (0x4000, parameters.tobytes()))
    execution = execute(config, memory, entry, count)
    for v in range(2):
        memory[OUT + 8 * v:OUT + 8 * v + 3] = np.array([11, -30, -14], np.int8).view(np.uint8)
    assert (execution.memory == memory).all()


def test_store_uint8():
    config = TINY
    content = packed(config, step_of(config, 0))
    parameters = np.zeros((4, 2), np.uint32)
    parameters[:, 0] = [300, 200, 100, 0]
    parameters[:, 1] = np.array([1, 1, -1, 1], np.float32).view(np.uint32)
    instructions = [
        load_weights(config, content),
        Instruction(Opcode.LOAD_PARAMETERS, {"address": 0x4000, "channels": 4}, signal=(STORE,)),
        Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1}, signal=(STORE,)),
        store(config, format=OutputFormat.UINT8, zero_point=5, low=0, high=255, wait=(LOAD, COMPUTE))]
    execution = run(config, instructions, (DATA, content), (0x4000, parameters.tobytes()))
    assert execution.memory[OUT:OUT + 4].tolist() == [255, 205, 0, 5]


# Overflow


@pytest.mark.parametrize(("e", "overflow"), [(20, False), (21, True)])
def test_overflow_of_a_scaled_psum(e, overflow):
    """255 x 8 rows = 2040 is just below 2^11."""
    content = packed(TINY, step_of(TINY, e=e))
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {"address": 0x4000, "rows": 1, "row_beats": 1}, signal=(COMPUTE,)),
        load_weights(TINY, content), Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1}, wait=(LOAD,))]
    assert run(TINY, instructions, (DATA, content), (0x4000, b"\xff" * 8)).overflow == overflow


@pytest.mark.parametrize(("accumulate", "overflow"), [(0, False), (1, True)])
def test_overflow_of_an_accumulator_is_sticky(accumulate, overflow):
    content = packed(TINY, step_of(TINY, e=20), step_of(TINY, e=20), step_of(TINY, 0))
    gemm_fields = {"steps": 1, "vectors": 1}
    instructions = [
        Instruction(Opcode.LOAD_ACTIVATIONS, {"address": 0x4000, "rows": 1, "row_beats": 1}, signal=(COMPUTE,)),
        load_weights(TINY, content, steps=3),
        Instruction(Opcode.GEMM, gemm_fields, wait=(LOAD,)),
        Instruction(Opcode.GEMM, gemm_fields | {"accumulate": accumulate}),
        Instruction(Opcode.GEMM, gemm_fields)]
    assert run(TINY, instructions, (DATA, content), (0x4000, b"\xff" * 8)).overflow == overflow


# Statistics


def test_counts():
    """Planes are those of the column that has most; a stored plane without a bit set counts too."""
    config = SMALL
    weights = np.zeros((config.columns, config.rows), int)
    weights[3, 5] = 0b1011
    weights[9, 1] = -0b1000000
    steps = [Step.of_weights(weights), step_of(config, 0), step_of(config, 255)]
    images = [pack_step(config, step) for step in steps]
    redundant = bytearray(images[0][:config.header_beats * config.bus_bytes])
    redundant[0] = 0b01111000
    units = images[0][config.header_beats * config.bus_bytes:].tobytes()[:2 * (config.columns + 4)]
    extra = units[:2] + bytes(8) + units[2:]
    images.append(np.frombuffer(bytes(redundant) + extra + bytes(-len(extra) % config.bus_bytes), np.uint8))
    content = np.concatenate(images).tobytes()
    instructions = [
        load_weights(config, content, steps=4),
        Instruction(Opcode.GEMM, {"steps": 4, "vectors": 5}, signal=(STORE,)),
        store(config, 5, 3, stride=64)]
    execution = run(config, instructions, (DATA, content))
    assert [s.planes for s in execution.steps] == [3, 0, 8, 4]
    assert [s.cycles for s in execution.steps] == [15, 0, 40, 20]
    assert [s.beats for s in execution.steps] == [*[step_beats(config, s.masks) for s in steps],
                                                 len(images[3]) // config.bus_bytes]
    assert execution.array_busy == 75
    assert execution.weight_beats == len(content) // config.bus_bytes
    assert execution.read_beats == execution.weight_beats + 3 * INSTRUCTION_BYTES // config.bus_bytes
    assert execution.write_beats == 5 * 2


# Causes


def assert_stops(execution, cause, address):
    assert (execution.cause, execution.address) == (cause, address)


@pytest.mark.parametrize("opcode", [0x00, 0x04, 0xff])
def test_illegal_opcode(opcode):
    record = bytes([opcode]) + bytes(63)
    assert_stops(run(TINY, [store(TINY, wait=()), record], entry=0x40), Cause.ILLEGAL_OPCODE, 0x80)


@pytest.mark.parametrize(("byte", "value"), [
    (1, 1 << Queue.VECTOR), (2, 1 << Queue.LINK), (1, 0x80), (3, 1), (7, 0x80), (63, 1), (29, 1), (28, 3), (22, 0),
    (13, 1), (8, 4)],
    ids=["wait VECTOR", "signal LINK", "wait 7", "reserved head", "reserved head end", "reserved end", "padding",
         "format", "channels", "address of 41 bits", "address inside a bus word"])
def test_illegal_field(byte, value):
    record = bytearray(store(TINY, wait=()).encode())
    record[byte] = value
    assert_stops(run(TINY, [store(TINY, wait=()), bytes(record)]), Cause.ILLEGAL_FIELD, 0x40)


def test_illegal_instruction_stops_before_anything_runs():
    memory, entry, count = memory_of(TINY, [store(TINY, wait=()), bytes(64)])
    assert (execute(TINY, memory, entry, count).memory == memory).all()


@pytest.mark.parametrize("instructions", [
    [store(TINY)],
    [Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1})],
    [store(TINY, wait=(STORE,))],
    [Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1}, wait=(STORE,), signal=(STORE,)),
     store(TINY)],
], ids=["no token", "no weights", "own token", "circle"])
def test_watchdog(instructions):
    assert_stops(run(TINY, instructions, entry=0x100), Cause.WATCHDOG, 0x100 + 64 * (len(instructions) - 1))


def test_gemm_waits_for_all_its_steps():
    content = packed(TINY, step_of(TINY))
    instructions = [load_weights(TINY, content), Instruction(Opcode.GEMM, {"steps": 2, "vectors": 1})]
    execution = run(TINY, instructions, (DATA, content))
    assert_stops(execution, Cause.WATCHDOG, 0x40)
    assert execution.steps == ()


def test_each_token_lets_one_instruction_start():
    content = packed(TINY, step_of(TINY))
    instructions = [
        load_weights(TINY, content), Instruction(Opcode.GEMM, {"steps": 1, "vectors": 1}, signal=(STORE,)),
        store(TINY), store(TINY)]
    assert_stops(run(TINY, instructions, (DATA, content)), Cause.WATCHDOG, 0xc0)


@pytest.mark.parametrize(("beats", "steps", "last"), [
    (1, 1, 1), (8, 1, 8), (9, 1, 9), (24, 1, 16), (17, 2, 17), (32, 3, 32), (33, 2, 32)],
    ids=["in headers", "after headers", "in units", "one step more", "in second headers", "no third step",
         "one word more"])
def test_weight_stream(beats, steps, last):
    """A step without planes has 8 bus words of headers and 8 of sign words on ``small``."""
    content = packed(SMALL, step_of(SMALL, 0), step_of(SMALL, 0), step_of(SMALL, 0))
    assert len(content) == 3 * 16 * SMALL.bus_bytes
    instruction = load_weights(SMALL, content[:beats * SMALL.bus_bytes], steps=steps)
    execution = run(SMALL, [instruction], (DATA, content))
    assert_stops(execution, Cause.WEIGHT_STREAM, DATA + (last - 1) * SMALL.bus_bytes)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_bad_multiplier(value):
    parameters = np.zeros((4, 2), np.uint32)
    parameters[2:, 1] = np.float32(value).view(np.uint32)

    def program(channels, output_format):
        return [Instruction(Opcode.LOAD_PARAMETERS, {"address": 0x4000, "channels": 4, "channel": 4},
                            signal=(STORE,)),
                store(TINY, 1, channels, channel=4, format=output_format, low=0, high=9, wait=(LOAD,))]

    segment = (0x4000, parameters.tobytes())
    assert_stops(run(TINY, program(4, OutputFormat.INT8), segment), Cause.BAD_MULTIPLIER, 6)
    assert_stops(run(TINY, program(2, OutputFormat.INT8), segment), Cause.NONE, 0)
    assert_stops(run(TINY, program(4, OutputFormat.INT32), segment), Cause.NONE, 0)


# What is no program


@pytest.mark.parametrize(("entry", "count", "text"), [
    (32, 1, "entry must be a multiple of 64, not 32"),
    (-64, 1, "entry must be a multiple of 64, not -64"),
    (64, 2, "count must be such that the program ends in the memory's 128 bytes, not 2"),
    (0, -1, "count must be such that the program ends in the memory's 128 bytes, not -1"),
])
def test_refuses_a_program_outside_the_memory(entry, count, text):
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        execute(TINY, np.zeros(128, np.uint8), entry, count)


def test_refuses_a_transfer_outside_the_memory():
    memory, entry, count = memory_of(TINY, [store(TINY, wait=())], size=OUT + 8)
    text = f"STORE must stay in the memory's {OUT + 8} bytes, not reach {OUT + 16}"
    with pytest.raises(ValueError, match=f"^{text}$"):
        execute(TINY, memory, entry, count)
