"""What keeps a queue: for the performance counters."""

from amaranth.lib import data


def activity_layout() -> data.StructLayout:
    """What a queue does in a cycle; at most one is set, and none while it has no instruction.

    ``busy``: its instruction gets on. ``token``: it waits for tokens. ``memory``: it waits for the bus, or for weights.
    ``buffer``: it waits for room, which only loads do.
    """
    return data.StructLayout({"busy": 1, "token": 1, "memory": 1, "buffer": 1})
