"""How the chips of a card are wired: which port of which chip is at the other end of a link.

Two chips are joined by port 0 of both. Four are a ring: port 0 of a chip goes to port 1 of the next one.
"""

from .config import ConfigError

#: Chips that a card may have.
CARD_SIZES = (1, 2, 4)

#: Ports of the ring, on each chip: towards the next chip, and towards the one before.
NEXT, PREVIOUS = 0, 1


def check_card(chips: int, links: int):
    """Raises :class:`ConfigError` unless there are cards of so many chips, and ``links`` ports on each are enough."""
    if chips not in CARD_SIZES:
        raise ConfigError(f"chips of a card must be {', '.join(map(str, CARD_SIZES[:-1]))} or {CARD_SIZES[-1]}, "
                          f"not {chips!r}")
    needed = len(ports(chips))
    if links < needed:
        raise ConfigError(f"links must be at least {needed} for a card of {chips} chips, not {links!r}")


def ports(chips: int) -> tuple[int, ...]:
    """Ports that are connected, on every chip of a card."""
    return {1: (), 2: (NEXT,), 4: (NEXT, PREVIOUS)}[chips]


def partner(chips: int, chip: int, port: int) -> tuple[int, int]:
    """Chip and port at the other end of a port. Raises :class:`ConfigError` if nothing is connected to it."""
    if port not in ports(chips):
        raise ConfigError(f"port must be connected on a card of {chips} chips, not {port!r}")
    if chips == 2:
        return 1 - chip, NEXT
    return ((chip + 1) % chips, PREVIOUS) if port == NEXT else ((chip - 1) % chips, NEXT)
