"""March tests as data, and their text form.

A March test is a sequence of elements. An element visits every address once, in its order, and applies its steps to an
address before it goes on to the next (van de Goor, *Testing Semiconductor Memories*, Wiley 1991)::

    {c(w0); u(r0,w1); d(r1,w0); del(1000); c(r0)}

===============  ======================================================================================================
``u`` ``d``      upwards, downwards through the addresses; also the arrows ``⇑ ⇓`` or ``↑ ↓``
``c``            either order, the user's choice: a test must work in both; also ``⇕`` or ``↕``
``r0`` ``r1``    read, expecting the background or its inverse
``k0`` ``k1``    read as computing does: every column of the macro reads this word in the same cycle
``w0`` ``w1``    write the background or its inverse
``r0:w1``        one cycle of a memory with several ports, port 0 first
``-`` ``n``      in such a cycle: no operation of this port
``w1_b``         subscript b: at the partner of the visited address, the same word in the other bank
``del(1000)``    pause of so many cycles, for data retention
===============  ======================================================================================================

Ports are separated as in Hamdioui and van de Goor, *Thorough testing of any multiport memory with linear tests*, IEEE
TCAD 21(2), 2002. A macro has two: port 0 is the compute side's and only reads, port 1 is the load side's and only
writes; in a test of one port each operation takes the port that can do it. A read sees what was stored before the
cycle, whatever another port writes. Theirs is also the subscript: which address a port takes, where it is not the
visited one. A macro computes one bank while it loads the other, so the other bank is the one pair of addresses that
both ports meet in; a test with subscripts is run on the addresses of one bank at a time.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_ARROWS = {"⇑": "u", "↑": "u", "⇓": "d", "↓": "d", "⇕": "c", "↕": "c"}


class NotationError(ValueError):
    """A March test that cannot be read or that no memory would pass; the message names the character, from 1."""


class Order(enum.Enum):
    """In which order an element visits the addresses."""

    UP = "u"
    DOWN = "d"
    EITHER = "c"


@dataclass(frozen=True)
class Operation:
    """What one port does in one cycle.

    Attributes
    ----------
    read : bool
    value : int
        0 or 1, relative to the background.
    partner : bool
        At the same word of the other bank instead of the visited address.
    compute : bool
        A read of all columns at once.
    """

    read: bool
    value: int
    partner: bool = False
    compute: bool = False

    def __str__(self):
        return ("k" if self.compute else "r" if self.read else "w") + str(self.value) + ("_b" if self.partner else "")


@dataclass(frozen=True)
class Step:
    """One cycle: an operation, or None, per port."""

    ports: tuple[Operation | None, ...]

    def __str__(self):
        return ":".join("-" if operation is None else str(operation) for operation in self.ports)


@dataclass(frozen=True)
class Element:
    """Steps that are applied to each address in turn, one per cycle."""

    order: Order
    steps: tuple[Step, ...]

    def __str__(self):
        return f"{self.order.value}({','.join(map(str, self.steps))})"


@dataclass(frozen=True)
class Pause:
    """Cycles without an operation."""

    cycles: int

    def __str__(self):
        return f"del({self.cycles})"


@dataclass(frozen=True)
class March:
    """A March test; ``str`` gives its text back."""

    name: str
    elements: tuple[Element | Pause, ...]
    source: str = ""

    def __str__(self):
        return "{" + "; ".join(map(str, self.elements)) + "}"

    @property
    def complexity(self) -> int:
        """Cycles per address, without pauses: the 10 of a 10n test."""
        return sum(len(element.steps) for element in self.elements if isinstance(element, Element))

    @property
    def pause_cycles(self) -> int:
        """Cycles of all pauses together."""
        return sum(element.cycles for element in self.elements if isinstance(element, Pause))

    @property
    def ports(self) -> int:
        """Ports that a step names."""
        return max(len(step.ports) for _, _, step in self.steps())

    @property
    def uses_partner(self) -> bool:
        """Whether an operation goes to the other bank; such a test runs on the addresses of one bank."""
        return any(o.partner for _, _, step in self.steps() for o in step.ports if o is not None)

    def steps(self) -> Iterator[tuple[int, int, Step]]:
        """Number of the element, number of the step in it, and the step."""
        for number, element in enumerate(self.elements):
            if isinstance(element, Element):
                yield from ((number, position, step) for position, step in enumerate(element.steps))

    def orders(self) -> Iterator["March"]:
        """The test with every choice of the elements in either order."""
        for number, element in enumerate(self.elements):
            if isinstance(element, Element) and element.order is Order.EITHER:
                for order in (Order.UP, Order.DOWN):
                    chosen = (*self.elements[:number], replace(element, order=order), *self.elements[number + 1:])
                    yield from replace(self, elements=chosen).orders()
                return
        yield self


def parse(text: str, name: str = "", source: str = "") -> March:
    """Reads a March test.

    Braces around it and blanks may be left out. Every address must be written before it is read, and a read must expect
    what the test has left there.

    Raises
    ------
    NotationError
        With the position of the first mistake.
    """
    elements, places = _Reader(text).march()
    march = March(name, elements, source)
    for chosen in march.orders():
        _check(chosen, places)
    return march


def parse_line(line: str) -> March:
    """Reads ``name: test # source``, one line of a library.

    Raises
    ------
    NotationError
        As :func:`parse`, the name in front; or if there is no name.
    """
    text, _, source = line.partition("#")
    name, colon, text = text.partition(":")
    if not colon or "{" in name or "(" in name or not name.strip():
        raise NotationError(f"a line of a library must be 'name: test # source', not {line.strip()!r}")
    try:
        return parse(text.strip(), name.strip(), source.strip())
    except NotationError as error:
        raise NotationError(f"{name.strip()}: {error}") from None


class _Reader:
    """Recursive descent over the characters of one test."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0

    def fail(self, expected: str, at: int | None = None):
        at = self.at if at is None else at
        found = re.match(r"\w+|.|$", self.text[at:], re.S)[0]  # type: ignore[index]
        raise NotationError(f"character {at + 1} of the March test must be {expected}, not "
                            + (repr(found) if found else "its end"))

    def skip(self):
        self.at += len(self.text[self.at:]) - len(self.text[self.at:].lstrip())

    def take(self, pattern: str) -> str | None:
        """The text that matches at this place, or None."""
        self.skip()
        found = re.compile(pattern).match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found[0]

    def need(self, pattern: str, expected: str) -> str:
        found = self.take(pattern)
        if found is None:
            self.fail(expected)
        return found  # type: ignore[return-value]

    def march(self):
        """Elements, and the place of every step by the numbers of element and step."""
        brace = self.take(r"\{")
        elements: list[Element | Pause] = []
        places: dict[tuple[int, int], int] = {}
        ports = None
        while True:
            if self.take(r"del\b"):
                elements.append(self.pause())
            else:
                order = self.need(r"[udc⇑↑⇓↓⇕↕](?!\w)", "an order (u, d, c) or a pause del(cycles)")
                steps: list[Step] = []
                self.need(r"\(", "'('")
                while True:
                    self.skip()
                    places[len(elements), len(steps)] = start = self.at
                    steps.append(self.step())
                    ports = ports or len(steps[0].ports)
                    if len(steps[-1].ports) != ports:
                        self.fail(f"a step of {ports} port{'s' * (ports > 1)}, as the first", start)
                    if not self.take(","):
                        break
                self.need(r"\)", "',' or ')'")
                elements.append(Element(Order(_ARROWS.get(order, order)), tuple(steps)))
            if not self.take(";") or (brace and self.text[self.at:].lstrip().startswith("}")):
                break
        if brace:
            self.need(r"\}", "';' or '}'")
        self.skip()
        if self.at < len(self.text):
            self.fail("the end" if brace else "';' or the end")
        if not places:
            self.fail("an order (u, d, c): a test needs an element")
        return tuple(elements), places

    def pause(self) -> Pause:
        self.need(r"\(", "the cycles of the pause, as del(1000)")
        cycles = self.need(r"[1-9]\d*", "the cycles of the pause, a whole number from 1, as del(1000)")
        self.need(r"\)", "')'")
        return Pause(int(cycles))

    def step(self) -> Step:
        self.skip()
        start = self.at
        operations = [self.operation()]
        while self.take(":"):
            operations.append(self.operation())
        if not any(operations):
            self.fail("a step in which a port does something", start)
        return Step(tuple(operations))

    def operation(self) -> Operation | None:
        token = self.need(r"(?:-|n|[rwk][01](?:_b)?)(?!\w)", "an operation (r0, r1, k0, k1, w0, w1, or - for none)")
        if token in "-n":
            return None
        return Operation(token[0] != "w", int(token[1]), token.endswith("_b"), token[0] == "k")


def _check(march: March, places: dict[tuple[int, int], int]):
    """Runs the test, without any choice left, on a memory of three addresses and their partners."""
    cells: dict[tuple[bool, int], int] = {}
    for number, element in enumerate(march.elements):
        if isinstance(element, Pause):
            continue
        for address in (range(3) if element.order is Order.UP else range(2, -1, -1)):
            for position, step in enumerate(element.steps):
                at = f"character {places[number, position] + 1} of the March test"
                for operation in filter(None, step.ports):
                    stored = cells.get((operation.partner, address))
                    if operation.read and stored is None:
                        raise NotationError(f"{at} must write before {operation} reads: no step before wrote there")
                    if operation.read and stored != operation.value:
                        raise NotationError(f"{at} must read {stored}, which the steps before left there, "
                                            f"not {operation.value}")
                written = [(o.partner, o.value) for o in step.ports if o is not None and not o.read]
                if len({partner for partner, _ in written}) < len(written):
                    raise NotationError(f"{at} must write an address through one port, not through {len(written)}")
                cells.update({(partner, address): value for partner, value in written})
