"""From flits to line words and back: scrambler and skip words. Both ends begin anew when training ends."""

from verif.link_reference.format import MARKER, UNIT_MASK
from verif.link_reference.geometry import FLIT_UNITS, UNIT_BITS, Geometry


def keystream(register: int, bits: int) -> tuple[int, int]:
    """The next `bits` bits of PRBS-31 (first one in bit 0) and the register after them.

    The register is the last 31 bits, oldest in bit 0.
    """
    sequence, known = register, 31
    while known < 31 + bits:
        # 28 bits at a time: each depends on those 28 and 31 places before it
        sequence |= ((sequence >> known - 31 ^ sequence >> known - 28) & (1 << 28) - 1) << known
        known += 28
    return sequence >> 31 & (1 << bits) - 1, sequence >> bits & (1 << 31) - 1


class Scrambler:
    """XORs keystream onto line words, given and returned as lists of units."""

    def __init__(self, units: int) -> None:
        self.registers = [(unit + 1) * 0x1E3779B9 % (1 << 31) for unit in range(units)]

    def apply(self, word: list[int]) -> list[int]:
        """Scrambles or descrambles the next line word of a flit."""
        result = []
        for index, unit in enumerate(word):
            stream, self.registers[index] = keystream(self.registers[index], UNIT_BITS)
            result.append(unit ^ stream)
        return result


def join(units: list[int]) -> int:
    """The line word of its units."""
    return sum(unit << UNIT_BITS * index for index, unit in enumerate(units))


def split(word: int, units: int) -> list[int]:
    """The units of a line word."""
    return [word >> UNIT_BITS * index & UNIT_MASK for index in range(units)]


class Framer:
    """Flits to line words."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.scrambler = Scrambler(geometry.units)
        self.flits = 0

    def words(self, flit: list[int]) -> list[int]:
        """The line words of the next flit, after a skip word if one is due."""
        units = self.geometry.units
        words = []
        if self.flits == self.geometry.skip_flits:
            words.append(join([MARKER] * units))
            self.flits = 0
        self.flits += 1
        for start in range(0, FLIT_UNITS, units):
            words.append(join(self.scrambler.apply(flit[start : start + units])))
        return words


class Deframer:
    """Line words to flits. `skip_errors` counts lanes whose part of a skip word was wrong."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.scrambler = Scrambler(geometry.units)
        self.flits = 0
        self.flit: list[int] = []
        self.skip_errors = 0

    def push(self, word: int) -> list[int] | None:
        """Takes the next line word; the 24 units of a flit that it ends, else None."""
        geometry = self.geometry
        if self.flits == geometry.skip_flits:
            self.flits = 0
            wrong = word ^ join([MARKER] * geometry.units)
            lane_mask = (1 << geometry.lane_bits) - 1
            self.skip_errors += sum(
                wrong >> geometry.lane_bits * lane & lane_mask != 0 for lane in range(geometry.lanes)
            )
            return None
        self.flit += self.scrambler.apply(split(word, geometry.units))
        if len(self.flit) < FLIT_UNITS:
            return None
        flit, self.flit = self.flit, []
        self.flits += 1
        return flit
