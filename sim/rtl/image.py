"""Memory images in the form that ``$readmemh`` reads and ``$writememh`` writes."""

from pathlib import Path

import numpy as np


def write_image(path: Path, memory: np.ndarray, word_bytes: int):
    """Writes uint8 ``memory`` as one hexadecimal word per line; the end is filled up with zeros, and stretches of zero
    words are left out."""
    words = np.zeros((-(-len(memory) // word_bytes), word_bytes), np.uint8)
    words.reshape(-1)[:len(memory)] = memory
    text = np.ascontiguousarray(words[:, ::-1]).tobytes().hex()
    lines, follows = [], -1
    for index in np.flatnonzero(words.any(axis=1)).tolist():
        if index != follows:
            lines.append(f"@{index:x}")
        lines.append(text[2 * word_bytes * index:2 * word_bytes * (index + 1)])
        follows = index + 1
    # A file without a word is an error to some simulators.
    path.write_text("\n".join(lines or ["@0", "0"]) + "\n")


def read_image(path: Path, word_bytes: int, memory_bytes: int, first: int = 0) -> np.ndarray:
    """The memory of ``memory_bytes`` that a file holds, uint8; what it leaves out is zero.

    ``first`` is the word at which the file begins if its lines do not say.

    Raises
    ------
    ValueError
        If the file has a word that is not a number, or one outside of the memory.
    """
    words = np.zeros((-(-memory_bytes // word_bytes), word_bytes), np.uint8)
    runs: list[tuple[int, list[str]]] = [(first, [])]
    for line in path.read_text().splitlines():
        line = line.split("//")[0].strip()
        if line.startswith("@"):
            runs.append((int(line[1:], 16), []))
        elif line:
            runs[-1][1].append(line.zfill(2 * word_bytes))
    for start, run in runs:
        if run:
            try:
                if start + len(run) > len(words):
                    raise ValueError
                values = np.frombuffer(bytes.fromhex("".join(run)), np.uint8).reshape(-1, word_bytes)
                words[start:start + len(run)] = values[:, ::-1]
            except ValueError:
                raise ValueError(f"{str(path)!r} must hold hexadecimal words within {memory_bytes} bytes") from None
    return words.reshape(-1)[:memory_bytes]
