"""One March test on one faulty memory: which reads fail, and what they return.

The reference of the fault simulator and of the hardware's fail log: it follows each fault cycle by cycle, without any
reduction. Words that the fault does not touch behave, and are not stored.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import and_, or_
from typing import NamedTuple

from .faults import Cell, CellFault, DecoderFault, Fault, StuckOpen
from .notation import March, Operation, Order, Pause
from .primitives import COMPUTE, PAUSE, READ, W0, W1, FaultPrimitive, Sensitisation


class Failure(NamedTuple):
    """A read that did not return what the test expects.

    Attributes
    ----------
    element, step : int
        Numbers from 0; pauses count as elements.
    address : int
        The word that was read.
    seen : int
        What the read returned, bit 0 lowest.
    """

    element: int
    step: int
    address: int
    seen: int


class Access(NamedTuple):
    """One operation of one port: ``data`` is what is written or expected."""

    word: int
    operation: Operation
    data: int


def fail_log(march: March, words: int, bits: int, fault: Fault, *, background: Sequence[int] | None = None,
             up: Sequence[int] | None = None, either: Order = Order.UP,
             partner: Callable[[int], int] | None = None, gap: bool = True) -> list[Failure]:
    """Runs a March test on a memory with one fault.

    Parameters
    ----------
    march : March
    words, bits : int
        Words of the memory and bits of a word.
    fault : CellFault, DecoderFault or StuckOpen
    background : sequence of int
        What ``w0`` writes into each word; zeros by default.
    up : sequence of int
        Words in the order of UP; all of them, ascending, by default. DOWN is its reverse.
    either : Order
        Which order the elements in either order take.
    partner : function from int to int
        The word that an operation with subscript b goes to.
    gap : bool
        A cycle passes between two elements, so that a dynamic fault is not sensitised across them.

    Returns
    -------
    list of Failure
        In the order of time.

    Raises
    ------
    ValueError
        If the test needs partners and there is no ``partner``.
    """
    if march.uses_partner and partner is None:
        raise ValueError(f"{march.name or 'the March test'} must be given a partner, since it uses subscript b")
    sequence = range(words) if up is None else up
    ones = (1 << bits) - 1
    memory = _memory(fault, ones)
    failures = []
    for number, element in enumerate(march.elements):
        if isinstance(element, Pause):
            memory.pause(element.cycles)
            continue
        if gap:
            memory.idle()
        order = either if element.order is Order.EITHER else element.order
        for address in sequence if order is Order.UP else reversed(sequence):
            for position, step in enumerate(element.steps):
                accesses = []
                for operation in step.ports:
                    if operation is not None:
                        word = partner(address) if operation.partner and partner is not None else address
                        data = 0 if background is None else int(background[word])
                        accesses.append(Access(word, operation, data ^ ones if operation.value else data))
                for access, seen in memory.cycle(accesses):
                    if seen != access.data:
                        failures.append(Failure(number, position, access.word, seen))
    return failures


def _memory(fault: Fault, ones: int):
    if isinstance(fault, CellFault):
        return _CellMemory(fault)
    return _DecoderMemory(fault, ones) if isinstance(fault, DecoderFault) else _OpenMemory(fault)


class _CellMemory:
    """The cells of a :class:`CellFault`."""

    def __init__(self, fault: CellFault):
        self.fault = fault
        self.cells = (*fault.aggressors, fault.victim)
        self.words = {cell.word for cell in self.cells}
        self.held = dict(zip(self.cells, fault.power_up or (0,) * len(self.cells)))
        self.armed = [False] * len(fault.primitives)
        self.aggressors: list[Cell | None] = [
            fault.aggressors[min(i, len(fault.aggressors) - 1)] if primitive.aggressor is not None else None
            for i, primitive in enumerate(fault.primitives)]
        self._states()

    def idle(self):
        self.armed = [False] * len(self.armed)

    def pause(self, cycles: int):
        self.idle()
        if cycles >= self.fault.retention:
            self._sense(dict.fromkeys(self.cells, PAUSE), {})
            self.idle()

    def cycle(self, accesses: list[Access]) -> Iterator[tuple[Access, int]]:
        if not any(access.word in self.words for access in accesses):
            self.idle()
            return
        masks = dict.fromkeys(self.cells, 0)
        writes = {}
        for word, operation, data in accesses:
            for cell in self.cells:
                if cell.word == word:
                    value = data >> cell.bit & 1
                    if operation.read:
                        masks[cell] |= READ | COMPUTE * operation.compute
                    else:
                        masks[cell] |= W1 if value else W0
                        writes[cell] = value
        before = dict(self.held)
        returned = self._sense(masks, writes)
        for access in accesses:
            if access.operation.read:
                seen = access.data
                for cell in self.cells:
                    if cell.word == access.word:
                        value = before[cell] if cell != self.fault.victim or returned is None else returned
                        seen = seen & ~(1 << cell.bit) | value << cell.bit
                yield access, seen

    def _sense(self, masks: dict[Cell, int], writes: dict[Cell, int]) -> int | None:
        """Updates the cells by one cycle; returns what a faulty read of the victim returns."""
        returned, effects = None, []
        armed = []
        for i, (primitive, aggressor) in enumerate(zip(self.fault.primitives, self.aggressors)):
            armed.append(primitive.cycles == 2 and self._matches(primitive, aggressor, masks, 0))
            last = primitive.cycles == 1 or self.armed[i]
            if primitive.cycles and last and self._matches(primitive, aggressor, masks, primitive.cycles - 1):
                effects.append(primitive.effect)
                returned = primitive.read if primitive.read is not None else returned
        self.armed = armed
        self.held.update(writes)
        for effect in effects:
            self.held[self.fault.victim] = effect
        self._states()
        return returned

    def _matches(self, primitive: FaultPrimitive, aggressor: Cell | None, masks: dict[Cell, int], cycle: int) -> bool:
        """Whether a cycle of S happens: operations and, before them, states."""
        def met(part: Sensitisation, cell: Cell) -> bool:
            needed = part.masks()[cycle] if part.cycles else 0
            return masks[cell] & needed == needed and self.held[cell] == part.states()[cycle if part.cycles else 0]

        return met(primitive.victim, self.fault.victim) and (
            primitive.aggressor is None or aggressor is None or met(primitive.aggressor, aggressor))

    def _states(self):
        """State faults hold at any time."""
        nothing = dict.fromkeys(self.cells, 0)
        for primitive, aggressor in zip(self.fault.primitives, self.aggressors):
            if primitive.cycles == 0 and self._matches(primitive, aggressor, nothing, 0):
                self.held[self.fault.victim] = primitive.effect


class _DecoderMemory:
    """The two words of a :class:`DecoderFault`."""

    def __init__(self, fault: DecoderFault, ones: int):
        self.fault = fault
        self.ones = ones
        self.held = {fault.x: 0, fault.y: 0}

    def idle(self):
        """Nothing happens."""

    def pause(self, cycles: int):
        """Nothing happens."""

    def cycle(self, accesses: list[Access]) -> Iterator[tuple[Access, int]]:
        seen = [(access, self._read(access)) for access in accesses if access.operation.read]
        for access in accesses:
            if not access.operation.read:
                for word in self.fault.reached(access.word):
                    if word in self.held:
                        self.held[word] = access.data
        yield from seen

    def _read(self, access: Access) -> int:
        if access.word not in self.held:
            return access.data
        reached = [self.held[word] for word in self.fault.reached(access.word)]
        if not reached:
            return self.ones if self.fault.floating else 0
        return reduce(or_ if self.fault.wired_or else and_, reached)


class _OpenMemory:
    """The cell of a :class:`StuckOpen` and the sense amplifier of its bit line."""

    def __init__(self, fault: StuckOpen):
        self.fault = fault
        self.latch = fault.latch

    def idle(self):
        """Nothing happens."""

    def pause(self, cycles: int):
        """Nothing happens."""

    def cycle(self, accesses: list[Access]) -> Iterator[tuple[Access, int]]:
        word, bit = self.fault.cell
        for access in accesses:
            if access.operation.read:
                if access.word == word:
                    yield access, access.data & ~(1 << bit) | self.latch << bit
                else:
                    self.latch = access.data >> bit & 1


def detected(march: March, words: int, bits: int, fault: Fault, **options) -> bool:
    """Whether a test finds a fault whatever order its elements in either order take; options of :func:`fail_log`."""
    return all(fail_log(chosen, words, bits, fault, **options) for chosen in march.orders())
