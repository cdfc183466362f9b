"""cocotb tests of :class:`hdl.cim.array.Array`; the plan is ``verif/plans/array.md``."""

from dataclasses import dataclass, field, replace
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from hdl.cim.array import Array
from hdl.cim.interfaces import bist_words, class_members, classes, issue_layout
from hdl.cim.macro import Macro
from hdl.config import ACC_BITS
from hdl.isa import QUEUES, activation_range
from hdl.layouts import Step
from sim.golden import array as golden
from sim.golden import column
from sim.rtl import test_config

from .cells import Cells, physical
from .coverage import Coverage, report
from .deliveries import step_loads
from .stimuli import (
    ACTIVATIONS,
    draw_gap,
    draw_garbage,
    draw_reads,
    draw_repair,
    draw_step,
    every_word,
    most_planes,
    written_words,
)
from .testbench import Scoreboard, Testbench
from .timeline import Timeline

CONFIG = test_config()
CLASSES, MEMBERS = classes(CONFIG), class_members(CONFIG)
BLOCKS = CONFIG.out_cols // CONFIG.post_lanes
LATENCY = Array.latency(CONFIG)
DRAIN = LATENCY + 3
IDENTITY = [CONFIG.cols] * CONFIG.spare_cols

#: Bus words of a load whose beginning is swept.
SWEPT = min(16, CONFIG.columns * (1 + CONFIG.planes) // CONFIG.units_per_beat)

STEPS = Coverage("array.step", {
    "vectors": range(1, min(4, CONFIG.acc_vectors) + 1),
    "load_beat": range(SWEPT),
    "swap": ["no bubble", "later"],
})
VECTORS = Coverage("array.vector", {
    "start": [0, 1],
    "maximum": ["accumulator", "sum"],
    "act_signed": [0, 1],
    "zero_point": ["lowest", "highest", "zero", "other"],
    "distance": [1, 2, 3, None],
    "overflow": ["none", "psum", "sum", "sum, back in range"][:3 + (CONFIG.grid_k > 1)],
}, {"type": ("act_signed", "zero_point"), "hazard": ("start", "distance")},
    {"type": [(0, "lowest")]})  # the lowest uint8 is zero
RETIREMENTS = Coverage("array.retired", {
    "signal": range(1 << len(QUEUES)),
    "with": ["a vector", "nothing"],
})
READS = Coverage("array.bist", {"word": range(bist_words(CONFIG)), "bank": [0, 1],
                                "column": range(CONFIG.physical_cols)})
POSTS = Coverage("array.post", {"block": range(BLOCKS), "after": ["at once", "later"]})


@dataclass
class GridStep:
    """One step of the grid as it was issued: what the cells held, and for each vector what came with it."""
    step: Step
    lines: list[bytes] = field(default_factory=list)
    types: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Addition:
    """A vector whose psums go into the accumulators ``vector`` of its ``target``."""
    step: GridStep
    number: int
    target: dict


class ArrayBench(Testbench):
    """Feeds the model from the ports; replays additions and reads in the order of their cycles at the end."""

    def __init__(self, dut):
        super().__init__(dut, Array(CONFIG))
        self.repair, self.isolated = self.inputs.pop("repair"), self.inputs.pop("isolated")
        self.test = self.inputs.pop("test")
        self.cells = [Cells(CONFIG, CONFIG.physical_cols) for _ in range(CONFIG.macros)]
        self.board = Scoreboard()
        self.issues: list[int] = []
        self.loads: list[int] = []
        self.acc: dict[int, np.ndarray] = {}
        self.retirements: list[tuple[int, int]] = []
        self._step: GridStep | None = None
        self._words: list[list[int | None]] = []
        self._additions: dict[int, Addition] = {}
        self._posts: list[tuple[int, int, int]] = []
        self._overflows: set[int] = set()
        self._retired: list[tuple[int, int]] = []
        self._issue_bank = self._load_bank = -1
        self._load_beat = 0
        self._added: dict[int, int] = {}

    async def start(self):
        """Also fills every cell with garbage. No macro is isolated; what the compute self-test drives is noise."""
        self.isolated.drive(0, self.random)
        cocotb.start_soon(self._self_test())
        self.set_repair([IDENTITY] * CONFIG.macros)
        await super().start()
        for repair in [IDENTITY, [0] * CONFIG.spare_cols]:
            self.set_repair([repair] * CONFIG.macros)
            timeline = Timeline(CONFIG)
            for bank in range(2):
                timeline.load(bank, draw_garbage(self.random, CONFIG, MEMBERS))
            await self.play(timeline, 1)
        self.set_repair([IDENTITY] * CONFIG.macros)
        self.loads.clear()

    async def _self_test(self):
        """Noise, but it computes, and loads, writes and resets nothing."""
        while True:
            issue = {name: self.random.getrandbits(32) % (1 << field.width) for name, field in issue_layout(CONFIG)}
            self.test.drive({"issue": issue | {"valid": 1}, "valid": 0, "bist": {"valid": 0}, "reset": 0}, self.random)
            await RisingEdge(self.dut.clk)

    def is_isolated(self, macro: int) -> bool:
        return bool(self.isolated.read() >> macro & 1)

    def set_repair(self, repair: list[list[int]]):
        self.repair.drive(repair, self.random)

    def sample(self, cycle: int):
        self.board.sample(cycle)
        if self.ports["overflow"].read():
            self._overflows.add(cycle)
        if self.ports["retired"].read():
            self._retired.append((cycle, self.ports["retired_signal"].read()))
        issue, target, bist = (self.ports[name].read() for name in ("issue", "target", "bist"))
        loading = any(port["valid"].read() for port in self.ports["deliveries"])
        if loading:
            self._load(cycle)
        if bist["valid"] and bist["read"]:
            self._read(cycle, bist, loading)
        if bist["valid"] and bist["write"]:
            for macro, cells in enumerate(self.cells):
                if not self.is_isolated(macro):
                    cells.columns[bist["column"]][bist["write_bank"]].write_word(bist["word"],
                                                                                 self.ports["bist_data"].read())
        if issue["valid"]:
            self._issue(cycle, issue, target, loading)
        if target["final"]:
            self.retirements.append((cycle + LATENCY, target["signal"]))
            RETIREMENTS.sample(**{"signal": target["signal"], "with": "a vector" if issue["valid"] else "nothing"})
        if self.ports["post_fetch"].read():
            self._posts.append((cycle, self.ports["post_vector"].read(), self.ports["post_block"].read()))
            self.board.expect(cycle + 1, "post", self.ports["post_values"].read)

    def _load(self, cycle: int):
        """No read of this cycle sees what it writes: loads come first only because none of the same bank may."""
        load, repair = self.ports["load"].read(), self.repair.read()
        self._load_beat = self._load_beat + 1 if load["bank"] == self._load_bank else 0
        self._load_bank = load["bank"]
        self.loads.append(cycle)
        for number, port in enumerate(self.ports["deliveries"]):
            if port["valid"].read():
                delivery = port.read()
                macro, logical = divmod(delivery["member"] * CLASSES + number, CONFIG.cols)
                if self.is_isolated(macro):
                    continue
                bank = self.cells[macro].columns[physical(logical, repair[macro])][load["bank"]]
                bank.write(load["row"], load["lanes"], delivery)

    def _read(self, cycle: int, bist: dict, loading: bool):
        bank = bist["read_bank"]
        if loading and bank == self._load_bank:
            return  # what a read of a written word gives is not defined
        READS.sample(word=bist["word"], bank=bank, column=bist["column"])
        self._words.append([0 if self.is_isolated(macro) else cells.columns[bist["column"]][bank].word(bist["word"])
                            for macro, cells in enumerate(self.cells)])
        self.board.expect(cycle + 2, "word", self.ports["bist_words"].read)

    def _issue(self, cycle: int, issue: dict, target: dict, loading: bool):
        assert not (loading and issue["bank"] == self._load_bank), "the bench wrote a bank that it computed"
        if issue["step"]:
            self._begin(cycle, issue["bank"], loading)
        self.issues.append(cycle)
        step = self._step
        assert step is not None, "the bench issued a vector before a step"
        if issue["first"]:
            line = self.ports["line"].read().to_bytes(CONFIG.line_bytes, "little")
            step.lines.append(line)
            step.types.append((self.ports["act_signed"].read(), self.ports["zero_point"].read()))
        if issue["last"]:
            self._additions[cycle + Macro.latency(CONFIG)] = Addition(step, len(step.lines) - 1, target)
            self._cover(target, step.types[-1])

    def _begin(self, cycle: int, bank: int, loading: bool):
        late = not self.issues or self.issues[-1] < cycle - 1
        STEPS.sample(load_beat=self._load_beat if loading else None,
                     swap=None if bank == self._issue_bank else "later" if late else "no bubble")
        self._issue_bank = bank
        steps = [cells.step(bank, [physical(logical, repair) for logical in range(CONFIG.cols)])
                 for cells, repair in zip(self.cells, self.repair.read())]
        steps = [replace(step, magnitude=0 * step.magnitude) if self.is_isolated(macro) else step
                 for macro, step in enumerate(steps)]
        self._step = GridStep(Step(*(np.concatenate([getattr(step, name) for step in steps])
                                     for name in ("magnitude", "negative", "m", "e"))))

    def _cover(self, target: dict, act_type: tuple[int, int]):
        signed, zero_point = act_type
        low, high = activation_range(bool(signed))
        number = len(self._additions)
        distance = number - self._added.get(target["vector"], -99)
        self._added[target["vector"]] = number
        value = zero_point - 256 if signed and zero_point > 127 else zero_point
        VECTORS.sample(start=target["start"], act_signed=signed, distance=distance if distance < 4 else None,
                       zero_point={low: "lowest", high: "highest", 0: "zero"}.get(value, "other"))

    def finish(self):
        """Compares everything."""
        overflows, posts = self._replay()
        assert self._overflows == overflows, f"overflow in cycles {self._overflows ^ overflows}, or not"
        assert self._retired == self.retirements, f"retired {self._retired}, not {self.retirements}"
        self._compare("post", posts)
        self._compare("word", self._words)
        self.board.finish()
        report()

    def _compare(self, name: str, expected: list):
        """Compares observations; None: nothing is known of this one."""
        observed = self.board.observed.pop(name, [])
        assert len(observed) == len(expected)
        for number, (have, want) in enumerate(zip(observed, expected)):
            want = [h if w is None else w for h, w in zip(have, want)]
            assert have == want, f"{name} {number} is {have}, not {want}"

    def _replay(self) -> tuple[set[int], list]:
        """Cycles in which overflow must be set, and what the reads of accumulators must give, in order."""
        scaled = {}
        for addition in self._additions.values():
            if addition.number == 0:
                scaled[id(addition.step)] = self._scaled(addition.step)
                STEPS.sample(vectors=len(addition.step.lines))
        overflows: set[int] = set()
        posts: list[list[int | None]] = []
        events: list[tuple[int, int, Any]] = [(cycle, 1, addition) for cycle, addition in self._additions.items()]
        events += [(cycle, 0, post) for cycle, *post in self._posts]
        for cycle, _, event in sorted(events, key=lambda e: e[:2]):
            if isinstance(event, Addition):
                values, psum_overflow = (part[:, event.number] for part in scaled[id(event.step)])
                vector = event.target["vector"]
                before = None if event.target["start"] else self.acc[vector][None]
                after, sum_overflow = golden.accumulate(before, values[:, None],
                                                        maximum=bool(event.target["maximum"]))
                self.acc[vector] = after[0]
                if psum_overflow.any() or sum_overflow:
                    overflows.add(cycle + 1)
                if before is not None and event.target["maximum"]:
                    VECTORS.sample(maximum="accumulator" if (after == before).any() else None)
                    VECTORS.sample(maximum="sum" if (after > before).any() else None)
                    before = None
                self._cover_overflow(before, values, bool(psum_overflow.any()), sum_overflow)
            else:
                posts.append(self._post(cycle, *event))
        return overflows, posts

    def _scaled(self, step: GridStep) -> tuple[np.ndarray, np.ndarray]:
        """Scaled psums and their overflow, [grid_k, vectors, out_cols] each."""
        lanes = [golden.grid_lanes(CONFIG, np.frombuffer(line, np.uint8), bool(signed),
                                   zero_point - 256 if signed and zero_point > 127 else zero_point)
                 for line, (signed, zero_point) in zip(step.lines, step.types)]
        return golden.scaled_psums(CONFIG, step.step, np.concatenate(lanes, axis=1))

    def _cover_overflow(self, before: np.ndarray | None, values: np.ndarray, psum: bool, wrapped: bool):
        VECTORS.sample(overflow="psum" if psum else "sum" if wrapped else "none")
        sums = np.cumsum(values.astype(np.int64), axis=0) + (0 if before is None else before[0])
        outside = column.wrap(sums)[1]
        if (outside[:-1].any(axis=0) & ~outside[-1]).any():
            VECTORS.sample(overflow="sum, back in range")

    def _post(self, cycle: int, vector: int, block: int) -> list[int | None]:
        being_written = (cycle in self._additions and self._additions[cycle].target["vector"] == vector)
        written = cycle - 1 in self._additions and self._additions[cycle - 1].target["vector"] == vector
        POSTS.sample(block=block, after="at once" if written else "later")
        if being_written or vector not in self.acc:
            return [None] * CONFIG.post_lanes
        return self.acc[vector][block * CONFIG.post_lanes:][:CONFIG.post_lanes].tolist()


def draw_loads(bench: ArrayBench, **options) -> tuple[list[dict], int]:
    """A random step: its bus words, and how many planes to issue."""
    groups = draw_step(bench.rng, CONFIG, CONFIG.columns, **options)
    return step_loads(CONFIG, groups, bench.random), max(1, most_planes(groups))


def draw_type(bench: ArrayBench) -> tuple[int, int]:
    """``act_signed`` and ``zero_point``."""
    signed = bench.random.randrange(2)
    low, high = activation_range(bool(signed))
    return signed, bench.random.choice([low, high, 0, bench.random.randint(low, high)])


def vector(bench: ArrayBench, number: int, act_type: tuple[int, int], *, start: bool, final: bool = False,
           maximum: bool = False, kind: str | None = None) -> dict:
    """A random activation line for accumulators ``number``."""
    signed, zero_point = act_type
    low, high = activation_range(bool(signed))
    draw = ACTIVATIONS[kind or bench.random.choice(list(ACTIVATIONS))]
    line = draw(bench.rng, CONFIG.line_bytes, low, high).astype(np.int16).astype(np.uint8)
    signal = bench.random.getrandbits(len(QUEUES))
    return {"line": int.from_bytes(line.tobytes(), "little"), "act_signed": signed, "zero_point": zero_point,
            "target": {"vector": number, "start": start, "maximum": maximum, "final": final, "signal": signal}}


def put_post(timeline: Timeline, start: int, vectors, blocks=range(BLOCKS)):
    """Places reads of accumulators in the first free cycles from ``start`` on."""
    cycle = start
    for number in vectors:
        for block in blocks:
            while cycle in timeline.busy("post_fetch"):
                cycle += 1
            timeline.put("post_fetch", cycle, 1)
            timeline.put("post_vector", cycle, number)
            timeline.put("post_block", cycle, block)


def put_gemm(bench: ArrayBench, timeline: Timeline, steps: list[tuple[list[dict], int]], numbers: list[int], *,
             first_bank: int = 0, accumulate: bool = False, gap: float = 0.0) -> int:
    """Places loads and vectors of one GEMM instruction. Returns the cycle of the last plane."""
    act_type = draw_type(bench)
    maximum = bench.random.random() < 0.3
    end = 0
    for s, (loads, planes) in enumerate(steps):
        bank = (first_bank + s) % 2
        timeline.load(bank, loads, gap=draw_gap(bench.random, gap))
        vectors = [vector(bench, number, act_type, start=s == 0 and not accumulate, maximum=maximum,
                          final=s == len(steps) - 1 and number == numbers[-1]) for number in numbers]
        _, end = timeline.compute(bank, planes, vectors, gap=draw_gap(bench.random, gap))
    return end


def some_vectors(bench: ArrayBench, count: int) -> list[int]:
    """``count`` consecutive vectors, or all if there are not so many."""
    count = min(count, CONFIG.acc_vectors)
    first = bench.random.randint(0, CONFIG.acc_vectors - count)
    return list(range(first, first + count))


@cocotb.test()
async def test_latency(dut):
    """Accumulators can be read, overflow is reported and the instruction retires in the documented cycle."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for block in range(BLOCKS):
        loads, planes = draw_loads(bench)
        end = put_gemm(bench, timeline, [(loads, planes)], [block % CONFIG.acc_vectors], first_bank=block % 2)
        put_post(timeline, end + LATENCY, [block % CONFIG.acc_vectors], [block])
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(gap=[0.0, 0.3])
async def test_random_gemms(dut, gap):
    """Random GEMMs with reads of their results while the next one runs, and BIST reads where no plane is issued."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    bank = 0
    for number in range(6):
        steps = [draw_loads(bench, largest_e=12) for _ in range(bench.random.randint(1, 3))]
        numbers = some_vectors(bench, 4 - number % 4)
        known = {target["vector"] for target in timeline.busy("target").values()}
        end = put_gemm(bench, timeline, steps, numbers, first_bank=bank, gap=gap,
                       accumulate=known.issuperset(numbers) and bench.random.random() < 0.5)
        put_post(timeline, end + LATENCY, numbers)
        bank = (bank + len(steps)) % 2
    timeline.read_words(draw_reads(bench.random, CONFIG, timeline.length // 4), stride=2)
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_no_bubble(dut):
    """Vectors and steps without a bubble, across bank swaps, while the other bank takes one bus word per cycle."""
    bench = ArrayBench(dut)
    await bench.start()
    steps = [draw_loads(bench, kinds=["one_plane", "few_planes"]) for _ in range(4)]
    lengths = [len(loads) for loads, _ in steps[1:]] + [0]
    timeline = Timeline(CONFIG)
    timeline.load(0, steps[0][0])
    total, started, spans, act_type = 0, 0, [], draw_type(bench)
    for number, (_, planes) in enumerate(steps):
        bank = number % 2
        if number + 1 < len(steps):
            spans.append(timeline.load(1 - bank, steps[number + 1][0]))
        count = -(-(lengths[number] + DRAIN) // planes)  # as long as the next load
        timeline.compute(bank, planes, [
            vector(bench, v % CONFIG.acc_vectors, act_type, final=number == len(steps) - 1 and v == count - 1,
                   start=started <= v < CONFIG.acc_vectors) for v in range(count)])
        started = max(started, count)
        total += count * planes
    put_post(timeline, timeline.length + LATENCY, range(min(started, CONFIG.acc_vectors)))
    await bench.play(timeline, DRAIN)
    assert len(bench.issues) == bench.issues[-1] - bench.issues[0] + 1 == total, "there was a bubble"
    assert [last - first + 1 for first, last in spans] == lengths[:-1]
    assert len(bench.loads) == sum(len(loads) for loads, _ in steps)
    bench.finish()


@cocotb.test()
async def test_swap_at_every_bus_word(dut):
    """The first plane of a step is issued while bus word 0, 1, 2, ... of a load of the other bank is delivered."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    (loads, planes), act_type = draw_loads(bench, kinds=["one_plane"]), draw_type(bench)
    timeline.load(0, loads)
    for offset in range(SWEPT):
        bank = offset % 2
        loads, other = draw_loads(bench, kinds=["maximum"] if len(loads) < 48 else ["one_plane"], largest_e=8)
        first, _ = timeline.load(1 - bank, loads)
        timeline.compute(bank, planes, [vector(bench, number, act_type, start=offset == 0)
                                        for number in range(min(2, CONFIG.acc_vectors))], start=first + offset)
        planes = other
    put_post(timeline, timeline.length + LATENCY, range(min(2, CONFIG.acc_vectors)))
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_same_vector_again(dut):
    """The same accumulators in cycles 1, 2 and 3 apart, started, added to and maximised, read in between."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    loads, planes = draw_loads(bench, kinds=["one_plane"], planes=1, hollow=0, largest_e=12)
    assert planes == 1
    timeline.load(0, loads)
    act_type = draw_type(bench)
    numbers = [0] + [bench.random.randrange(2) for _ in range(40)] + [0, 0, 0, 1, 1, 1]
    seen: set[int] = set()
    vectors = []
    for number in numbers:
        vectors.append(vector(bench, number, act_type, start=number not in seen or bench.random.random() < 0.2,
                              maximum=bench.random.random() < 0.5))
        seen.add(number)
    first, last = timeline.compute(0, 1, vectors)
    put_post(timeline, first + LATENCY, [0, 1] * ((last - first) // (2 * BLOCKS)))
    put_post(timeline, last + LATENCY, [0, 1])
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_overflow(dut):
    """Sums that wrap, also within a vector and back, psums that do not fit: results wrap, each is reported once."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    # all lanes 255 times all ones, times 2^e, is a little below 2^31
    largest = CONFIG.rows * 255 * ((1 << CONFIG.planes) - 1)
    fits = min(31, ACC_BITS - 1 - largest.bit_length())
    for number in range(12):
        groups = draw_step(bench.rng, CONFIG, CONFIG.columns, kinds=["maximum"], signs=["positive", "negative"])
        e = fits + (number % 4 == 3)
        groups = [type(g)(g.mask, 0, e, g.sign, g.planes) for g in groups]
        timeline.load(number % 2, step_loads(CONFIG, groups))
        timeline.compute(number % 2, CONFIG.planes, [
            vector(bench, v, (0, 0), start=number == 0, kind="highest" if number % 3 else "uniform") for v in range(2)])
    put_post(timeline, timeline.length + LATENCY, range(2))
    await bench.play(timeline, DRAIN)
    assert bench._overflows
    bench.finish()


@cocotb.test()
async def test_retire(dut):
    """The end of an instruction passes through the array in order, with a vector or with nothing."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    loads, planes = draw_loads(bench, kinds=["few_planes"])
    timeline.load(0, loads)
    act_type = draw_type(bench)
    timeline.compute(0, planes, [vector(bench, 0, act_type, start=True, final=bench.random.random() < 0.7)
                                 for _ in range(30)], gap=draw_gap(bench.random, 0.5))
    for cycle in range(timeline.length + 40):
        if cycle not in timeline.busy("issue") and bench.random.random() < 0.5:
            timeline.put("target", cycle, {"final": 1, "signal": bench.random.getrandbits(len(QUEUES))})
    await bench.play(timeline, DRAIN)
    assert len(bench.retirements) > 20
    bench.finish()


@cocotb.test()
@cocotb.parametrize(signed=[0, 1])
async def test_activation_types(dut, signed):
    """Lanes of both types with every kind of zero point, changing from vector to vector."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    low, high = activation_range(bool(signed))
    loads, planes = draw_loads(bench, kinds=["dense", "maximum"], largest_e=0)
    timeline.load(0, loads)
    for kind in ACTIVATIONS:
        vectors = [vector(bench, 0, (signed, zero_point), start=True, kind=kind) for zero_point in (low, high, 0, 77)]
        _, end = timeline.compute(0, planes, vectors)
        put_post(timeline, end + LATENCY, [0])
    await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_repair(dut):
    """Random repair maps, another for each macro."""
    bench = ArrayBench(dut)
    await bench.start()
    for _ in range(3):
        bench.set_repair([draw_repair(bench.random, CONFIG.cols, CONFIG.spare_cols) for _ in range(CONFIG.macros)])
        timeline = Timeline(CONFIG)
        numbers = some_vectors(bench, 2)
        end = put_gemm(bench, timeline, [draw_loads(bench) for _ in range(2)], numbers)
        put_post(timeline, end + LATENCY, numbers)
        await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_isolated_macros(dut):
    """Loads and writes do not reach them; their results and words count as zero, whatever they compute; all others go
    on. When they are no longer isolated they compute with what they held."""
    bench = ArrayBench(dut)
    await bench.start()
    numbers = some_vectors(bench, 3)
    for isolated in [*(1 << macro for macro in range(CONFIG.macros)), bench.random.randrange(1 << CONFIG.macros)]:
        most = 0
        for now, loaded in ((0, True), (isolated, True), (0, False)):
            bench.isolated.drive(now, bench.random)
            timeline, act_type = Timeline(CONFIG), draw_type(bench)
            steps = [draw_loads(bench, largest_e=12) for _ in range(2)] if loaded else []
            for bank, (loads, _) in enumerate(steps):
                timeline.load(bank, loads)
            most = max([most, *(planes for _, planes in steps)])
            for bank in range(2):
                _, end = timeline.compute(bank, most, [vector(bench, number, act_type, start=bank == 0)
                                                       for number in numbers])
            put_post(timeline, end + LATENCY, numbers)
            timeline.read_words(draw_reads(bench.random, CONFIG, 8), start=timeline.length)
            await bench.play(timeline, DRAIN)
    bench.finish()


@cocotb.test()
async def test_bist_reads_every_word(dut):
    """Every word of both banks of every column, all macros at once, one per cycle: loaded, then written by the BIST."""
    bench = ArrayBench(dut)
    await bench.start()
    timeline = Timeline(CONFIG)
    for bank in range(2):
        timeline.load(bank, draw_loads(bench)[0])
    reads = every_word(CONFIG, range(CONFIG.physical_cols))
    timeline.read_words(reads, start=timeline.length)
    timeline.write_words(written_words(CONFIG, range(CONFIG.physical_cols),
                                       lambda *_: bench.random.getrandbits(CONFIG.rows)), start=timeline.length)
    timeline.read_words(reads, start=timeline.length)
    await bench.play(timeline, DRAIN)
    assert len(bench._words) == 2 * len(reads)
    bench.finish()
