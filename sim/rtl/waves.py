"""GTKWave save files: which signals of a run to show, in groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vcd.gtkw import GTKWSave

from hdl.verilog import Generated

from .build import Build
from .hierarchy import Hierarchy
from .run import Results

CLOCK_GROUP = "clock and reset"
OTHER_GROUP = "other ports"


def port_groups(ports: Mapping[str, object]) -> dict[str, list[str]]:
    """Ports by bus or stream: what stands before the last ``__``, else the last ``_``. Clock and reset come first,
    ports that share their prefix with none come last."""
    groups: dict[str, list[str]] = {CLOCK_GROUP: [port for port in ports if port in ("clk", "rst")]}
    for port in ports:
        if port not in ("clk", "rst"):
            separator = "__" if "__" in port else "_"
            groups.setdefault(port.rpartition(separator)[0], []).append(port)
    others = [port for name, members in groups.items() if name != CLOCK_GROUP and (len(members) == 1 or len(name) < 2)
              for port in members]
    kept = {name: members for name, members in groups.items() if members and members[0] not in others}
    return kept | ({OTHER_GROUP: others} if others else {})


def signal_groups(design: Generated, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Widths of the signals to show by group, names below the top module: the ports, what ``wanted`` asks for, and the
    ports' counterparts one level down.

    Raises
    ------
    ValueError
        If a pattern of ``wanted`` matches nothing.
    """
    hierarchy = Hierarchy.of_text(design.text)
    groups = {name: {port: design.ports[port][1] for port in members}
              for name, members in port_groups(design.ports).items()}
    for title, patterns in wanted.items():
        groups[title] = {}
        for pattern in patterns:
            found = hierarchy.matching(design.name, pattern)
            if not found:
                raise ValueError(f"the signals of a bench must exist, {pattern!r} of group {title!r} matches none in "
                                 f"{design.name!r}")
            groups[title] |= found
    for instance in hierarchy.modules[design.name].instances:
        found = {name: width for name, width in hierarchy.signals(design.name, 1).items()
                 if name.startswith(f"{instance}.")}
        if found:
            groups[instance] = found
    return groups


def write_gtkw(build: Build, results: Results, wanted: Mapping[str, Sequence[str]]) -> Path:
    """Writes the save file of a run beside its waves and returns its path. Groups of ports and those of ``wanted`` are
    open, those of instances are closed."""
    assert results.waves is not None
    scope = build.design.name
    groups = signal_groups(build.design, wanted)
    opened = set(port_groups(build.design.ports)) | set(wanted)
    path = results.waves.with_suffix(".gtkw")
    with path.open("w") as file:
        save = GTKWSave(file)
        save.dumpfile(str(results.waves))
        save.savefile(str(path))
        save.treeopen(f"{scope}.")
        save.signals_width(300)
        for title, signals in groups.items():
            with save.group(title, closed=title not in opened):
                for name, width in signals.items():
                    save.trace(f"{scope}.{name}{f'[{width - 1}:0]' if width > 1 else ''}")
    return path
