"""How the chips of a card are wired."""

import pytest

from hdl.config import ConfigError
from hdl.topology import CARD_SIZES, NEXT, PREVIOUS, check_card, partner, ports


@pytest.mark.parametrize("chips", CARD_SIZES)
def test_a_cable_has_two_ends(chips):
    for chip in range(chips):
        for port in ports(chips):
            there = partner(chips, chip, port)
            assert there[0] != chip
            assert partner(chips, *there) == (chip, port)


def test_four_chips_are_a_ring():
    assert [partner(4, chip, NEXT) for chip in range(4)] == [(1, PREVIOUS), (2, PREVIOUS), (3, PREVIOUS), (0, PREVIOUS)]


def test_a_port_that_is_not_connected_is_refused():
    with pytest.raises(ConfigError, match="port must be connected on a card of 2 chips, not 1"):
        partner(2, 0, PREVIOUS)


@pytest.mark.parametrize(("chips", "links", "message"), [
    (3, 2, "chips of a card must be 1, 2 or 4, not 3"),
    (2, 0, "links must be at least 1 for a card of 2 chips, not 0"),
    (4, 1, "links must be at least 2 for a card of 4 chips, not 1"),
])
def test_cards_that_cannot_be_are_refused(chips, links, message):
    with pytest.raises(ConfigError, match=message):
        check_card(chips, links)
