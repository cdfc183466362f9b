import sys

import click

from .. import programs

#: Files of bench/ that are no bench.
_HELPERS = frozenset({"__init__", "layers", "report"})


def known() -> list[str]:
    """Names of the benches, from the scripts in ``bench/``."""
    return sorted(file.stem.replace("_", "-") for file in programs.folder("bench").glob("*.py")
                  if file.stem not in _HELPERS)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(name: str | None, arguments: tuple[str, ...]):
    """Measures one figure: a table for people, then one JSON line. Without a NAME, lists the names.

    \b
    Example:  cimple bench sim-speed
    """
    names = known()
    if name is None:
        print("\n".join(names))
        return
    if name not in names:
        raise ValueError(f"the bench must be one of {', '.join(names)}, not {name!r}")
    sys.exit(programs.start(f"bench.{name.replace('-', '_')}", *arguments))
