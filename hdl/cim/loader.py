"""The loader: turns the weight stream into writes of one bank, one bus word per cycle.

A step comes as all headers, then the units (sign words and planes) column by column. Units are of different number
per column, so a column may begin in any lane of any bus word. :class:`Scan` finds out from the masks where each
column begins; :class:`Steer` says for each bus word which columns take which lanes; :class:`Negation` adds up the
constant that makes negation by inversion exact. No plane is moved to another lane; only sign words are.
"""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..layouts import header_layout
from ..verilog import once
from .count_ones import CountOnes, prefix_sums, tree_sum
from .interfaces import (
    class_members,
    classes,
    delivery_signature,
    group_layout,
    load_signature,
    member_bits,
    slot_row_bits,
)


def unit_bits(config: Config) -> int:
    """Width of a unit's number within its step."""
    return clog2(config.max_units + 1)


def plane_count_bits(config: Config) -> int:
    """Width of a number of stored planes."""
    return clog2(config.planes + 1)


def placement_layout(config: Config) -> data.StructLayout:
    """Where a column's units stand in the step, and its header."""
    return data.StructLayout({
        "first": unit_bits(config),
        "last": unit_bits(config),
        "mask": config.planes,
        "m": 3,
        "e": 5,
    })


class Scan(wiring.Component):
    """Reads one bus word of headers: where does each column begin, and how many planes does the fullest have?

    Combinational; the running values are the caller's to keep.

    Members
    -------
    word : In(bus_bits)
    base : In
        Units of the columns before.
    planes_before : In
        Most planes of the columns before.
    placements : Out(placement_layout).array(headers_per_beat)
    end : Out
        Units including these columns.
    planes : Out
        Most planes including these columns.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "word": In(data.ArrayLayout(header_layout(config), config.headers_per_beat)),
            "base": In(unit_bits(config)),
            "planes_before": In(plane_count_bits(config)),
            "placements": Out(placement_layout(config)).array(config.headers_per_beat),
            "end": Out(unit_bits(config)),
            "planes": Out(plane_count_bits(config)),
        })

    def elaborate(self, platform):
        m = Module()
        counts = [Signal(plane_count_bits(self.config), name=f"planes_{i}") for i in range(len(self.word))]
        m.d.comb += [count.eq(tree_sum(list(header.mask))) for count, header in zip(counts, self.word)]
        ends = prefix_sums([count + 1 for count in counts])
        for header, count, end, placement in zip(self.word, counts, ends, self.placements):
            m.d.comb += [
                placement.last.eq(self.base + end - 1),
                placement.first.eq(self.base + end - 1 - count),
                placement.mask.eq(header.mask),
                placement.m.eq(header.scale.m),
                placement.e.eq(header.scale.e),
            ]
        most = [*counts, self.planes_before]
        while len(most) > 1:
            most = [_maximum(m, *most[i:i + 2]) for i in range(0, len(most), 2)]
        m.d.comb += [self.end.eq(self.base + ends[-1]), self.planes.eq(most[0])]
        return m


def _maximum(m, a, b=None):
    if b is None:
        return a
    result = Signal(max(len(a), len(b)))
    m.d.comb += result.eq(Mux(a > b, a, b))
    return result


def steering_layout(config: Config) -> data.StructLayout:
    """What a class takes from the current bus word. ``sign_lane`` counts if ``first``, ``last_lane`` if ``last``."""
    return data.StructLayout({
        "valid": 1,
        "member": member_bits(config),
        "first": 1,
        "last": 1,
        "sign_lane": clog2(config.units_per_beat),
        "last_lane": clog2(config.units_per_beat),
        "lane_mask": config.units_per_beat,
        "group": group_layout(config),
    })


class Steer(wiring.Component):
    """Says for each bus word of units which class takes which lanes, from the placements of the headers.

    Placements are written while headers pass, at most one bus word of headers per cycle, and can be used from the next
    cycle on. :attr:`steering` is combinational from :attr:`beat`; ``advance`` moves on to the next bus word.

    Members
    -------
    write, write_beat, placements : In
        A bus word of headers.
    beat : In
        Number of the bus word of units within its step.
    advance : In(1)
    restart : In(1)
        With ``advance``: the step ends with this bus word.
    steering : Out(steering_layout).array(classes)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "write": In(1),
            "write_beat": In(clog2(config.header_beats)),
            "placements": In(placement_layout(config)).array(config.headers_per_beat),
            "beat": In(unit_bits(config)),
            "advance": In(1),
            "restart": In(1),
            "steering": Out(steering_layout(config)).array(classes(config)),
        })

    def elaborate(self, platform):
        m = Module()
        for number, steering in enumerate(self.steering):
            member = Signal(member_bits(self.config), name=f"member_{number}")
            exhausted = Signal(name=f"exhausted_{number}")
            placement = self._placement(m, number, member)
            self._steer(m, steering, placement, member, exhausted)
            with m.If(self.advance & self.restart):
                m.d.sync += [member.eq(0), exhausted.eq(0)]
            with m.Elif(self.advance & steering.valid & steering.last):
                m.d.sync += [member.eq(member + 1), exhausted.eq(member == class_members(self.config) - 1)]
        return m

    def _placement(self, m, number, member):
        """The placement of a class's member. A class has several memories if several members are in one bus word."""
        config = self.config
        per_beat = config.headers_per_beat // classes(config)
        layout = placement_layout(config)
        placement = Signal(layout, name=f"placement_{number}")
        with m.Switch(member[:clog2(per_beat)]):
            for i in range(per_beat):
                memory = Memory(shape=layout, depth=config.header_beats, init=[])
                m.submodules[f"class_{number}_{i}"] = memory
                write, read = memory.write_port(), memory.read_port(domain="comb")
                m.d.comb += [
                    write.addr.eq(self.write_beat),
                    write.data.eq(self.placements[i * classes(config) + number]),
                    write.en.eq(self.write),
                    read.addr.eq(member[clog2(per_beat):]),
                ]
                with m.Case(i):
                    m.d.comb += placement.eq(read.data)
        return placement

    def _steer(self, m, steering, placement, member, exhausted):
        config = self.config
        lane_bits = clog2(config.units_per_beat)
        first_beat, sign_lane = placement.first[lane_bits:], placement.first[:lane_bits]
        last_beat, last_lane = placement.last[lane_bits:], placement.last[:lane_bits]
        valid = ~exhausted & (first_beat <= self.beat)
        first, last = first_beat == self.beat, last_beat == self.beat
        m.d.comb += [
            steering.valid.eq(valid),
            steering.member.eq(member),
            steering.first.eq(first),
            steering.last.eq(last),
            steering.sign_lane.eq(sign_lane),
            steering.last_lane.eq(last_lane),
            steering.group.mask.eq(placement.mask),
            steering.group.m.eq(placement.m),
            steering.group.e.eq(placement.e),
            steering.group.first_slot.eq(placement.first + 1),
        ]
        for lane in range(config.units_per_beat):
            after_sign = ~first | (sign_lane < lane)
            before_end = ~last | (last_lane >= lane)
            m.d.comb += steering.lane_mask[lane].eq(valid & after_sign & before_end)


