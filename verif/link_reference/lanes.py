"""Lanes: how line words are spread over them, and how a receiver finds, aligns and joins them."""

from collections import deque

from verif.link_reference.format import BLOCK_MASK, Block
from verif.link_reference.geometry import BLOCK_BITS, Geometry


def spread(word: int, used: list[int], geometry: Geometry) -> list[list[int]]:
    """The lane words of each cycle of a line word, on the lanes `used` (ascending)."""
    mask = (1 << geometry.lane_bits) - 1
    cycles = []
    for _ in range(geometry.lanes // len(used)):
        cycle = [0] * geometry.lanes
        for lane in used:
            cycle[lane] = word & mask
            word >>= geometry.lane_bits
        cycles.append(cycle)
    return cycles


def lanes_of(mask: int) -> list[int]:
    """Numbers of the lanes in a mask, ascending."""
    return [lane for lane in range(mask.bit_length()) if mask >> lane & 1]


class LaneReceiver:
    """Finds bit offset and polarity of one lane; from then on `words` are lane words from a block's begin on."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.window = 0
        self.locked: Block | None = None
        self.since = 0
        self.inverted = False
        self.slip = 0
        self.carry = 0
        self.words: deque[int] = deque()

    def push(self, word: int, cycle: int) -> None:
        """Takes what comes in `cycle`."""
        bits = self.geometry.lane_bits
        mask = (1 << bits) - 1
        if self.locked is not None:
            self.carry |= (word ^ (mask if self.inverted else 0)) << self.slip
            self.words.append(self.carry & mask)
            self.carry >>= bits
            return
        self.window = self.window >> bits | word << BLOCK_BITS
        for start in range(bits):
            self._lock(start + 1, cycle)

    def _lock(self, start: int, cycle: int) -> None:
        """Is there a block from bit `start` of the window on?"""
        bits = self.geometry.lane_bits
        for inverted in (False, True):
            block = Block.of((self.window >> start ^ (BLOCK_MASK if inverted else 0)) & BLOCK_MASK)
            if block is not None and block.lane < self.geometry.lanes:
                self.locked, self.since, self.inverted = block, cycle, inverted
                self.slip = bits - start
                self.carry = (self.window ^ (-1 if inverted else 0)) >> start + BLOCK_BITS & (1 << self.slip) - 1
                return

    def round_begin(self) -> int:
        """Cycle, modulo a round, in which the last bits of a round's first lane word come."""
        assert self.locked is not None
        place = (self.locked.place + 1) * self.geometry.block_cycles
        return (self.since + 1 - place) % self.geometry.round_cycles


class LanesReceiver:
    """All lanes of a direction: training blocks first, then line words.

    `push` takes a lane word per lane and cycle. `mask` is not 0 once lanes are chosen and aligned; then `blocks` fills
    with the good blocks of the used lanes and, after the round that is the last, `words` with line words. `line` says
    that line words come. Lanes may be locked up to `patience` cycles after the first one.
    """

    def __init__(self, geometry: Geometry, patience: int) -> None:
        self.geometry = geometry
        self.patience = patience
        self.lanes = [LaneReceiver(geometry) for _ in range(geometry.lanes)]
        self.cycle = 0
        self.mask = 0
        self.line = False
        self.blocks: deque[Block] = deque()
        self.words: deque[int] = deque()
        self._used: list[LaneReceiver] = []
        self._blocks_left: int | None = None

    def push(self, lane_words: list[int]) -> None:
        """Takes the lane words of one cycle."""
        self.cycle += 1
        for lane, word in zip(self.lanes, lane_words, strict=True):
            lane.push(word, self.cycle)
        if not self.mask:
            self._choose()
        while self._used and self._join():
            pass

    def _choose(self) -> None:
        """Chooses lanes once all are locked, or long enough after the first was; then aligns them."""
        numbered = {lane.locked.lane: lane for lane in self.lanes if lane.locked is not None}
        if not numbered:
            return
        patient = self.cycle - min(lane.since for lane in numbered.values()) < self.patience
        if len(numbered) < self.geometry.lanes and patient:
            return
        numbers = sorted(numbered)[: 1 << len(numbered).bit_length() - 1]
        used = [numbered[number] for number in numbers]
        # how much later than the first of them each lane's rounds begin, in -1/2 .. 1/2 round
        period, reference = self.geometry.round_cycles, used[0].round_begin()
        late = [(lane.round_begin() - reference + period // 2) % period - period // 2 for lane in used]
        if max(late) - min(late) > self.geometry.skew:
            return
        # the moment from which on every lane has words, counted as if none of them were late
        begins = [lane.since - delay for lane, delay in zip(used, late, strict=True)]
        surplus = [max(begins) - begin for begin in begins]
        if any(len(lane.words) < words for lane, words in zip(used, surplus, strict=True)):
            return
        for lane, words in zip(used, surplus, strict=True):
            for _ in range(words):
                lane.words.popleft()
        self._used = used
        self.mask = sum(1 << number for number in numbers)

    def _join(self) -> bool:
        """Takes one block or line word of the used lanes, if all of them have it."""
        geometry = self.geometry
        cycles = geometry.lanes // len(self._used) if self.line else geometry.block_cycles
        if any(len(lane.words) < cycles for lane in self._used):
            return False
        columns = [[lane.words.popleft() for lane in self._used] for _ in range(cycles)]
        if self.line:
            flat = [word for column in columns for word in column]
            self.words.append(_concatenate(flat, geometry.lane_bits))
            return True
        if self._blocks_left is not None:
            self._blocks_left -= 1
        for index in range(len(self._used)):
            block = Block.of(_concatenate([column[index] for column in columns], geometry.lane_bits))
            if block is not None:
                self.blocks.append(block)
                if block.last:
                    self._blocks_left = block.blocks_left
        self.line = self._blocks_left == 0
        return True


def _concatenate(words: list[int], bits: int) -> int:
    return sum(word << bits * index for index, word in enumerate(words))
