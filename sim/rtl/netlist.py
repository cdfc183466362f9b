"""Verilog of modules that only connect others."""

import re
from collections.abc import Iterable, Mapping

from hdl.verilog import Generated


def bits(width: int) -> str:
    """A range of ``width`` bits; a scalar is declared without one, since simulators show ``[0:0]`` as an array."""
    return f"[{width - 1}:0] " if width > 1 else ""


def wires(widths: Mapping[str, int]) -> list[str]:
    """Declarations of nets."""
    return [f"  wire {bits(width)}{name};" for name, width in widths.items()]


def instance(module: str, name: str, pins: Mapping[str, str],
             parameters: Mapping[str, int | str] | None = None) -> str:
    """An instance with its pins on expressions; an empty one leaves an output open. Parameters are numbers or text."""
    given = _named({key: f'"{value}"' if isinstance(value, str) else value
                    for key, value in (parameters or {}).items()})
    return f"  {module} {f'#({given}) ' if given else ''}{name} ({_named(pins)});"


def _named(connections: Mapping[str, object]) -> str:
    return ", ".join(f".{port}({net})" for port, net in connections.items())


def module(name: str, ports: Mapping[str, tuple[str, int]], body: Iterable[str], *below: str) -> Generated:
    """A module from its ports and the lines of its body, after the text of the modules below it."""
    declared = ",\n".join(f"  {direction} wire {bits(width)}{port}" for port, (direction, width) in ports.items())
    lines = "\n".join(body)
    return Generated(name, "\n".join([*below, f"module {name} (\n{declared}\n);\n{lines}\nendmodule\n"]), dict(ports))


def without_repetition(texts: Iterable[str]) -> str:
    """Texts one after another, modules that occur in several of them once. Equal names mean equal modules."""
    seen: set[str] = set()

    def once(found: re.Match) -> str:
        first = found[1] not in seen
        seen.add(found[1])
        return found[0] if first else ""

    return "\n".join(re.sub(r"^module +(\S+).*?^endmodule\n", once, text, flags=re.M | re.S) for text in texts)
