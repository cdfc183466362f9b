"""Chips of a card on cables: registers, memories and cables by name, and random programs that send to one another."""

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, First, RisingEdge, Timer

from hdl.config import Config
from hdl.csr import Cause
from hdl.isa import Instruction, Opcode, Queue
from hdl.link.link import LinkState
from hdl.link.parameters import link_parameters
from hdl.program import Program
from hdl.topology import partner, ports
from hdl.verilog import Generated
from sim.card import cables
from sim.golden.card import execute_card
from sim.golden.executor import Execution
from sim.rtl import test_config
from sim.rtl.csr_bus import CsrBus
from sim.rtl.design import generated
from sim.rtl.harness import card
from sim.rtl.image import read_image, write_image
from sim.session import chip as chip_of

from .link import Cable
from .programs import RandomProgram
from .start import CYCLE_PS

#: Bytes of each chip's memory.
MEMORY_BYTES = 1 << 17

#: What a chip's own instructions use, what its SENDs read, what its partners write, its instructions.
OWN, SOURCE, REMOTE, CODE = 0, 0x8000, 0x10000, 0x18000

#: Environment variable with the number of chips.
CHIPS_VARIABLE = "CIMPLE_CHIPS"

#: Files of the memories, and stalls.
PLUSARGS = (*(f"+{file}{chip}={file}{chip}.hex" for chip in range(4) for file in ("image", "dump")),
            "+stall_chance=32", "+stall_longest=16")

#: Cycles that nothing takes which gets on.
PATIENCE = 60_000


def bench_card(chips: int):
    """What puts a chip's Verilog into a card with settable cables."""
    def wrap(chip: Generated, config: Config) -> Generated:
        return card([chip] * chips, config, cables(chips), memory_bytes=MEMORY_BYTES, channels=True)
    return wrap


def bench_strangers(chip: Generated, config: Config) -> Generated:
    """A card of two chips with different configurations."""
    other = generated(chip_of, config.with_(outstanding_reads=2 * config.outstanding_reads), name="other",
                      view="simulation")
    return card([chip, other], config, cables(2), memory_bytes=MEMORY_BYTES, channels=True)


def program(config: Config, memory: np.ndarray, instructions: list[Instruction], remote=(REMOTE, CODE)) -> Program:
    """A program whose memory has this content; it may write everything in front of its instructions."""
    return Program.assemble(config, instructions, entry=CODE, segments=[(0, memory[:CODE].tobytes())],
                            memory_bytes=MEMORY_BYTES, writable=(0, CODE), remote=remote)


@dataclass(frozen=True)
class Outcome:
    """How a chip's program ended."""
    cause: Cause
    address: int
    array_busy: int


class Chip:
    """One chip of the card."""

    def __init__(self, bench: "CardBench", number: int):
        self.number, self.bench, self.dut = number, bench, bench.dut
        self.csr = CsrBus(bench.dut, bench.config, f"chip{number}_")
        self.irq, self.rst = (getattr(bench.dut, f"chip{number}_{pin}") for pin in ("irq", "rst"))
        self.ports = ports(bench.chips)

    async def state(self, port: int) -> LinkState:
        return LinkState((await self.csr.read_fields(f"LINK{port}_STATUS"))["state"])

    async def enable(self, on: bool = True):
        """Begins a session at every port, or ends it."""
        for port in self.ports:
            await self.csr.write_fields(f"LINK{port}_CONTROL", enable=int(on))

    async def settings(self, watchdog: int = 20_000, down_after: int = 20_000):
        """Registers that only a reset of the chip forgets."""
        await self.csr.write("WATCHDOG", watchdog)
        await self.csr.write_fields("IRQ_ENABLE", done=1, error=1)
        for port in self.ports:
            await self.csr.write(f"LINK{port}_DOWN_AFTER", down_after)

    async def windows(self, made: Program):
        for number, (area, flags) in enumerate((((0, MEMORY_BYTES), {"read": 1}), (made.writable, {"write": 1}),
                                                (made.remote, {"remote": 1}))):
            await self.csr.write64(f"WINDOW{number}_BASE", area[0])
            await self.csr.write64(f"WINDOW{number}_LIMIT", area[1])
            await self.csr.write_fields(f"WINDOW{number}_FLAGS", **flags)

    async def start(self, made: Program):
        await self.csr.write64("PROGRAM_ADDRESS", made.entry)
        await self.csr.write("PROGRAM_COUNT", made.count)
        await self.csr.write_fields("CONTROL", start=1)

    async def ended(self, cycles: int = PATIENCE) -> Outcome:
        """Waits for the interrupt and clears it."""
        if self.irq.value != 1:
            await First(RisingEdge(self.irq), Timer(cycles * CYCLE_PS, "ps"))
        assert self.irq.value == 1, f"the program of chip {self.number} must end within {cycles} cycles"
        cause = Cause((await self.csr.read_fields("CAUSE"))["cause"])
        assert (await self.csr.read_fields("STATUS"))["error"] == (cause != Cause.NONE)
        found = Outcome(cause, await self.csr.read64("ERROR_ADDRESS"), await self.csr.read64("ARRAY_BUSY"))
        await self.csr.write_fields("IRQ_STATUS", done=1, error=1)
        return found

    async def soft_reset(self):
        """Abandons the program, and forgets what partners have posted."""
        await self.csr.write_fields("CONTROL", soft_reset=1)
        for _ in range(1000):
            if not (await self.csr.read_fields("STATUS"))["busy"]:
                return
        raise AssertionError(f"the soft reset of chip {self.number} must end")


