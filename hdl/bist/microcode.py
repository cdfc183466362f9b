"""Microcode of the March controller: 32-bit words, one per cycle that a March test spends at an address, and pauses.

The words of an element stand in a row; the last one is marked. A visit of an address executes all of them, then the
next address follows, and after the last address the word behind the element.
"""

import enum

from amaranth.lib import data

#: Words that the controller holds.
CODE_WORDS = 64

#: Width of a word's number.
STEP_BITS = 8

#: Width of the length of a pause in cycles; longer ones are several words.
PAUSE_BITS = 28


class Kind(enum.IntEnum):
    """What a word is; every other value is illegal."""
    STEP = 1
    PAUSE = 2


def step_layout() -> data.StructLayout:
    """One cycle of an element: a read through port 0, the compute side's, and a write through port 1, the load side's.

    ``*_value`` is relative to the background. ``*_partner`` says that the operation goes to the same word of the other
    bank instead of the visited one; a read and a write in one step must go to different banks. ``compute`` makes every
    column read the word, as for a plane. ``down`` is the element's address order, the same in all its steps; ``last``
    marks its last step. ``padding`` is zero.
    """
    return data.StructLayout({
        "kind": 2,
        "read": 1,
        "read_value": 1,
        "read_partner": 1,
        "compute": 1,
        "write": 1,
        "write_value": 1,
        "write_partner": 1,
        "down": 1,
        "last": 1,
        "padding": 21,
    })


def pause_layout() -> data.StructLayout:
    """``cycles``, at least one, without an operation, between two elements. ``padding`` is zero."""
    return data.StructLayout({"kind": 2, "cycles": PAUSE_BITS, "padding": 30 - PAUSE_BITS})
