"""The random programs of the benches are well synchronised: the order in which queues run changes nothing."""

import numpy as np
import pytest

from hdl.config import CONFIGS
from hdl.csr import COUNTERS, Cause
from hdl.isa import QUEUES, Instruction, Opcode, Queue, illegal_fields
from verif.geometries import LINKED, WIDE
from verif.instructions import broken_rules, changes, encoded, legal, rules
from verif.programs import (
    Builder,
    Image,
    RandomProgram,
    Run,
    bursts,
    bytes_of,
    residual_bytes,
    simple_program,
    transfers,
    vector_rows,
    window_bytes,
)

CONFIGURATIONS = [CONFIGS["tiny"], CONFIGS["small"], WIDE]


def touched(image: Image, f: Instruction, *channels: str) -> np.ndarray:
    """Bytes that an instruction transfers on these channels."""
    return np.unique(bytes_of((first, count) for channel, first, count in transfers(image.config, f)
                              if channel in channels))


@pytest.fixture(params=[(config, seed) for config in CONFIGURATIONS for seed in range(6)],
                ids=lambda p: f"{p[0].name}-{p[1]}")
def image(request) -> Image:
    config, seed = request.param
    return RandomProgram(config, np.random.default_rng(seed), gemms=6).finish()


def test_random_programs_give_the_same_in_any_order(image):
    assert not [rule for instruction in image.instructions for rule in illegal_fields(image.config, instruction)]
    executions = [image.execute(order) for order in range(4)]
    assert {e.cause for e in executions} == {Cause.NONE}
    assert all((e.memory == executions[0].memory).all() for e in executions)
    changed = executions[0].memory != image.relocatable
    assert changed.any()
    assert not (changed & ~image.writable).any()
    assert not image.wrong(image.expected(executions[0]), executions[0]).size


def test_runs_are_what_the_golden_model_counts(image):
    execution = image.execute()
    bus = image.config.bus_bytes
    written = sum(run.beats for run in image.runs() if run.channel == "write")
    assert (sum(run.beats for run in image.runs()) - written, written) == (execution.read_beats, execution.write_beats)
    assert all(run.address % bus == 0 for run in image.runs())


def test_results_are_read_when_their_store_has_completed(image):
    """The golden model completes instructions at once, so the tokens are counted: the queue that reads has taken more
    than were given before that STORE."""
    for n, reader in enumerate(image.instructions):
        taken = sum(Queue.STORE in f.wait for f in image.instructions[:n + 1] if f.queue == reader.queue)
        read = touched(image, reader, "load", "residual")
        for m, writer in enumerate(image.instructions[:n]):
            if np.intersect1d(read, touched(image, writer, "write")).size:
                assert taken > sum(reader.queue in f.signal for f in image.instructions[:m] if f.queue == Queue.STORE)


def test_a_residual_is_nothing_that_another_vector_writes(image):
    for f in image.instructions:
        if f["residual"] and np.intersect1d(touched(image, f, "residual"), touched(image, f, "write")).size:
            assert (vector_rows(f) == vector_rows(f, "residual_")).all()
            assert len(touched(image, f, "write")) == f["vectors"] * f["vector_rows"] * residual_bytes(f)


def test_a_queue_gets_one_kind_of_token_from_stores(image):
    stores = [f for f in image.instructions if f.queue == Queue.STORE]
    signalled = {queue for f in stores for queue in f.signal}
    released = {queue for f in stores for queue in QUEUES if f.release >> queue & 1}
    assert not signalled & released


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
    assert by_opcode[Opcode.LOAD_TABLE].signal == {Queue.STORE}


