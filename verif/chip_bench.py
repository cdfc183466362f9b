"""What the tests of the whole chip share: clock, reset, memory, register driver, bus monitor, and running a program."""

import logging
import random
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from hdl.chip import Chip
from hdl.config import Config
from hdl.csr import COUNTERS, Cause, register_map
from hdl.isa import QUEUES
from sim.golden.executor import Execution
from sim.rtl import test_config

from .axi_memory import AxiMemory, stalls
from .axi_rules import AxiRules
from .programs import Image, Window
from .start import CYCLE_PS, reset, start


class Registers:
    """Registers by name, over the AXI4-Lite agent of cocotbext-axi."""

    def __init__(self, dut: Any, config: Config):
        self._map = register_map(config)
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        self.channels = [self.bus.write_if.aw_channel, self.bus.write_if.w_channel, self.bus.write_if.b_channel,
                         self.bus.read_if.ar_channel, self.bus.read_if.r_channel]

    def stall(self, rng: random.Random, probability: float):
        """Random pauses on every channel of the register port."""
        for channel in self.channels:
            channel.set_pause_generator(stalls(random.Random(rng.random()), probability, 4))

    async def read(self, name: str) -> int:
        answer = await self.bus.read(self._map[name].offset, 4)
        assert answer.resp == AxiResp.OKAY, f"reading {name} answered {answer.resp}"
        return int.from_bytes(answer.data, "little")

    async def write(self, name: str, value: int):
        answer = await self.bus.write(self._map[name].offset, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY, f"writing {name} answered {answer.resp}"

    async def read64(self, name: str) -> int:
        return await self.read(name) | await self.read(f"{name}_HIGH") << 32

    async def write64(self, name: str, value: int):
        await self.write(name, value & 0xFFFF_FFFF)
        await self.write(f"{name}_HIGH", value >> 32)

    async def fields(self, name: str) -> dict[str, int]:
        value = await self.read(name)
        return {field: value >> low & (1 << width) - 1 for field, (low, width, _) in self._map[name].fields.items()}

    async def set_fields(self, name: str, **values: int):
        await self.write(name, sum(value << self._map[name].fields[field][0] for field, value in values.items()))


@dataclass(frozen=True)
class Outcome:
    """How a program ended, as the registers tell it."""
    done: bool
    error: bool
    overflow: bool
    cause: Cause
    address: int
    counters: dict[str, int]


class ChipBench:
    """A chip in a system. Make one per test with :meth:`start`: before a first reset the agents could not read it.

    Attributes
    ----------
    memory : AxiMemory
    registers : Registers
    rules : AxiRules
    rng : numpy Generator
        Follows from the run's seed and the test.
    """

    def __init__(self, dut: Any, *, memory: bool = True):
        self.dut = dut
        self.config = test_config()
        seed = int(cocotb.RANDOM_SEED)
        self.rng = np.random.default_rng(seed)
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        if memory:
            self.memory = AxiMemory(dut, seed=seed)
        self.registers = Registers(dut, self.config)
        self.rules = AxiRules(dut, self.config)

    @classmethod
    async def start(cls, dut: Any, **options: Any) -> "ChipBench":
        await start(dut, Chip(test_config()))
        return cls(dut, **options)

    async def reset(self):
        """A hard reset of chip and agents."""
        await reset(self.dut)
        await ClockCycles(self.dut.clk, 2)

    async def set_windows(self, windows: list[Window]):
        """Programs the windows and tells the bus monitor."""
        for number in range(4):
            window = windows[number] if number < len(windows) else Window(0, 0)
            await self.registers.write64(f"WINDOW{number}_BASE", window.base)
            await self.registers.write64(f"WINDOW{number}_LIMIT", window.limit)
            await self.registers.set_fields(f"WINDOW{number}_FLAGS", read=int(window.read), write=int(window.write))
        self.rules.windows = [(w.base, w.limit, w.read, w.write) for w in windows]

    async def repair(self):
        """Takes random columns of every macro out of use, none if it has no spares."""
        config = self.config
        for macro in range(config.macros):
            points = sorted(int(x) for x in self.rng.integers(0, config.cols + 1, config.spare_cols))
            for spare, column in enumerate(points):
                await self.registers.write(f"REPAIR{macro}_{spare}", column)

    async def load(self, image: Image, *, watchdog: int = 2000):
        """Puts a program into memory and registers."""
        self.memory.load(image.memory, image.base)
        await self.set_windows(image.windows)
        self.rules.writable = (image.base, image.writable)
        await self.registers.write64("PROGRAM_ADDRESS", image.entry)
        await self.registers.write("PROGRAM_COUNT", image.count)
        await self.registers.write("WATCHDOG", watchdog)
        await self.registers.set_fields("IRQ_ENABLE", done=1, error=1)

    async def go(self):
        """START; the counts of the bus monitor begin anew."""
        self.rules.counts.clear()
        await self.registers.set_fields("CONTROL", start=1)

    async def ended(self, cycles: int = 200_000) -> Outcome:
        """Waits for the interrupt, then clears it."""
        if self.dut.irq.value != 1:
            await with_timeout(RisingEdge(self.dut.irq), cycles * CYCLE_PS, "ps")
        outcome = await self.outcome()
        await self.registers.set_fields("IRQ_STATUS", done=1, error=1)
        assert self.dut.irq.value == 0, "IRQ_STATUS must clear the interrupt"
        return outcome

    async def outcome(self) -> Outcome:
        status = await self.registers.fields("STATUS")
        return Outcome(bool(status["done"]), bool(status["error"]), bool(status["overflow"]),
                       Cause((await self.registers.fields("CAUSE"))["cause"]),
                       await self.registers.read64("ERROR_ADDRESS"),
                       {name: await self.registers.read64(name) for name in COUNTERS})

    async def soft_reset(self, cycles: int = 5000):
        """Writes SOFT_RESET and waits until it has happened."""
        await self.registers.set_fields("CONTROL", soft_reset=1)
        for _ in range(cycles):
            status = await self.registers.fields("STATUS")
            if not status["busy"]:
                assert not any(status.values()), f"a soft reset must clear STATUS, not leave {status}"
                return
        raise AssertionError("the soft reset must end")

    async def run(self, image: Image, **options: Any) -> Outcome:
        """Runs a program to its end."""
        await self.load(image, **options)
        await self.go()
        return await self.ended()

    def check(self, image: Image, outcome: Outcome, execution: Execution | None = None) -> Execution:
        """A program that completed left everything as the golden model does."""
        execution = image.execute() if execution is None else execution
        assert execution.cause == Cause.NONE, f"the golden model stops with {execution.cause.name}"
        assert (outcome.done, outcome.error, outcome.cause) == (True, False, Cause.NONE), outcome
        assert outcome.overflow == execution.overflow, f"overflow must be {execution.overflow}"
        wrong = image.wrong(self.memory.content, execution)
        assert not wrong.size, f"{wrong.size} bytes are wrong, the first at {image.base + int(wrong[0]):#x}"
        expected = {"ARRAY_BUSY": execution.array_busy, "WEIGHT_BEATS": execution.weight_beats,
                    "READ_BEATS": execution.read_beats, "WRITE_BEATS": execution.write_beats}
        counted = {name: outcome.counters[name] for name in expected}
        assert counted == expected, f"counters must be {expected}, not {counted}"
        assert self.rules.counts["r"] == expected["READ_BEATS"]
        assert self.rules.counts["w"] == expected["WRITE_BEATS"]
        assert outcome.counters["CYCLES"] >= max(execution.array_busy, execution.read_beats, execution.write_beats)
        for queue in QUEUES:
            states = {name: value for name, value in outcome.counters.items() if name.startswith(f"{queue.name}_")}
            assert sum(states.values()) <= outcome.counters["CYCLES"], f"one state at a time, not {states}"
        assert outcome.counters["COMPUTE_BUSY"] >= execution.array_busy
        assert outcome.counters["LOAD_BUSY"] >= self._words_loaded(image)
        assert (self.rules.reads_open, self.rules.writes_open) == (0, 0), "done with transfers under way"
        stored = image.counters(self.memory.content)
        if stored is not None:
            self._check_stored(stored, outcome)
        return execution

    def _check_stored(self, stored: dict[str, int], outcome: Outcome):
        """What STORE_COUNTERS wrote is of this program, and of one cycle."""
        later = {name: value for name, value in stored.items() if value > outcome.counters[name]}
        assert not later, f"no counter may be larger in memory than at the end, as {later}"
        assert max(stored["ARRAY_BUSY"], stored["WEIGHT_BEATS"], stored["READ_BEATS"]) <= stored["CYCLES"], stored
        assert 0 < stored["CYCLES"] < outcome.counters["CYCLES"], stored
        for queue in QUEUES:
            states = [value for name, value in stored.items() if name.startswith(f"{queue.name}_")]
            assert sum(states) <= stored["CYCLES"], f"one state at a time, not {stored}"

    def _words_loaded(self, image: Image) -> int:
        """Bus words that the load queue itself moves."""
        return sum(run.beats for run in image.runs() if run.channel == "load")

    async def run_and_check(self, image: Image, **options: Any) -> tuple[Outcome, Execution]:
        outcome = await self.run(image, **options)
        return outcome, self.check(image, outcome)

    def check_stopped(self, image: Image, outcome: Outcome, cause: Cause, address: int):
        """A program that was stopped says why and where, and left alone what it may not write."""
        assert (outcome.done, outcome.error) == (False, True), outcome
        assert (outcome.cause, outcome.address) == (cause, address), \
            f"must stop with {cause.name} at {address:#x}, not {outcome.cause.name} at {outcome.address:#x}"
        changed = self.memory.content != image.memory
        assert not (changed & ~image.writable).any(), "memory outside of the output was written"

    async def recover(self, image: Image):
        """After a stop: soft reset, then ``image`` runs as if nothing had been."""
        self.memory.read_errors.clear()
        self.memory.write_errors.clear()
        await self.soft_reset()
        await self.run_and_check(image)

    async def idle(self, cycles: int):
        await First(Timer(cycles * CYCLE_PS, "ps"), RisingEdge(self.dut.irq))
