"""Programs as arrays, against the instructions that they were made of."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.isa import QUEUE_OF, QUEUES, Instruction, Opcode
from sim.cycle import PredictionError, predict
from sim.cycle.decode import NAMES, decode

from .programs import images, memory_of, program

TINY = CONFIGS["tiny"]
LOADS = [Instruction(Opcode.LOAD_ACTIVATIONS, {"address": 8 * i, "row_bytes": 1 + i, "rows": 4, "blocks": 1,
                                               "buffer_address": 32 - i, "buffer_stride": 8}) for i in range(8)]


@pytest.mark.parametrize("name", ["tiny", "small", "edge"])
def test_every_field_of_every_instruction(name):
    config = CONFIGS[name]
    for image in images(config, 10, 4):
        code = decode(config, *memory_of(image))
        assert code.queue.tolist() == [QUEUE_OF[f.opcode] for f in image.instructions]
        for queue in QUEUES:
            mine = [f for f in image.instructions if f.queue == queue]
            commands = code.by_queue[queue]
            assert len(commands) == len(mine)
            assert commands.opcode.tolist() == [f.opcode for f in mine]
            assert commands["wait"].tolist() == [sum(1 << q for q in f.wait) for f in mine]
            assert commands["signal"].tolist() == [sum(1 << q for q in f.signal) for f in mine]
            for field in set(NAMES) - {"opcode", "wait", "signal"}:
                assert commands[field].tolist() == [f[field] for f in mine], field


def test_fields_that_differ_are_legal_or_not_together():
    decode(TINY, *program(*LOADS))
    late = Instruction(Opcode.LOAD_ACTIVATIONS, LOADS[7].fields | {"buffer_address": 33})
    with pytest.raises(PredictionError, match=r"^instruction 8 at 0xfc0 is illegal: LOAD_ACTIVATIONS buffer_address "
                                              r"must be such that the last row ends in the buffer's 64 bytes, not 33$"):
        decode(TINY, *program(*LOADS, late))


def test_the_first_illegal_instruction_is_told():
    store = Instruction(Opcode.STORE, {"vectors": 1, "vector_rows": 1, "channels": 1, "padding": 1})
    load = Instruction(Opcode.LOAD_ACTIVATIONS, LOADS[0].fields | {"rows": 0})
    with pytest.raises(PredictionError, match=r"^instruction 1 at .* STORE padding must be 0, not 1$"):
        decode(TINY, *program(LOADS[0], store, load))


def test_an_address_of_64_bits():
    far = Instruction(Opcode.LOAD_ACTIVATIONS, LOADS[0].fields | {"address": (1 << 64) - 8})
    with pytest.raises(PredictionError,
                       match=r"LOAD_ACTIVATIONS address must be below 2\^\d+, not 18446744073709551608$"):
        decode(TINY, *program(far))


def test_a_self_test_is_not_predicted():
    memory, entry, count = program(Instruction(Opcode.TEST, {"begin": 1, "end": 1}))
    with pytest.raises(PredictionError,
                       match=r"^the program tests a macro, and how long that takes is in no instruction$"):
        predict(TINY, (memory, entry, count))


def test_a_queue_that_does_not_exist():
    memory, entry, count = program(LOADS[0])
    memory[entry + 1] = 8
    with pytest.raises(PredictionError, match=r"it names a queue that does not exist$"):
        decode(TINY, memory, entry, count)


def test_no_instructions():
    assert not len(decode(TINY, np.zeros(64, np.uint8), 0, 0).queue)
