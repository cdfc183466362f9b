"""The model of what columns compute: fed with the planes that a monitor sees issued, computed by the golden model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hdl.config import Config
from hdl.layouts import Step
from sim.golden import column

from .cells import Cells


@dataclass
class StepIssue:
    """One step as it was issued.

    Attributes
    ----------
    step : Step
        What the cells held when it began.
    masks : uint16 [columns]
        The planes they stored.
    planes : int
        Issued per vector.
    act : list of int16 arrays
        Per vector.
    ends : list of int
        Per vector, the cycle of its last plane.
    """

    step: Step
    masks: np.ndarray
    planes: int = 0
    act: list[np.ndarray] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class Product:
    """Collects issued planes into steps."""

    def __init__(self, config: Config, cells: Cells):
        self.config = config
        self.cells = cells
        self.steps: list[StepIssue] = []
        self._plane = 0

    def issue(self, cycle: int, issue: dict, columns: Sequence[int], act) -> bool:
        """Takes a valid ``issue`` for the physical ``columns``; ``act()`` gives the vector's lanes. True at its end."""
        if issue["step"]:
            self.steps.append(StepIssue(self.cells.step(issue["bank"], columns),
                                        self.cells.masks(issue["bank"], columns)))
        current = self.steps[-1]
        if issue["first"]:
            current.act.append(act())
            self._plane = 0
        assert issue["plane"] == self._plane, "the planes of a vector must be issued in order"
        self._plane += 1
        if not issue["last"]:
            return False
        assert self._plane >= np.bitwise_count(current.masks).max(), "a vector ended before its planes"
        current.planes = self._plane
        current.ends.append(cycle)
        return True

    def expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """psum, scaled psum and its overflow of all vectors in order, [vectors, columns] each; forgets them."""
        parts = []
        for issued in self.steps:
            step = issued.step
            partial = column.psum(column.planes(step.magnitude, self.config.planes), step.negative,
                                  np.array(issued.act))
            parts.append((partial, *column.scale(partial, step.m, step.e)))
        self.steps = []
        psum, scaled, overflow = (np.concatenate(part) for part in zip(*parts))
        return psum, scaled, overflow
