"""Layers on two and four chips: results are those of one chip bit for bit, in any order of execution, and what is
computed where."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from compiler.layer import Layer, LayerError, Residual
from compiler.placement import Placement, Split
from compiler.split import split
from compiler.window import Window
from hdl.config import Config, ConfigError, configuration
from hdl.csr import Cause
from hdl.isa import Opcode, OutputFormat
from hdl.topology import partner
from sim.card import Card
from sim.cycle import predict
from sim.golden.card import execute_card

from .reference import expected, random_activations, random_requantisation, random_weights

CONFIG = configuration("small").with_(links=2, name="small_card")
OUTPUT, INPUT = Split.OUTPUT, Split.INPUT


def layer_of(rng, outputs: int, inputs: int, *, scales: bool = True, config: Config = CONFIG, **fields) -> Layer:
    shape = (outputs, -(-inputs // config.rows))
    m = rng.integers(0, 8, shape) if scales else np.zeros(shape)
    return Layer(random_weights(config, rng, outputs, inputs), m.astype(np.uint8),
                 np.full(shape, 3 if scales else 0, np.uint8), **fields)


def chain(rng, *sizes: int, last_int32: bool = False, config: Config = CONFIG, **fields) -> list[Layer]:
    """Layers whose results use all of int8."""
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        requantisation = random_requantisation(rng, outputs, low=-128, high=127, **fields)
        requantisation = replace(requantisation, multiplier=requantisation.multiplier / np.float32(5 * inputs))
        if last_int32 and number == len(sizes) - 2:
            requantisation = None
        layers.append(layer_of(rng, outputs, inputs, requantisation=requantisation, zero_point=-7 * (number > 0),
                               config=config))
    return layers


def results(layers, x, config: Config = CONFIG):
    for layer in layers:
        x = expected(layer, x, config.rows)
    return x


def execute(programs, x, seed=0):
    """Results of each chip that has some; nothing but what may be written was."""
    images = [program.image({"x": x} if program.inputs else {}) for program in programs]
    executions = execute_card(CONFIG, programs, images, seed=seed)
    found = []
    for program, image, execution in zip(programs, images, executions):
        assert (execution.cause, execution.overflow) == (Cause.NONE, False)
        for low, high in ((0, program.writable[0]), (program.writable[1], None)):
            assert np.array_equal(execution.memory[low:high], image[low:high])
        found.append(program.results(execution.memory).get("y"))
    return found


WAYS = [(OUTPUT, OUTPUT), (OUTPUT, INPUT), (INPUT, OUTPUT), (INPUT, INPUT), (0, 1)]


@pytest.mark.parametrize("ways", WAYS, ids=str)
@pytest.mark.parametrize(("chips", "vectors", "sizes"), [
    (1, 7, (40, 33, 20)), (2, 20, (70, 100, 50)), (2, 3, (33, 70, 31)), (2, 16, (64, 64, 16)), (4, 32, (64, 80, 33)),
    (4, 9, (100, 70, 66))])
def test_pairs_are_bit_exact_on_all_chips(chips, vectors, sizes, ways):
    if chips == 1:
        ways = tuple(way if isinstance(way, Split) else 0 for way in ways)
    rng = np.random.default_rng(vectors)
    layers = chain(rng, *sizes)
    x = random_activations(layers[0], rng, vectors, sizes[0])
    want = results(layers, x)
    programs = split(CONFIG, layers, vectors, chips, ways)
    for seed in range(2):
        assert all(np.array_equal(y, want) for y in execute(programs, x, seed))


@pytest.mark.parametrize("chips", [2, 4])
@pytest.mark.parametrize("way", [OUTPUT, INPUT, 1], ids=str)
def test_one_layer_with_sums_as_results(chips, way):
    rng = np.random.default_rng(chips)
    layers = chain(rng, 90, 40, last_int32=True)
    x = random_activations(layers[0], rng, 18, 90)
    assert all(np.array_equal(y, results(layers, x)) for y in execute(split(CONFIG, layers, 18, chips, [way]), x))


@pytest.mark.parametrize("chips", [2, 4])
@pytest.mark.parametrize(("vectors", "way"), [(20, OUTPUT), (32, INPUT), (5, INPUT), (5, 1)], ids=str)
def test_results_that_are_left_split_cover_all(chips, vectors, way):
    """Each chip's part is what the placement says it owns."""
    rng = np.random.default_rng(vectors)
    layers = chain(rng, 70, 66)
    x = random_activations(layers[0], rng, vectors, 70)
    want = results(layers, x)
    placement = Placement(CONFIG, layers, vectors, chips, [way])
    covered = np.zeros(want.shape, int)
    for chip, y in enumerate(execute(split(CONFIG, layers, vectors, chips, [way], gather=False), x)):
        (v, vs), (c, cs) = placement.owned(0, chip)
        covered[v:v + vs, c:c + cs] += 1
        assert (y is None) == (vs * cs == 0)
        assert y is None or np.array_equal(y, want[v:v + vs, c:c + cs])
    assert (covered == 1).all()


