"""Amaranth layouts as plain numbers: packs what a bench drives and unpacks what it sees, per cycle."""

from amaranth.hdl import Shape
from amaranth.lib import data


class Codec:
    """Packs and unpacks values of one layout; equal to ``layout.const(values).as_bits()`` and ``layout.from_bits``, of
    which a per-cycle bench could not afford the time.

    Structures are dictionaries, arrays are lists, and leaves are whole numbers, negative if the field is signed.
    """

    def __init__(self, layout: data.Layout):
        self.layout = layout
        self.bits = Shape.cast(layout).width
        self._array = isinstance(layout, data.ArrayLayout)
        self._fields = []
        for key, field in layout:
            nested = Codec(field.shape) if isinstance(field.shape, data.Layout) else None
            shape = Shape.cast(field.shape)
            sign = 1 << shape.width - 1 if shape.signed else 0
            self._fields.append((key, field.offset, (1 << shape.width) - 1, sign, nested))

    def pack(self, values) -> int:
        """The bits of values; a field that is left out of a dictionary is zero."""
        bits = 0
        for key, offset, mask, _, nested in self._fields:
            if self._array or key in values:
                value = values[key] if nested is None else nested.pack(values[key])
                bits |= (int(value) & mask) << offset
        return bits

    def unpack(self, bits: int):
        """The values of bits."""
        values = {}
        for key, offset, mask, sign, nested in self._fields:
            value = bits >> offset & mask
            values[key] = nested.unpack(value) if nested else (value ^ sign) - sign
        return list(values.values()) if self._array else values
