"""cocotb tests of :class:`hdl.cim.column.Column`; the plan is ``verif/plans/column.md``."""

import cocotb
import numpy as np

from hdl.cim.column import Column
from hdl.cim.interfaces import bank_record_layout, bist_words
from sim.rtl import test_config

from .cells import Cells
from .coverage import Coverage, report
from .deliveries import Group, column_deliveries
from .layout import Codec
from .ports import PortGroup
from .product import Product
from .stimuli import (
    ACTIVATIONS,
    KINDS,
    LANE_RANGE,
    SIGNS,
    bit_sliced,
    draw_gap,
    draw_lanes,
    draw_step,
    from_bit_sliced,
)
from .testbench import Scoreboard, Testbench
from .timeline import Timeline

CONFIG = test_config()
SUM = Column.sum_latency(CONFIG)
SCALED = Column.SCALED_LATENCY
DRAIN = SUM + SCALED + 2
WORDS = bist_words(CONFIG)
LOAD = ("select", "first", "bank", "row", "lane_mask", "lanes", "sign", "group", "constant", "test", "test_words")
BIST = ("bist_select", "bist_bank", "bist_word", "bist_show")

#: Bus words of a load whose beginning is swept.
SWEPT = (CONFIG.planes + CONFIG.units_per_beat) // CONFIG.units_per_beat

GROUPS = Coverage("column.group", {
    "stored": range(CONFIG.planes + 1),
    "lowest_bit": range(CONFIG.planes),
    "holes_in_mask": [False, True][:1 + (CONFIG.planes > 2)],
    "first_slot": range(CONFIG.slots),
    "m": range(8),
    "e": range(32),
    "signs": list(SIGNS),
    "beyond": range(min(4, CONFIG.planes + 1)),
    "empty_plane": [False, True],
})
ISSUES = Coverage("column.issue", {
    "swap": ["no bubble", "later"],
    "load_word": range(SWEPT),
} | ({"gap_in_vector": [False, True]} if CONFIG.planes > 1 else {}))
RESULTS = Coverage("column.result", {"sign": [-1, 0, 1], "overflow": [False, True]}, {"sign_overflow": (
    "sign", "overflow")}, {"sign_overflow": [(0, True)]})
READS = Coverage("column.bist", {"word": range(WORDS), "bank": [0, 1]}, {"word_bank": ("word", "bank")})


