"""What every bench prints: a table for people, then one JSON line."""

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table


def report(name: str, value: float, unit: str, goal: str, detail: Mapping[str, object],
           table: Iterable[Sequence[object]], columns: Sequence[str] = ()):
    """Prints ``table`` (rows, with ``columns`` as its head) and, as the last line, the figure as a JSON object.

    Parameters
    ----------
    name : str
        As ``cimple bench`` calls it.
    value : float
        The figure.
    goal : str
        What it is measured against, as ``>= 50000``.
    detail : dict
        Anything that ``json`` writes.
    """
    shown = Table(show_header=bool(columns))
    for column in columns:
        shown.add_column(column)
    for row in table:
        shown.add_row(*map(str, row))
    print(f"{name}: {value:.6g} {unit} (goal {goal})")
    Console(width=max(110, Console().width)).print(shown)
    print(json.dumps({"name": name, "value": value, "unit": unit, "goal": goal, "detail": dict(detail)}), flush=True)
