"""Splits a chain of fully connected layers over the chips of a card: one program per chip.

All chips have the same addresses for the same things, so a chip sends to where it has the data itself. Every place of
memory that a partner writes is written once, so nothing has to be asked before a SEND; each posts the semaphore of the
port through which it comes. A chip's instruction waits only for what comes earlier in its own program or is sent by
an instruction that was emitted before it, on whichever chip: so programs cannot block one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from hdl.config import INSTRUCTION_BYTES, Config
from hdl.isa import illegal_fields
from hdl.program import Program, Tensor
from hdl.topology import check_card, partner

from . import weights
from .blocks import ChipProgram, Matrix, Message, Source, overlap
from .collective import Hop, delivery, reduction
from .layer import Layer, LayerError
from .memory import Memory
from .placement import Block, Placement, Split, Way
from .tiling import Run

__all__ = ["Split", "split"]


def split(config: Config, layers: Sequence[Layer], vectors: int, chips: int, ways: Sequence[Way], *,
          gather: bool = True, broadcast: bool = False) -> list[Program]:
    """The programs that compute ``y = layers[-1](... layers[0](x))`` on a card, bit for bit as one chip does.

    Parameters
    ----------
    layers : sequence of Layer
        Fully connected. Layers that are the same object share their weights in memory, and in the array.
    vectors : int
        ``x`` is [vectors, inputs].
    chips : int
        1, 2 or 4.
    ways : sequence of Way
        How each layer is split: :class:`~compiler.placement.Split`, or the number of the chip that computes it.
    gather : bool
        Every chip gets all of ``y``, [vectors, outputs]. Else each has the part that it computes, and chips without
        results have no output.
    broadcast : bool
        ``x`` is given to chip 0 alone, which sends it on. Else every chip gets all of it that is multiplied there.

    Raises
    ------
    ConfigError
        If there are no such cards of this configuration.
    LayerError
        If the layers cannot be split so, or do not fit the configuration.
    """
    if chips > 1:
        check_card(chips, config.links)
    for layer in layers:
        weights.check(config, layer)
    placement = Placement(config, layers, vectors, chips, ways)
    return _Card(placement, gather, broadcast).programs()


@dataclass(frozen=True)
class Part:
    """A part of the ``number``-th matrix, counted from the first activations, on the chip where it ends."""

    owner: int
    number: int
    vectors: Run
    channels: Run


class _Card:
    """All chips' programs in the making."""

    def __init__(self, placement: Placement, gather: bool, broadcast: bool):
        self.placement = placement
        self.config, self.layers, self.chips = placement.config, placement.layers, placement.chips
        self.gather, self.broadcast = gather, broadcast
        self.memory = Memory()
        self.blocks = [placement.blocks(chip) for chip in range(self.chips)]
        self.tensors = self._tensors()
        self.sums = self._sums()
        self.written = (self.tensors[0 if broadcast else 1].address, self.memory.end)
        self.parameters = self._parameters()
        self.tables = [None if layer.requantisation is None or layer.requantisation.table is None
                       else self.memory.place(layer.requantisation.table.tobytes()) for layer in self.layers]
        tile = max(count for _, count in placement.vector_tiles)
        self.chip_programs = [ChipProgram(self.config, self.layers, tile, self.memory.end) for _ in range(self.chips)]
        #: By chip: the input of each layer, and the result of the last.
        self.matrices = [[Matrix(tensor) for tensor in self.tensors] for _ in range(self.chips)]
        #: By chip: sums on their way.
        self.partial = [{key: Matrix(tensor, (key[1][0], key[2][0])) for key, tensor in self.sums.items()}
                        for _ in range(self.chips)]
        #: By chip: what has been sent to it last, by its port.
        self.last_messages: list[dict[int, Message]] = [{} for _ in range(self.chips)]
        self.deliveries = 0

    # Memory

    def _tensors(self) -> list[Tensor]:
        first = self.layers[0]
        shapes = [(first.inputs, first.act_dtype), *((layer.outputs, layer.output_dtype) for layer in self.layers)]
        return [self.memory.tensor((self.placement.vectors, channels), dtype) for channels, dtype in shapes]

    def _sums(self) -> dict[tuple[int, Run, Run], Tensor]:
        """A place for each block's sums on their way."""
        keys = {_key(block): None for blocks in self.blocks for block in blocks if self._is_reduced(block)}
        return {key: self.memory.tensor((key[1][1], key[2][1]), "int32") for key in keys}

    def _parameters(self) -> dict[tuple[int, Run], int]:
        """Addresses of the requantisation parameters, by layer and outputs."""
        keys = {(block.layer, block.outputs): None for blocks in self.blocks for block in blocks
                if self.layers[block.layer].requantisation is not None}
        return {key: self.memory.place(weights.parameters(self.config, self.layers[key[0]], [key[1]])) for key in keys}

    # Programs

    def programs(self) -> list[Program]:
        self._give_activations()
        while any(self.blocks):
            chosen = [next((block for block in blocks if self._can_be_emitted(chip, block)), None)
                      for chip, blocks in enumerate(self.blocks)]
            assert any(chosen), "the first block of the first layer that is left waits for nothing"
            finished = []
            for chip, block in enumerate(chosen):
                if block is not None:
                    self.blocks[chip].remove(block)
                    finished.append(self._emit(chip, block))
            for parts in zip_longest(*finished):
                self._deliver([part for part in parts if part is not None])
        for chip_program, messages in zip(self.chip_programs, self.last_messages):
            for message in messages.values():  # a program ends when all that is sent to it is there
                chip_program.receive(message)
        return [self._program(chip) for chip in range(self.chips)]

    def _give_activations(self):
        """The first layer's are there, on all chips or on the first."""
        all_channels = (0, self.layers[0].inputs)
        for tile in self.placement.vector_tiles:
            for matrices in self.matrices[:1] if self.broadcast else self.matrices:
                matrices[0].parts.append((tile, all_channels, None))
            if self.broadcast:
                self._deliver([Part(0, 0, tile, all_channels)])

    def _is_reduced(self, block: Block) -> bool:
        return self.placement.reduces(block.layer)

    def _can_be_emitted(self, chip: int, block: Block) -> bool:
        """All that it needs is there or has been sent."""
        begins_sum = not self._is_reduced(block) or (chip - block.owner) % self.chips == 1
        return (self.matrices[chip][block.layer].holds(block.vectors, block.inputs)
                and (begins_sum or self.partial[chip][_key(block)].holds(block.vectors, block.outputs)))

    def _emit(self, chip: int, block: Block) -> list[Part]:
        """Appends a block to a chip's program. Returns what other chips can get now."""
        matrices = self.matrices[chip]
        sums = self.partial[chip].get(_key(block))
        passes = sums is not None and block.owner != chip
        target = sums if sums is not None and passes else matrices[block.layer + 1]
        stores = self.chip_programs[chip].block(
            block, matrices[block.layer], target, sums if sums is not None and sums.parts else None,
            None if passes else self.parameters.get((block.layer, block.outputs)), self.tables[block.layer],
            is_last=not self.blocks[chip])
        if not passes:
            return [part for vectors, store in stores for part in self._finish(chip, block, vectors, store)]
        for vectors, store in stores:
            self._pass_on(chip, block, vectors, store)
        return []

    def _pass_on(self, chip: int, block: Block, vectors: Run, store: Source):
        """Sends sums to the next chip that adds its own."""
        key = _key(block)
        self.partial[chip][key].parts = [(vectors, block.outputs, store)]
        hop = next(hop for hop in reduction(self.chips, block.owner) if hop.source == chip)
        self._send(hop, self.partial[chip][key], self.partial[hop.target][key], vectors, block.outputs)

    def _finish(self, chip: int, block: Block, vectors: Run, store: Source) -> list[Part]:
        """Notes that results are stored. Returns what other chips can get now: whole rows, which are one run of bytes,
        if all outputs of these vectors end here."""
        matrix, outputs = self.matrices[chip][block.layer + 1], block.outputs
        matrix.parts.append((vectors, outputs, store))
        if self.placement.owns_rows(block.layer):
            outputs = (0, self.layers[block.layer].outputs)
        return [Part(chip, block.layer + 1, vectors, outputs)] if matrix.holds(vectors, outputs) else []

    def _deliver(self, parts: Sequence[Part]):
        """Sends parts from the chips where they are to all that need them. What a chip passes on comes behind what it
        has itself: it is not there as soon."""
        hops = []
        for part in parts:
            wanted = [chip for chip in range(self.chips)
                      if chip != part.owner and overlap(self._wanted(part.number, chip), part.channels)]
            hops += [(part, hop) for hop in delivery(self.chips, part.owner, wanted, self.deliveries)]
            self.deliveries += 1
        for part, hop in sorted(hops, key=lambda each: each[1].source != each[0].owner):
            here, there = (self.matrices[chip][part.number] for chip in (hop.source, hop.target))
            self._send(hop, here, there, part.vectors, part.channels)

    def _send(self, hop: Hop, here: Matrix, there: Matrix, vectors: Run, channels: Run):
        """Sends a part of a matrix over a cable, and notes that it comes there."""
        _, port = partner(self.chips, hop.source, hop.port)
        message = self.chip_programs[hop.source].send(here, vectors, channels, hop.port, port)
        there.parts.append((vectors, channels, message))
        self.last_messages[hop.target][port] = message

    def _wanted(self, number: int, chip: int) -> Run:
        """Channels of a matrix that a chip needs."""
        if number < len(self.layers):
            return self.placement.inputs(number, chip)
        return (0, self.layers[-1].outputs) if self.gather else (0, 0)

    def _program(self, chip: int) -> Program:
        made, memory = self.chip_programs[chip], self.memory.branch()
        if made.weights:
            memory.place(bytes(made.weights))
        try:
            instructions = made.stream.instructions()
        except ValueError as error:  # a field is too narrow
            raise LayerError(f"the layers do not fit {self.config.name!r}: {error}") from None
        for instruction in instructions:
            for rule in illegal_fields(self.config, instruction):
                raise LayerError(f"the layers do not fit {self.config.name!r}: {rule}")
        entry = memory.reserve(len(instructions) * INSTRUCTION_BYTES)
        has_x = chip == 0 or not self.broadcast
        written = self.written if self.chips > 1 else (0, 0)
        return Program.assemble(self.config, instructions, entry=entry, segments=memory.segments,
                                memory_bytes=memory.end, inputs={"x": self.tensors[0]} if has_x else {},
                                outputs=self._outputs(chip), writable=self.written, remote=written)

    def _outputs(self, chip: int) -> dict[str, Tensor]:
        whole, last = self.tensors[-1], len(self.layers) - 1
        if self.gather:
            return {"y": whole}
        vectors, outputs = self.placement.owned(last, chip)
        if not vectors[1] * outputs[1]:
            return {}
        item = np.dtype(whole.dtype).itemsize
        return {"y": Tensor(whole.address + vectors[0] * whole.stride + outputs[0] * item, (vectors[1], outputs[1]),
                            whole.dtype, whole.stride)}


def _key(block: Block) -> tuple[int, Run, Run]:
    """What the blocks of one sum have in common."""
    return block.layer, block.vectors, block.outputs
