"""One direction of a cable."""

from random import Random

from verif.link_reference.geometry import Geometry


class Cable:
    """Carries lane words with a delay in bits per lane, lanes crossed or inverted, and errors.

    `delays[l]`: bits that lane `l` is late, at least one word's. `order[l]`: the transmitter's lane that arrives on
    lane `l`. `inverted`, `dead`: masks of arriving lanes. `error_rate`: of each bit, may be changed at any time.
    """

    def __init__(
        self,
        geometry: Geometry,
        random: Random,
        *,
        delays: list[int] | None = None,
        order: list[int] | None = None,
        inverted: int = 0,
        dead: int = 0,
    ) -> None:
        self.geometry = geometry
        self.random = random
        self.order = order or list(range(geometry.lanes))
        self.inverted = inverted
        self.dead = dead
        self.error_rate = 0.0
        self._delays = delays or [geometry.lane_bits] * geometry.lanes
        self._flight = [random.getrandbits(delay) for delay in self._delays]

    def step(self, sent: list[int]) -> list[int]:
        """What arrives in the cycle in which `sent` is sent."""
        bits = self.geometry.lane_bits
        mask = (1 << bits) - 1
        arrived = []
        for lane, delay in enumerate(self._delays):
            flight = self._flight[lane] | sent[self.order[lane]] << delay
            self._flight[lane] = flight >> bits
            word = flight & mask ^ (mask if self.inverted >> lane & 1 else 0) ^ self._errors(bits)
            arrived.append(0 if self.dead >> lane & 1 else word)
        return arrived

    def _errors(self, bits: int) -> int:
        # a lane word has one wrong bit at most: two in one word are as rare as they are no different
        if self.error_rate and self.random.random() < self.error_rate * bits:
            return 1 << self.random.randrange(bits)
        return 0
