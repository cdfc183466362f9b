"""Routes on the ring: who gets what from whom, and that nothing is sent before it is there."""

from itertools import combinations, pairwise

import pytest

from compiler.collective import Hop, delivery, reduction
from hdl.topology import CARD_SIZES, partner

CASES = [(chips, owner, wanted) for chips in CARD_SIZES for owner in range(chips)
         for n in range(chips) for wanted in combinations([c for c in range(chips) if c != owner], n)]


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize(("chips", "owner", "wanted"), CASES)
def test_all_that_want_a_block_get_it_once(chips, owner, wanted, turn):
    there, late = {owner}, 0
    for hop in delivery(chips, owner, wanted, turn):
        assert hop.source in there
        assert hop.target not in there
        assert partner(chips, hop.source, hop.port)[0] == hop.target
        there.add(hop.target)
        late += hop.target not in wanted
    assert there >= set(wanted)
    assert late <= 1  # on the way to the chip opposite


def test_blocks_go_both_ways_round_and_in_turn_to_the_chip_opposite():
    ways = [{(hop.source, hop.target) for hop in delivery(4, 0, {1, 2, 3}, turn)} for turn in (0, 1)]
    assert ways == [{(0, 1), (1, 2), (0, 3)}, {(0, 1), (0, 3), (3, 2)}]


@pytest.mark.parametrize(("chips", "owner"), [(c, o) for c in CARD_SIZES for o in range(c)])
def test_sums_pass_all_chips_and_end_at_the_owner(chips, owner):
    hops = reduction(chips, owner)
    path = [(owner + 1) % chips, *(hop.target for hop in hops)]
    assert sorted(path) == list(range(chips))
    assert path[-1] == owner
    assert hops == [Hop(a, 0, b) for a, b in pairwise(path)]
