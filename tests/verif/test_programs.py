"""The random programs of the benches are well synchronised: the order in which queues run changes nothing."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.csr import Cause
from hdl.isa import Opcode, Queue, illegal_fields
from verif.geometries import WIDE
from verif.programs import Builder, RandomProgram, Run, bursts, simple_program

CONFIGURATIONS = [CONFIGS["tiny"], CONFIGS["small"], WIDE]


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda c: c.name)
def test_random_programs_give_the_same_in_any_order(config):
    for seed in range(4):
        image = RandomProgram(config, np.random.default_rng(seed)).finish()
        assert not [rule for instruction in image.instructions for rule in illegal_fields(config, instruction)]
        executions = [image.execute(order) for order in range(4)]
        assert {e.cause for e in executions} == {Cause.NONE}
        assert all((e.memory == executions[0].memory).all() for e in executions)
        changed = executions[0].memory != image.relocatable
        assert changed.any()
        assert not (changed & ~image.writable).any()


def test_a_program_is_the_same_at_another_address():
    for base in (0, 1 << 32):
        image = simple_program(CONFIGS["small"], np.random.default_rng(5)).finish(base)
        assert image.entry % 64 == 0
        assert [w.base for w in image.windows] == [base, base + (1 << 13)]
        assert (image.execute().memory[1 << 13:] == image.expected(image.execute())[1 << 13:]).all()


def test_a_hazard_becomes_one_token():
    b = simple_program(CONFIGS["small"], np.random.default_rng(5))
    by_opcode = {draft.opcode: draft for draft in b.drafts}
    assert by_opcode[Opcode.GEMM].wait == {Queue.LOAD}
    assert by_opcode[Opcode.STORE].wait == {Queue.LOAD, Queue.COMPUTE}
    assert by_opcode[Opcode.LOAD_ACTIVATIONS].signal == {Queue.COMPUTE}


def test_runs_are_cut_at_pages_and_after_64_words():
    config = CONFIGS["small"]
    assert list(bursts(config, Run("load", 4096 - 16, 70))) == [(4096 - 16, 2), (4096, 64), (4096 + 512, 4)]
    assert list(bursts(config, Run("fetch", 0, 24))) == [(0, 16), (128, 8)]


def test_what_is_read_must_fit_the_lower_half():
    b = Builder(CONFIGS["tiny"], np.random.default_rng(0), 1 << 10)
    message = r"^memory_bytes must hold 520 bytes of what is read in its lower half, not 512$"
    with pytest.raises(ValueError, match=message):
        b.place(np.zeros(520, np.uint8))
