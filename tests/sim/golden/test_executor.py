"""Programs: what each instruction does, how queues wait for one another, and every cause that stops a program."""

import re

import numpy as np
import pytest

from hdl.config import CONFIGS, INSTRUCTION_BYTES
from hdl.csr import COUNTERS, Cause
from hdl.isa import Instruction, Opcode, OutputFormat, Queue, ResidualFormat, format_range
from hdl.layouts import Step, pack_step, step_beats
from sim.golden.executor import execute
from sim.golden.gemm import gemm
from sim.golden.post import requantise

from .programs import Layer, LayerProgram, memory_of, tile_steps

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
    wait, signal = others.pop("wait", (COMPUTE,)), others.pop("signal", ())
    return Instruction(Opcode.STORE, {
        "address": OUT, "vectors": vectors, "vector_rows": 1, "channels": channels or config.out_cols,
        "stride": stride} | others, wait, signal)


def product(config, steps=1, vectors=1, *, wait=(), signal=(), line=0, vector_stride=0, step_stride=0, **others):
    """A GEMM over whole lines of the buffer."""
    size = config.line_bytes
    return Instruction(Opcode.GEMM, {
        "steps": steps, "vectors": vectors, "vector_rows": 1, "act_address": line * size,
        "x_stride": vector_stride * size, "x_end": config.act_bytes, "y_end": 1, "tap_bytes": size, "taps": steps,
        "tap_rows": 1, "tap_x_stride": step_stride * size} | others, wait, signal)


def load(address, size, **others):
    tokens = {name: others.pop(name) for name in ("wait", "signal") if name in others}
    return Instruction(Opcode.LOAD_ACTIVATIONS, {
        "address": address, "row_bytes": size, "rows": 1, "blocks": 1} | others, **tokens)


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
        product(TINY),
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
                    product(SMALL, 1, 16, vector_stride=1, signal=(STORE,)),
                    store(SMALL, 16)]
    results = int32_at(run(SMALL, instructions, (DATA, content)).memory, OUT, 256).reshape(16, 16)
    assert len(set(results[:, 0].tolist())) > 10


# Instructions


def lanes_of(config) -> bytes:
    """Steps that give the bytes of a line, one after another, in output channel 0."""
    weights = np.zeros((config.rows, config.columns, config.rows), int)
    weights[np.arange(config.rows), :, np.arange(config.rows)] = 1
    return packed(config, *[Step.of_weights(w) for w in weights])


