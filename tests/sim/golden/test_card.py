"""Chips that execute together: what SEND and RECV do, what stops them, and what is said when they wait for ever."""

import re

import numpy as np
import pytest

from hdl.config import ConfigError, configuration
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode, Queue
from hdl.program import Program
from sim.golden import card
from sim.golden.card import Deadlock, execute_card
from sim.golden.executor import execute

CONFIG = configuration("small").with_(links=2, name="small_card")
LINK, RECEIVE = Queue.LINK, Queue.RECEIVE
ENTRY, DATA, REMOTE, SIZE = 0, 0x1000, 0x2000, 0x4000


def send(wait=(), signal=(), **fields):
    return Instruction(Opcode.SEND, {"address": DATA, "remote_address": REMOTE} | fields, wait, signal)


def recv(count=1, semaphore=0, wait=(), signal=(), port=0):
    return Instruction(Opcode.RECV, {"port": port, "semaphore": semaphore, "count": count}, wait, signal)


def run(*programs, remote=(REMOTE, SIZE), seed=0):
    """Executes one list of instructions per chip; memories are random, and returned with the executions."""
    memories = [np.random.default_rng(chip).integers(0, 256, SIZE, dtype=np.uint8) for chip in range(len(programs))]
    assembled = []
    for memory, instructions in zip(memories, programs):
        program = Program.assemble(CONFIG, instructions, entry=ENTRY, memory_bytes=SIZE, remote=remote)
        for address, content in program.segments:
            memory[address:address + len(content)] = np.frombuffer(content, np.uint8)
        assembled.append(program)
    return memories, execute_card(CONFIG, assembled, memories, seed=seed)


@pytest.mark.parametrize("chips", [2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_rows_go_to_the_partner(chips, seed):
    """From a stride of 24 to one of 40, at any place of a bus word, and nothing else changes."""
    shape = {"address": DATA + 3, "remote_address": REMOTE + 11, "row_bytes": 13, "rows": 5, "stride": 24,
             "remote_stride": 40}
    memories, executions = run([send(**shape, post=1)], [recv(port=min(1, chips - 2))], *[[]] * (chips - 2), seed=seed)
    for row in range(5):
        memories[1][REMOTE + 11 + 40 * row:][:13] = memories[0][DATA + 3 + 24 * row:][:13]
    for execution, memory in zip(executions, memories):
        assert execution.cause == Cause.NONE
        assert np.array_equal(execution.memory, memory)


def test_a_ring_passes_on():
    """Each chip sends on what it has received: after three hops the data of chip 0 are on chip 3."""
    first = send(row_bytes=100, rows=1, post=1)
    passing = [recv(signal=(LINK,), port=1), send(wait=(RECEIVE,), address=REMOTE, row_bytes=100, rows=1, post=1)]
    memories, executions = run([first], passing, passing, [recv(port=1)])
    for execution in executions[1:]:
        assert np.array_equal(execution.memory[REMOTE:REMOTE + 100], memories[0][DATA:DATA + 100])


@pytest.mark.parametrize("seed", range(6))
def test_a_semaphore_counts(seed):
    """RECV waits for as many posts as it takes, of the semaphore that it names, and leaves the others."""
    _, executions = run([send(post=1, semaphore=3), send(post=0, semaphore=3), send(post=1, semaphore=3),
                         send(post=1, semaphore=5), send(post=1, semaphore=3)],
                        [recv(2, 3), recv(1, 5), recv(1, 3)], seed=seed)
    assert [e.cause for e in executions] == [Cause.NONE, Cause.NONE]


def test_waiting_for_ever_is_told():
    with pytest.raises(Deadlock, match=re.escape(
            "the card is stuck, waiting are chip 0: RECV (instruction 1) for semaphore 2 to be 3, which is 1; chip 1: "
            "SEND (instruction 1) for a token from RECEIVE, RECV (instruction 2) for a token from LINK")):
        run([send(post=1, semaphore=7), recv(3, 2)],
            [send(post=1, semaphore=2), send(wait=(RECEIVE,), signal=(RECEIVE,)), recv(wait=(LINK,), signal=(LINK,))])


@pytest.mark.parametrize(("shape", "address"), [
    ({"remote_address": REMOTE - 8, "row_bytes": 8, "rows": 1}, REMOTE - 8),
    ({"remote_address": SIZE - 8, "row_bytes": 8, "rows": 2, "stride": 8, "remote_stride": 8}, SIZE),
    ({"remote_address": SIZE - 264, "row_bytes": 300, "rows": 1}, SIZE),  # what lies within is written
    ({"remote_address": REMOTE - 100, "address": DATA + 4, "row_bytes": 300, "rows": 1}, REMOTE - 100),
])
def test_a_write_outside_of_the_window_stops_the_sender(shape, address):
    """It posts nothing, and the partner is not stopped."""
    memories, executions = run([send(**shape, post=1)], [recv()])
    assert (executions[0].cause, executions[0].address) == (Cause.REMOTE_WINDOW, address)
    assert executions[1].cause == Cause.WATCHDOG
    assert np.array_equal(executions[1].memory[:REMOTE], memories[1][:REMOTE])


def test_without_a_window_nothing_is_written():
    memories, executions = run([send(row_bytes=8, rows=1, remote_address=0)], [], remote=(0, 0))
    assert executions[0].cause == Cause.REMOTE_WINDOW
    assert np.array_equal(executions[1].memory, memories[1])


def test_a_semaphore_that_is_full_stops_the_sender(monkeypatch):
    monkeypatch.setattr(card, "SEMAPHORE_BITS", 2)
    _, executions = run([send(post=1, semaphore=9)] * 4, [])
    assert (executions[0].cause, executions[0].address) == (Cause.REMOTE_SEMAPHORE, 9)


def test_a_chip_alone_waits_for_its_link():
    code = send(post=1).encode()
    memory = np.zeros(SIZE, np.uint8)
    memory[:64] = np.frombuffer(code, np.uint8)
    assert execute(CONFIG, memory, 0, 1).cause == Cause.WATCHDOG


@pytest.mark.parametrize(("chips", "message"), [(3, "chips of a card must be 1, 2 or 4, not 3")])
def test_cards_that_cannot_be_are_refused(chips, message):
    with pytest.raises(ConfigError, match=message):
        run(*[[]] * chips)


def test_a_port_without_a_cable_is_refused():
    with pytest.raises(ConfigError, match="port must be connected on a card of 2 chips, not 1"):
        run([send(port=1)], [])
