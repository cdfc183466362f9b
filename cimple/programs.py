"""Programs of the source tree that the command line starts: no room imports them."""

import subprocess
import sys
from pathlib import Path

from sim.rtl.paths import ROOT


def folder(name: str) -> Path:
    """A folder beside the rooms. Raises ``ValueError`` if this is an installed package, which has none."""
    path = ROOT / name
    if not path.is_dir():
        raise ValueError(f"the folder {name!r} must be there, which only a source tree has; clone the repository and "
                         "run `make` in it")
    return path


def start(module: str, *arguments: str) -> int:
    """Runs ``python -m module`` in the source tree and returns its exit code."""
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False).returncode
