"""Self-test: the March controller on macros with a fault each; verdict and every failing read as the fault simulator's.

The plan is ``verif/plans/mbist.md``.
"""

from dataclasses import replace
from random import Random

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from hdl.cim.interfaces import bank_record_layout, bist_words
from hdl.csr import register_map
from mbist.families import Family, Place, families
from mbist.faults import Cell, CellFault, Fault, StuckOpen
from mbist.library import LIBRARY
from mbist.memory import Failure, fail_log
from mbist.microcode import Code, Run, assemble, stored_bits
from mbist.notation import March, Order, Pause
from sim.rtl import test_config

from .coverage import Coverage, report
from .faulty_macro import fault_layout, fault_values
from .layout import Codec
from .self_test import SelfTest
from .start import start

CONFIG = test_config()
WORDS = bist_words(CONFIG)
SIGN = CONFIG.slots
MAP = register_map(CONFIG)

#: Faults of each family that are injected per run.
INJECTED = 40

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
    crosses={"found": ("family", "detected"), "background": ("column_stripes", "word_stripes", "user")})


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

    async def cycle(self, count: int = 1):
        for _ in range(count):
            await FallingEdge(self.dut.clk)

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

    def configure(self, run: Run):
        for name, value in run.registers().items():
            getattr(self.dut, name.lower()).value = value

    async def inject(self, fault: Fault | None, macro: int = 0):
        """Gives a macro a fault and nothing to the others."""
        values = {} if fault is None else fault_values(fault, place_of)
        self.dut.faulty.value = macro
        self.dut.fault.value = self.codec.pack(values | {"set": 1}) if values else 0
        await self.cycle()
        self.dut.fault.value = self.codec.pack(values) if values else 0

    async def ended(self):
        """Waits until a run has ended or is held."""
        if self.fields("BIST_STATUS")["running"]:
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
    column, bank, word = random.choice(columns), random.choice(banks), random.randrange(WORDS)
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


#: Bits that every word has.
_FEWEST_BITS = bank_record_layout(CONFIG).size % CONFIG.rows or CONFIG.rows


async def run_and_compare(bench: SelfTestBench, march: March, run: Run, fault: Fault, either: Order) -> bool:
    """Runs a test on a fault in one macro and compares every failing read; returns the verdict."""
    macro = bench.random.randrange(CONFIG.macros)
    code = assemble(march, either=either)
    await bench.inject(fault, macro)
    await bench.load(code)
    bench.configure(run)
    await bench.command(start=1)
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
                 detected=bool(expected), full=len(expected) > 16)
    return bool(expected)


@cocotb.test()
@cocotb.parametrize(family=list(families()))
async def test_faults(dut, family):
    """Random faults of a family, random tests, addresses and backgrounds: the log is the fault simulator's."""
    bench = await SelfTestBench.start(dut)
    faults = families()[family]
    for _ in range(INJECTED):
        names = ["March 2B"] if family == "word lines" else list(TESTS)
        march = TESTS[bench.random.choice(names)]
        run = draw_run(bench.random, march)
        fault = draw_fault(bench.random, faults, run)
        _RUNS.sample(family=family)
        detected = await run_and_compare(bench, march, run, fault, bench.random.choice([Order.UP, Order.DOWN]))
        _RUNS.sample(family=family, detected=detected)
    report()