class ColumnBench(Testbench):
    """Feeds the model from the ports and compares every result in the cycle in which it must appear."""

    def __init__(self, dut):
        super().__init__(dut, Column(CONFIG))
        self.inputs = {name: self.ports[name] for name in ("issue", "accumulate", "act")}
        self.inputs |= {"load": PortGroup({name: self.ports[name] for name in LOAD}),
                        "bist": PortGroup({name: self.ports[name] for name in BIST})}
        self.cells = Cells(CONFIG, 1)
        self.product = Product(CONFIG, self.cells)
        self.board = Scoreboard()
        self.words: list[int] = []
        self.issues: list[int] = []
        self._late_act: list[np.ndarray] = []
        self._filled = False
        self._word: int | None = None
        self._issue_bank = self._load_bank = -1
        self._load_word = 0

    async def start(self):
        """Also fills every cell with garbage."""
        await super().start()
        timeline = Timeline(CONFIG)
        for bank in range(2):
            timeline.load(bank, draw_garbage(self))
        await self.play(timeline, 1)
        self._filled = True

    def sample(self, cycle: int):
        self.board.sample(cycle)
        self._check_word(cycle)
        issue, load = self.ports["issue"].read(), self.ports["select"].read()
        if load:
            load = self.inputs["load"].read()
            self._load_word = self._load_word + 1 if load["bank"] == self._load_bank else 0
            self._load_bank = load["bank"]
        if self._late_act:
            self._late_act.pop()[:] = from_bit_sliced(self.ports["act"].read(), CONFIG.rows)
        if issue["valid"]:
            self._issue(cycle, issue, load)
        if load:
            self._write(load)

    def _write(self, load: dict):
        bank = self.cells.columns[0][load["bank"]]
        if not load["test"]:
            bank.write(load["row"], load["lanes"], load)
        elif load["test_words"]:
            number = load["test_words"].bit_length() - 1
            given = load["sign"]
            if number:
                record = Codec(bank_record_layout(CONFIG)).pack({name: load[name] for name in ("group", "constant")})
                given = record >> (number - 1) * CONFIG.rows & (1 << CONFIG.rows) - 1
            bank.write_word(CONFIG.slots + number, given)
        else:
            lane = load["lane_mask"].bit_length() - 1
            slot = load["row"] % (CONFIG.slots // CONFIG.units_per_beat) * CONFIG.units_per_beat + lane
            bank.write_word(slot, load["lanes"] >> lane * CONFIG.rows & (1 << CONFIG.rows) - 1)

    def _check_word(self, cycle: int):
        """The word that was asked for in the last cycle, or zero; unknown as long as some cells are."""
        word = self.ports["word"].read() if self._word is not None else None
        assert word == self._word, f"word is {word} in cycle {cycle}, not {self._word}"
        self._word = 0 if self._filled else None
        if self.ports["bist_select"].read():
            bank, number = self.ports["bist_bank"].read(), self.ports["bist_word"].read()
            written = self.ports["select"].read() and self.ports["bank"].read() == bank
            # what a read of a written word gives is not defined
            self._word = None if written else self.cells.columns[0][bank].word(number)
            READS.sample(word=number, bank=bank)
            self.words.append(number)

    def _issue(self, cycle: int, issue: dict, load):
        if issue["step"]:
            late = not self.issues or self.issues[-1] < cycle - 1
            ISSUES.sample(swap=None if issue["bank"] == self._issue_bank else "later" if late else "no bubble",
                          load_word=self._load_word if load else None)
            self._issue_bank = issue["bank"]
        if not issue["first"]:
            ISSUES.sample(gap_in_vector=self.issues[-1] < cycle - 1)
        self.issues.append(cycle)
        if self.product.issue(cycle, issue, [0], self._act_of_next_cycle):
            self.board.expect(cycle + SUM + 1, "psum", self.ports["psum"].read)
            self.board.expect(cycle + SUM + SCALED, "scaled", self.ports["scaled"].read)
        if issue["step"]:
            self._group = self.cells.columns[0][issue["bank"]].contents
            header = self.cells.columns[0][issue["bank"]].group
            assert header is not None
            self._first_slot = header["first_slot"]
        if issue["last"]:
            self._cover(issue["plane"] + 1)

    def _act_of_next_cycle(self) -> np.ndarray:
        act = np.zeros(CONFIG.rows, np.int16)
        self._late_act.append(act)
        return act

    def _cover(self, issued: int):
        group, bits = self._group, self._group.bits
        GROUPS.sample(
            stored=len(bits), lowest_bit=bits[0] if bits else None, first_slot=self._first_slot, m=group.m, e=group.e,
            holes_in_mask=bool(bits) and bits[-1] - bits[0] >= len(bits), beyond=issued - len(bits),
            signs={0: "positive", (1 << CONFIG.rows) - 1: "negative"}.get(group.sign, "mixed"),
            empty_plane=0 in group.planes)

    async def play(self, timeline: Timeline, drain: int):
        """Plays a timeline of ``load``, ``issue`` with ``act``, and ``bist``; ``accumulate`` follows by itself."""
        acts, held = timeline.events.pop("act", {}), None
        for cycle, issue in sorted(timeline.busy("issue").items()):
            held = acts.get(cycle, held)
            timeline.put("act", cycle + 1, held)
            timeline.put("accumulate", cycle + SUM, issue)
        timeline.events["bist"] = {
            cycle: {"bist_select": 1, "bist_show": 1, "bist_bank": read["bank"], "bist_word": read["word"]}
            for cycle, read in timeline.busy("bist").items()}
        timeline.events["load"] = {cycle: {"test": 0, "test_words": 0} | load
                                   for cycle, load in timeline.busy("load").items()}
        await super().play(timeline, drain)

    def finish(self):
        """Compares everything."""
        if self.product.steps:
            psum, scaled, overflow = self.product.expected()
            self.board.check("psum", psum[:, 0])
            observed = self.board.observed.pop("scaled")
            self.board.observed |= {name: [values[name] for values in observed] for name in ("value", "overflow")}
            self.board.check("value", scaled[:, 0])
            self.board.check("overflow", overflow[:, 0])
            for sign, wrapped in zip(np.sign(psum[:, 0]).tolist(), overflow[:, 0].tolist()):
                RESULTS.sample(sign=sign, overflow=wrapped)
        assert not self._late_act
        self.board.finish()
        report()


def group_loads(bench: ColumnBench, group: Group, start: int) -> list[dict]:
    """The load port while a group is delivered whose sign word is unit ``start``; other lanes carry noise."""
    loads = []
    for beat, delivery in column_deliveries(CONFIG, group, start).items():
        lanes = bench.random.getrandbits(CONFIG.bus_bits)
        for number, unit in enumerate(group.units):
            at, lane = divmod(start + number, CONFIG.units_per_beat)
            if at == beat:
                low = lane * CONFIG.rows
                lanes = lanes & ~((1 << CONFIG.rows) - 1 << low) | unit << low
        loads.append({"load": delivery | {"select": 1, "row": beat % (CONFIG.slots // CONFIG.units_per_beat),
                                          "lanes": lanes}})
    return loads


def draw_garbage(bench: ColumnBench) -> list[dict]:
    """Loads that fill every cell, as no loader makes them."""
    bits = bench.random.getrandbits
    group = {"mask": bits(CONFIG.planes), "m": bits(3), "e": bits(5), "first_slot": bits(8)}
    return [{"load": {"select": 1, "first": 1, "row": row, "lane_mask": (1 << CONFIG.units_per_beat) - 1,
                      "lanes": bits(CONFIG.bus_bits), "sign": bits(CONFIG.rows), "group": group,
                      "constant": bits(CONFIG.constant_bits)}}
            for row in range(CONFIG.slots // CONFIG.units_per_beat)]


def draw_group(bench: ColumnBench, start: int | None = None, **options) -> tuple[list[dict], Group]:
    """A random group and its loads, anywhere in a step."""
    group = draw_step(bench.rng, CONFIG, 1, **options)[0]
    if start is None:
        start = bench.random.randrange(CONFIG.max_units - CONFIG.planes)
    return group_loads(bench, group, start), group


def planes_of(bench: ColumnBench, group: Group, beyond: int | None = None) -> int:
    """Planes to issue: at least the group's, more if other columns have more."""
    more = bench.random.choice([0, 0, 1, 2, 3]) if beyond is None else beyond
    return max(1, min(CONFIG.planes, len(group.planes) + more))


def acts(bench: ColumnBench, count: int) -> list[dict]:
    return [{"act": bit_sliced(draw_lanes(bench.rng, CONFIG.rows))} for _ in range(count)]


def reads(bench: ColumnBench, count: int) -> list[dict]:
    return [{"bank": bench.random.randrange(2), "word": bench.random.randrange(WORDS)} for _ in range(count)]


@cocotb.test()
async def test_latency(dut):
    """One plane: psum and scaled psum appear in the documented cycles."""
    bench = ColumnBench(dut)
    await bench.start()
    loads, group = draw_group(bench, kinds=["one_plane"], hollow=0)
    timeline = Timeline(CONFIG)
    timeline.load(0, loads)
    timeline.compute(0, planes_of(bench, group, 0), acts(bench, 1))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_one_psum_per_cycle(dut):
    """Vectors of one plane: a psum in every cycle."""
    bench = ColumnBench(dut)
    await bench.start()
    loads, _ = draw_group(bench, kinds=["one_plane"], hollow=0)
    timeline = Timeline(CONFIG)
    timeline.load(1, loads)
    first, last = timeline.compute(1, 1, acts(bench, 50))
    assert last - first + 1 == 50
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.4])
async def test_random_groups(dut, gap):
    """Random groups, one loaded while the one before is computed, with BIST reads wherever no plane is issued."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(60):
        loads, group = draw_group(bench)
        timeline.load(number % 2, loads, gap=draw_gap(bench.random, gap))
        timeline.compute(number % 2, planes_of(bench, group), acts(bench, bench.random.randint(1, 4)),
                         gap=draw_gap(bench.random, gap))
    timeline.read_words(reads(bench, timeline.length // 3), stride=2)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(kind=list(KINDS), sign=["negative", "mixed"])
async def test_kinds_of_groups(dut, kind, sign):
    """Each kind of group with every kind of lanes: -128, the largest magnitude, negative zeros, empty planes."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for bank in range(2):
        loads, group = draw_group(bench, kinds=[kind], signs=[sign], hollow=kind == "empty")
        timeline.load(bank, loads)
        lanes = [kind_of(bench.rng, CONFIG.rows, *LANE_RANGE) for kind_of in ACTIVATIONS.values()]
        timeline.compute(bank, planes_of(bench, group), [{"act": bit_sliced(vector)} for vector in lanes])
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_every_scale(dut):
    """Every m, every e and every number of planes, with psums of both signs."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(32):
        _, group = draw_group(bench, kinds=["dense"], planes=number % CONFIG.planes + 1, hollow=0)
        group = Group(group.mask, number % 8, number, group.sign, group.planes)
        timeline.load(number % 2, group_loads(bench, group, 0))
        timeline.compute(number % 2, planes_of(bench, group, 0), acts(bench, 4))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_every_first_slot(dut):
    """A full group that begins in each slot: its planes wrap around the last."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for start in range(CONFIG.slots):
        loads, group = draw_group(bench, start, kinds=["maximum", "dense"])
        timeline.load(start % 2, loads)
        timeline.compute(start % 2, planes_of(bench, group), acts(bench, 2))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_no_bubble(dut):
    """Steps follow one another without a bubble while the other bank is loaded."""
    bench = ColumnBench(dut)
    await bench.start()
    drawn = [draw_group(bench) for _ in range(8)]
    timeline = Timeline(CONFIG)
    timeline.load(0, drawn[0][0])
    total = 0
    for number, (_, group) in enumerate(drawn):
        if number + 1 < len(drawn):
            timeline.load(1 - number % 2, drawn[number + 1][0])
        planes = planes_of(bench, group)
        vectors = -(-(CONFIG.planes + DRAIN) // planes)  # as long as the next load
        timeline.compute(number % 2, planes, acts(bench, vectors))
        total += planes * vectors
    await bench.play(timeline, DRAIN)
    assert len(bench.issues) == bench.issues[-1] - bench.issues[0] + 1 == total, "there was a bubble"
    bench.finish()


@cocotb.test()
async def test_swap_at_every_bus_word(dut):
    """The first plane of a step is issued before, with and after each bus word of a load of the other bank."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    _, group = draw_group(bench, 0, kinds=["maximum"])
    timeline.load(0, group_loads(bench, group, 0))
    for number, offset in enumerate(range(-1, SWEPT + 1)):
        bank = number % 2
        # a group of all planes that begins in the last lane is in the most bus words
        loads, _ = draw_group(bench, CONFIG.units_per_beat - 1, kinds=["maximum"])
        first, _ = timeline.load(1 - bank, loads, start=timeline.issue_free + 1)
        timeline.compute(bank, CONFIG.planes, acts(bench, 2), start=first + offset)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_earliest_release(dut):
    """A bank is overwritten with garbage as soon as its last plane and first psum allow."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(20):
        loads, group = draw_group(bench)
        timeline.load(number % 2, loads)
        timeline.compute(number % 2, planes_of(bench, group), acts(bench, number % 4 + 1))
        timeline.load(number % 2, draw_garbage(bench))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_reads_every_word(dut):
    """Plane slots, sign word and bank record of both banks, one read per cycle; zero when nothing is read."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for bank in range(2):
        timeline.load(bank, draw_group(bench)[0])
    wanted = [{"bank": bank, "word": word} for bank in range(2) for word in range(WORDS)]
    bench.random.shuffle(wanted)
    timeline.read_words(wanted, start=timeline.length)
    timeline.read_words(wanted, start=timeline.length, stride=2)
    await bench.play(timeline, DRAIN)
    assert len(bench.words) == 4 * WORDS
    bench.finish()


@cocotb.test()
async def test_bist_writes_words(dut):
    """Single words of both banks are written with noise on everything that does not belong to them; then all are
    read."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    wanted = [(bank, word) for bank in range(2) for word in range(WORDS)] * 2
    bench.random.shuffle(wanted)
    for cycle, (bank, word) in enumerate(wanted):
        timeline.put("load", cycle, draw_garbage(bench)[0]["load"] | {
            "bank": bank, "first": 0, "test": 1, "row": word // CONFIG.units_per_beat,
            "lane_mask": 1 << word % CONFIG.units_per_beat if word < CONFIG.slots else 0,
            "test_words": 1 << word - CONFIG.slots if word >= CONFIG.slots else 0})
    every = [{"bank": bank, "word": word} for bank in range(2) for word in range(WORDS)]
    timeline.read_words(every, start=timeline.length)
    await bench.play(timeline, DRAIN)
    assert len(bench.words) == len(every)
    bench.finish()


@cocotb.test()
async def test_bist_between_planes(dut):
    """BIST reads in every cycle without a plane, also within vectors and during loads, change no result."""
    bench = ColumnBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(20):
        loads, group = draw_group(bench)
        timeline.load(number % 2, loads)
        timeline.compute(number % 2, planes_of(bench, group), acts(bench, 2), gap=draw_gap(bench.random, 0.5))
    timeline.read_words(reads(bench, timeline.length - len(timeline.busy("issue"))))
    await bench.play(timeline, DRAIN)
    bench.finish()
