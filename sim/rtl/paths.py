"""Where generated files go."""

import os
from pathlib import Path

#: The tree that holds the rooms; ``verif``, ``bench`` and ``tests`` are beside them in a source tree only.
ROOT = Path(__file__).resolve().parents[2]


def in_source_tree() -> bool:
    """Whether this is a source tree and not an installed package."""
    return (ROOT / "pyproject.toml").is_file()


def build_root() -> Path:
    """Folder of everything that is generated: ``CIMPLE_BUILD_DIR`` if set, else ``build`` in the source tree, else
    ``build`` in the current directory.

    Raises
    ------
    ValueError
        If its path contains a blank, which GNU make cannot build in.
    """
    given = os.environ.get("CIMPLE_BUILD_DIR")
    root = Path(given) if given else (ROOT if in_source_tree() else Path.cwd()) / "build"
    root = root.absolute()
    if any(c.isspace() for c in str(root)):
        raise ValueError(f"the build directory must have no blanks in its path, set CIMPLE_BUILD_DIR to one without, "
                         f"not {str(root)!r}")
    return root
