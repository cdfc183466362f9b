"""What a self-test has to do with its registers."""

from collections.abc import Sequence

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..csr import Access, Register

_DIRECTIONS = {Access.RO: Out, Access.RW: In, Access.W1: In}


class Registered(wiring.Component):
    """A component with a member per register, in lower case; ``<name>_set`` for those that are written to act, for one
    cycle.

    Parameters
    ----------
    described : sequence of Register
    members : dict
        The others.
    """

    def __init__(self, described: Sequence[Register], members: dict):
        self.map = list(described)
        self._by_name = {register.name: register for register in self.map}
        super().__init__(members | {self._member(register): _DIRECTIONS[register.access](32) for register in self.map})

    @staticmethod
    def _member(register: Register) -> str:
        return register.name.lower() + "_set" * (register.access is Access.W1)

    def _field(self, register: str, name: str) -> Value:
        """A field of a register that is written."""
        found = self._by_name[register]
        low, width, _ = found.fields[name]
        return getattr(self, self._member(found))[low:low + width]

    def _show(self, register: str, **values):
        """The value of a register with these fields."""
        fields = self._by_name[register].fields
        shown: Value | int = 0
        for name, value in values.items():
            shown = shown | value << fields[name][0]
        return getattr(self, register.lower()).eq(shown)
