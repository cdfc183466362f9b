"""cocotb tests of :class:`hdl.cim.loader.Loader`; the plan is ``verif/plans/loader.md``."""

from collections.abc import Callable

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.cim.interfaces import classes
from hdl.cim.loader import Loader
from sim.golden import column
from sim.rtl import test_config

from .cells import Cells
from .coverage import Coverage, report
from .deliveries import Group, beats_of, groups_of_words, step_loads, step_of, step_words
from .stimuli import KINDS, draw_step, most_planes
from .testbench import Testbench

CONFIG = test_config()
CLASSES = classes(CONFIG)
ROWS = CONFIG.slots // CONFIG.units_per_beat
LANES = CONFIG.units_per_beat
#: Lanes in which a step can end, and a column begin, which are not all in the smallest grids.
LAST_LANES = sorted({(units - 1) % LANES for units in range(CONFIG.columns, CONFIG.max_units + 1)})
SIGN_LANES = range(min(LANES, (CONFIG.columns - 1) * (CONFIG.planes + 1) + 1))

STEPS = Coverage("loader.step", {
    "most_planes": range(CONFIG.planes + 1),
    "bank": [0, 1],
    "last_lane": LAST_LANES,
    "before": ["none", "gap", "no gap"],
}, {"bank_before": ("bank", "before")}, {"bank_before": [(1, "none")]})
COLUMNS = Coverage("loader.column", {
    "planes": range(CONFIG.planes + 1),
    "sign_lane": SIGN_LANES,
    "words": range(1, (SIGN_LANES[-1] + CONFIG.planes) // LANES + 2),
    "hollow": [False, True],
}, {"sign_lane_planes": ("sign_lane", "planes")})
STREAM = Coverage("loader.stream", {
    "phase": ["headers", "units"],
    "valid": [0, 1],
    "bank_free": range(4),
    "bank": [0, 1],
}, {"all": ("phase", "valid", "bank_free", "bank")})


class LoaderBench(Testbench):
    """Rebuilds the steps from the bus words that were accepted, and compares everything that the loader does with them.

    Attributes
    ----------
    queue : list of int
        Bus words to send.
    send : function to bool
        Whether to offer a word in the next cycle if none is offered.
    bank_free : function to int
        What the port has in the next cycle.
    words : list of int
        Bus words accepted of the current step.
    accepted : list of int
        Cycles in which a word was accepted.
    steps : int
        Steps accepted.
    """

    def __init__(self, dut):
        super().__init__(dut, Loader(CONFIG))
        self.queue: list[int] = []
        self.send: Callable[[], bool] = lambda: True
        self.bank_free: Callable[[], int] = lambda: 3
        self.accepted: list[int] = []
        self.steps = 0
        self._streams: set[tuple] = set()
        self._expected: dict[int, dict] = {}
        self._observed: dict[int, dict] = {}
        self._abandoned: set[int] = set()
        self._cells = Cells(CONFIG, CONFIG.columns)
        self._clear()

    def _clear(self):
        """The state after reset."""
        self.bank = 0
        self.words: list[int] = []
        self._beats = 0
        self._unit_cycles: list[int] = []
        self._before: int | None = None

    async def start(self):
        await super().start()
        cocotb.start_soon(self._drive())

    async def _drive(self):
        stream = self.ports["i_words"]
        offered = False
        while True:
            await FallingEdge(self.dut.clk)
            if offered and stream["ready"].read():
                offered = False
                self.queue.pop(0)
            await RisingEdge(self.dut.clk)
            offered = bool(self.queue) and (offered or self.send())
            self.ports["bank_free"].drive(self.bank_free(), self.random)
            stream["valid"].drive(offered, self.random)
            stream["payload"].drive(self.queue[0] if offered else None, self.random)

    async def accept(self, count: int):
        """Waits until ``count`` words of a step are accepted, without back-pressure."""
        for _ in range(count + 10):
            if len(self.words) == count:
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"{count} words were not accepted")

    async def run(self, slowness: int = 1):
        """Waits until all words are accepted and their effects over."""
        limit = slowness * (len(self.queue) + 10)
        while self.queue and limit:
            await RisingEdge(self.dut.clk)
            limit -= 1
        for _ in range(Loader.LATENCY + 2):
            await RisingEdge(self.dut.clk)

    async def reset(self):
        """Abandons whatever is under way."""
        self.queue.clear()
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0

    def sample(self, cycle: int):
        self._outputs(cycle)
        if self.dut.rst.value == 1:
            self._reset(cycle)
            return
        valid, ready = (self.ports["i_words"][name].read() for name in ("valid", "ready"))
        free, headers = self.ports["bank_free"].read(), len(self.words) < CONFIG.header_beats
        assert ready == (headers or free >> self.bank & 1), f"ready is {ready} in cycle {cycle}"
        stream = ("headers" if headers else "units", valid, free, self.bank)
        if stream not in self._streams:
            self._streams.add(stream)
            STREAM.sample(**dict(zip(("phase", "valid", "bank_free", "bank"), stream)))
        if valid and ready:
            self._accept(cycle, self.ports["i_words"]["payload"].read())

    def _accept(self, cycle: int, word: int):
        if not self.words:
            gap = "none" if self._before is None else "no gap" if self._before == cycle - 1 else "gap"
            STEPS.sample(before=gap, bank=self.bank)
        self._before = cycle
        self.accepted.append(cycle)
        self.words.append(word)
        if len(self.words) == CONFIG.header_beats:
            self._beats = beats_of(CONFIG, self.words)
        elif len(self.words) > CONFIG.header_beats:
            self._unit_cycles.append(cycle)
            last = len(self.words) == self._beats
            assert self.ports["step_end"].read() == last, f"step_end in bus word {len(self.words)} of {self._beats}"
            if last:
                self._step()

    def _step(self):
        """A step has been accepted: what must be delivered in which cycle."""
        groups = groups_of_words(CONFIG, self.words)
        units = self.words[CONFIG.header_beats:]
        for at, word, values in zip(self._unit_cycles, units, step_loads(CONFIG, groups)):
            values["load"] |= {"bank": self.bank, "lanes": word}  # what lanes that no column takes carry is passed on
            self._expected[at + Loader.LATENCY] = values
        self._expected[at + Loader.LATENCY]["groups"] = groups
        self._cover(groups)
        self.steps += 1
        self.bank = 1 - self.bank
        self.words, self._unit_cycles = [], []

    def _cover(self, groups: list[Group]):
        start = 0
        for group in groups:
            lane = start % CONFIG.units_per_beat
            COLUMNS.sample(planes=len(group.planes), sign_lane=lane, hollow=0 in group.planes,
                           words=-(-(lane + len(group.units)) // CONFIG.units_per_beat))
            start += len(group.units)
        STEPS.sample(most_planes=most_planes(groups), last_lane=(start - 1) % CONFIG.units_per_beat)

    def _reset(self, cycle: int):
        # Bus words of a step that will not end were delivered all the same, as far as they had come.
        self._abandoned |= {at + Loader.LATENCY for at in self._unit_cycles}
        for late in [at for at in self._expected if at > cycle]:
            del self._expected[late]
        self._clear()

    def _outputs(self, cycle: int):
        """Notes what the loader delivers and commits in a cycle, if anything."""
        valid = [port["valid"].read() for port in self.ports["deliveries"]]
        commit = self.ports["commit"].read()
        if any(valid) or commit:
            self._observed[cycle] = {
                "load": self.ports["load"].read(),
                "deliveries": [port.read() if v else {"valid": 0} for port, v in zip(self.ports["deliveries"], valid)],
                "commit": (commit, self.ports["commit_bank"].read(), self.ports["planes"].read()),
            }

    def finish(self):
        """Compares everything."""
        assert not self.queue, "bus words are left"
        for cycle in sorted(set(self._expected) | set(self._observed)):
            assert cycle in self._observed, f"nothing was delivered in cycle {cycle}"
            observed = self._observed[cycle]
            if cycle in self._expected:
                self._compare(cycle, self._expected[cycle], observed)
            else:
                assert cycle in self._abandoned, f"something was delivered in cycle {cycle}: {observed}"
                assert not observed["commit"][0], f"a step was committed in cycle {cycle} that had not ended"
            self._write(observed)
            if groups := self._expected.get(cycle, {}).get("groups"):
                self._check_cells(observed["load"]["bank"], groups)
        report()

    def _compare(self, cycle: int, expected: dict, observed: dict):
        groups = expected.get("groups")
        bank = expected["load"]["bank"]
        if groups:
            assert observed["commit"] == (1, bank, most_planes(groups)), f"commit in cycle {cycle}"
        else:
            assert not observed["commit"][0], f"commit in cycle {cycle}, before the end of the step"
        load = dict(observed["load"])
        if ROWS == 1:
            load["row"] = 0  # there is only one
        assert load == expected["load"], f"load in cycle {cycle}"
        for number, (want, have) in enumerate(zip(expected["deliveries"], observed["deliveries"])):
            if not want["valid"] or not want["first"]:  # only these bring a sign word and a header
                want, have = ({k: v for k, v in d.items() if k not in ("sign", "group")} for d in (want, have))
            assert have == want, f"delivery of class {number} in cycle {cycle} is {have}, not {want}"

    def _write(self, observed: dict):
        load = observed["load"]
        for number, delivery in enumerate(observed["deliveries"]):
            if delivery["valid"]:
                bank = self._cells.columns[delivery["member"] * CLASSES + number][load["bank"]]
                bank.write(load["row"], load["lanes"], delivery)

    def _check_cells(self, bank: int, groups: list[Group]):
        """After a commit the bank holds the step, with the golden model's negation constants."""
        step = step_of(CONFIG, groups)
        constants = column.negation_constant(column.planes(step.magnitude, CONFIG.planes), step.negative)
        for number, (group, constant) in enumerate(zip(groups, constants)):
            cells = self._cells.columns[number][bank]
            assert cells.contents == group, f"column {number} holds {cells.contents}, not {group}"
            assert cells.constant == constant, f"the constant of column {number} is {cells.constant}, not {constant}"


def constant(value: int) -> Callable[[], int]:
    return lambda: value


def words(bench: LoaderBench, **options) -> list[int]:
    """A random step; bits that nobody reads are random too."""
    return step_words(CONFIG, draw_step(bench.rng, CONFIG, CONFIG.columns, **options), bench.random)


@cocotb.test()
async def test_latency(dut):
    """One step: its bus words reach the load port in the documented cycle, and it is committed with the last."""
    bench = LoaderBench(dut)
    await bench.start()
    bench.queue += words(bench)
    await bench.run()
    bench.finish()


@cocotb.test()
async def test_one_bus_word_per_cycle(dut):
    """Steps one after another while both banks are free: a bus word is accepted in every cycle."""
    bench = LoaderBench(dut)
    await bench.start()
    for number in range(CONFIG.planes + 1):
        bench.queue += words(bench, planes=number) if number else words(bench, kinds=["empty"], hollow=0)
    total = len(bench.queue)
    await bench.run()
    assert len(bench.accepted) == total
    assert bench.accepted[-1] - bench.accepted[0] + 1 == total, "a bus word was not accepted at once"
    bench.finish()


@cocotb.test()
@cocotb.parametrize(valid=[0.3, 1.0], free=[0.3, 0.8])
async def test_random_stream(dut, valid, free):
    """Random steps, bus words that come when they like, banks that are free when they like."""
    bench = LoaderBench(dut)
    bench.send = lambda: bench.random.random() < valid
    bench.bank_free = lambda: sum((bench.random.random() < free) << bank for bank in range(2))
    await bench.start()
    steps = 0
    while steps < 6 or len(bench.queue) < 100:
        bench.queue += words(bench)
        steps += 1
    await bench.run(slowness=20)
    assert bench.steps == steps
    bench.finish()


@cocotb.test()
async def test_headers_need_no_bank(dut):
    """Headers are accepted while both banks are taken; the first bus word of units waits for its own bank alone."""
    bench = LoaderBench(dut)
    await bench.start()
    for bank in range(2):
        bench.bank_free = constant(2 >> bank)  # only the other one
        accepted = len(bench.accepted)
        bench.queue += words(bench)
        await bench.accept(CONFIG.header_beats)
        for _ in range(10):
            await RisingEdge(dut.clk)
        assert len(bench.accepted) - accepted == CONFIG.header_beats
        bench.bank_free = constant(1 << bank)
        await bench.run()
    bench.finish()


@cocotb.test()
async def test_bank_taken_at_every_bus_word(dut):
    """The bank is taken for some cycles before each bus word of units in turn."""
    bench = LoaderBench(dut)
    state = {"at": 0, "for": 0}

    def free() -> int:
        if len(bench.words) == CONFIG.header_beats + state["at"] and state["for"]:
            state["for"] -= 1
            return 2 >> bench.bank
        return 3

    bench.bank_free = free
    await bench.start()
    for at in range(min(32, -(-CONFIG.columns // CONFIG.units_per_beat))):  # the length of the shortest step
        state |= {"at": at, "for": bench.random.randint(1, 3)}
        bench.queue += words(bench, kinds=["empty", "one_plane"])
        await bench.run(slowness=2)
        assert not state["for"]
    bench.finish()


@cocotb.test()
async def test_reset_at_every_bus_word(dut):
    """A reset in the middle of a step leaves nothing behind: the next step is complete, in bank 0."""
    bench = LoaderBench(dut)
    await bench.start()
    for at in range(1, min(24, CONFIG.header_beats + -(-CONFIG.columns // CONFIG.units_per_beat))):
        bench.queue += words(bench, kinds=["empty", "one_plane"])
        await bench.accept(at)
        await bench.reset()
        bench.queue += words(bench, kinds=["few_planes"])
        await bench.run(slowness=2)
    bench.finish()


@cocotb.test()
@cocotb.parametrize(kind=list(KINDS), sign=["negative", "mixed"])
async def test_kinds_of_groups(dut, kind, sign):
    """Steps of one kind of group each: longest and shortest, -128, negative zeros, stored planes without a bit."""
    bench = LoaderBench(dut)
    await bench.start()
    for _ in range(2):
        bench.queue += words(bench, kinds=[kind], signs=[sign], hollow=0.5 if kind == "empty" else 0)
    await bench.run()
    assert bench.steps == 2
    bench.finish()
