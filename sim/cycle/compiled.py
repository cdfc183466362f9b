"""Compilation of the model's functions to machine code, once per version of the sources."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from ..rtl.paths import build_root

#: Nothing is allocated, so arrays are handed from function to function without counting references.
_OPTIONS: dict[str, Any] = {"_nrt": False}


def _version() -> str:
    """Changes with any source of this package: numba's own cache of a function does not know what that calls."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def entry_point(function: Callable) -> Callable:
    """A function that Python calls, compiled when it is called first and kept in the build directory for the next
    process."""
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(build_root() / "cycle" / _version())
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    finally:
        config.CACHE_DIR = before


#: A function that only compiled ones call.
inner = numba.njit(**_OPTIONS)