class Negation(wiring.Component):
    """Adds up ``sum of 2^b x popcount(plane_b & sign)`` per column as the bus words pass.

    Latency 2 cycles; throughput one bus word per cycle.

    Members
    -------
    valid : In(1)
    word : In(bus_bits)
    steering : In(steering_layout).array(classes)
    signs : Out(rows).array(classes)
        Per class, the sign word that its column begins with; combinational.
    constants : Out.array(classes)
        Per class, the constant of its column up to and including the bus word of two cycles before.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "valid": In(1),
            "word": In(data.ArrayLayout(config.rows, config.units_per_beat)),
            "steering": In(steering_layout(config)).array(classes(config)),
            "signs": Out(config.rows).array(classes(config)),
            "constants": Out(config.constant_bits).array(classes(config)),
        })

    def elaborate(self, platform):
        m = Module()
        begins, bits, ones = self._count(m, platform)
        self._add_up(m, begins, bits, ones)
        return m

    def _count(self, m, platform):
        """Stage 1: per lane, does a column begin there, which bit (one-hot) is its plane, how many negative ones?"""
        config = self.config
        sign_before = Signal(config.rows, reset_less=True)
        mask_before = Signal(config.planes)
        sign, mask = sign_before, mask_before
        stage = []
        for lane in range(config.units_per_beat):
            here = [s.valid & s.first & (s.sign_lane == lane) for s in self.steering]
            begin = Signal(name=f"begin_{lane}")
            new_mask = Signal(config.planes, name=f"new_mask_{lane}")
            lowest = Signal(config.planes, name=f"lowest_{lane}")
            lane_sign = Signal(config.rows, name=f"sign_{lane}")
            lane_mask = Signal(config.planes, name=f"mask_{lane}")
            counter = CountOnes(config)
            m.submodules[f"count_{lane}"] = once(counter, platform)
            m.d.comb += [
                begin.eq(Cat(here).any()),
                new_mask.eq(_or(Mux(h, s.group.mask, 0) for h, s in zip(here, self.steering))),
                lowest.eq(mask & -mask),
                lane_sign.eq(Mux(begin, self.word[lane], sign)),
                lane_mask.eq(Mux(begin, new_mask, mask & ~lowest)),
                counter.bits.eq(self.word[lane] & sign),
            ]
            count = Signal.like(counter.count, name=f"ones_{lane}", reset_less=True)
            bit = Signal(config.planes, name=f"bit_{lane}", reset_less=True)
            begin_1 = Signal(name=f"begin_1_{lane}", reset_less=True)
            m.d.sync += [count.eq(counter.count), bit.eq(Mux(begin, 0, lowest)), begin_1.eq(begin)]
            stage.append((begin_1, bit, count))
            sign, mask = lane_sign, lane_mask
        with m.If(self.valid):
            m.d.sync += [sign_before.eq(sign), mask_before.eq(mask)]
        for signs, steering in zip(self.signs, self.steering):
            m.d.comb += signs.eq(_or(Mux(steering.sign_lane == lane, self.word[lane], 0)
                                     for lane in range(config.units_per_beat)))
        return zip(*stage)

    def _add_up(self, m, begins, bits, ones):
        """Stage 2: a sum per lane that starts over where a column begins; each class takes that of its last lane."""
        config = self.config
        valid = Signal()
        steering = [Signal.like(s, name=f"steering_{i}", reset_less=True) for i, s in enumerate(self.steering)]
        m.d.sync += [valid.eq(self.valid), *(later.eq(now) for later, now in zip(steering, self.steering))]
        before = Signal(config.constant_bits, reset_less=True)
        sums, total = [], before
        for lane, (begin, bit, count) in enumerate(zip(begins, bits, ones)):
            so_far = Signal(config.constant_bits, name=f"constant_{lane}")
            weighted = tree_sum([Mux(bit[b], count << b, 0) for b in range(config.planes)])
            m.d.comb += so_far.eq(Mux(begin, 0, total + weighted))
            sums.append(so_far)
            total = so_far
        with m.If(valid):
            m.d.sync += before.eq(total)
        for constant, s in zip(self.constants, steering):
            last_lane = Mux(s.last, s.last_lane, config.units_per_beat - 1)
            m.d.sync += constant.eq(_or(Mux(last_lane == lane, so_far, 0) for lane, so_far in enumerate(sums)))


def _or(terms):
    result = 0
    for term in terms:
        result = result | term
    return result


class Loader(wiring.Component):
    """Sinks one whole bus word per cycle: headers at any time, units as long as their bank is free.

    Steps go to bank 0 and 1 in turn, from bank 0 after reset. Latency from an accepted bus word to :attr:`load`
    3 cycles; the bank can be computed in the cycle after ``commit``.

    Members
    -------
    i_words : In(stream)
    bank_free : In(2)
        The bank may be written.
    load : Out(load_signature), deliveries : Out(delivery_signature).array(classes)
    step_end : Out(1)
        The bus word being accepted is the last of a step.
    commit : Out(1), commit_bank : Out(1), planes : Out
        The step is complete with the write of this cycle; ``planes`` is the number of planes of its fullest column.
    """

    i_words: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_words": In(stream.Signature(config.bus_bits)),
            "bank_free": In(2),
            "load": Out(load_signature(config)),
            "deliveries": Out(delivery_signature(config)).array(classes(config)),
            "step_end": Out(1),
            "commit": Out(1),
            "commit_bank": Out(1),
            "planes": Out(plane_count_bits(config)),
        })

    #: Cycles from an accepted bus word to :attr:`load`.
    LATENCY = 3

    def elaborate(self, platform):
        m = Module()
        self._accept(m)
        self._deliver(m)
        return m

    def _accept(self, m):
        """Headers, then units; stage 0."""
        config = self.config
        m.submodules.scan = scan = Scan(config)
        m.submodules.steer = self.steer = Steer(config)
        units = Signal()
        self.bank = Signal()
        header_beat = Signal(clog2(config.header_beats))
        self.unit_beat = Signal(unit_bits(config))
        end = Signal(unit_bits(config))
        planes = Signal(plane_count_bits(config))
        accept, last_unit = Signal(), Signal()
        m.d.comb += [
            self.i_words.ready.eq(~units | self.bank_free.bit_select(self.bank, 1)),
            accept.eq(self.i_words.valid & self.i_words.ready),
            scan.word.eq(self.i_words.payload),
            scan.base.eq(end),
            scan.planes_before.eq(planes),
            self.steer.write.eq(accept & ~units),
            self.steer.write_beat.eq(header_beat),
            *(mine.eq(given) for mine, given in zip(self.steer.placements, scan.placements)),
            self.steer.beat.eq(self.unit_beat),
            self.steer.advance.eq(accept & units),
            self.steer.restart.eq(last_unit),
            last_unit.eq(self.unit_beat == (end - 1)[clog2(config.units_per_beat):]),
            self.step_end.eq(units & last_unit),
        ]
        with m.If(accept & ~units):
            m.d.sync += [end.eq(scan.end), planes.eq(scan.planes), header_beat.eq(header_beat + 1)]
            with m.If(header_beat == config.header_beats - 1):
                m.d.sync += [units.eq(1), header_beat.eq(0)]
        with m.If(accept & units):
            m.d.sync += self.unit_beat.eq(self.unit_beat + 1)
            with m.If(last_unit):
                m.d.sync += [units.eq(0), self.unit_beat.eq(0), end.eq(0), planes.eq(0), self.bank.eq(~self.bank)]
        self.accept_unit = accept & units
        self.accept_last = last_unit
        self.accept_planes = planes

    def _deliver(self, m):
        """Stage 1 takes what was accepted, stage 2 waits for the constants, stage 3 is :attr:`load`."""
        config = self.config
        m.submodules.negation = negation = Negation(config)
        one, two = (self._stage(m, f"stage_{i}") for i in (1, 2))
        m.d.sync += [
            one.valid.eq(self.accept_unit),
            one.commit.eq(self.accept_last),
            one.bank.eq(self.bank),
            one.planes.eq(self.accept_planes),
            one.row.eq(self.unit_beat),
            one.word.eq(self.i_words.payload),
            *(later.eq(now) for later, now in zip(one.steering, self.steer.steering)),
            *(getattr(two, name).eq(getattr(one, name))
              for name in ("valid", "commit", "bank", "planes", "row", "word")),
            *(later.eq(now) for later, now in zip(two.steering, one.steering)),
        ]
        m.d.comb += [negation.valid.eq(one.valid), negation.word.eq(one.word)]
        m.d.comb += [mine.eq(given) for mine, given in zip(negation.steering, one.steering)]

        m.d.sync += [
            self.load.bank.eq(two.bank),
            self.load.row.eq(two.row),
            self.load.lanes.eq(two.word),
            self.commit.eq(two.valid & two.commit),
            self.commit_bank.eq(two.bank),
            self.planes.eq(two.planes),
        ]
        for number, delivery in enumerate(self.deliveries):
            steering = two.steering[number]
            sign = Signal(config.rows, name=f"sign_{number}", reset_less=True)
            m.d.sync += [
                sign.eq(negation.signs[number]),
                delivery.valid.eq(two.valid & steering.valid),
                delivery.member.eq(steering.member),
                delivery.first.eq(steering.first),
                delivery.lane_mask.eq(steering.lane_mask),
                delivery.sign.eq(sign),
                delivery.group.eq(steering.group),
            ]
            m.d.comb += delivery.constant.eq(negation.constants[number])

    def _stage(self, m, name):
        """Registers for one bus word on its way."""
        config = self.config
        return SimpleNamespace(
            valid=Signal(name=f"{name}_valid"),
            commit=Signal(name=f"{name}_commit"),
            bank=Signal(name=f"{name}_bank", reset_less=True),
            planes=Signal(plane_count_bits(config), name=f"{name}_planes", reset_less=True),
            row=Signal(slot_row_bits(config), name=f"{name}_row", reset_less=True),
            word=Signal(config.bus_bits, name=f"{name}_word", reset_less=True),
            steering=[Signal(steering_layout(config), name=f"{name}_steering_{i}", reset_less=True)
                      for i in range(classes(config))],
        )