@pytest.mark.parametrize("chips", [2, 4])
@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_activations_are_broadcast(chips, ways):
    rng = np.random.default_rng(6)
    layers = chain(rng, 64, 64, 32)
    x = random_activations(layers[0], rng, 12, 64)
    programs = split(CONFIG, layers, 12, chips, ways, broadcast=True)
    assert [sorted(program.inputs) for program in programs] == [["x"], *[[]] * (chips - 1)]
    assert all(np.array_equal(y, results(layers, x)) for y in execute(programs, x, 3))


@pytest.mark.parametrize("chips", [2, 4])
@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_splits_run_on_the_rtl(chips, ways):
    """Broadcast, exchange and pipeline included; every chip has the results of one."""
    config = configuration("tiny").with_(links=2, link_lanes=1, name="tiny_card")
    rng = np.random.default_rng(chips)
    layers = chain(rng, 40, 34, 18, config=config)
    x = random_activations(layers[0], rng, 10, 40)
    want = results(layers, x, config)
    programs = split(config, layers, 10, chips, ways, broadcast=True)
    runs = Card(config, chips, "verilator").run(programs, [{"x": x} if program.inputs else {} for program in programs])
    assert all(np.array_equal(run.outputs["y"], want) for run in runs)


@pytest.mark.parametrize("chips", [1, 2, 4])
def test_a_layer_that_is_applied_again_and_again(chips):
    """Its weights are in memory once, and most calls begin with a step that the array still holds."""
    rng = np.random.default_rng(7)
    layer = replace(chain(rng, 64, 64)[0], zero_point=-7)
    layers = [layer] * 6
    x = random_activations(layer, rng, 3, 64)
    programs = split(CONFIG, layers, 3, chips, [OUTPUT] * 6)
    assert all(np.array_equal(y, results(layers, x)) for y in execute(programs, x))
    loads = [sum(i["steps"] for i in program.instructions if i.opcode is Opcode.LOAD_WEIGHTS) for program in programs]
    steps = 8 // chips
    assert loads == [steps + 5 * (steps - 1)] * chips
    assert all(sum(len(content) for _, content in program.segments) < 2 ** 15 for program in programs)


@pytest.mark.parametrize("chips", [1, 2])
def test_more_activations_than_the_buffer_has_room_for(chips):
    """19 lines of 32 inputs, of 8 vectors each; the buffer has 16 slots for these."""
    rng = np.random.default_rng(13)
    layers = chain(rng, 600, 48, last_int32=True)
    x = random_activations(layers[0], rng, 16, 600)
    programs = split(CONFIG, layers, 16, chips, [OUTPUT])
    for seed in range(3):
        assert all(np.array_equal(y, results(layers, x)) for y in execute(programs, x, seed))


@pytest.mark.parametrize(("vectors", "sizes", "calls"), [(40, (96, 64, 40), 1), (9, (600, 80), 1), (3, (64, 64), 5)])
def test_queues_cannot_block_one_another(vectors, sizes, calls):
    """Loads of weights wait for one another in the hardware's queue, which the golden model does not have."""
    layers = chain(np.random.default_rng(14), *sizes) * calls
    (program,) = split(configuration("small"), layers, vectors, 1, [OUTPUT] * len(layers))
    assert predict(configuration("small"), program).cycles


def test_results_are_looked_up_in_a_table():
    rng = np.random.default_rng(8)
    layers = chain(rng, 48, 64, 32, table=rng.permutation(256).astype(np.uint8))
    x = random_activations(layers[0], rng, 10, 48)
    assert all(np.array_equal(y, results(layers, x))
               for y in execute(split(CONFIG, layers, 10, 2, [OUTPUT, INPUT]), x))


