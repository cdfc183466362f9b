"""Predictions: against the RTL, counter by counter, and what cannot be predicted."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.isa import Instruction, Opcode, Queue
from hdl.layouts import Step, pack_step
from sim.cycle import PredictionError, predict
from sim.golden.executor import execute
from sim.rtl.stalls import Stalls
from verif.counting import Counting

from .programs import images, memory_of, program

TINY = CONFIGS["tiny"]

ONE_VECTOR = {"steps": 1, "vectors": 1, "vector_rows": 1, "tap_bytes": 8, "taps": 1, "tap_rows": 1}
STORE = Instruction(Opcode.STORE, {"vectors": 1, "vector_rows": 1, "channels": 1, "residual_multiplier": 0})


@pytest.mark.sim
@pytest.mark.parametrize("name", ["tiny", "small"])
@pytest.mark.parametrize("stalls", [Stalls(), Stalls(5, 40, 8), Stalls(6, 200, 30)], ids=["steady", "late", "later"])
def test_every_counter_is_that_of_the_rtl(name, stalls):
    config = CONFIGS[name]
    prepared = list(images(config, 12, stalls.chance))
    predicted = [predict(config, memory_of(image), stalls=stalls).counters for image in prepared]
    assert Counting(config).run(prepared, stalls) == predicted


@pytest.mark.parametrize("name", ["tiny", "small", "ulx3s", "edge"])
def test_counters_without_time_are_those_of_the_golden_model(name):
    config = CONFIGS[name]
    for image in images(config, 8, 7):
        execution = execute(config, *memory_of(image))
        counters = predict(config, memory_of(image)).counters
        assert counters["ARRAY_BUSY"] == execution.array_busy
        assert counters["WEIGHT_BEATS"] == execution.weight_beats
        assert counters["READ_BEATS"] == execution.read_beats
        assert counters["WRITE_BEATS"] == execution.write_beats


def test_an_empty_program_takes_one_cycle():
    assert predict(TINY, (np.zeros(64, np.uint8), 0, 0)).cycles == 1


def test_memory_that_is_late_costs_cycles():
    image = next(images(TINY, 1, 3))
    steady = predict(TINY, memory_of(image)).cycles
    assert predict(TINY, memory_of(image), read_latency=80).cycles > steady
    assert predict(TINY, memory_of(image), stalls=Stalls(1, 128, 8)).cycles > steady


@pytest.mark.parametrize("forward", [False, True])
def test_a_program_without_weights_hangs(forward):
    with pytest.raises(PredictionError, match=r"^the program hangs: after cycle .* nothing moves any more"):
        predict(TINY, program(Instruction(Opcode.GEMM, ONE_VECTOR)), forward=forward)


def test_a_token_that_nobody_gives_hangs():
    waits = Instruction(STORE.opcode, STORE.fields, wait=(Queue.COMPUTE,))
    with pytest.raises(PredictionError, match="hangs"):
        predict(TINY, program(waits))


def test_tokens_overflow():
    gives = Instruction(STORE.opcode, STORE.fields, signal=(Queue.LOAD,))
    with pytest.raises(PredictionError, match=r"^the tokens from queue STORE to queue LOAD overflow"):
        predict(TINY, program(*[gives] * 256, size=1 << 15))


def test_an_illegal_opcode():
    with pytest.raises(PredictionError, match=r"^instruction 0 at 0x0 is illegal: there is no opcode 0x00"):
        predict(TINY, (np.zeros(64, np.uint8), 0, 1))


def test_an_illegal_field():
    with pytest.raises(PredictionError, match=r"^instruction 1 at 0xfc0 is illegal: GEMM steps must be at least 1"):
        predict(TINY, program(STORE, Instruction(Opcode.GEMM, ONE_VECTOR | {"steps": 0})))


def test_a_reserved_bit():
    memory, entry, count = program(STORE)
    memory[entry + 7] = 1
    with pytest.raises(PredictionError, match="its reserved bits must be zero"):
        predict(TINY, (memory, entry, count))


def test_weights_that_are_not_their_steps():
    memory, entry, count = program(Instruction(Opcode.LOAD_WEIGHTS, {"address": 0, "beats": 3, "steps": 1}))
    packed = pack_step(TINY, Step.of_weights(np.ones((TINY.columns, TINY.rows), int)))
    memory[:len(packed)] = packed
    with pytest.raises(PredictionError, match=r"^the 3 bus words of weights at 0x0 do not hold 1 steps"):
        predict(TINY, (memory, entry, count))


def test_a_multiplier_that_is_not_a_number():
    memory, entry, count = program(
        Instruction(Opcode.LOAD_PARAMETERS, {"address": 0, "channels": 4}),
        Instruction(Opcode.STORE, STORE.fields | {"format": 1, "channel": 2, "channels": 2, "low": -128, "high": 127}))
    memory[:32].view(np.float32)[7] = np.nan
    with pytest.raises(PredictionError, match=r"^a STORE uses parameter 3, whose multiplier is infinite or not"):
        predict(TINY, (memory, entry, count))


def test_what_does_not_lie_in_the_memory():
    far = Instruction(Opcode.STORE, STORE.fields | {"address": 1 << 20})
    with pytest.raises(PredictionError, match=r"must lie in the memory's 4096 bytes, not end at 0x100004"):
        predict(TINY, program(far))
    with pytest.raises(PredictionError, match="entry must be a multiple of 64"):
        predict(TINY, (np.zeros(64, np.uint8), 32, 1))
