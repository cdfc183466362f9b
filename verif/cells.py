"""What the bit cells hold: written by what a monitor sees on a load port, read by models."""

from collections.abc import Sequence

import numpy as np

from hdl.cim.interfaces import bank_record_layout
from hdl.config import Config
from hdl.layouts import Step

from .deliveries import Group, step_of
from .layout import Codec


class Bank:
    """One bank of one physical column. What was never written is None."""

    def __init__(self, config: Config):
        self.config = config
        self.slots: list[int | None] = [None] * config.slots
        self.sign: int | None = None
        self.group: dict[str, int] | None = None
        self.constant: int | None = None

    def write(self, row: int, lanes: int, delivery: dict):
        """Takes one delivery, members as in :func:`~hdl.cim.interfaces.delivery_signature`."""
        config = self.config
        per_beat = config.units_per_beat
        for lane in range(per_beat):
            if delivery["lane_mask"] >> lane & 1:
                slot = row % (config.slots // per_beat) * per_beat + lane
                self.slots[slot] = lanes >> lane * config.rows & (1 << config.rows) - 1
        if delivery["first"]:
            self.sign, self.group = delivery["sign"], dict(delivery["group"])
        self.constant = delivery["constant"]

    def write_word(self, number: int, value: int):
        """Takes one word as the BIST writes it. A record must have been written as a whole before."""
        config = self.config
        if number < config.slots:
            self.slots[number] = value
        elif number == config.slots:
            self.sign = value
        else:
            codec = Codec(bank_record_layout(config))
            record = codec.pack({"group": self.group, "constant": self.constant})
            at = (number - config.slots - 1) * config.rows
            mask = (1 << config.rows) - 1 << at & (1 << codec.bits) - 1
            unpacked = codec.unpack(record & ~mask | value << at & mask)
            self.group, self.constant = unpacked["group"], unpacked["constant"]

    @property
    def contents(self) -> Group:
        """The group that the bank holds, planes taken from the slots where its record says they are."""
        assert self.group is not None, "a bank was computed before it was loaded"
        assert self.sign is not None
        mask, first = self.group["mask"], self.group["first_slot"]
        planes = []
        for number in range(mask.bit_count()):
            plane = self.slots[(first + number) % self.config.slots]
            assert plane is not None, "a plane was computed before it was loaded"
            planes.append(plane)
        return Group(mask, self.group["m"], self.group["e"], self.sign, tuple(planes))

    def word(self, number: int) -> int | None:
        """The word that a BIST read shows, None if it was never written."""
        slots, rows = self.config.slots, self.config.rows
        if number < slots:
            return self.slots[number]
        if number == slots:
            return self.sign
        if self.group is None or self.constant is None:
            return None
        record = Codec(bank_record_layout(self.config)).pack({"group": self.group, "constant": self.constant})
        return record >> (number - slots - 1) * rows & (1 << rows) - 1


class Cells:
    """Both banks of every physical column of a macro."""

    def __init__(self, config: Config, columns: int):
        self.config = config
        self.columns = [(Bank(config), Bank(config)) for _ in range(columns)]

    def step(self, bank: int, columns: Sequence[int]) -> Step:
        """The weights that physical columns hold, in the order asked for."""
        return step_of(self.config, [self.columns[column][bank].contents for column in columns])

    def masks(self, bank: int, columns: Sequence[int]) -> np.ndarray:
        """uint16 [columns]: the planes that they store."""
        return np.array([self.columns[column][bank].contents.mask for column in columns], np.uint16)


def physical(logical: int, repair: Sequence[int]) -> int:
    """The physical column of a logical one under a repair map."""
    return logical + sum(point <= logical for point in repair)