def buffer_after(config, loads, *segments):
    """The activation buffer of ``tiny``, read back lane by lane."""
    content = lanes_of(config)
    vectors = config.act_lines // 2
    instructions = [*loads, load_weights(config, content, steps=8), load_weights(config, content, 8, signal=(COMPUTE,))]
    for half in range(2):
        for r in range(8):
            instructions += [product(config, 1, vectors, line=half * vectors, vector_stride=1,
                                     wait=(LOAD,) if half == r == 0 else (STORE,), signal=(STORE,)),
                             store(config, vectors, 1, stride=8, address=OUT + 256 * r + 128 * half,
                                   signal=(COMPUTE,))]
    execution = run(config, instructions, (DATA, content), *segments)
    assert execution.cause is Cause.NONE
    return np.array([[int32_at(execution.memory, OUT + 256 * r + 128 * (line // vectors) + 8 * (line % vectors), 1)[0]
                      for r in range(8)] for line in range(2 * vectors)], np.uint8).ravel()


def test_load_activations_walks_rows_and_blocks_of_any_alignment():
    """Byte by byte as the page of formats says; what is loaded twice is of the later row."""
    rng = np.random.default_rng(34)
    memory = rng.integers(0, 256, 999, dtype=np.uint8)
    expected = memory[:64].copy()
    loads = [load(0x4000, 64)]
    for _ in range(12):
        while True:
            fields = {"row_bytes": rng.integers(1, 12), "rows": rng.integers(1, 5), "blocks": rng.integers(1, 4),
                      "stride": rng.integers(0, 30), "block_stride": rng.integers(0, 90),
                      "buffer_address": rng.integers(0, 50), "buffer_stride": rng.integers(0, 14),
                      "buffer_block_stride": rng.integers(0, 30)}
            fields = {name: int(value) for name, value in fields.items()}
            at = int(rng.integers(0, 300))
            targets = [(fields["buffer_address"] + j * fields["buffer_block_stride"] + i * fields["buffer_stride"] + k,
                        at + j * fields["block_stride"] + i * fields["stride"] + k)
                       for j in range(fields["blocks"]) for i in range(fields["rows"])
                       for k in range(fields["row_bytes"])]
            if max(target for target, _ in targets) < 64:
                break
        for target, source in targets:
            expected[target] = memory[source]
        loads.append(Instruction(Opcode.LOAD_ACTIVATIONS, fields | {"address": 0x4000 + at}))
    seen = buffer_after(TINY, loads, (0x4000, memory.tobytes()))
    assert (seen == expected).all()


@pytest.mark.parametrize("zero_point", [-128, -3, 127])
def test_gemm_strides_and_accumulate(zero_point):
    """Line of vector v in step s is 1 + 2 v + 1 s; a second GEMM adds the same again."""
    config = TINY
    rng = np.random.default_rng(32)
    lines = rng.integers(0, 256, (8, 8), dtype=np.uint8)
    weights = rng.integers(-15, 16, (4, config.columns, config.rows))
    content = packed(config, *[Step.of_weights(w) for w in weights])
    fields = {"line": 1, "vector_stride": 2, "step_stride": 1, "acc_vector": 1, "act_signed": 1,
              "zero_point": zero_point % 256}
    instructions = [
        load(0x4000, 64, signal=(COMPUTE,)),
        load_weights(config, content, steps=4),
        product(config, 2, 3, wait=(LOAD,), **fields),
        product(config, 2, 3, signal=(STORE,), accumulate=1, **fields),
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
    instructions = [
        load(0x4000, 64, signal=(COMPUTE,)),
        load_weights(config, content, steps=2),
        product(config, 2, 2, vector_stride=1, step_stride=4, act_signed=1, keep=1, wait=(LOAD,)),
        product(config, 1, 1, line=6, act_signed=1, acc_vector=2, signal=(STORE,)),
        store(config, 3)]
    execution = run(config, instructions, (DATA, content), (0x4000, lines.tobytes()))
    act = lines.view(np.int8).astype(int)
    expected = [weights[0] @ act[v] + weights[1] @ act[4 + v] for v in range(2)] + [weights[1] @ act[6]]
    assert [int32_at(execution.memory, OUT + 64 * v, 4).tolist() for v in range(3)] == [e.tolist() for e in expected]
    assert execution.weight_beats == len(content) // config.bus_bytes


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_gemm_is_a_convolution(padding, stride):
    """Rows of vectors are rows of the output; the window goes on in a second GEMM."""
    config, rng = SMALL, np.random.default_rng(35)
    channels, height, width, kernel, zero_point = 13, 4, 5, 3, 7
    top, left = padding
    image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    weights = rng.integers(-99, 100, (config.out_cols, kernel, kernel, channels))
    steps = tile_steps(config, weights.reshape(config.out_cols, -1),
                       *np.zeros((2, config.out_cols, -(-kernel * kernel * channels // config.rows)), np.uint8), 0)
    content = packed(config, *steps)
    out_rows, out_cols = (height + 2 * top - kernel) // stride + 1, (width + 2 * left - kernel) // stride + 1
    out_rows = min(out_rows, config.acc_vectors // out_cols)
    pitch = width * channels
    window = {"vectors": out_cols, "vector_rows": out_rows, "act_address": 4000, "x": -left * channels,
              "x_stride": stride * channels, "y_stride": stride * pitch, "x_end": pitch, "y_end": height * pitch,
              "tap_bytes": channels, "taps": kernel, "tap_x_stride": channels, "tap_y_stride": pitch,
              "zero_point": zero_point}
    row, byte = divmod(2 * config.line_bytes, kernel * channels)
    tap, byte = divmod(byte, channels)
    parts = [(2, {"y": -top * pitch, "tap_rows": kernel}),
             (len(steps) - 2, {"y": (row - top) * pitch, "tap_rows": kernel - row, "first_tap": tap,
                               "first_x": tap * channels, "first_byte": byte, "accumulate": 1})]
    wrapped = config.act_bytes - 4000
    instructions = [
        load(0x4000, wrapped, buffer_address=4000),
        load(0x4000 + wrapped, image.size - wrapped, signal=(COMPUTE,)),
        load_weights(config, content, steps=len(steps)),
        Instruction(Opcode.GEMM, window | {"steps": parts[0][0]} | parts[0][1], wait=(LOAD,)),
        Instruction(Opcode.GEMM, window | {"steps": parts[1][0]} | parts[1][1], signal=(STORE,)),
        store(config, out_cols, vector_rows=out_rows, stride=65, row_stride=1000)]
    execution = run(config, instructions, (DATA, content), (0x4000, image.tobytes()))
    assert execution.cause is Cause.NONE
    padded = np.pad(image.astype(int) - zero_point, ((top, top + stride), (left, left + stride), (0, 0)))
    for r in range(out_rows):
        for c in range(out_cols):
            patch = padded[stride * r:stride * r + kernel, stride * c:stride * c + kernel]
            expected = np.einsum("oyxc,yxc->o", weights, patch)
            at = OUT + 1000 * r + 65 * c
            assert execution.memory[at:at + 64].copy().view(np.int32).tolist() == expected.tolist()


@pytest.mark.parametrize("accumulate", [0, 1])
def test_maximum(accumulate):
    """Of the sums over a whole line: also across GEMMs, and over a step without weights, whose sum is zero."""
    config, rng = SMALL, np.random.default_rng(36)
    lines = rng.integers(0, 256, (3, config.line_bytes), dtype=np.uint8)
    weights = rng.integers(-255, 256, (4, config.columns, config.rows))
    weights[2] = 0
    content = packed(config, *[Step.of_weights(w) for w in weights])
    instructions = [
        load(0x4000, lines.size, signal=(COMPUTE,)),
        load_weights(config, content, steps=4),
        product(config, 1, 3, vector_stride=1, wait=(LOAD,)),
        product(config, 3, 3, vector_stride=1, maximum=1, accumulate=accumulate, signal=(STORE,)),
        store(config, 3)]
    execution = run(config, instructions, (DATA, content), (0x4000, lines.tobytes()))
    grid = weights.reshape(4, config.grid_k, config.out_cols, config.rows)
    act = lines.astype(int).reshape(3, config.grid_k, config.rows)
    sums = np.einsum("skor,vkr->svo", grid, act)
    expected = sums[0 if accumulate else 1:].max(axis=0)
    assert (sums[0] > sums[1:].max(axis=0)).any()
    assert (sums[1:].max(axis=0) == 0).any()
    assert [int32_at(execution.memory, OUT + 64 * v, 16).tolist() for v in range(3)] == expected.tolist()


def test_gemm_of_empty_steps_initialises_with_zero():
    content = packed(SMALL, step_of(SMALL, 0), step_of(SMALL, 0))
    instructions = [load_weights(SMALL, content, steps=2),
                    product(SMALL, 2, 16, signal=(STORE,)), store(SMALL, 16)]
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
        product(TINY, 1, 2, signal=(STORE,)),
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
        product(TINY, signal=(STORE,)),
        store(config, format=OutputFormat.UINT8, zero_point=5, low=0, high=255, wait=(LOAD, COMPUTE))]
    execution = run(config, instructions, (DATA, content), (0x4000, parameters.tobytes()))
    assert execution.memory[OUT:OUT + 4].tolist() == [255, 205, 0, 5]


def parameters_of(bias, multiplier) -> bytes:
    pairs = np.zeros(len(bias), np.dtype([("bias", "<i4"), ("multiplier", "<f4")]))
    pairs["bias"], pairs["multiplier"] = bias, multiplier
    return pairs.tobytes()


def stored(config, bias, instructions, *segments, signal=(STORE,)):
    """Zero accumulators with these biases and multiplier 1, and what instructions make of them."""
    content = packed(config, step_of(config, 0))
    program = [
        load_weights(config, content),
        Instruction(Opcode.LOAD_PARAMETERS, {"address": 0x4000, "channels": len(bias)}, signal=signal),
        product(config, 1, config.acc_vectors, signal=signal), *instructions]
    return run(config, program, (DATA, content), (0x4000, parameters_of(bias, np.ones(len(bias)))), *segments)


INT8 = {"format": OutputFormat.INT8, "low": -128, "high": 127}


@pytest.mark.parametrize("output_format", [OutputFormat.INT8, OutputFormat.UINT8])
def test_a_table_is_looked_up_by_the_byte_of_the_result(output_format):
    rng = np.random.default_rng(37)
    tables = rng.integers(0, 256, (2, 256), dtype=np.uint8)
    low, high = (-128, 127) if output_format == OutputFormat.INT8 else (0, 255)
    bias = [low, high, 0, 5]
    instructions = [
        *[Instruction(Opcode.LOAD_TABLE, {"address": 0x5000 + 256 * n, "table": n + 1}, signal=(STORE,) * n)
          for n in range(2)],
        store(TINY, wait=(LOAD, COMPUTE), format=output_format, low=low, high=high, table=1),
        store(TINY, wait=(LOAD,), format=output_format, low=low, high=high, table=2, address=OUT + 64)]
    execution = stored(TINY, bias, instructions, (0x5000, tables.tobytes()))
    assert execution.cause is Cause.NONE
    for n in range(2):
        assert execution.memory[OUT + 64 * n:OUT + 64 * n + 4].tolist() == [tables[n, b % 256] for b in bias]


@pytest.mark.parametrize(("kind", "zero_point", "bytes_", "numbers"), [
    (1, 0xFD, [0, 0x7F, 0x80, 0xFF], [3, 130, -125, 2]), (2, 0xFD, [0, 0x7F, 0xFD, 0xFF], [-253, -126, 0, 2])],
    ids=["int8", "uint8"])
def test_a_residual_is_added_before_rounding(kind, zero_point, bytes_, numbers):
    """Half of it: ties go to even."""
    fields = INT8 | {"residual": kind, "residual_multiplier": 0x3F00_0000, "residual_zero_point": zero_point}
    bias = [10, 10, -10, 10]
    execution = stored(TINY, bias, [store(TINY, wait=(LOAD, COMPUTE), residual_address=0x5003, **fields)],
                       (0x5003, bytes(bytes_)))
    expected = [int(np.clip(np.rint(b + n / 2), -128, 127)) for b, n in zip(bias, numbers, strict=True)]
    assert execution.memory[OUT:OUT + 4].view(np.int8).tolist() == expected


@pytest.mark.parametrize("output_format", OutputFormat)
def test_an_int32_residual_is_added_to_the_accumulator(output_format):
    """At any byte; bias and limits come after it, int32 results have neither."""
    residual = np.array([[5, -7, 100, -100], [2, -3, 1 << 30, -1 << 31]], "<i4")
    rows = b"".join(row.tobytes() + bytes(3) for row in residual)  # 19 bytes from one to the next
    bias = [1, -2, 30, -40]
    wide = output_format == OutputFormat.INT32
    low, high = (0, 0) if wide else format_range(output_format)
    fields = {"format": output_format, "low": low, "high": high, "residual": ResidualFormat.INT32,
              "residual_address": 0x5003, "residual_stride": 19, "stride": 16}
    execution = stored(TINY, bias, [store(TINY, 2, wait=(LOAD, COMPUTE), **fields)], (0x5003, rows))
    assert (execution.cause, execution.overflow) == (Cause.NONE, False)
    for vector in range(2):
        results = execution.memory[OUT + 16 * vector:][:16 if wide else 4]
        expected = residual[vector] if wide else np.clip(residual[vector].astype(np.int64) + bias, low, high)
        assert (results.view("<i4") if wide else results).tolist() == (expected if wide else expected % 256).tolist()
    program, weights, parameters = 4 * 8, 2, 4
    assert execution.read_beats == program + weights + parameters + 2 * 3


def test_a_table_follows_an_int32_residual():
    table = np.random.default_rng(39).integers(0, 256, 256, dtype=np.uint8)
    residual = np.array([1, -1, 127, -128], "<i4")
    instructions = [
        Instruction(Opcode.LOAD_TABLE, {"address": 0x5000, "table": 1}, signal=(STORE,)),
        store(TINY, wait=(LOAD, COMPUTE)),
        store(TINY, wait=(LOAD,), table=1, residual=ResidualFormat.INT32, residual_address=0x6001, **INT8)]
    execution = stored(TINY, [0, 0, 0, 0], instructions, (0x5000, table.tobytes()), (0x6001, residual.tobytes()))
    assert execution.memory[OUT:OUT + 4].tolist() == [table[r % 256] for r in residual.tolist()]


def test_int32_residuals_add_up_in_place():
    fields = {"residual": ResidualFormat.INT32, "residual_address": OUT}
    content = packed(TINY, step_of(TINY))
    instructions = [load(0x4000, 8, signal=(COMPUTE,)), load_weights(TINY, content),
                    product(TINY, wait=(LOAD,), signal=(STORE,)), store(TINY), *[store(TINY, wait=(), **fields)] * 2]
    execution = run(TINY, instructions, (DATA, content), (0x4000, b"\x01" * 8))
    once = run(TINY, instructions[:4], (DATA, content), (0x4000, b"\x01" * 8))
    found, summed = (e.memory[OUT:OUT + 16].view("<i4") for e in (execution, once))
    assert summed.any()
    assert (found == 3 * summed).all()


def test_strides_of_results_and_residual_are_their_own():
    """Rows of vectors, any alignment; nothing else is written, and bus words are counted per vector."""
    rng = np.random.default_rng(38)
    residual = rng.integers(-100, 100, 99, dtype=np.int8)
    fields = INT8 | {"vector_rows": 2, "stride": 5, "row_stride": 31, "residual": 1, "residual_address": 0x5001,
                     "residual_stride": 3, "residual_row_stride": 20, "residual_multiplier": 0x3F80_0000}
    instructions = [store(TINY, 2, 3, wait=(LOAD, COMPUTE), address=OUT + 6, **fields)]
    execution = stored(TINY, [0, 0, 0, 0], instructions, (0x5001, residual.tobytes()))
    untouched = np.ones(64, bool)
    for r in range(2):
        for v in range(2):
            at = 6 + 31 * r + 5 * v
            assert (execution.memory[OUT + at:OUT + at + 3].view(np.int8) == residual[20 * r + 3 * v:][:3]).all()
            untouched[at:at + 3] = False
    before, _, _ = memory_of(TINY, [])
    assert (execution.memory[OUT:OUT + 64] == before[OUT:OUT + 64])[untouched].all()
    assert execution.write_beats == sum(1 + (at % 8 > 5) for at in (6, 11, 37, 42))
    program, weights, parameters = 4 * 8, 2, 4
    assert execution.read_beats == program + weights + parameters + sum(1 + (at % 8 > 5) for at in (1, 4, 21, 24))


def test_of_results_that_overlap_the_last_stays():
    execution = stored(TINY, [1, 2, 3, 4], [store(TINY, 3, wait=(LOAD, COMPUTE), stride=1, **INT8)])
    assert execution.memory[OUT:OUT + 6].tolist() == [1, 1, 1, 2, 3, 4]


def test_a_residual_may_be_what_it_is_added_to():
    fields = INT8 | {"residual": 1, "residual_address": OUT, "residual_multiplier": 0x3F80_0000}
    instructions = [store(TINY, wait=(LOAD, COMPUTE), **INT8), *[store(TINY, wait=(), **fields)] * 3]
    assert stored(TINY, [1, -2, 3, 60], instructions).memory[OUT:OUT + 4].view(np.int8).tolist() == [4, -8, 12, 127]


def test_a_released_token_is_one_of_the_same_kind():
    """Two tokens, by release and by signal, and no third."""
    for waits, cause in ((2, Cause.NONE), (3, Cause.WATCHDOG)):
        instructions = [store(TINY, wait=(), release=1 << COMPUTE, signal=(COMPUTE,)),
                        *[load_weights(TINY, packed(TINY, step_of(TINY)))] * waits,
                        *[product(TINY, wait=(STORE,))] * waits]
        assert run(TINY, instructions, (DATA, packed(TINY, step_of(TINY)))).cause is cause


def test_store_counters_writes_all_of_them_and_nothing_else():
    memory, entry, count = memory_of(TINY, [Instruction(Opcode.STORE_COUNTERS, {"address": OUT + 3})])
    execution = execute(TINY, memory, entry, count)
    changed = np.flatnonzero(execution.memory != memory)
    size = 8 * len(COUNTERS)
    assert (changed.min(), changed.max()) == (OUT + 3, OUT + 3 + size - 1)
    assert execution.write_beats == -(-(3 + size) // TINY.bus_bytes)


# Overflow


@pytest.mark.parametrize(("e", "overflow"), [(20, False), (21, True)])
def test_overflow_of_a_scaled_psum(e, overflow):
    """255 x 8 rows = 2040 is just below 2^11."""
    content = packed(TINY, step_of(TINY, e=e))
    instructions = [
        load(0x4000, 8, signal=(COMPUTE,)),
        load_weights(TINY, content), product(TINY, wait=(LOAD,))]
    assert run(TINY, instructions, (DATA, content), (0x4000, b"\xff" * 8)).overflow == overflow


@pytest.mark.parametrize(("accumulate", "overflow"), [(0, False), (1, True)])
def test_overflow_of_an_accumulator_is_sticky(accumulate, overflow):
    content = packed(TINY, step_of(TINY, e=20), step_of(TINY, e=20), step_of(TINY, 0))
    instructions = [
        load(0x4000, 8, signal=(COMPUTE,)),
        load_weights(TINY, content, steps=3),
        product(TINY, wait=(LOAD,)),
        product(TINY, accumulate=accumulate),
        product(TINY)]
    assert run(TINY, instructions, (DATA, content), (0x4000, b"\xff" * 8)).overflow == overflow


@pytest.mark.parametrize("residual", [2 ** 31 - 1, -2 ** 31])
@pytest.mark.parametrize("output_format", [OutputFormat.INT32, OutputFormat.UINT8])
def test_overflow_of_an_int32_residual(output_format, residual):
    """In the last channel, and only if that is stored."""
    content = packed(TINY, step_of(TINY))
    values = np.array([0, 0, 0, residual], "<i4")
    plain = [load(0x4000, 8, signal=(COMPUTE,)), load_weights(TINY, content),
             product(TINY, wait=(LOAD,), signal=(STORE,)), store(TINY)]
    parameters = Instruction(Opcode.LOAD_PARAMETERS, {"address": 0x6000, "channels": 4}, signal=(STORE,))
    segments = [(DATA, content), (0x4000, b"\x01" * 8), (0x5001, values.tobytes()),
                (0x6000, parameters_of([0] * 4, [1] * 4))]
    last = int(run(TINY, plain, *segments).memory[OUT:OUT + 16].view("<i4")[3])
    assert last
    for channels in (3, 4):
        adds = store(TINY, 1, channels, wait=(LOAD,), format=output_format, residual=ResidualFormat.INT32,
                     residual_address=0x5001)
        execution = run(TINY, [*plain, parameters, adds], *segments)
        assert execution.cause is Cause.NONE
        assert execution.overflow == (channels == 4 and (last > 0) == (residual > 0))


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
        product(SMALL, 4, 5, signal=(STORE,)),
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


@pytest.mark.parametrize("opcode", [0x00, 0x05, 0xff])
def test_illegal_opcode(opcode):
    record = bytes([opcode]) + bytes(63)
    assert_stops(run(TINY, [store(TINY, wait=()), record], entry=0x40), Cause.ILLEGAL_OPCODE, 0x80)


@pytest.mark.parametrize(("byte", "value"), [
    (1, 1 << Queue.VECTOR), (2, 1 << Queue.LINK), (1, 0x80), (3, 1), (7, 0x80), (35, 0x10), (34, 3), (34, 0x10),
    (35, 1), (35, 4), (36, 1 << Queue.VECTOR), (30, 0), (13, 1), (48, 1), (62, 0x7F)],
    ids=["wait VECTOR", "signal LINK", "wait 7", "reserved head", "reserved head end", "padding", "format",
         "table of int32", "int8 residual of int32", "residual", "release VECTOR", "channels", "address of 41 bits",
         "residual address of 41 bits", "residual multiplier"])
def test_illegal_field(byte, value):
    record = bytearray(store(TINY, wait=()).encode())
    record[byte] = value
    assert_stops(run(TINY, [store(TINY, wait=()), bytes(record)]), Cause.ILLEGAL_FIELD, 0x40)


def test_illegal_instruction_stops_before_anything_runs():
    memory, entry, count = memory_of(TINY, [store(TINY, wait=()), bytes(64)])
    assert (execute(TINY, memory, entry, count).memory == memory).all()


@pytest.mark.parametrize("instructions", [
    [store(TINY)],
    [product(TINY)],
    [store(TINY, wait=(STORE,))],
    [product(TINY, wait=(STORE,), signal=(STORE,)),
     store(TINY)],
], ids=["no token", "no weights", "own token", "circle"])
def test_watchdog(instructions):
    assert_stops(run(TINY, instructions, entry=0x100), Cause.WATCHDOG, 0x100 + 64 * (len(instructions) - 1))


def test_gemm_waits_for_all_its_steps():
    content = packed(TINY, step_of(TINY))
    instructions = [load_weights(TINY, content), product(TINY, 2)]
    execution = run(TINY, instructions, (DATA, content))
    assert_stops(execution, Cause.WATCHDOG, 0x40)
    assert execution.steps == ()


def test_each_token_lets_one_instruction_start():
    content = packed(TINY, step_of(TINY))
    instructions = [
        load_weights(TINY, content), product(TINY, signal=(STORE,)),
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