@pytest.mark.parametrize("released", [False, True])
def test_a_store_gives_its_tokens_as_the_queue_wants_them(released):
    b = Builder(CONFIGS["tiny"], np.random.default_rng(5), 1 << 13, released=[Queue.COMPUTE] if released else [])
    b.load_weights([b.step(), b.step()])
    b.product(steps=1, vectors=1, acc_vector=0)
    store = b.store(address=b.pool, vectors=1, acc_vector=0, channels=1)
    after = b.product(steps=1, vectors=1, acc_vector=0)
    assert after.wait == {Queue.STORE}
    assert (store.release, store.signal) == (({Queue.COMPUTE}, set()) if released else (set(), {Queue.COMPUTE}))
    assert b.finish().instructions[-2].release == (1 << Queue.COMPUTE if released else 0)


def test_a_residual_of_results_waits_for_the_store_queue_itself():
    b = simple_program(CONFIGS["small"], np.random.default_rng(5))
    fields = b.drafts[-1].fields
    apart = b.store(**fields | {"residual_address": b.pool + 512, "address": b.pool + 1024})
    reader = b.store(**fields | {"residual_address": b.pool + 1024 + 15, "address": b.pool + 2048})
    assert (apart.wait, apart.signal, reader.wait) == (set(), {Queue.STORE}, {Queue.STORE})


def test_only_bytes_that_a_window_uses_are_hazards():
    """Two columns of each row of an image; a load between them may come at any time."""
    config = CONFIGS["tiny"]
    b = Builder(config, np.random.default_rng(5), 1 << 13)
    b.load_activations(0, 64)
    b.load_weights([b.step()])
    gemm = b.gemm(steps=1, vectors=1, acc_vector=0, tap_bytes=2, tap_rows=3, tap_y_stride=8, x=1, x_end=64, y_end=64)
    assert window_bytes(config, Instruction(gemm.opcode, gemm.fields)).tolist() == [1, 2, 9, 10, 17, 18]
    assert b.load_activations(3, 6).wait == set()
    assert b.load_activations(8, 3).wait == {Queue.COMPUTE}


def test_counters_are_written_but_not_compared():
    config = CONFIGS["tiny"]
    b = Builder(config, np.random.default_rng(5), 1 << 13)
    b.store_counters()
    image = b.finish()
    assert (image.timed == image.writable).all()
    assert np.flatnonzero(image.timed).tolist() == [*range(b.counters, b.counters + 8 * len(COUNTERS))]
    memory = image.memory.copy()
    memory[b.counters:] += 1
    end = b.counters + 8 * len(COUNTERS)
    assert image.wrong(memory, image.execute()).tolist() == [*range(end, 1 << 13)]
    memory[b.counters:end] = np.arange(len(COUNTERS), dtype="<u8").view(np.uint8)
    assert image.counters(memory) == {name: n for n, name in enumerate(COUNTERS)}
    assert simple_program(config, np.random.default_rng(5)).finish().counters(memory) is None


def test_runs_are_cut_at_pages_and_after_64_words():
    config = CONFIGS["small"]
    assert list(bursts(config, Run("load", 4096 - 16, 70))) == [(4096 - 16, 2), (4096, 64), (4096 + 512, 4)]
    assert list(bursts(config, Run("fetch", 0, 24))) == [(0, 16), (128, 8)]


def test_what_is_read_must_fit_the_lower_half():
    b = Builder(CONFIGS["tiny"], np.random.default_rng(0), 1 << 10)
    message = r"^memory_bytes must hold 520 bytes of what is read in its lower half, not 512$"
    with pytest.raises(ValueError, match=message):
        b.place(np.zeros(520, np.uint8))


@pytest.mark.parametrize("config", [*CONFIGURATIONS, LINKED], ids=lambda c: c.name)
def test_each_rule_can_be_broken(config):
    """What the bench of decode and the chip's use, by the rules of ``hdl/isa.py`` alone."""
    broken = set()
    for opcode, change, expected in changes(config):
        _, found = broken_rules(config, encoded(opcode, legal(config, opcode) | change))
        assert found == {(opcode, name) for name in expected}
        broken |= found
    assert broken == {rule for rule in rules(config)
                      if rule[1] not in ("wait", "signal", "reserved head", "reserved body")}
