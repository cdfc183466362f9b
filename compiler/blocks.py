"""The program of one chip of a card: the blocks that it computes, and what it sends and receives.

A *line* is as many inputs of all vectors of a tile as the array takes in one step. The activation buffer has slots for
lines; the one that was used longest ago is loaded anew, so that a tile whose lines all have room is loaded once. A
block takes its lines one after another, each as one GEMM. It begins with the line with which the one before has ended
if they share it: activations, or weights that the array still holds, are used again. Accumulators, parameters and
tables are used in two halves each.

Weights are asked for before the activations that they meet, which may have to come from another chip; but in the first
block after them, since the long bursts of weights leave the bus to nothing else. A load of weights waits in its queue
until all words of the one before have been asked for, so the second of a block comes behind the activations of all
steps before its own: else these could wait for it, and it for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hdl.config import Config
from hdl.isa import TABLES, Opcode, OutputFormat, ResidualFormat
from hdl.program import Tensor

from . import weights
from .layer import Layer
from .placement import Block
from .tiling import Run, even, slices
from .tokens import Node, Stream

#: Parts of the vectors in which a program's first activations come and its last results go: nothing hides these.
ENDS = 8


@dataclass(eq=False)
class Message:
    """What a chip has sent to another: the ``number``-th, from 1 on, that comes in through ``port`` there."""

    port: int
    number: int


#: Where a part of a matrix comes from: an instruction of this chip, or a message; None: it is there from the start.
Source = Node | Message | None


@dataclass
class Matrix:
    """Activations, sums or results in the chip's memory, and the parts of it that are there.

    Attributes
    ----------
    tensor : Tensor
        [vectors, channels]
    origin : (int, int)
        Vector and channel of its first element.
    parts : list of (vectors, channels, Source)
    """

    tensor: Tensor
    origin: tuple[int, int] = (0, 0)
    parts: list[tuple[Run, Run, Source]] = field(default_factory=list)

    @property
    def item_bytes(self) -> int:
        return np.dtype(self.tensor.dtype).itemsize

    def address(self, vectors: Run, channels: Run) -> int:
        """Of the first element of a part."""
        return (self.tensor.address + (vectors[0] - self.origin[0]) * self.tensor.stride
                + (channels[0] - self.origin[1]) * self.item_bytes)

    def sources(self, vectors: Run, channels: Run) -> list[Source]:
        """Of all parts that overlap this one."""
        return [source for v, c, source in self.parts if overlap(v, vectors) and overlap(c, channels)]

    def holds(self, vectors: Run, channels: Run) -> bool:
        """All of this part is there."""
        covered = sum(overlap(v, vectors) * overlap(c, channels) for v, c, _ in self.parts)
        return covered == vectors[1] * channels[1]


@dataclass
class Slot:
    """A place in one of the chip's buffers.

    Attributes
    ----------
    place : int
    key : object
        What it holds.
    free : list of Node
        The last instruction that used what it held before.
    loads : list of (vectors, Node)
    used : list of Node
        The last instruction that has used it.
    """

    place: int
    key: object = None
    free: list[Node] = field(default_factory=list)
    loads: list[tuple[Run, Node]] = field(default_factory=list)
    used: list[Node] = field(default_factory=list)


class Slots:
    """Slots of a buffer, the one that was asked for longest ago first."""

    def __init__(self, places: Sequence[int]):
        self._slots = [Slot(place) for place in places]

    @property
    def newest(self) -> object:
        """Key of the slot that was asked for last."""
        return self._slots[-1].key

    def take(self, key: object) -> Slot:
        """The slot that holds ``key``, or the oldest, which is to be loaded with it."""
        slot = next((slot for slot in self._slots if slot.key == key), self._slots[0])
        self._slots.remove(slot)
        self._slots.append(slot)
        if slot.key != key:
            slot.key, slot.free, slot.loads, slot.used = key, slot.used, [], []
        return slot


@dataclass(frozen=True)
class Image:
    """A packed step in memory."""

    address: int
    bytes: int


class ChipProgram:
    """Instructions of a chip, appended block by block.

    Parameters
    ----------
    config : Config
    layers : sequence of Layer
    vectors : int
        Of the largest tile.
    weights_address : int
        Where packed steps are to lie.

    Attributes
    ----------
    stream : Stream
    weights : bytearray
        The packed steps, in the order of their first use.
    """

    def __init__(self, config: Config, layers: Sequence[Layer], vectors: int, weights_address: int):
        self.config = config
        self.layers = layers
        self.stream = Stream()
        self.weights = bytearray()
        self.weights_address = weights_address
        line = vectors * config.line_bytes
        self._lines = Slots(range(0, config.act_bytes - line + 1, line))
        self._parameters = Slots((0, config.out_cols))
        self._tables = Slots(range(1, TABLES + 1))
        self._images: dict[tuple[int, Run, Run], Image] = {}
        self._array: Image | None = None  # the step of the last GEMM
        self._last_gemm: Node | None = None
        self._last_stores: list[Node] = []  # of each block
        self._sent: dict[int, int] = {}
        self._received: dict[int, list[tuple[int, Node]]] = {}

    # Links

    def send(self, matrix: Matrix, vectors: Run, channels: Run, port: int, remote_port: int) -> Message:
        """Sends a part of a matrix to the same addresses at the other end of a port. Posts the semaphore that has the
        number of the port there."""
        size, stride = matrix.item_bytes * channels[1], matrix.tensor.stride
        address = matrix.address(vectors, channels)
        fields = {"address": address, "remote_address": address, "port": port, "post": 1, "semaphore": remote_port}
        if size == stride:
            fields |= {"rows": 1, "row_bytes": size * vectors[1]}
        else:
            fields |= {"rows": vectors[1], "row_bytes": size, "stride": stride, "remote_stride": stride}
        self.stream.add(Opcode.SEND, fields, after=self._nodes(matrix.sources(vectors, channels)))
        self._sent[port] = self._sent.get(port, 0) + 1
        return Message(remote_port, self._sent[port])

    def receive(self, message: Message) -> Node:
        """The RECV after which the message is there: a new one if none so far has waited for it. A partner's messages
        come in the order in which it sends them."""
        received = self._received.setdefault(message.port, [])
        for number, node in received:
            if number >= message.number:
                return node
        count = message.number - (received[-1][0] if received else 0)
        node = self.stream.add(Opcode.RECV, {"port": message.port, "semaphore": message.port, "count": count})
        received.append((message.number, node))
        return node

    def _nodes(self, sources: Sequence[Source]) -> list[Node]:
        return [self.receive(source) if isinstance(source, Message) else source
                for source in sources if source is not None]

    # Blocks

    def block(self, block: Block, activations: Matrix, target: Matrix, partial: Matrix | None, parameters: int | None,
              table: int | None, *, is_last: bool) -> list[tuple[Run, Node]]:
        """Computes a block and stores it.

        Parameters
        ----------
        target : Matrix
            Where results go; int32 sums if ``parameters`` is None.
        partial : Matrix or None
            Sums of other chips to add.
        parameters, table : int or None
            Addresses.
        is_last : bool
            It ends the program.

        Returns
        -------
        list of (vectors, STORE)
        """
        is_first = not self._last_stores
        lines = self._order(block)
        images = [self._image(block, line) for line in lines]
        fresh = _consecutive(images[1:] if images[0] is self._array else images)
        base = len(self._last_stores) % 2 * (self.config.acc_vectors // 2) - block.vectors[0]
        stores = []
        for number, (line, image) in enumerate(zip(lines, images)):
            begins, ends = number == 0, number == len(lines) - 1
            parts = min(ENDS, block.vectors[1]) if (is_first and begins) or (is_last and ends) else 1
            runs = [(block.vectors[0] + offset, count) for offset, count in even(block.vectors[1], parts)]
            if not is_first and fresh and (begins or image is fresh[0][0]):
                self._load_weights(fresh.pop(0))
            for run in runs:
                slot = self._loaded(block, line, activations, run if is_first and begins else block.vectors)
                if is_first and run is runs[0]:
                    self._load_weights([image])
                gemm = self._gemm(block, line, image, slot, run, base, begins)
                if ends:
                    stores.append((run, self._store(block, run, base, target, partial, parameters, table, gemm)))
        self._last_stores.append(stores[-1][1])
        return stores

    def _order(self, block: Block) -> list[Run]:
        """The block's lines in the order in which they are taken."""
        lines = [(block.inputs[0] + a, n) for a, n in slices(block.inputs[1], self.config.line_bytes)]
        kept = self._images.get(self._image_key(block, lines[-1]))
        if (kept is not None and kept is self._array) or self._lines.newest == (block.layer, block.vectors, lines[-1]):
            lines.reverse()
        return lines

    # Weights

    def _image_key(self, block: Block, line: Run) -> tuple[int, Run, Run]:
        """Names a step; layers that are the same object share theirs."""
        return id(self.layers[block.layer]), block.outputs, line

    def _image(self, block: Block, line: Run) -> Image:
        """The packed step of a line."""
        key = self._image_key(block, line)
        if key not in self._images:
            content = weights.packed(self.config, self.layers[block.layer], block.outputs, line)
            self._images[key] = Image(self.weights_address + len(self.weights), len(content))
            self.weights += content
        return self._images[key]

    def _load_weights(self, images: list[Image]):
        """One load for steps that follow one another in memory."""
        self.stream.add(Opcode.LOAD_WEIGHTS, {
            "address": images[0].address, "steps": len(images),
            "beats": sum(image.bytes for image in images) // self.config.bus_bytes})

    # Products

    def _gemm(self, block: Block, line: Run, image: Image, slot: Slot, part: Run, base: int, begins: bool) -> Node:
        """One step for a part of the block's vectors."""
        layer, pitch = self.layers[block.layer], self.config.line_bytes
        if image is self._array:
            assert self._last_gemm is not None
            self._last_gemm.fields["keep"] = 1
        gemm = self.stream.add(Opcode.GEMM, {
            "steps": 1, "vectors": part[1], "vector_rows": 1, "acc_vector": base + part[0],
            "act_address": slot.place + (part[0] - block.vectors[0]) * pitch, "x_stride": pitch,
            "x_end": self.config.act_bytes, "y_end": 1, "tap_bytes": line[1], "taps": 1, "tap_rows": 1,
            "accumulate": int(not begins), "act_signed": int(layer.act_signed), "zero_point": layer.zero_point & 0xFF,
        }, after=[load for run, load in slot.loads if overlap(run, part)], after_read=self._last_stores[-2:-1])
        slot.used = [gemm]
        self._last_gemm, self._array = gemm, image
        return gemm

    def _loaded(self, block: Block, line: Run, activations: Matrix, part: Run) -> Slot:
        """The slot that holds a line, with these vectors of it loaded."""
        slot = self._lines.take((block.layer, block.vectors, line))
        if sum(overlap(run, part) for run, _ in slot.loads) < part[1]:
            pitch, stride = self.config.line_bytes, activations.tensor.stride
            fields = {"address": activations.address(part, line), "blocks": 1,
                      "buffer_address": slot.place + (part[0] - block.vectors[0]) * pitch}
            if line[1] == pitch == stride:
                fields |= {"rows": 1, "row_bytes": part[1] * pitch}
            else:
                fields |= {"rows": part[1], "row_bytes": line[1], "stride": stride, "buffer_stride": pitch}
            load = self.stream.add(Opcode.LOAD_ACTIVATIONS, fields, after=[
                *slot.free, *self._nodes(activations.sources(part, line))])
            slot.loads.append((part, load))
        return slot

    # Results

    def _store(self, block: Block, part: Run, base: int, target: Matrix, partial: Matrix | None,
               parameters: int | None, table: int | None, gemm: Node) -> Node:
        requantisation = self.layers[block.layer].requantisation
        after, slots = [gemm], []
        fields = {"address": target.address(part, block.outputs), "vectors": part[1], "vector_rows": 1,
                  "stride": target.tensor.stride, "acc_vector": base + part[0], "channels": block.outputs[1],
                  "format": OutputFormat.INT32}
        if partial is not None:
            fields |= {"residual": ResidualFormat.INT32, "residual_address": partial.address(part, block.outputs),
                       "residual_stride": partial.tensor.stride}
            after += self._nodes(partial.sources(part, block.outputs))
        if parameters is not None and requantisation is not None:
            slots.append(self._constants(self._parameters, parameters, Opcode.LOAD_PARAMETERS))
            fields |= {"channel": slots[-1].place, "format": requantisation.output_format,
                       "zero_point": requantisation.zero_point, "low": requantisation.low, "high": requantisation.high}
            if table is not None:
                slots.append(self._constants(self._tables, table, Opcode.LOAD_TABLE))
                fields["table"] = slots[-1].place
        store = self.stream.add(Opcode.STORE, fields, after=[*after, *(load for s in slots for _, load in s.loads)])
        for slot in slots:
            slot.used = [store]
        return store

    def _constants(self, slots: Slots, address: int, opcode: Opcode) -> Slot:
        """The slot of the parameter memory, or the table, with what lies at an address."""
        slot = slots.take(address)
        if not slot.loads:
            fields = ({"channel": slot.place, "channels": self.config.out_cols}
                      if opcode is Opcode.LOAD_PARAMETERS else {"table": slot.place})
            load = self.stream.add(opcode, {"address": address} | fields, after_read=slot.free)
            slot.loads.append(((0, 1), load))
        return slot


def _consecutive(images: list[Image]) -> list[list[Image]]:
    """Runs of images that follow one another in memory."""
    runs: list[list[Image]] = []
    for image in images:
        if not runs or runs[-1][-1].address + runs[-1][-1].bytes != image.address:
            runs.append([])
        runs[-1].append(image)
    return runs


def overlap(a: Run, b: Run) -> int:
    """How many things two runs share."""
    return max(0, min(a[0] + a[1], b[0] + b[1]) - max(a[0], b[0]))
