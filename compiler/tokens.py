"""From "this after that" to tokens.

A :class:`Stream` is the program of one chip in the making: instructions in program order, each with the earlier ones
that must have completed, or have read what they need, before it starts. Order within a queue is for free, and so is
what an earlier instruction of the queue has already waited for; all else becomes a token.
"""

from dataclasses import dataclass, field

from hdl.isa import Instruction, Opcode, Queue

#: Instructions that can say when they have read what they need, before they are complete.
RELEASING = (Opcode.STORE, Opcode.SEND)


@dataclass(eq=False)
class Node:
    """An instruction in the making; ``place`` is its place in the stream. Fields may still change."""

    opcode: Opcode
    fields: dict[str, int]
    place: int
    queue: Queue
    complete: list["Node"] = field(default_factory=list)
    read: list["Node"] = field(default_factory=list)


class Stream:
    """Instructions of one chip, in program order."""

    def __init__(self):
        self.nodes: list[Node] = []

    def add(self, opcode: Opcode, fields: dict[str, int], after: list[Node] | None = None,
            after_read: list[Node] | None = None) -> Node:
        """Appends an instruction that starts when those of ``after`` are complete and those of ``after_read`` have
        read what they need."""
        queue = Instruction(opcode, {}).queue
        node = Node(opcode, fields, len(self.nodes), queue, list(after or ()), list(after_read or ()))
        self.nodes.append(node)
        return node

    def instructions(self) -> list[Instruction]:
        """The program. A token of a pair of queues is given by the same kind of event throughout: tokens have no name,
        and a later instruction may have read before an earlier one is complete."""
        by_reading = self._pairs_by_reading()
        wait: dict[Node, list[Queue]] = {node: [] for node in self.nodes}
        signal: dict[Node, list[Queue]] = {node: [] for node in self.nodes}
        release: dict[Node, list[Queue]] = {node: [] for node in self.nodes}
        awaited: dict[tuple[Queue, Queue], int] = {}
        for node in self.nodes:
            for queue, last in _last_of_each_queue(node).items():
                pair = (queue, node.queue)
                if last.place > awaited.get(pair, -1):
                    awaited[pair] = last.place
                    wait[node].append(queue)
                    (release if pair in by_reading else signal)[last].append(node.queue)
        return [Instruction(node.opcode, node.fields | _mask("release", release[node]), tuple(sorted(wait[node])),
                            tuple(sorted(signal[node]))) for node in self.nodes]

    def _pairs_by_reading(self) -> set[tuple[Queue, Queue]]:
        """Pairs of queues between which nothing but reading is waited for."""
        reading = {(other.queue, node.queue) for node in self.nodes for other in node.read
                   if other.opcode in RELEASING}
        complete = {(other.queue, node.queue) for node in self.nodes
                    for other in (*node.complete, *(other for other in node.read if other.opcode not in RELEASING))}
        return reading - complete


def _last_of_each_queue(node: Node) -> dict[Queue, Node]:
    last: dict[Queue, Node] = {}
    for other in (*node.complete, *node.read):
        if other.queue not in last or other.place > last[other.queue].place:
            last[other.queue] = other
    return last


def _mask(name: str, queues: list[Queue]) -> dict[str, int]:
    return {name: sum(1 << queue for queue in queues)} if queues else {}
