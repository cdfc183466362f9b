"""Self-test: the March controller on macros with a fault each; verdict and every failing read as the fault simulator's.

The plan is ``verif/plans/mbist.md``.
"""

from dataclasses import replace
from random import Random

import cocotb
from cocotb.task import Task
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.bist.march import LOG_DEPTH
from hdl.bist.march import March as Controller
from hdl.bist.microcode import CODE_WORDS, Kind, pause_layout, step_layout
from hdl.cim.interfaces import bank_record_layout, bist_layout, bist_words
from hdl.csr import BistCause, register_map
from mbist.families import Family, Place, families
from mbist.faults import Cell, CellFault, Fault, StuckOpen
from mbist.library import LIBRARY
from mbist.memory import Failure, fail_log
from mbist.microcode import Code, Run, assemble, stored_bits
from mbist.notation import March, Order, Pause
from mbist.primitives import parse_primitive
from sim.rtl import test_config

from .coverage import Coverage, report
from .faulty_macro import fault_layout, fault_values
from .layout import Codec
from .self_test import SelfTest
from .start import reset, start

CONFIG = test_config()
FAST = cocotb.SIM_NAME.lower().startswith("verilator")
WORDS = bist_words(CONFIG)
SIGN = CONFIG.slots
MAP = register_map(CONFIG)

#: Faults of each family that are injected per run: 504 in 14 families on a simulator, more on the fast one.
INJECTED = 60 if FAST else 36

#: Bits that every word has.
_FEWEST_BITS = bank_record_layout(CONFIG).size % CONFIG.rows or CONFIG.rows

#: Tests that a macro can run, with pauses of simulated length: the port that reads does not reach the bank that the
#: other writes.
_PAUSE = 50
TESTS = {name: replace(march, elements=tuple(Pause(_PAUSE) if isinstance(e, Pause) else e for e in march.elements))
         for name, march in LIBRARY.items() if name != "March 2A"}

_RUNS = Coverage("mbist.run", {
    "family": list(families()), "test": list(TESTS), "detected": [False, True], "either": [Order.UP, Order.DOWN],
    "fast_word": [False, True], "banks": [(0,), (1,), (0, 1)], "column_stripes": [False, True],
    "word_stripes": [False, True], "row_stripes": [None, *range(CONFIG.row_bits)], "user": [False, True],
    "macro": range(CONFIG.macros), "full": [False, True]},
    crosses={"found": ("family", "detected"), "background": ("column_stripes", "word_stripes", "user")},
    # No port of a macro reads the bank that the other writes, so nothing sensitises these.
    impossible={"found": [("two ports", True)]})


def step(**fields: int) -> int:
    return step_layout().const({"kind": Kind.STEP} | fields).as_bits()


def pause(cycles: int, **fields: int) -> int:
    return pause_layout().const({"kind": Kind.PAUSE, "cycles": cycles} | fields).as_bits()


W0, R0 = step(write=1, last=1), step(read=1, last=1)

#: Every read after the first element fails, in each of its steps.
ALL_FAIL = Code((W0, step(read=1, read_value=1), step(read=1, read_value=1, last=1)), ((0, 0), (1, 0), (1, 1)))


