"""Signals of a design by hierarchical name, from its Verilog text."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

_NAME = r"(\\\S+|[A-Za-z_]\w*)"
_SIGNAL = re.compile(rf"^\s*(?:(?:input|output)\s+)?(?:wire|reg|logic)\s+(?:signed\s+)?(?:\[(\d+):0\]\s*)?{_NAME}\s*"
                     r"(?:=[^;]*)?[;,]?\s*$")
_INSTANCE = re.compile(rf"^\s*{_NAME}\s+(?:#\(.*?\)\s*)?{_NAME}\s*\(", re.S)
_MODULE = re.compile(rf"^module\s+{_NAME}\s*[(#;](.*?)^endmodule", re.M | re.S)
_KEYWORDS = frozenset({"module", "else", "if", "case", "casez", "begin", "end", "always", "assign", "function",
                       "initial", "for", "input", "output", "wire", "reg"})


@dataclass
class Module:
    """One module: widths of its signals and modules of its instances, both by name."""
    signals: dict[str, int] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hierarchy:
    """The modules of a Verilog text, as Yosys writes it, one declaration per line. Signals that tools have made, as
    ``a$1`` and ``_0_``, and memories are left out."""
    modules: dict[str, Module]

    @classmethod
    def of_text(cls, text: str) -> "Hierarchy":
        modules = {}
        for found in _MODULE.finditer(text):
            module = modules[_plain(found[1])] = Module()
            for line in found[2].splitlines():
                if signal := _SIGNAL.match(line):
                    name = _plain(signal[2])
                    if "$" not in name and not re.fullmatch(r"_\d+_", name):
                        module.signals[name] = int(signal[1] or 0) + 1
                elif (instance := _INSTANCE.match(line)) and instance[1] not in _KEYWORDS:
                    module.instances[_plain(instance[2])] = _plain(instance[1])
        return cls(modules)

    def signals(self, top: str, depth: int = 99) -> dict[str, int]:
        """Widths of all signals below module ``top`` by dotted name, to ``depth`` instances down."""
        module = self.modules.get(top, Module())
        found = dict(module.signals)
        if depth:
            for instance, kind in module.instances.items():
                found |= {f"{instance}.{name}": width for name, width in self.signals(kind, depth - 1).items()}
        return found

    def matching(self, top: str, pattern: str) -> dict[str, int]:
        """The signals below ``top`` whose dotted name matches a shell pattern."""
        return {name: width for name, width in self.signals(top).items() if fnmatchcase(name, pattern)}


def _plain(name: str) -> str:
    return name.removeprefix("\\")
