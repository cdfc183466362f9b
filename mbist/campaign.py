"""Many tests against many families of faults: the coverage table."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from .families import Family
from .notation import March
from .simulator import Outcome, simulate


@dataclass(frozen=True)
class Coverage:
    """Outcomes of tests against families.

    Attributes
    ----------
    tests : tuple of March
    families : tuple of Family
    outcomes : dict
        By names of test and family.
    """

    tests: tuple[March, ...]
    families: tuple[Family, ...]
    outcomes: Mapping[tuple[str, str], Outcome]

    @property
    def verdicts(self) -> int:
        return sum(outcome.verdicts for outcome in self.outcomes.values())

    def of(self, test: str, *families: str) -> tuple[int, int]:
        """Instances of these families together that a test detects, and how many there are."""
        outcomes = [self.outcomes[test, family] for family in families]
        return sum(o.count for o in outcomes), sum(o.total for o in outcomes)

    def columns(self) -> list[str]:
        return ["test", "n", *(family.name for family in self.families)]

    def rows(self) -> list[list[str]]:
        """A test per row, as ``detected/total`` per family."""
        return [[test.name, str(test.complexity),
                 *("{}/{}".format(*self.of(test.name, family.name)) for family in self.families)]
                for test in self.tests]

    def csv(self) -> str:
        """The same as comma-separated values, a line for each test and family."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["test", "operations per address", "family", "detected", "instances"])
        for test, family in product(self.tests, self.families):
            writer.writerow([test.name, test.complexity, family.name, *self.of(test.name, family.name)])
        return text.getvalue()


def campaign(tests: Iterable[March], families: Iterable[Family], client: Any = None) -> Coverage:
    """Simulates every test against every family.

    Parameters
    ----------
    client : dask.distributed.Client, optional
        Where to run; here by default. The outcome is the same.

    Raises
    ------
    ValueError
        If two tests have one name.
    """
    tests, families = tuple(tests), tuple(families)
    names = [test.name for test in tests]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"a campaign must have one test of a name, not {names.count(name)} called {name!r}")
    pairs = list(product(tests, families))
    if client is None:
        outcomes = [simulate(*pair) for pair in pairs]
    else:
        outcomes = client.gather(client.map(simulate, *zip(*pairs), pure=False))
    return Coverage(tests, families, {(test.name, family.name): o for (test, family), o in zip(pairs, outcomes)})