class SelfTestBench:
    """The controller by its registers, and the macros' fault."""

    @classmethod
    async def start(cls, dut) -> "SelfTestBench":
        await start(dut, SelfTest(CONFIG))
        return cls(dut)

    def __init__(self, dut):
        self.dut = dut
        self.random = Random(cocotb.RANDOM_SEED)
        self.codec = Codec(fault_layout(CONFIG))
        self._code: Code | None = None
        self._watcher: Task | None = None

    async def cycle(self, count: int = 1):
        for _ in range(count):
            await FallingEdge(self.dut.clk)

    def forget(self):
        """The chip has been reset: its microcode is gone."""
        self._code = None

    async def command(self, **fields: int):
        """Writes BIST_CONTROL."""
        where = MAP["BIST_CONTROL"].fields
        self.dut.bist_control_set.value = sum(value << where[name][0] for name, value in fields.items())
        await self.cycle()
        self.dut.bist_control_set.value = 0

    def fields(self, name: str) -> dict[str, int]:
        """A register's fields."""
        value = int(getattr(self.dut, name.lower()).value)
        return {field: value >> low & (1 << width) - 1 for field, (low, width, _) in MAP[name].fields.items()}

    async def load(self, code: Code):
        """Puts a test into the microcode memory, if it is not there."""
        if code != self._code:
            await self.command(clear=1)
            for word in code.words:
                self.dut.bist_code_set.value = word
                await self.cycle()
            self.dut.bist_code_set.value = 0
            self._code = code

    async def begin(self, code: Code, run: Run):
        """Loads a test and starts it."""
        await self.load(code)
        self.configure(run)
        await self.command(start=1)

    def watch(self) -> list[dict | None]:
        """Notes from now on what the controller asks of the macros, one entry per cycle; None: nothing."""
        seen: list[dict | None] = []
        if self._watcher is not None:
            self._watcher.cancel()
        self._watcher = cocotb.start_soon(self._watch(seen))
        return seen

    async def _watch(self, seen: list[dict | None]):
        codec, valid = Codec(bist_layout(CONFIG)), bist_layout(CONFIG)["valid"].offset
        while True:
            await FallingEdge(self.dut.clk)
            bits = str(self.dut.request.value)
            if bits[-1 - valid] == "0":  # the other fields may be unknown then
                seen.append(None)
            else:
                data = str(self.dut.data.value)
                seen.append(codec.unpack(int(bits, 2)) | {"data": int(data, 2) if set(data) <= {"0", "1"} else None})

    def configure(self, run: Run):
        for name, value in run.registers().items():
            getattr(self.dut, name.lower()).value = value

    async def inject(self, fault: Fault | None, *macros: int):
        """Gives macros a fault and nothing to the others."""
        values = {} if fault is None else fault_values(fault, place_of)
        self.dut.faulty.value = sum(1 << macro for macro in macros)
        self.dut.fault.value = self.codec.pack(values | {"set": 1}) if values else 0
        await self.cycle()
        self.dut.fault.value = self.codec.pack(values) if values else 0

    async def ended(self):
        """Waits until a run has ended or is held."""
        if self.fields("BIST_STATUS")["running"]:
            if self.dut.stopped.value != 1:
                await RisingEdge(self.dut.stopped)
                await FallingEdge(self.dut.clk)
            await self.cycle()
        assert not self.fields("BIST_STATUS")["running"]

    async def entry(self) -> dict[str, int]:
        """Takes the oldest entry of the fail log."""
        values = self.fields("BIST_LOG_ADDRESS") | self.fields("BIST_LOG_STEP")
        for word in ("expected", "seen"):
            values[word] = sum(int(getattr(self.dut, f"bist_log_{word}{n}").value) << 32 * n
                               for n in range(-(-CONFIG.rows // 32)))
        await self.command(next=1)
        return values

    async def log(self) -> list[dict[str, int]]:
        """All entries of the fail log, of the whole run if it is held when the log is full."""
        entries = []
        while True:
            await self.ended()
            while self.fields("BIST_STATUS")["logged"]:
                entries.append(await self.entry())
            if not self.fields("BIST_STATUS")["held"]:
                return entries
            await self.command(resume=1)


def number_of(column: int, bank: int, word: int) -> int:
    """The fault simulator's number of a word."""
    return (column * 2 + bank) * WORDS + word


def place_of(number: int) -> tuple[int, int, int]:
    """The opposite of :func:`number_of`."""
    return number // WORDS // 2, number // WORDS % 2, number % WORDS


def expected_log(march: March, run: Run, fault: Fault, either: Order) -> list[Failure]:
    """What the fault simulator says, bits that do not exist left out."""
    words = CONFIG.physical_cols * 2 * WORDS
    background = [run.background(column, word) for column, _, word in map(place_of, range(words))]
    failures = fail_log(march, words, CONFIG.rows, fault, background=background, gap=False, either=either,
                        up=[number_of(*address) for address in run.addresses],
                        partner=lambda number: number_of(place_of(number)[0], 1 - place_of(number)[1], number % WORDS))
    return [f._replace(seen=f.seen & stored_bits(CONFIG, f.address % WORDS)) for f in failures]


def observed_log(entries: list[dict[str, int]], code: Code) -> list[Failure]:
    return [Failure(*code.places[e["step"]], number_of(e["column"], e["bank"], e["word"]), e["seen"]) for e in entries]


def draw_run(random: Random, march: March) -> Run:
    """Addresses, order and background at random; few enough columns for a quick run."""
    first = random.randrange(CONFIG.physical_cols)
    last = min(CONFIG.physical_cols - 1, first + random.randrange(1, 3))
    banks = [(0,), (1,)] if march.uses_partner else [(0,), (1,), (0, 1)]
    return Run(CONFIG, first=min(first, last), last=last, banks=random.choice(banks), partner=march.uses_partner,
               fast_word=random.random() < 0.5, rows=random.choice([None, *range(CONFIG.row_bits)]),
               columns=random.random() < 0.5, words=random.random() < 0.5,
               user=random.choice([None, random.getrandbits(64)]), hold_full=True)


def draw_fault(random: Random, family: Family, run: Run) -> Fault:
    """A fault of a family at random places that a run reaches."""
    banks = (0, 1) if run.partner else run.banks
    columns = range(run.first, run.last + 1)

    def bit(word: int) -> int:
        return random.randrange(stored_bits(CONFIG, word).bit_length())

    def cell() -> Cell:
        word = random.randrange(WORDS)
        return Cell(number_of(random.choice(columns), random.choice(banks), word), bit(word))

    if family.faults:
        fault = random.choice(random.choice(family.faults))
        if isinstance(fault, StuckOpen):
            return replace(fault, cell=cell()._replace(bit=random.randrange(_FEWEST_BITS)))
        x, y = random.sample([number_of(c, b, w) for c in columns for b in banks for w in range(SIGN + 1)], 2)
        return replace(fault, x=x, y=y)
    model = random.choice(family.models)
    column, word = random.choice(columns), random.randrange(WORDS)
    bank = random.choice(run.banks if model.place is Place.NEIGHBOURS else banks)
    cells = [Cell(number_of(column, bank, word), bit(word))]
    while len(cells) <= model.aggressors:
        match model.place:
            case Place.WORD:
                other = cells[0]._replace(bit=bit(word))
            case Place.NEIGHBOURS:
                at = run.addresses.index((column, bank, word))
                near = run.addresses[at - 1 if at else 1]
                other = Cell(number_of(*near), bit(near[2]))
            case Place.BANKS:
                other = cells[0]._replace(word=number_of(column, 1 - bank, word))
            case Place.SIGN | Place.PLANE:
                plane = random.randrange(CONFIG.slots)
                row = random.randrange(CONFIG.rows)
                cells = [Cell(number_of(column, bank, plane), row)]
                other = Cell(number_of(column, bank, SIGN), row)
            case _:
                other = cell()
        if other not in cells:
            cells.append(other)
    if model.place in (Place.PLANE, Place.NEIGHBOURS, Place.BANKS) and random.random() < 0.5:
        cells.reverse()
    victim, *aggressors = cells
    return CellFault(model.primitives, victim, tuple(aggressors),
                     tuple(random.randrange(2) for _ in cells), retention=random.choice([1, _PAUSE, _PAUSE + 1]))


async def run_and_compare(bench: SelfTestBench, march: March, run: Run, fault: Fault, either: Order) -> bool:
    """Runs a test on a fault in one macro and compares every failing read; returns the verdict."""
    macro = bench.random.randrange(CONFIG.macros)
    code = assemble(march, either=either)
    await bench.inject(fault, macro)
    await bench.begin(code, run)
    entries = await bench.log()
    what = f"{march.name} {either.value} of {fault} in macro {macro} with {run}"
    expected = expected_log(march, run, fault, either)
    observed = observed_log(entries, code)
    assert observed == expected, f"{what}: {len(observed)} failures {observed[:3]}, not {len(expected)} {expected[:3]}"
    status = bench.fields("BIST_STATUS")
    assert (status["done"], status["error"], status["lost"]) == (1, 0, 0), f"{what}: {status}"
    assert status["failed"] == bool(expected), what
    assert int(bench.dut.bist_fails.value) == len(expected), what
    assert int(bench.dut.bist_failed0.value) == bool(expected) << macro, what
    assert all((e["macro"], e["others"]) == (macro, 0) for e in entries), what
    if entries:
        first = bench.fields("BIST_FIRST_ADDRESS") | bench.fields("BIST_FIRST_STEP")
        assert all(entries[0][name] == value for name, value in first.items()), f"{what}: first {first}"
    _RUNS.sample(either=either, fast_word=run.fast_word, banks=run.banks, column_stripes=run.columns, macro=macro,
                 word_stripes=run.words, row_stripes=run.rows, user=run.user is not None, test=march.name,
                 detected=bool(expected), full=len(expected) > LOG_DEPTH)
    return bool(expected)


@cocotb.test()
@cocotb.parametrize(family=list(families()))
async def test_faults(dut, family):
    """Random faults of a family, random tests, addresses and backgrounds: the log is the fault simulator's."""
    bench = await SelfTestBench.start(dut)
    faults = families()[family]
    for _ in range(INJECTED):
        likely = {"word lines": "March 2B", "compute only": "March K"}.get(family)
        march = TESTS[likely if likely and bench.random.random() < 0.7 else bench.random.choice(list(TESTS))]
        run = draw_run(bench.random, march)
        fault = draw_fault(bench.random, faults, run)
        _RUNS.sample(family=family)
        detected = await run_and_compare(bench, march, run, fault, bench.random.choice([Order.UP, Order.DOWN]))
        _RUNS.sample(family=family, detected=detected)


def operations(march: March, run: Run, either: Order) -> list[dict | None]:
    """What a test asks of the macros, cycle by cycle."""
    asked: list[dict | None] = []
    for element in march.elements:
        if isinstance(element, Pause):
            asked += [None] * element.cycles
            continue
        down = (either if element.order is Order.EITHER else element.order) is Order.DOWN
        for column, bank, word in reversed(run.addresses) if down else run.addresses:
            for step in element.steps:
                request = {"column": column, "word": word, "read": 0, "write": 0}
                for operation in filter(None, step.ports):
                    kind = "read" if operation.read else "write"
                    request |= {kind: 1, f"{kind}_bank": bank ^ operation.partner}
                    if operation.read:
                        request["compute"] = int(operation.compute)
                    else:
                        ones = stored_bits(CONFIG, word) if operation.value else 0
                        request["data"] = run.background(column, word) ^ ones
                asked.append(request)
    return asked


def meant(seen: list[dict | None]) -> list[dict | None]:
    """What was asked for, without the fields that mean nothing; from the first operation to the last."""
    fields = {"read": ("read_bank", "compute"), "write": ("write_bank", "data")}
    asked = [None if request is None else {"column": request["column"], "word": request["word"]} | {
        kind: request[kind] for kind in fields} | {name: request[name] for kind, names in fields.items()
                                                   if request[kind] for name in names} for request in seen]
    while asked and asked[0] is None:
        asked.pop(0)
    while asked and asked[-1] is None:
        asked.pop()
    return asked


def cycles_of(bench: SelfTestBench) -> int:
    return int(bench.dut.bist_cycles.value) | int(bench.dut.bist_cycles_high.value) << 32


@cocotb.test()
@cocotb.parametrize(name=list(TESTS))
async def test_operations(dut, name):
    """Without a fault every test passes, and asks in every cycle for what its definition says, for no other address."""
    bench = await SelfTestBench.start(dut)
    march = TESTS[name]
    run, either = draw_run(bench.random, march), bench.random.choice([Order.UP, Order.DOWN])
    seen = bench.watch()
    await bench.begin(assemble(march, either=either), run)
    assert await bench.log() == []
    assert bench.fields("BIST_STATUS")["done"]
    assert meant(seen) == operations(march, run, either), f"{name} {either} {run}"
    assert cycles_of(bench) == run.cycles(march)


@cocotb.test()
async def test_all_addresses(dut):
    """Over all addresses the overhead is at most one in a hundred from 6n on."""
    bench = await SelfTestBench.start(dut)
    for name in ("March X", "March SS") if FAST else ("March X",):
        run = Run(CONFIG)
        assert len(run.addresses) == CONFIG.physical_cols * 2 * WORDS
        await bench.begin(assemble(TESTS[name]), run)
        assert await bench.log() == []
        ideal = TESTS[name].complexity * len(run.addresses)
        assert cycles_of(bench) == ideal + Controller.OVERHEAD <= 1.01 * ideal


@cocotb.test()
async def test_abort_and_resume(dut):
    """Held at random moments, in pauses too: the same operations in the same order, and the same failures."""
    bench = await SelfTestBench.start(dut)
    static = families()["static 2"]
    for name in ("March C-", "IFA-9", "March 2B"):
        march = TESTS[name]
        run = replace(draw_run(bench.random, march), hold_full=False)
        fault = draw_fault(bench.random, static, run)
        await bench.inject(fault, 0)
        seen = bench.watch()
        await bench.begin(assemble(march), run)
        holds = 0
        while True:
            await bench.cycle(bench.random.choice([0, 1, 2, 3, bench.random.randrange(200)]))
            if not bench.fields("BIST_STATUS")["running"]:
                break
            await bench.command(abort=1)
            await bench.ended()
            status = bench.fields("BIST_STATUS")
            if status["done"]:  # the last step had been executed
                break
            assert (status["held"], status["active"], status["done"]) == (1, 1, 0)
            holds += 1
            before = len(seen)
            await bench.cycle(bench.random.randrange(8))
            assert seen[before:] == [None] * (len(seen) - before), "a run that is held must do nothing"
            await bench.command(resume=1)
        entries = await bench.log()
        expected = expected_log(march, run, fault, Order.UP)
        assert observed_log(entries, assemble(march)) == expected[:LOG_DEPTH]
        assert int(dut.bist_fails.value) == len(expected)
        asked = [request for request in meant(seen) if request is not None]
        assert asked == [request for request in operations(march, run, Order.UP) if request is not None]
        assert cycles_of(bench) == run.cycles(march) + holds * Controller.OVERHEAD


@cocotb.test()
@cocotb.parametrize(hard=[False, True])
async def test_reset_at_any_moment(dut, hard):
    """A run that is abandoned leaves nothing behind: no operation, no failure, and the next run is as any."""
    bench = await SelfTestBench.start(dut)
    march = TESTS["March C-"]
    for _ in range(12):
        run = replace(draw_run(bench.random, march), hold_full=False)
        await bench.begin(ALL_FAIL, run)
        await bench.cycle(bench.random.randrange(3 * len(run.addresses)))
        if bench.random.random() < 0.3:
            await bench.command(abort=1)
        if hard:
            await reset(dut)
            bench.forget()
        else:
            dut.discard.value = 1
            await bench.cycle()
            dut.discard.value = 0
        await bench.cycle()
        failures = int(dut.bist_fails.value)
        seen = bench.watch()
        await bench.cycle(12)
        assert not any(seen), "nothing may be asked after a reset"
        assert int(dut.bist_fails.value) == failures, "nothing may fail after a reset"
        status = bench.fields("BIST_STATUS")
        assert not any(status[name] for name in ("running", "held", "active", "done")), status
        await bench.command(resume=1)
        assert bench.fields("BIST_STATUS")["cause"] == BistCause.NOT_HELD
        fault = draw_fault(bench.random, families()["static 1"], run)
        await run_and_compare(bench, march, run, fault, Order.UP)


#: Code that is refused: words, the word that is, and why. The steps before it are executed, at all addresses if they
#: are elements.
REFUSED = {
    "kind 3": ([W0, 3], 1, BistCause.ILLEGAL_CODE),
    "kind 0": ([W0, 4], 1, BistCause.ILLEGAL_CODE),
    "padding of a step": ([step(write=1, last=1, padding=1)], 0, BistCause.ILLEGAL_CODE),
    "padding of a pause": ([pause(1, padding=1)], 0, BistCause.ILLEGAL_CODE),
    "no operation": ([step(last=1)], 0, BistCause.ILLEGAL_CODE),
    "two directions": ([step(write=1), step(write=1, down=1, last=1)], 1, BistCause.ILLEGAL_CODE),
    "no last step": ([W0, step(read=1)], 2, BistCause.ILLEGAL_CODE),
    "pause of no cycle": ([W0, pause(0)], 1, BistCause.ILLEGAL_CODE),
    "pause within an element": ([step(write=1), pause(1), W0], 1, BistCause.ILLEGAL_CODE),
    "read of what was there before": ([R0], 0, BistCause.READ_BEFORE_WRITE),
    "read before the write of its visit": ([step(read=1), W0], 0, BistCause.READ_BEFORE_WRITE),
    "partner": ([W0, step(read=1, read_partner=1, last=1)], 1, BistCause.PARTNER),
    "written partner": ([step(write=1, write_partner=1, last=1)], 0, BistCause.PARTNER),
    "both ports at one bank": ([W0, step(read=1, write=1, last=1)], 1, BistCause.SAME_BANK),
    "too long": ([W0] * (CODE_WORDS + 1), 0, BistCause.CODE_TOO_LONG),
}


@cocotb.test()
async def test_refusals(dut):
    """Whatever cannot be executed ends the run before it, with its place and cause; the controller goes on working."""
    bench = await SelfTestBench.start(dut)
    run = Run(CONFIG, last=1, banks=(1,))
    for what, (words, place, cause) in REFUSED.items():
        seen = bench.watch()
        await bench.begin(Code(tuple(words), ()), run)
        await bench.ended()
        status = bench.fields("BIST_STATUS")
        assert (status["done"], status["error"], status["cause"], status["step"]) == (0, 1, cause, place), what
        executed = sum(len(run.addresses) if word == W0 else 1 for word in words[:place])
        assert len([request for request in seen if request]) == executed, what
    partner = replace(run, partner=True)
    for words in ([W0, step(read=1, read_partner=1, last=1)],
                  [step(write=1, write_partner=1), R0]):
        await bench.begin(Code(tuple(words), ()), partner)
        await bench.ended()
        assert bench.fields("BIST_STATUS")["cause"] == BistCause.READ_BEFORE_WRITE, words
    await bench.begin(Code((W0, *[R0] * (CODE_WORDS - 1)), ()), run)
    await bench.ended()
    status = bench.fields("BIST_STATUS")
    assert (status["done"], status["error"], status["failed"]) == (1, 0, 0), "a full memory is not too full"


@cocotb.test()
async def test_refused_ranges_and_moments(dut):
    """A range outside of the array, a macro that is not there, a program that runs, nothing to resume."""
    bench = await SelfTestBench.start(dut)
    await bench.load(Code((W0,), ()))
    seen = bench.watch()
    good = Run(CONFIG).registers()
    where, mode = MAP["BIST_RANGE"].fields, MAP["BIST_MODE"].fields
    ranges = [good["BIST_RANGE"] + (1 << where["last"][0]), good["BIST_RANGE"] & ~(3 << where["banks"][0]),
              good["BIST_RANGE"] | 1 << where["partner"][0],
              1 << where["first"][0] | 1 << where["banks"][0]]
    bad = [{"BIST_RANGE": value} for value in ranges]
    bad.append({"BIST_MODE": 1 << mode["single"][0] | CONFIG.macros << mode["macro"][0]})
    for values in bad:
        for name, value in (good | values).items():
            getattr(dut, name.lower()).value = value
        await bench.command(start=1)
        status = bench.fields("BIST_STATUS")
        assert (status["running"], status["error"], status["cause"]) == (0, 1, BistCause.RANGE), values
    bench.configure(Run(CONFIG))
    dut.blocked.value = 1
    for command in ("start", "resume"):
        await bench.command(**{command: 1})
        assert bench.fields("BIST_STATUS")["cause"] == BistCause.PROGRAM_RUNNING
    dut.blocked.value = 0
    await bench.command(resume=1)
    assert bench.fields("BIST_STATUS")["cause"] == BistCause.NOT_HELD
    assert not any(seen)


@cocotb.test()
async def test_a_full_log(dut):
    """Every read fails in every macro: held when full, all come in their order; else the first ones stay."""
    bench = await SelfTestBench.start(dut)
    run = Run(CONFIG, last=1, hold_full=True, columns=True)
    twice = [address for address in run.addresses for _ in range(2)]
    for hold in (True, False):
        run = replace(run, hold_full=hold)
        await bench.begin(ALL_FAIL, run)
        entries = await bench.log()
        assert [(e["column"], e["bank"], e["word"]) for e in entries] == twice[:None if hold else LOG_DEPTH]
        assert [e["step"] for e in entries] == [1 + number % 2 for number in range(len(entries))]
        for entry in entries:
            background = run.background(entry["column"], entry["word"])
            assert entry["seen"] == background
            assert entry["expected"] == background ^ stored_bits(CONFIG, entry["word"])
            assert (entry["macro"], entry["others"]) == (0, CONFIG.macros > 1)
        assert int(dut.bist_fails.value) == len(twice)
        assert int(dut.bist_failed0.value) == (1 << CONFIG.macros) - 1
        assert bench.fields("BIST_STATUS")["lost"] == (not hold)


@cocotb.test()
async def test_only_one_macro_counts(dut):
    """Of several macros with a fault only the chosen one is compared; of all, the lowest is named."""
    bench = await SelfTestBench.start(dut)
    march, run = TESTS["March C-"], Run(CONFIG, last=1, hold_full=True)
    fault = CellFault((parse_primitive("<1/0/->"),), Cell(number_of(1, 0, SIGN), 0))
    faulty = sorted(bench.random.sample(range(CONFIG.macros), min(2, CONFIG.macros)))
    for macro in (*range(CONFIG.macros), None):
        await bench.inject(fault, *faulty)
        await bench.begin(assemble(march), replace(run, macro=macro))
        entries = await bench.log()
        counted = [m for m in faulty if macro in (m, None)]
        assert int(dut.bist_failed0.value) == sum(1 << m for m in counted)
        assert bool(entries) == bool(counted)
        assert all((e["macro"], e["others"]) == (counted[0], len(counted) > 1) for e in entries)


@cocotb.test()
async def test_a_rerun_leaves_out_what_is_repaired(dut):
    """The columns of a defect are those that the repair map replaces; the ranges beside them pass."""
    bench = await SelfTestBench.start(dut)
    march, run = TESTS["March C-"], Run(CONFIG, hold_full=True, macro=0)
    column = bench.random.randrange(1, CONFIG.cols - 1)
    await bench.inject(CellFault((parse_primitive("<1/0/->"),), Cell(number_of(column, 1, 0), 0)), 0)
    await bench.begin(assemble(march), run)
    assert {entry["column"] for entry in await bench.log()} == {column}
    for first, last in ((0, column - 1), (column + 1, CONFIG.physical_cols - 1)):
        await bench.begin(assemble(march), replace(run, first=first, last=last))
        assert await bench.log() == []
        status = bench.fields("BIST_STATUS")
        assert (status["done"], status["failed"]) == (1, 0)


@cocotb.test()
async def test_nothing_is_read_that_the_run_has_not_written(dut):
    """Random microcode, holds and resumes among it: a read is of a word that this run has written."""
    bench = await SelfTestBench.start(dut)
    reads = 0
    for _ in range(150 if FAST else 40):
        words = [W0] if bench.random.random() < 0.7 else []
        for _ in range(bench.random.randrange(1, 8)):
            fields = {name: int(bench.random.random() < chance) for name, chance in (
                ("read", 0.5), ("write", 0.5), ("read_partner", 0.2), ("write_partner", 0.2), ("last", 0.7),
                ("down", 0.1))}
            words.append(step(**fields) if bench.random.random() < 0.9 else pause(bench.random.randrange(3)))
        banks = bench.random.choice([(0,), (1,), (0, 1)])
        run = Run(CONFIG, last=1, banks=banks, partner=len(banks) == 1 and bench.random.random() < 0.7)
        seen = bench.watch()
        await bench.begin(Code(tuple(words), ()), run)
        if bench.random.random() < 0.3:
            await bench.command(abort=1)
            await bench.ended()
            await bench.command(resume=1)
        await bench.ended()
        written = set()
        for request in filter(None, seen):
            where = (request["column"], request["word"])
            if request["read"]:
                reads += 1
                assert (*where, request["read_bank"]) in written, f"{words} read {where}"
            if request["write"]:
                written.add((*where, request["write_bank"]))
    assert reads > (500 if FAST else 100), f"only {reads} reads"
    report()
