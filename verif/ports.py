"""Ports of a design under test as plain values, with noise on whatever a cycle does not use.

The ports come from the component's own signature, so that a bench names members and never Verilog ports.
"""

from collections.abc import Mapping
from random import Random

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from cocotb.handle import Immediate

from .layout import Codec

#: Ports and fields that make the others mean something: zero where nothing is driven, while the others carry noise.
COMMANDS = frozenset({"valid", "select", "bist_select", "bist_show", "post_fetch", "final"})


class Port:
    """One port. Its values are whole numbers, or what :class:`~verif.layout.Codec` makes of its layout.

    An output ignores that it is driven, so that an interface can be driven as a whole.
    """

    def __init__(self, handle, name: str, shape, *, is_input: bool):
        self.handle = handle
        self.is_input = is_input and handle is not None
        self.codec = Codec(shape) if isinstance(shape, data.Layout) else None
        cast = Shape.cast(shape)
        self.bits = cast.width
        self._sign = 1 << cast.width - 1 if cast.signed else 0
        self._mask = (1 << cast.width) - 1
        commands = self._mask if name in COMMANDS else 0
        if isinstance(shape, data.StructLayout):
            for key, field in shape:
                if key in COMMANDS:
                    commands |= (1 << field.width) - 1 << field.offset
        self._noise = self._mask & ~commands

    def drive(self, values, random: Random):
        """Drives values for this cycle; None: noise."""
        if not self.is_input:
            return
        if values is None:
            bits = random.getrandbits(self.bits) & self._noise
        else:
            bits = self.codec.pack(values) if self.codec else int(values) & self._mask
        self.handle.value = bits

    def clear(self):
        """Drives zero at once."""
        if self.is_input:
            self.handle.set(Immediate(0))

    def read(self):
        """The values that the port has. Raises ``ValueError`` if a bit is unknown."""
        bits = int(str(self.handle.value), 2) if self.bits else 0
        return self.codec.unpack(bits) if self.codec else (bits ^ self._sign) - self._sign


class PortList:
    """Ports of a member that is an array; its values are lists."""

    def __init__(self, ports: list):
        self.ports = ports

    def __iter__(self):
        return iter(self.ports)

    def drive(self, values, random: Random):
        for number, port in enumerate(self.ports):
            port.drive(None if values is None else values[number], random)

    def clear(self):
        for port in self.ports:
            port.clear()

    def read(self) -> list:
        return [port.read() for port in self.ports]


class PortGroup:
    """Ports of a member that is an interface, or of a component; its values are dictionaries. What a dictionary leaves
    out carries noise."""

    def __init__(self, ports: Mapping):
        self.ports = ports

    def __getitem__(self, name: str):
        return self.ports[name]

    def drive(self, values, random: Random):
        for name, port in self.ports.items():
            port.drive(None if values is None else values.get(name), random)

    def clear(self):
        for port in self.ports.values():
            port.clear()

    def read(self) -> dict:
        return {name: port.read() for name, port in self.ports.items()}


def ports_of(dut, signature: wiring.Signature, path: tuple = ()) -> PortGroup:
    """The ports of ``dut`` by member of its component's signature."""
    return PortGroup({name: _member(dut, member, (*path, name), member.dimensions)
                      for name, member in signature.members.items()})


def _member(dut, member: wiring.Member, path: tuple, dimensions: tuple):
    if dimensions:
        return PortList([_member(dut, member, (*path, i), dimensions[1:]) for i in range(dimensions[0])])
    if member.is_signature:
        return ports_of(dut, member.signature, path)
    width = Shape.cast(member.shape).width
    # Verilog has no ports of no width.
    handle = getattr(dut, "__".join(map(str, path))) if width else None
    return Port(handle, str(path[-1]), member.shape, is_input=member.flow == wiring.In)