def test_unsigned_activations():
    rng = np.random.default_rng(9)
    first = layer_of(rng, 48, 40, requantisation=replace(
        random_requantisation(rng, 48, output_format=OutputFormat.UINT8), low=0, high=255))
    second = layer_of(rng, 20, 48, act_signed=False, zero_point=100)
    x = random_activations(first, rng, 9, 40)
    programs = split(CONFIG, [first, second], 9, 2, [OUTPUT, INPUT])
    assert all(np.array_equal(y, results([first, second], x)) for y in execute(programs, x))


def test_each_chip_has_its_share_of_the_work():
    """Products on each chip, in vectors times steps; on `small` a step is 32 inputs of 16 outputs."""
    rng = np.random.default_rng(10)
    layers = chain(rng, 64, 256, 64)
    for chips in (1, 2, 4):
        programs = split(CONFIG, layers, 32, chips, [OUTPUT, INPUT])
        work = [sum(i["vectors"] for i in program.instructions if i.opcode is Opcode.GEMM) for program in programs]
        assert work == [2 * 32 * 2 * 16 // chips] * chips


@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_programs_take_all_that_is_sent_to_them(ways):
    """Semaphores are zero at the end: the next program can begin."""
    rng = np.random.default_rng(12)
    programs = split(CONFIG, chain(rng, 64, 70, 64), 12, 4, ways)
    for chip, program in enumerate(programs):
        for port in (0, 1):
            other, there = partner(4, chip, port)
            sent = [i for i in programs[other].instructions if i.opcode is Opcode.SEND and i["port"] == there]
            taken = [i["count"] for i in program.instructions if i.opcode is Opcode.RECV and i["semaphore"] == port]
            assert sum(i["post"] for i in sent) == sum(taken)


def test_split_pair_sends_nothing_between_its_layers():
    """By outputs, then by inputs: a chip's second layer takes what its first one gives."""
    rng = np.random.default_rng(11)
    programs = split(CONFIG, chain(rng, 64, 128, 64), 32, 4, [OUTPUT, INPUT], gather=False)
    sends = [[i for i in program.instructions if i.opcode is Opcode.SEND] for program in programs]
    assert [len(s) for s in sends] == [3 * 4] * 4  # three of four tiles' sums, of four output tiles each


POINTWISE = Layer.of_weights(np.ones((16, 4), int), CONFIG.rows, window=Window(2, 2))


@pytest.mark.parametrize(("layers", "vectors", "chips", "ways", "message"), [
    ((16, 16), 1, 2, [OUTPUT] * 2, "ways must be one per layer, 1, not 2"),
    ((16, 16), 0, 2, [OUTPUT], "vectors must be at least 1, not 0"),
    ((16, 16), 1, 2, [2], "the chip of a layer must be from 0 to 1, not 2"),
    ((16, 16), 1, 2, [INPUT], "layer 0 must have inputs for each of 2 chips in units of 16, not 16 of them"),
    ((16, 16), 1, 3, [OUTPUT], "chips of a card must be 1, 2 or 4, not 3"),
])
def test_splits_that_cannot_be_are_refused(layers, vectors, chips, ways, message):
    with pytest.raises((LayerError, ConfigError), match=re.escape(message)):
        split(CONFIG, chain(np.random.default_rng(0), *layers), vectors, chips, ways)


def test_layers_that_do_not_follow_one_another_are_refused():
    rng = np.random.default_rng(0)
    a, b = chain(rng, 32, 16, last_int32=True) + chain(rng, 16, 16)
    with pytest.raises(LayerError, match=re.escape("layer 1 must take what layer 0 gives, int32 [16], not int8 [16]")):
        split(CONFIG, [a, b], 1, 2, [OUTPUT, OUTPUT])


@pytest.mark.parametrize("layer", [POINTWISE, chain(np.random.default_rng(0), 16, 16, residual=Residual(0.5))[0]])
def test_only_fully_connected_layers_are_split(layer):
    with pytest.raises(LayerError, match="layer 0 must be fully connected and without residual to be split"):
        split(CONFIG, [layer], 1, 2, [OUTPUT])


def test_chips_without_links_are_refused():
    with pytest.raises(ConfigError, match="links must be at least 1 for a card of 2 chips, not 0"):
        split(configuration("small"), chain(np.random.default_rng(0), 32, 16), 1, 2, [OUTPUT])
