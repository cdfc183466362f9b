"""cocotb tests of :class:`hdl.cim.macro.Macro`; the plan is ``verif/plans/macro.md``."""

import cocotb
import numpy as np

from hdl.cim.column import Column
from hdl.cim.interfaces import bist_words, classes
from hdl.cim.macro import Macro
from sim.rtl import test_config

from .cells import Cells, physical
from .coverage import Coverage, report
from .deliveries import step_loads
from .product import Product
from .stimuli import (
    ACTIVATIONS,
    LANE_RANGE,
    SIGNS,
    bit_sliced,
    draw_gap,
    draw_garbage,
    draw_lanes,
    draw_reads,
    draw_repair,
    draw_step,
    every_word,
    from_bit_sliced,
    most_planes,
    written_words,
)
from .testbench import Scoreboard, Testbench
from .timeline import Timeline

CONFIG = test_config()
CLASSES = classes(CONFIG)
MEMBERS = CONFIG.cols // CLASSES
WORDS = bist_words(CONFIG)
IDENTITY = [CONFIG.cols] * CONFIG.spare_cols

#: Bus words of a load whose beginning is swept.
SWEPT = min(16, CONFIG.cols * (1 + CONFIG.planes) // CONFIG.units_per_beat)

STEPS = Coverage("macro.step", {
    "planes": range(1, CONFIG.planes + 1),
    "vectors": [1, 2, 3, 4],
    "load_beat": range(SWEPT),
    "swap": ["no bubble", "later"],
})
GROUPS = Coverage("macro.group", {
    "stored": range(CONFIG.planes + 1),
    "m": range(8),
    "e": range(32),
    "negative": list(SIGNS),
    "moved": range(CONFIG.spare_cols + 1),
})
RESULTS = Coverage("macro.result", {"sign": [-1, 0, 1], "overflow": [False, True]}, {"sign_overflow": (
    "sign", "overflow")}, {"sign_overflow": [(0, True)]})
READS = Coverage("macro.bist", {
    "word": range(WORDS),
    "bank": [0, 1],
    "column": range(CONFIG.physical_cols),
    "compute": [0, 1],
    "between": ["idle", "sums in flight", "a load in this cycle"],
}, {"word_bank": ("word", "bank")})
WRITES = Coverage("macro.bist_write", {
    "word": range(WORDS),
    "bank": [0, 1],
    "column": range(CONFIG.physical_cols),
    "beside": ["nothing", "a plane", "a read"],
}, {"word_bank": ("word", "bank")})


class MacroBench(Testbench):
    """Feeds the model from the ports and compares every result in the cycle in which it must appear."""

    def __init__(self, dut):
        super().__init__(dut, Macro(CONFIG))
        self.repair = self.inputs.pop("repair")
        self.cells = Cells(CONFIG, CONFIG.physical_cols)
        self.product = Product(CONFIG, self.cells)
        self.board = Scoreboard()
        self.words: list[int] = []
        self.issues: list[int] = []
        self._issue_bank = -1
        self._load_bank = -1
        self._load_beat = 0

    async def start(self):
        """Also fills every cell with garbage."""
        self.set_repair(IDENTITY)
        await super().start()
        await self.fill()

    def set_repair(self, repair: list[int]):
        self.repair.drive(repair, self.random)

    async def fill(self):
        """Writes every cell of every physical column."""
        for repair in [IDENTITY, [0] * CONFIG.spare_cols]:
            self.set_repair(repair)
            timeline = Timeline(CONFIG)
            for bank in range(2):
                timeline.load(bank, draw_garbage(self.random, CONFIG, MEMBERS))
            await self.play(timeline, 1)
        self.set_repair(IDENTITY)

    def sample(self, cycle: int):
        issue, bist = self.ports["issue"].read(), self.ports["bist"].read()
        offered = [delivery["valid"].read() for delivery in self.ports["deliveries"]]
        self.board.sample(cycle)
        written = self._written(offered) if any(offered) else {}
        if bist["valid"] and bist["read"]:
            self._read(cycle, bist, set(written))
        if written:
            load = self.ports["load"].read()
            self._load_beat = self._load_beat + 1 if load["bank"] == self._load_bank else 0
            self._load_bank = load["bank"]
        if issue["valid"]:
            self._issue(cycle, issue, bool(written))
        if written:
            for (column, bank), delivery in written.items():
                self.cells.columns[column][bank].write(load["row"], load["lanes"], delivery)
        if bist["valid"] and bist["write"]:
            WRITES.sample(word=bist["word"], bank=bist["write_bank"], column=bist["column"],
                          beside="a read" if bist["read"] else "a plane" if issue["valid"] else "nothing")
            self.cells.columns[bist["column"]][bist["write_bank"]].write_word(bist["word"],
                                                                              self.ports["bist_data"].read())

    def _written(self, offered: list[int]) -> dict[tuple[int, int], dict]:
        """Deliveries of this cycle by physical column and bank."""
        repair, bank = self.repair.read(), self.ports["load"]["bank"].read()
        written = {}
        for number, (valid, port) in enumerate(zip(offered, self.ports["deliveries"])):
            if valid:
                delivery = port.read()
                logical = delivery["member"] % MEMBERS * CLASSES + number
                written[physical(logical, repair), bank] = delivery
        return written

    def _read(self, cycle: int, bist: dict, written: set):
        where = (bist["column"], bist["read_bank"])
        word = self.cells.columns[bist["column"]][bist["read_bank"]].word(bist["word"])
        between = ("a load in this cycle" if written else "sums in flight"
                   if self.issues and cycle - self.issues[-1] <= Macro.latency(CONFIG) else "idle")
        READS.sample(word=bist["word"], bank=bist["read_bank"], column=bist["column"], compute=bist["compute"],
                     between=between)
        if word is not None and where not in written:  # what a read of a written word gives is not defined
            self.words.append(word)
            self.board.expect(cycle + 2, "word", self.ports["word"].read)

    def _issue(self, cycle: int, issue: dict, loading: bool):
        repair = self.repair.read()
        columns = [physical(logical, repair) for logical in range(CONFIG.cols)]
        if issue["step"]:
            late = not self.issues or self.issues[-1] < cycle - 1
            swap = "same bank" if issue["bank"] == self._issue_bank else "later" if late else "no bubble"
            STEPS.sample(swap=swap, load_beat=self._load_beat if loading else None)
            self._issue_bank = issue["bank"]
            for logical, column in enumerate(columns):
                group = self.cells.columns[column][issue["bank"]].contents
                GROUPS.sample(stored=len(group.planes), m=group.m, e=group.e, moved=column - logical,
                              negative={0: "positive", (1 << CONFIG.rows) - 1: "negative"}.get(group.sign, "mixed"))
        self.issues.append(cycle)
        if self.product.issue(cycle, issue, columns, lambda: from_bit_sliced(self.ports["act"].read(), CONFIG.rows)):
            self.board.expect(cycle + Column.sum_latency(CONFIG) + 1, "psum", self.ports["psum"].read)
            self.board.expect(cycle + Macro.latency(CONFIG), "scaled", self.ports["scaled"].read)

    def finish(self):
        """Compares everything."""
        for issued in self.product.steps:
            STEPS.sample(planes=issued.planes, vectors=len(issued.ends))
        if self.product.steps:
            psum, scaled, overflow = self.product.expected()
            self.board.check("psum", psum)
            observed = self.board.observed.pop("scaled")
            self.board.observed |= {name: [[s[name] for s in vector] for vector in observed]
                                    for name in ("value", "overflow")}
            self.board.check("value", scaled)
            self.board.check("overflow", overflow)
            for sign, wrapped in set(zip(np.sign(psum).ravel().tolist(), overflow.ravel().tolist())):
                RESULTS.sample(sign=sign, overflow=wrapped)
        self.board.check("word", self.words)
        self.words = []
        self.board.finish()
        report()


def own_loads(bench: MacroBench, groups: list) -> list[dict]:
    """The bus words of a step of the grid, as the array passes them to one macro of it."""
    macro = bench.random.randrange(CONFIG.macros)
    loads = step_loads(CONFIG, groups, bench.random)
    for values in loads:
        for delivery in values["deliveries"]:
            if delivery["valid"] and delivery["member"] // MEMBERS != macro:
                delivery["valid"] = 0
    return loads


def draw_loads(bench: MacroBench, **options) -> tuple[list[dict], int]:
    """A random step of the grid: its bus words for the macro, and how many planes to issue."""
    groups = draw_step(bench.rng, CONFIG, CONFIG.columns, **options)
    return own_loads(bench, groups), max(1, most_planes(groups))


def acts(bench: MacroBench, count: int) -> list[dict]:
    return [{"act": bit_sliced(draw_lanes(bench.rng, CONFIG.rows))} for _ in range(count)]


DRAIN = Macro.latency(CONFIG) + 2


@cocotb.test()
async def test_latency(dut):
    """One vector of one plane: its results appear in the documented cycles."""
    bench = MacroBench(dut)
    await bench.start()
    loads, planes = draw_loads(bench, kinds=["one_plane"])
    timeline = Timeline(CONFIG)
    timeline.load(0, loads)
    timeline.compute(0, planes, acts(bench, 1))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.3])
