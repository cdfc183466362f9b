"""Functional coverage: points and crosses of bins, and the report of their holes.

    shapes = Coverage("array", {"vectors": [1, 2, 16], "planes": range(9)}, crosses={"both": ("vectors", "planes")})
    shapes.sample(vectors=2, planes=7)
    report()

:func:`report` writes ``coverage.txt`` in the current directory, which is the run's own; the regression prints it.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from cocotb_coverage.coverage import CoverCross, CoverItem, CoverPoint, coverage_db

#: Holes of one point that the report names.
_NAMED_HOLES = 12


class Coverage:
    """Points that are sampled together.

    Parameters
    ----------
    name : str
        Of the group; each group exists once.
    points : dict
        Bins by point. A sample hits the bin that equals it, or none.
    crosses : dict
        Names of the points that a cross combines.
    impossible : dict
        Combinations of a cross that cannot occur, in the order of its points.
    """

    def __init__(self, name: str, points: Mapping[str, Iterable[Hashable]],
                 crosses: Mapping[str, Sequence[str]] | None = None,
                 impossible: Mapping[str, Iterable[tuple]] | None = None):
        def sampler(values: dict):
            return values

        decorators = [CoverPoint(f"{name}.{point}", xf=lambda values, point=point: values.get(point), bins=list(bins))
                      for point, bins in points.items()]
        decorators += [CoverCross(f"{name}.{cross}", items=[f"{name}.{item}" for item in items],
                                  ign_bins=list((impossible or {}).get(cross, ())))
                       for cross, items in (crosses or {}).items()]
        for decorator in reversed(decorators):  # the outermost samples first, and a cross needs its points
            sampler = decorator(sampler)
        self._points = frozenset(points)
        self._sampler = sampler

    def sample(self, **values: Hashable):
        """One observation. Points left out are not hit. Raises ``KeyError`` for one that does not exist."""
        unknown = set(values) - self._points
        if unknown:
            points = ", ".join(sorted(self._points))
            raise KeyError(f"the coverage points must be among {points}, not {', '.join(sorted(unknown))}")
        self._sampler(values)


def holes(item: CoverItem) -> list:
    """Bins of a point or cross that were never hit."""
    return [label for label, hits in item.detailed_coverage.items() if not hits]


def report(path: Path | str = "coverage.txt") -> str:
    """Text of all points with their holes; written to ``path`` too."""
    lines = []
    for name in sorted(coverage_db):
        item = coverage_db[name]
        if isinstance(item, CoverPoint | CoverCross):
            missing = holes(item)
            size = len(item.detailed_coverage)
            text = f"{name:<40} {size - len(missing):>4} of {size:<4}"
            if missing:
                named = ", ".join(map(str, missing[:_NAMED_HOLES]))
                text += f"  holes: {named}{', ...' if len(missing) > _NAMED_HOLES else ''}"
            lines.append(text.rstrip())
    text = "\n".join(lines)
    Path(path).write_text(text + "\n")
    return text
