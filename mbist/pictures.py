"""Pictures of coverage and yield, in any format that matplotlib writes, told by the file's name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .campaign import Coverage


def coverage_picture(coverage: Coverage, file: Path):
    """A matrix of tests and families: the darker, the more instances of the family the test detects."""
    tests, families = coverage.tests, coverage.families
    figure = Figure(figsize=(2 + 0.75 * len(families), 1.5 + 0.28 * len(tests)), layout="constrained")
    axes = figure.subplots()
    shares = []
    for row, test in enumerate(tests):
        counts = [coverage.of(test.name, family.name) for family in families]
        shares.append([count / total for count, total in counts])
        for column, (count, total) in enumerate(counts):
            axes.text(column, row, "all" if count == total else str(count), ha="center", va="center", fontsize=7,
                      color="white" if count > total / 2 else "black")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(families)), [f"{family.name}\n{coverage.of(tests[0].name, family.name)[1]}"
                                           for family in families], fontsize=7, rotation=45)
    axes.set_yticks(range(len(tests)), [f"{test.name} ({test.complexity}n)" for test in tests], fontsize=7)
    axes.xaxis.tick_top()
    figure.savefig(file, dpi=150)


def yield_picture(densities: Sequence[float], yields: Mapping[str, Sequence[float]], file: Path):
    """Yield against defect density, a line per kind of repair.

    Parameters
    ----------
    densities : sequence of float
        Mean defects per macro.
    yields : dict of sequence of float
        Shares of good macros, from 0 to 1, by the name of the line.
    """
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for (name, line), marker in zip(yields.items(), "osv^Dx+*<>" * len(yields)):
        axes.plot(densities, [100 * share for share in line], marker=marker, markersize=4, label=name)
    axes.set(xlabel="mean defects per macro", ylabel="good macros, %", ylim=(0, 100))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(file, dpi=150)
