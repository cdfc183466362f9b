"""From order to tokens: what waits for what, with as few tokens as that takes."""

import numpy as np
import pytest

from compiler.tokens import Stream
from hdl.isa import Opcode, Queue

LOAD, COMPUTE, STORE, LINK = Queue.LOAD, Queue.COMPUTE, Queue.STORE, Queue.LINK


def load(stream, **order):
    return stream.add(Opcode.LOAD_ACTIVATIONS, {}, **order)


def gemm(stream, **order):
    return stream.add(Opcode.GEMM, {}, **order)


def store(stream, **order):
    return stream.add(Opcode.STORE, {}, **order)


def tokens(stream):
    return [(i.wait, i.signal, i.release) for i in stream.instructions()]


def test_an_instruction_waits_for_an_earlier_one():
    stream = Stream()
    gemm(stream, after=[load(stream)])
    assert tokens(stream) == [((), (COMPUTE,), 0), ((LOAD,), (), 0)]


def test_what_has_been_waited_for_needs_no_token():
    """The second GEMM starts after the first one; the third waits for the later load, which ends after the others."""
    stream = Stream()
    loads = [load(stream) for _ in range(3)]
    gemm(stream, after=[loads[1]])
    gemm(stream, after=[loads[0], loads[1]])
    gemm(stream, after=loads)
    assert tokens(stream) == [((), (), 0), ((), (COMPUTE,), 0), ((), (COMPUTE,), 0),
                              ((LOAD,), (), 0), ((), (), 0), ((LOAD,), (), 0)]


def test_reading_is_waited_for_by_release():
    stream = Stream()
    gemm(stream, after_read=[store(stream)])
    assert tokens(stream) == [((), (), 1 << COMPUTE), ((STORE,), (), 0)]


def test_tokens_of_a_pair_of_queues_are_all_of_one_kind():
    """A load waits for a store's end: another's reading, to the same queue, is not told sooner."""
    stream = Stream()
    stores = [store(stream), store(stream)]
    load(stream, after_read=[stores[0]])
    load(stream, after=[stores[1]])
    gemm(stream, after_read=[stores[1]])
    assert tokens(stream) == [((), (LOAD,), 0), ((), (LOAD,), 1 << COMPUTE), ((STORE,), (), 0), ((STORE,), (), 0),
                              ((STORE,), (), 0)]


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_events_keeps_the_order_that_was_asked_for(seed):
    """Random programs, executed by tokens alone: what was to be complete is, whichever queue gets on."""
    rng = np.random.default_rng(seed)
    stream = Stream()
    for _ in range(40):
        nodes = stream.nodes
        opcode = [Opcode.LOAD_ACTIVATIONS, Opcode.GEMM, Opcode.STORE, Opcode.SEND][int(rng.integers(4))]
        chosen = [nodes[i] for i in rng.integers(0, len(nodes), int(rng.integers(0, 4)))] if nodes else []
        stream.add(opcode, {}, after=chosen[:2], after_read=chosen[2:])
    queues = {queue: [n for n in stream.nodes if n.queue is queue] for queue in (LOAD, COMPUTE, STORE, LINK)}
    instructions = dict(zip(stream.nodes, stream.instructions()))
    counts = {(a, b): 0 for a in queues for b in queues}
    started, read, complete = (dict.fromkeys(queues, 0) for _ in range(3))
    while any(complete[q] < len(queues[q]) for q in queues):
        moves = []
        for q in queues:
            if started[q] < len(queues[q]) and all(counts[p, q] for p in instructions[queues[q][started[q]]].wait):
                moves.append((started, q))
            moves += [(read, q)] * (read[q] < started[q]) + [(complete, q)] * (complete[q] < read[q])
        assert moves
        what, q = moves[int(rng.integers(len(moves)))]
        node = queues[q][what[q]]
        if what is started:
            assert all(queues[o.queue].index(o) < complete[o.queue] for o in node.complete if o.queue is not q)
            assert all(queues[o.queue].index(o) < read[o.queue] for o in node.read if o.queue is not q)
            for p in instructions[node].wait:
                counts[p, q] -= 1
        what[q] += 1
        given = {id(read): [p for p in queues if instructions[node].release >> p & 1],
                 id(complete): instructions[node].signal}.get(id(what), ())
        for p in given:
            counts[q, p] += 1