async def test_random_steps(dut, gap):
    """Random steps, each loaded while the one before is computed, with BIST reads wherever no plane is issued."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(max(8, 2 * CONFIG.planes)):
        loads, planes = draw_loads(bench, planes=min(number // 2 + 1, CONFIG.planes))
        timeline.load(number % 2, loads, gap=draw_gap(bench.random, gap))
        timeline.compute(number % 2, planes, acts(bench, number % 4 + 1), gap=draw_gap(bench.random, gap))
    timeline.read_words(draw_reads(bench.random, CONFIG, timeline.length // 3), stride=2)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_no_bubble(dut):
    """Vectors and steps without a bubble, across bank swaps, while the other bank is loaded."""
    bench = MacroBench(dut)
    await bench.start()
    steps = [draw_loads(bench, kinds=["one_plane", "few_planes"]) for _ in range(6)]
    lengths = [len(loads) for loads, _ in steps[1:]] + [0]
    timeline = Timeline(CONFIG)
    timeline.load(0, steps[0][0])
    total = 0
    for number, (_, planes) in enumerate(steps):
        bank = number % 2
        if number + 1 < len(steps):
            timeline.load(1 - bank, steps[number + 1][0])
        vectors = -(-(lengths[number] + DRAIN) // planes)  # as long as the next load
        timeline.compute(bank, planes, acts(bench, vectors))
        total += vectors * planes
    await bench.play(timeline, DRAIN)
    assert len(bench.issues) == total
    assert bench.issues[-1] - bench.issues[0] + 1 == total, "there was a bubble"
    bench.finish()


@cocotb.test()
async def test_swap_at_every_bus_word(dut):
    """The first plane of a step is issued while bus word 0, 1, 2, ... of a load of the other bank is delivered."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    loads, planes = draw_loads(bench, kinds=["maximum"])
    timeline.load(0, loads)
    for offset in range(SWEPT):
        bank = offset % 2
        loads, _ = draw_loads(bench, kinds=["maximum"])
        own = [values for values in loads if any(delivery["valid"] for delivery in values["deliveries"])]
        first, _ = timeline.load(1 - bank, own)
        timeline.compute(bank, planes, acts(bench, bench.random.randint(1, 3)), start=first + offset)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_earliest_release(dut):
    """A bank is overwritten with garbage as soon as its last plane and first psum allow."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(12):
        loads, planes = draw_loads(bench)
        timeline.load(number % 2, loads)
        timeline.compute(number % 2, planes, acts(bench, number % 3 + 1))
        timeline.load(number % 2, draw_garbage(bench.random, CONFIG, MEMBERS))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(kind=["maximum", "minimum", "empty", "one_plane"], sign=["positive", "negative", "mixed"])
async def test_extremes(dut, kind, sign):
    """Largest magnitudes, -128, zeros that are negative, and stored planes without a bit, times extreme lanes."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for bank in range(2):
        loads, planes = draw_loads(bench, kinds=[kind], signs=[sign], hollow=0.5 if kind == "empty" else 0)
        timeline.load(bank, loads)
        lanes = [kind_of(bench.rng, CONFIG.rows, *LANE_RANGE) for kind_of in ACTIVATIONS.values()]
        timeline.compute(bank, planes, [{"act": bit_sliced(vector)} for vector in lanes])
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_repair(dut):
    """Random repair maps: what bypassed columns hold stays and changes no result."""
    bench = MacroBench(dut)
    await bench.start()
    maps = [IDENTITY, [0] * CONFIG.spare_cols, [CONFIG.cols - 1] * CONFIG.spare_cols]
    maps += [draw_repair(bench.random, CONFIG.cols, CONFIG.spare_cols) for _ in range(6)]
    for repair in maps:
        bench.set_repair(repair)
        timeline = Timeline(CONFIG)
        for bank in range(2):
            loads, planes = draw_loads(bench)
            timeline.load(bank, loads)
            timeline.compute(bank, planes, acts(bench, 2))
        used = {physical(logical, repair) for logical in range(CONFIG.cols)}
        bypassed = [column for column in range(CONFIG.physical_cols) if column not in used]
        timeline.read_words(every_word(CONFIG, bypassed), start=timeline.length)
        await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_reads_every_word(dut):
    """Every plane slot, sign word and bank record of both banks of every column, spares too, one read per cycle."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for bank in range(2):
        timeline.load(bank, draw_loads(bench)[0])
    reads = every_word(CONFIG, range(CONFIG.physical_cols))
    bench.random.shuffle(reads)
    timeline.read_words(reads, start=timeline.length)
    await bench.play(timeline, DRAIN)
    assert len(bench.words) == len(reads)
    bench.finish()


@cocotb.test()
async def test_bist_writes_every_word(dut):
    """Random words to every word of every physical column, one per cycle, under random repair maps; each can be read
    in the next cycle and again at the end, and no other word changes."""
    bench = MacroBench(dut)
    await bench.start()
    for repair in [IDENTITY, draw_repair(bench.random, CONFIG.cols, CONFIG.spare_cols)]:
        bench.set_repair(repair)
        writes = written_words(CONFIG, range(CONFIG.physical_cols), lambda *_: bench.random.getrandbits(CONFIG.rows))
        bench.random.shuffle(writes)
        timeline = Timeline(CONFIG)
        for cycle, write in enumerate(writes):
            timeline.write_words([write], start=2 * cycle)
            where = write[0]
            timeline.read_words([{"column": where["column"], "read_bank": where["write_bank"], "word": where["word"],
                                  "compute": 0}], start=2 * cycle + 1)
        timeline.read_words(every_word(CONFIG, range(CONFIG.physical_cols)), start=timeline.length)
        await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_writes_beside(dut):
    """A word is written in the cycle in which the same word of the other bank is read, or while the other bank
    computes."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    loads, planes = draw_loads(bench)
    timeline.load(0, loads)
    writes = written_words(CONFIG, range(CONFIG.physical_cols), lambda *_: bench.random.getrandbits(CONFIG.rows))
    other = [(write, value) for write, value in writes if write["write_bank"]]
    first, _ = timeline.compute(0, planes, acts(bench, -(-(len(other) + 1) // planes)))
    timeline.write_words(other, start=first)
    timeline.write_words([(write | {"read": 1, "read_bank": 1 - write["write_bank"], "compute": 0}, value)
                          for write, value in writes], start=timeline.length + DRAIN)
    timeline.read_words(every_word(CONFIG, range(CONFIG.physical_cols)), start=timeline.length)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_written_step_computes(dut):
    """A step that the BIST writes word by word is computed as if it had been loaded."""
    bench = MacroBench(dut)
    await bench.start()
    loads, planes = draw_loads(bench)
    wanted = Cells(CONFIG, CONFIG.physical_cols)
    for values in loads:
        for number, delivery in enumerate(values["deliveries"]):
            if delivery["valid"]:
                column = delivery["member"] % MEMBERS * CLASSES + number
                wanted.columns[column][0].write(values["load"]["row"], values["load"]["lanes"], delivery)
    timeline = Timeline(CONFIG)
    timeline.write_words(written_words(CONFIG, range(CONFIG.cols),
                                       lambda column, _, word: wanted.columns[column][0].word(word) or 0))
    for bank in range(2):
        timeline.compute(bank, planes, acts(bench, 3), start=timeline.length)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_between_planes(dut):
    """BIST reads in every cycle without a plane, also within vectors and during loads, change no result."""
    bench = MacroBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for number in range(6):
        loads, planes = draw_loads(bench)
        timeline.load(number % 2, loads)
        timeline.compute(number % 2, planes, acts(bench, 3), gap=draw_gap(bench.random, 0.5))
    timeline.read_words(draw_reads(bench.random, CONFIG, timeline.length - len(timeline.busy("issue"))))
    await bench.play(timeline, DRAIN)
    bench.finish()
