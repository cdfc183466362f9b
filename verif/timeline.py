"""An open-loop schedule of the array's ports that keeps the rules between loading and computing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hdl.cim.column import Column
from hdl.config import Config


class Timeline:
    """Port -> cycle -> value; loads and vectors are placed as early as the contract allows, or later.

    A bank can be computed from the cycle after its last bus word on, and written again once its last plane has been
    issued and the first vector has arrived at the accumulator.

    Attributes
    ----------
    events : dict of str to dict of int to values
    free, ready : list of int
        Per bank, first cycle in which it may be written, and computed.
    """

    def __init__(self, config: Config):
        self.config = config
        self.events: dict[str, dict[int, Any]] = {}
        self.free = [0, 0]
        self.ready = [0, 0]
        self.load_free = 0
        self.issue_free = 0

    @property
    def length(self) -> int:
        """Cycles up to the last event."""
        return max((max(cycles) + 1 for cycles in self.events.values() if cycles), default=0)

    def put(self, port: str, cycle: int, value):
        cycles = self.events.setdefault(port, {})
        assert cycle not in cycles, f"{port} is taken in cycle {cycle}"
        cycles[cycle] = value

    def busy(self, port: str) -> Mapping[int, Any]:
        """The cycles in which a port is used."""
        return self.events.get(port, {})

    def load(self, bank: int, loads: Iterable[dict], *, start: int = 0, gap: Callable[[], int] = lambda: 0
             ) -> tuple[int, int]:
        """Places bus words, as of :func:`~verif.deliveries.step_loads`, with ``gap()`` idle cycles between them.

        Returns the cycle of the first and of the last.
        """
        first = cycle = max(start, self.free[bank], self.load_free)
        for number, values in enumerate(loads):
            cycle += gap() + 1 if number else 0
            for port, driven in values.items():
                self.put(port, cycle, driven | {"bank": bank} if port == "load" else driven)
        self.load_free = self.ready[bank] = cycle + 1
        return first, cycle

    def compute(self, bank: int, planes: int, vectors: Sequence[Mapping[str, Any]], *, start: int = 0,
                gap: Callable[[], int] = lambda: 0) -> tuple[int, int]:
        """Places a step's vectors of ``planes`` planes each on port ``issue``.

        ``vectors`` says for each what other ports carry with its first (``act``, ...) or, for ``target``, last plane.
        Returns the cycle of the first and of the last plane.
        """
        first = cycle = max(start, self.ready[bank], self.issue_free)
        for number, ports in enumerate(vectors):
            for plane in range(planes):
                cycle += gap() + 1 if number or plane else 0
                begin, end = plane == 0, plane == planes - 1
                self.put("issue", cycle, {"valid": 1, "first": begin, "last": end, "step": begin and number == 0,
                                          "bank": bank, "plane": plane})
                for port, value in ports.items():
                    if end if port == "target" else begin:
                        self.put(port, cycle, value)
        self.issue_free = cycle + 1
        self.free[bank] = max(cycle, first + Column.sum_latency(self.config)) + 1
        return first, cycle

    def read_words(self, reads: Iterable[dict], *, start: int = 0, stride: int = 1):
        """Places BIST reads on port ``bist``, one each ``stride`` cycles in which no plane is issued."""
        cycle, issues = start, self.busy("issue")
        for read in reads:
            while cycle in issues or cycle in self.busy("bist"):
                cycle += 1
            self.put("bist", cycle, {"valid": 1, "read": 1, **read})
            cycle += stride

    def write_words(self, writes: Iterable[tuple[dict, int]], *, start: int = 0):
        """Places BIST writes, of what and which word, one per cycle; each may come with a read of the other bank."""
        for cycle, (write, value) in enumerate(writes, start):
            self.put("bist", cycle, {"valid": 1, "write": 1, **write})
            self.put("bist_data", cycle, value)