class CardBench:
    """All chips, their memories and cables."""

    def __init__(self, dut):
        self.dut, self.config = dut, test_config()
        self.chips = int(os.environ[CHIPS_VARIABLE])
        self.rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self.random = Random(cocotb.RANDOM_SEED)
        self.chip = [Chip(self, number) for number in range(self.chips)]
        self.parameters = link_parameters(self.config)
        self.cables = [Cable(dut, self.parameters, f"cable{number}_") for number in range(len(cables(self.chips)))]

    async def start(self, **settings: int):
        """Clock, reset, ideal cables, sessions at all ports that are up."""
        await self.reset(**settings)
        await self.up()

    async def reset(self, **settings: int):
        """The same without waiting for the links."""
        self.dut.load.value = self.dut.dump.value = 0
        for cable in self.cables:
            cable.set(load=0, delay=0, skew=0, invert=0, dead=0, interval=0, burst=0)
            for way in ("ab", "ba"):
                cable.set(way, seed=self.random.getrandbits(64))
                cable.order(way, list(range(self.parameters.lanes)))
        for chip in self.chip:
            chip.rst.value = 1
        Clock(self.dut.clk, CYCLE_PS, unit="ps", impl="gpi").start()
        for cable in self.cables:
            cable.set(load=1)
        await ClockCycles(self.dut.clk, 4)
        await FallingEdge(self.dut.clk)
        for cable in self.cables:
            cable.set(load=0)
        for chip in self.chip:
            chip.rst.value = 0
        for chip in self.chip:
            await chip.settings(**settings)
            await chip.enable()

    async def up(self, cycles: int = 100_000):
        """Waits until all links are up."""
        for _ in range(cycles // 256):
            if all([await chip.state(port) == LinkState.UP for chip in self.chip for port in chip.ports]):
                return
            await self.cycles(256)
        states = [(await chip.state(port)).name for chip in self.chip for port in chip.ports]
        raise AssertionError(f"the links must come up, they are {', '.join(states)}")

    async def renew(self):
        """New sessions at all ports."""
        for on in (False, True):
            for chip in self.chip:
                await chip.enable(on)
        await self.up()

    async def cycles(self, count: int):
        await ClockCycles(self.dut.clk, count)

    async def load(self, programs: list[Program]):
        """Memories and windows."""
        for number, made in enumerate(programs):
            write_image(Path(f"image{number}.hex"), made.image(), self.config.bus_bytes)
        await self._pulse(self.dut.load)
        for chip, made in zip(self.chip, programs):
            await chip.windows(made)

    async def memories(self) -> list[np.ndarray]:
        await self._pulse(self.dut.dump)
        return [read_image(Path(f"dump{number}.hex"), self.config.bus_bytes, MEMORY_BYTES)
                for number in range(self.chips)]

    async def _pulse(self, pin):
        for value in (1, 0):
            pin.value = value
            await Timer(CYCLE_PS, unit="ps")

    async def begin(self, programs: list[Program]):
        """Loads and starts all chips, now and then one a good while later."""
        await self.load(programs)
        for chip, made in zip(self.chip, programs):
            await chip.start(made)
            if self.random.random() < 0.3:
                await self.cycles(self.random.randrange(300))

    async def run_and_check(self, programs: list[Program], seed: int = 0) -> list[Execution]:
        """Runs programs to their end, on all chips; memories and counts must be the golden model's."""
        await self.begin(programs)
        for chip in self.chip:
            outcome = await chip.ended()
            assert outcome.cause == Cause.NONE, f"chip {chip.number} stopped with {outcome}"
        return await self.check(programs, seed)

    async def check(self, programs: list[Program], seed: int = 0) -> list[Execution]:
        """The memories of chips that have completed these programs."""
        executions = execute_card(self.config, programs, [made.image() for made in programs], seed=seed)
        for chip, memory, execution in zip(self.chip, await self.memories(), executions):
            assert execution.cause == Cause.NONE
            wrong = np.flatnonzero(memory != execution.memory)
            assert not wrong.size, f"chip {chip.number}: {wrong.size} bytes are wrong, the first at {wrong[0]:#x}"
            assert await chip.csr.read64("ARRAY_BUSY") == execution.array_busy
            for number in range(16):
                assert await chip.csr.read(f"SEMAPHORE{number}") == 0
        return executions


class _Timeless(RandomProgram):
    """Without counters in memory, which the golden model does not know."""

    def store_counters(self):
        pass


class Exchange:
    """Random programs in which every chip computes, sends to its partners, and passes on what it has got.

    A chip's places for what comes are never used twice, so the result does not depend on who is first.
    """

    def __init__(self, bench: CardBench, *, gemms: int = 2, sends: int = 3):
        self.config, self.random, self.rng, self.chips = bench.config, bench.random, bench.rng, bench.chips
        self._free = [REMOTE] * self.chips
        #: Per chip: instructions of the queues of the links, in order.
        self._links: list[list[Instruction]] = [[] for _ in range(self.chips)]
        #: Posts under way to a chip, by port and semaphore.
        self._posts: list[dict[tuple[int, int], int]] = [{} for _ in range(self.chips)]
        self._memories = [self.rng.integers(0, 256, CODE, np.uint8) for _ in range(self.chips)]
        own = [self._computing(chip, gemms) for chip in range(self.chips)]
        for chip in range(self.chips):
            for port in ports(self.chips):
                for _ in range(sends):
                    self._send(chip, port)
        for chip in range(self.chips):
            if self._free[chip] - REMOTE >= 64 and self.random.random() < 0.7:
                self._pass_on(chip)
        for chip in range(self.chips):
            self._receive_the_rest(chip)
        self.programs = [program(self.config, memory, self._merged(mine, links))
                         for memory, mine, links in zip(self._memories, own, self._links)]

    def _computing(self, chip: int, gemms: int) -> list[Instruction]:
        image = _Timeless(self.config, self.rng, gemms=gemms, memory_bytes=SOURCE).finish()
        self._memories[chip][:SOURCE] = image.relocatable
        return image.instructions

    def _rows(self, chip: int, other: int, first: int, end: int) -> dict[str, int]:
        """Fields of a SEND of random rows from somewhere in an area."""
        bus = self.config.bus_bytes
        place = self.random.randrange(bus)
        rows, row_bytes = self.random.randrange(5), self.random.choice((1, 7, bus, 40, 300, 600))
        step = row_bytes + self.random.randrange(64)
        remote_step = step + bus * self.random.randrange(4)
        size = (rows - 1) * step + row_bytes if rows else 0
        if size + 2 * bus > end - first:
            rows, row_bytes, step, remote_step, size = 1, min(row_bytes, 16), 16, 16, 16
        address = first + bus + self.random.randrange((end - first - size - bus) // bus) * bus + place - bus
        remote = self._free[other] + place
        self._free[other] += -(-(place + (max(rows, 1) - 1) * remote_step + row_bytes) // bus) * bus
        assert self._free[other] <= CODE, "the programs of the bench must fit their memory"
        return {"address": address, "remote_address": remote, "rows": rows, "row_bytes": row_bytes, "stride": step,
                "remote_stride": remote_step}

    def _send(self, chip: int, port: int, area: tuple[int, int] = (SOURCE, REMOTE), wait: tuple[Queue, ...] = ()):
        """One SEND, which posts a semaphore."""
        other, its_port = partner(self.chips, chip, port)
        semaphore = self.random.randrange(4) + 4 * its_port
        fields = self._rows(chip, other, *area) | {"port": port, "post": 1, "semaphore": semaphore}
        self._posts[other][its_port, semaphore] = self._posts[other].get((its_port, semaphore), 0) + 1
        self._links[chip].append(Instruction(Opcode.SEND, fields, wait=wait))

    def _receive(self, chip: int, port: int, semaphore: int, count: int, signal: tuple[Queue, ...] = ()):
        self._posts[chip][port, semaphore] -= count
        self._links[chip].append(Instruction(
            Opcode.RECV, {"port": port, "semaphore": semaphore, "count": count}, signal=signal))

    def _pass_on(self, chip: int):
        """Waits for everything that has a semaphore, and sends on some of what has come."""
        semaphores = {at: count for at, count in self._posts[chip].items() if count}
        filled = self._free[chip]
        for n, ((port, semaphore), count) in enumerate(semaphores.items()):
            self._receive(chip, port, semaphore, count, (Queue.LINK,) if n == len(semaphores) - 1 else ())
        self._send(chip, self.random.choice(ports(self.chips)), (REMOTE, filled), (Queue.RECEIVE,))

    def _receive_the_rest(self, chip: int):
        for (port, semaphore), count in self._posts[chip].items():
            if count:
                self._receive(chip, port, semaphore, count)

    def _merged(self, *lists: list[Instruction]) -> list[Instruction]:
        """The lists as one, each in its order."""
        left, merged = [list(each) for each in lists], []
        while any(left):
            chosen = self.random.choices(left, [len(each) for each in left])[0]
            merged.append(chosen.pop(0))
        return merged
