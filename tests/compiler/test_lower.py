"""Lowering of fully connected layers, post-processing, and the tokens of any program."""

import re
from itertools import pairwise

import numpy as np
import pytest

from compiler.convolution import convolution
from compiler.layer import Layer, LayerError, Requantisation, Residual
from compiler.lower import lower
from compiler.pieces import LEAST_PART, Rectangle, rectangles, tapered
from compiler.pooling import average_pool, maximum_pool
from compiler.window import Window
from hdl.config import Config, configuration
from hdl.csr import COUNTERS
from hdl.isa import QUEUES, Instruction, Opcode, OutputFormat, Queue
from hdl.program import Program

from .reference import check, lowered, random_activations, random_requantisation, random_weights, run


def layer_of(config: Config, rng, outputs: int, inputs: int, **fields) -> Layer:
    shape = (outputs, -(-inputs // config.rows))
    return Layer(random_weights(config, rng, outputs, inputs), rng.integers(0, 8, shape).astype(np.uint8),
                 np.full(shape, 3, np.uint8), **fields)


@pytest.mark.parametrize(("name", "vectors", "inputs", "outputs"), [
    ("tiny", 1, 1, 1), ("tiny", 9, 30, 13), ("tiny", 33, 100, 5), ("small", 1, 16, 8), ("small", 5, 40, 20),
    ("small", 50, 170, 63), ("small", 100, 1500, 17), ("small", 7, 33, 31), ("ulx3s", 70, 200, 40),
    ("edge", 140, 300, 200), ("edge", 19, 1001, 131), ("edge11", 10, 1000, 130),
])
def test_int32_results_are_exact(name, vectors, inputs, outputs):
    config, rng = configuration(name), np.random.default_rng(vectors)
    layer = layer_of(config, rng, outputs, inputs)
    check(config, layer, random_activations(layer, rng, vectors, inputs))


@pytest.mark.parametrize(("output_format", "low", "high"), [(OutputFormat.INT8, -128, 127), (OutputFormat.INT8, 0, 100),
                                                      (OutputFormat.UINT8, 0, 255)])
@pytest.mark.parametrize(("name", "vectors", "inputs", "outputs"), [
    ("tiny", 7, 20, 4), ("tiny", 5, 9, 13), ("small", 40, 100, 50), ("small", 1, 300, 33), ("edge", 70, 130, 301)])
def test_8_bit_results_are_those_of_the_contract(name, vectors, inputs, outputs, output_format, low, high):
    config, rng = configuration(name), np.random.default_rng(outputs)
    requantisation = random_requantisation(rng, outputs, zero_point=int(rng.integers(low, high)), low=low, high=high,
                                           output_format=output_format)
    layer = layer_of(config, rng, outputs, inputs, act_signed=False, zero_point=99, requantisation=requantisation)
    check(config, layer, random_activations(layer, rng, vectors, inputs))


# Post-processing


@pytest.mark.parametrize("output_format", [OutputFormat.INT8, OutputFormat.UINT8])
@pytest.mark.parametrize(("name", "vectors", "outputs"), [("tiny", 5, 9), ("small", 20, 40)])
def test_results_are_looked_up_in_a_table(name, vectors, outputs, output_format):
    config, rng = configuration(name), np.random.default_rng(3)
    low, high = (-128, 127) if output_format is OutputFormat.INT8 else (0, 255)
    layer = layer_of(config, rng, outputs, 20, requantisation=random_requantisation(
        rng, outputs, low=low, high=high, output_format=output_format, table=rng.permutation(256).astype(np.uint8)))
    check(config, layer, random_activations(layer, rng, vectors, 20))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("name", "vectors", "outputs"), [("tiny", 5, 9), ("small", 20, 40)])
def test_a_residual_is_added(name, vectors, outputs, signed):
    config, rng = configuration(name), np.random.default_rng(4)
    layer = layer_of(config, rng, outputs, 20, requantisation=random_requantisation(
        rng, outputs, residual=Residual(0.71, zero_point=-3 if signed else 200, signed=signed),
        table=rng.permutation(256).astype(np.uint8)))
    residual = (rng.integers(0, 256, (vectors, outputs)) - 128 * signed).astype("int8" if signed else "uint8")
    check(config, layer, random_activations(layer, rng, vectors, 20), residual=residual)


def test_counters_are_stored_at_the_end():
    config, rng = configuration("small"), np.random.default_rng(5)
    layer = layer_of(config, rng, 20, 40)
    x = random_activations(layer, rng, 10, 40)
    program = lowered(config, layer, x, counters=True)
    last = program.instructions[-1]
    assert (last.opcode, last["address"], last.wait) == (Opcode.STORE_COUNTERS, program.counters, (Queue.STORE,))
    assert program.counters + 8 * len(COUNTERS) == program.writable[1]
    assert np.array_equal(run(config, program, {"x": x}), run(config, lowered(config, layer, x), {"x": x}))
    assert lowered(config, layer, x).counters is None


# Tokens


def token_cases() -> list[tuple[str, Layer, tuple[int, ...]]]:
    """Configuration, layer and shape of x."""
    rng, cases = np.random.default_rng(1), []
    for name, vectors, inputs, outputs in (("tiny", 8, 30, 4), ("tiny", 1, 8, 4), ("tiny", 9, 70, 17),
                                           ("small", 60, 300, 70), ("small", 3, 20, 40), ("small", 90, 20, 12),
                                           ("ulx3s", 64, 130, 64), ("edge", 140, 600, 130), ("small", 10, 480, 20)):
        config = configuration(name)
        requantisation = random_requantisation(rng, outputs, table=np.zeros(256, np.uint8))
        cases.append((name, layer_of(config, rng, outputs, inputs, requantisation=requantisation), (vectors, inputs)))
    for name, groups in (("tiny", 1), ("tiny", 6), ("small", 1), ("small", 6)):
        config = configuration(name)
        cases.append((name, convolution(random_weights(config, rng, 18, 3, 3, 6 // groups), config.rows,
                                        padding=(1, 1, 1, 1), groups=groups), (6, 5, 6)))
        cases.append((name, maximum_pool(6, Window(3, 3), config.rows), (6, 7, 6)))
    cases.append(("small", convolution(random_weights(configuration("small"), rng, 18, 5, 5, 32), 16), (5, 5, 32)))
    cases.append(("edge", average_pool(256, Window(5, 5), 64), (5, 5, 256)))
    return cases


TOKEN_CASES = pytest.mark.parametrize(("name", "layer", "shape"), token_cases(), ids=[
    f"{name}-{layer.outputs}x{layer.inputs}-{layer.groups}" for name, layer, _ in token_cases()])


@TOKEN_CASES
def test_tokens_are_complete(name, layer, shape):
    """A missing token shows as results that depend on the order in which the model serves the queues."""
    check(configuration(name), layer, random_activations(layer, np.random.default_rng(2), *shape), seeds=4)


@TOKEN_CASES
def test_tokens_come_in_program_order(name, layer, shape):
    """Each wait has its own signal, of an instruction before: queues of any length cannot block one another."""
    program = lower(configuration(name), layer, shape[0] if len(shape) == 2 else shape[:2], counters=True)
    given: dict[tuple[Queue, Queue], int] = {}
    for instruction in program.instructions:
        for source in instruction.wait:
            pair = source, instruction.queue
            assert given.get(pair, 0) > 0, f"{instruction} waits for a later one"
            given[pair] -= 1
        for target in targets(instruction):
            given[instruction.queue, target] = given.get((instruction.queue, target), 0) + 1
    assert not any(given.values()), f"tokens are left: {given}"


@TOKEN_CASES
@pytest.mark.parametrize("depth", [1, 8])
def test_short_queues_do_not_block(name, layer, shape, depth):
    program = lower(configuration(name), layer, shape[0] if len(shape) == 2 else shape[:2])
    most = flow(program, depth, descriptors=4)
    assert most <= 255


def targets(instruction: Instruction) -> list[Queue]:
    return [*instruction.signal, *(q for q in QUEUES if instruction.release >> q & 1)]


def flow(program: Program, depth: int, descriptors: int) -> int:
    """Runs a program through queues of ``depth`` in front of their units and so many loads of weights under way, one of
    which is over when its last step but one has been used. Every other order of events gets as far. The most tokens
    that one counter held."""
    waiting, queues = program.instructions[::-1], {queue: [] for queue in QUEUES}
    tokens = dict.fromkeys([(a, b) for a in QUEUES for b in QUEUES], 0)
    loaded, used, ends, most = 0, 0, [], 0
    while waiting or any(queues.values()):
        moved = False
        while waiting and len(queues[waiting[-1].queue]) < depth + 1:
            queues[waiting[-1].queue].append(waiting.pop())
            moved = True
        for queue in QUEUES:
            head = queues[queue][0] if queues[queue] else None
            if head is None or not all(tokens[source, queue] for source in head.wait):
                continue
            if head.opcode == Opcode.LOAD_WEIGHTS:
                if len([end for end in ends if end - 1 > used]) >= descriptors:
                    continue
                loaded += head["steps"]
                ends.append(loaded)
            elif head.opcode == Opcode.GEMM:
                if loaded < used + head["steps"]:
                    continue
                used += head["steps"] - head["keep"]
            for source in head.wait:
                tokens[source, queue] -= 1
            for target in targets(head):
                tokens[queue, target] += 1
            most = max(most, *tokens.values())
            queues[queue].pop(0)
            moved = True
        assert moved, f"blocked at {[q[0] for q in queues.values() if q]}"
    assert used == loaded, "weights are left"
    return most


# Overlap


def test_the_first_and_the_last_step_are_taken_by_parts():
    config, rng = configuration("edge"), np.random.default_rng(6)
    layer = layer_of(config, rng, 130, 600, requantisation=random_requantisation(rng, 130))
    program = lower(config, layer, 100).instructions
    gemms = [i for i in program if i.opcode == Opcode.GEMM]
    assert [g["keep"] for g in gemms[:9]] == [1] * 7 + [0, 0]
    last = [g for g in gemms if g["steps"] == 1 and Queue.STORE in g.signal]
    assert len(last) > 1
    assert [g["keep"] for g in last] == [1] * (len(last) - 1) + [0]
    assert sum(g["vectors"] for g in last) == 100
    before = [i.opcode for i in program[:program.index(gemms[0])]]
    assert before[:4] == [Opcode.LOAD_WEIGHTS, *[Opcode.LOAD_ACTIVATIONS] * 2, Opcode.LOAD_WEIGHTS]
    assert next(i for i in program if i.opcode == Opcode.LOAD_WEIGHTS)["steps"] == 1


def test_the_first_step_is_the_shorter_one():
    config, rng = configuration("edge"), np.random.default_rng(7)
    layer = Layer.of_weights(rng.integers(-128, 128, (128, 130)), config.rows)
    program = lower(config, layer, 64).instructions
    loads = [i["beats"] for i in program if i.opcode == Opcode.LOAD_WEIGHTS]
    assert loads[0] < loads[1]
    assert next(i for i in program if i.opcode == Opcode.GEMM)["first_byte"] == config.line_bytes
    check(config, layer, random_activations(layer, rng, 64, 130))


def test_a_single_step_is_loaded_once():
    config, rng = configuration("small"), np.random.default_rng(8)
    layer = Layer.of_weights(rng.integers(-128, 128, (16, 30)), config.rows)
    program = check(config, layer, random_activations(layer, rng, 100, 30))
    assert [i["steps"] for i in program.instructions if i.opcode == Opcode.LOAD_WEIGHTS] == [1]


def test_parameters_of_two_tiles_are_loaded_once():
    config, rng = configuration("small"), np.random.default_rng(9)
    layer = layer_of(config, rng, 32, 30, requantisation=random_requantisation(rng, 32))
    program = check(config, layer, random_activations(layer, rng, 100, 30))
    assert sum(i.opcode == Opcode.LOAD_PARAMETERS for i in program.instructions) == 2


def test_parts_are_rows_or_lie_in_one_row():
    assert rectangles(3, 5, [15]) == [Rectangle(0, 0, 3, 5)]
    assert rectangles(3, 5, [11, 3]) == [Rectangle(0, 0, 2, 5), Rectangle(2, 0, 1, 5)]
    assert rectangles(2, 6, [3]) == [Rectangle(0, 0, 1, 3), Rectangle(0, 3, 1, 3), Rectangle(1, 0, 1, 3),
                                     Rectangle(1, 3, 1, 3)]
    assert rectangles(1, 7, [4, 2]) == [Rectangle(0, 0, 1, 4), Rectangle(0, 4, 1, 2), Rectangle(0, 6, 1, 1)]


@pytest.mark.parametrize("vectors", [1, 9, 64, 128, 200])
@pytest.mark.parametrize("ratio", [1, 0.5, 0.125])
def test_parts_shrink_as_storing_is_faster(vectors, ratio):
    sizes = tapered(vectors, ratio)
    assert sum(sizes) == vectors
    assert len(sizes) == 1 or sizes[-1] >= LEAST_PART - 4
    assert all(abs(b - ratio * a) <= 5 for a, b in pairwise(sizes))


# Refusals


@pytest.mark.parametrize(("fields", "message"), [
    ({"weights": np.zeros((0, 3), int)}, "weights must be outputs x inputs, not [0, 3]"),
    ({"zero_point": 128}, "zero_point must be from -128 to 127, not 128"),
    ({"m": np.zeros((2, 1), np.uint8)}, "m must be one per output and group, not [2, 1]"),
    ({"m": np.ones((3, 1), np.uint8)}, "group scales must be integers, not 1.125"),
    ({"e": np.full((3, 1), 31, np.uint8)}, "which must stay below 2^31; lower its group scales"),
    ({"window": Window(3, 3)}, "inputs must be a multiple of the window's 9 taps, not 16"),
    ({"groups": 2}, "groups must be a divisor of the 3 outputs, not 2"),
    ({"maximum": True}, "groups must be the channels in a layer of maxima, not 1 of 16 channels each"),
])
def test_impossible_layers_are_refused(fields, message):
    good = {"weights": np.ones((3, 16), int), "m": np.zeros((3, 1), np.uint8), "e": np.zeros((3, 1), np.uint8)}
    with pytest.raises(LayerError, match=re.escape(message)):
        Layer(**good | fields)


def test_impossible_post_processing_is_refused():
    with pytest.raises(LayerError, match=re.escape("table must be uint8 [256], not int8 [256]")):
        Requantisation(np.zeros(1, np.int32), np.ones(1, np.float32), table=np.zeros(256, np.int8))
    with pytest.raises(LayerError, match="zero_point of the residual must be from 0 to 255, not -1"):
        Residual(1.0, zero_point=-1, signed=False)
    requantisation = Requantisation(np.zeros(1, np.int32), np.ones(1, np.float32), residual=Residual(2.0 ** 64))
    with pytest.raises(LayerError, match=re.escape("the layer does not fit 'small': STORE residual_multiplier must be "
                                                   "a binary32 below 2^64")):
        lower(configuration("small"), Layer.of_weights(np.ones((1, 8), int), 16, requantisation=requantisation), 1)


def test_layers_that_do_not_fit_the_configuration_are_refused():
    small, tiny = configuration("small"), configuration("tiny")
    with pytest.raises(LayerError, match=re.escape("weight magnitudes must be below 2^planes = 16, not 16")):
        lower(tiny, Layer.of_weights(np.full((1, 8), 16), tiny.rows), 1)
    with pytest.raises(LayerError, match="vectors must be at least 1, not 0"):
        lower(small, Layer.of_weights(np.ones((1, 8), int), small.rows), 0)
    with pytest.raises(LayerError, match="m must have one scale per group of 16 inputs, 2, not 4"):
        lower(small, Layer.of_weights(np.ones((1, 32), int), 8), 1)
