"""Bundles that run between loader, array, macro and column, broadcast and registered at their source."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from ..config import ACT_BITS, Config, clog2


def slot_row_bits(config: Config) -> int:
    """Width of the number of a bus word's row of slots; at least one, since Verilog has no ports of no width."""
    return max(1, clog2(config.slots // config.units_per_beat))


def issue_layout(config: Config) -> data.StructLayout:
    """One cycle of the lockstep grid: which plane of which bank, and where it stands in its vector and step.

    ``first`` and ``last`` frame the planes of a vector; ``step`` marks the first plane of a step; ``plane`` counts the
    stored planes of each column from 0, whatever their bit.
    """
    return data.StructLayout({
        "valid": 1,
        "first": 1,
        "last": 1,
        "step": 1,
        "bank": 1,
        "plane": clog2(config.slots),
    })


def group_layout(config: Config) -> data.StructLayout:
    """What a column knows of its group besides sign word and planes: mask, scale, and the slot of its first plane."""
    return data.StructLayout({
        "mask": config.planes,
        "m": 3,
        "e": 5,
        "first_slot": clog2(config.slots),
    })


def bank_record_layout(config: Config) -> data.StructLayout:
    """The words of a bank that are not planes or signs, as the BIST port reads them."""
    return data.StructLayout({"group": group_layout(config), "constant": config.constant_bits})


def classes(config: Config) -> int:
    """Columns that can receive from one bus word: column ``c`` is of class ``c mod classes``.

    A column takes at least one unit, so the columns that share a bus word are consecutive and at most as many as it has
    units; each class has at most one of them.
    """
    return min(config.units_per_beat, config.columns)


def class_members(config: Config) -> int:
    """Columns of a class."""
    return config.columns // classes(config)


def member_bits(config: Config) -> int:
    """Width of a column's number within its class; at least one, as for :func:`slot_row_bits`."""
    return max(1, clog2(class_members(config)))


def delivery_signature(config: Config) -> wiring.Signature:
    """What one class receives from one bus word.

    ``member`` is the column's number within its class; ``first`` says that its sign word (and with it the group) is
    delivered; ``lane_mask`` which lanes of the bus word are its planes; ``constant`` the negation constant so far.
    """
    return wiring.Signature({
        "valid": Out(1),
        "member": Out(member_bits(config)),
        "first": Out(1),
        "lane_mask": Out(config.units_per_beat),
        "sign": Out(config.rows),
        "group": Out(group_layout(config)),
        "constant": Out(config.constant_bits),
    })


def load_signature(config: Config) -> wiring.Signature:
    """One bus word on its way into a bank, from the loader: the lanes as they came, and the row of slots that they go
    to. A delivery per class goes with it."""
    return wiring.Signature({"bank": Out(1), "row": Out(slot_row_bits(config)), "lanes": Out(config.bus_bits)})


def connect_load(m, *, source, sink):
    """Wires ``load`` and ``deliveries`` of one component to those of another."""
    for given, mine in ((source.load, sink.load), *zip(source.deliveries, sink.deliveries)):
        m.d.comb += [getattr(mine, name).eq(getattr(given, name)) for name in mine.signature.members]


def record_words(config: Config) -> int:
    """Words of ``rows`` bits that a bank record fills; what the last one lacks reads as zero and is not stored."""
    return -(-bank_record_layout(config).size // config.rows)


def bist_words(config: Config) -> int:
    """Words per column and bank that the BIST port reaches: plane slots, sign word, then the bank record in pieces of
    ``rows`` bits."""
    return config.slots + 1 + record_words(config)


def bist_layout(config: Config) -> data.StructLayout:
    """One cycle of the test port. If ``valid``: a read through the compute-side read port, which takes the place of a
    plane and must not meet one, and a write through the load-side write port, which must not meet a delivery.

    Both are at the same column and word; if they come together they name different banks. With ``compute`` every column
    reads the word, as for a plane, and the one that is named shows it.
    """
    return data.StructLayout({
        "valid": 1,
        "read": 1,
        "write": 1,
        "compute": 1,
        "column": clog2(config.physical_cols),
        "read_bank": 1,
        "write_bank": 1,
        "word": clog2(bist_words(config)),
    })


def test_signature(config: Config) -> wiring.Signature:
    """What the compute self-test drives, the same for all macros that it has isolated.

    A load offers the same to the classes that are ``valid``, or the complement to those that are also ``opposed``;
    ``repair`` goes to all repair inputs. ``reset`` resets the macro; ``clear``, ``listen`` and ``shift`` are for its
    signatures and ``shift`` is for those of all macros.
    """
    delivery = delivery_signature(config).members
    return wiring.Signature({
        "issue": Out(issue_layout(config)),
        "act": Out(config.rows).array(ACT_BITS),
        "load": Out(load_signature(config)),
        "valid": Out(classes(config)),
        "opposed": Out(classes(config)),
        **{name: member for name, member in delivery.items() if name != "valid"},
        "bist": Out(bist_layout(config)),
        "bist_data": Out(config.rows),
        "repair": Out(clog2(config.cols + 1)),
        "reset": Out(1),
        "clear": Out(1),
        "listen": Out(1),
        "shift": Out(1),
    })


def connect_test(m, *, source, sink):
    """Wires one :func:`test_signature` to another."""
    for (_, _, given), (_, _, mine) in zip(source.signature.flatten(source), sink.signature.flatten(sink)):
        m.d.comb += mine.eq(given)


def scaled_layout() -> data.StructLayout:
    """A psum times its group's scale, wrapped to 32 bits; ``overflow`` if that changed it."""
    from amaranth.hdl import signed
    return data.StructLayout({"value": signed(32), "overflow": 1})
