"""Semaphores: posts of every port, takes and clears in the same cycles, against a list of numbers."""

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from hdl.csr import SEMAPHORE_BITS, SEMAPHORES
from hdl.transport.semaphores import Semaphores
from sim.rtl import test_config

from .start import CYCLE_PS, start

CONFIG = test_config()
PORTS = range(CONFIG.links)
LARGEST = (1 << SEMAPHORE_BITS) - 1


class SemaphoresBench:
    """Drives all inputs for a cycle and follows what it must do; make one per test with :meth:`start`."""

    def __init__(self, dut: Any):
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.values = [0] * SEMAPHORES

    @classmethod
    async def start(cls, dut: Any) -> "SemaphoresBench":
        await start(dut, Semaphores(CONFIG))
        return cls(dut)

    def shown(self) -> list[int]:
        value = int(self.dut.values.value)
        return [value >> SEMAPHORE_BITS * number & LARGEST for number in range(SEMAPHORES)]

    def post(self, port: int, semaphore: int | None):
        getattr(self.dut, f"i_posts__{port}__valid").value = int(semaphore is not None)
        getattr(self.dut, f"i_posts__{port}__payload").value = semaphore or 0

    async def cycle(self, posts: list[int | None], semaphore: int, count: int, take: bool, clear: int):
        """One cycle; ``take`` only if there is enough."""
        dut = self.dut
        for port, posted in enumerate(posts):
            self.post(port, posted)
        dut.engine__semaphore.value, dut.engine__count.value, dut.clear.value = semaphore, count, clear
        dut.engine__take.value = int(take and self.values[semaphore] >= count)
        await RisingEdge(dut.clk)
        assert (dut.engine__enough.value == 1) == (self.values[semaphore] >= count)
        before = list(self.values)
        if take and before[semaphore] >= count:
            self.values[semaphore] -= count
        taken = next((port for port, posted in enumerate(posts) if posted is not None), None)
        for port, posted in enumerate(posts):
            ready = getattr(dut, f"i_posts__{port}__ready").value == 1
            if posted is not None:
                assert ready == (port == taken), "one port at a time, the first one first"
            if port == taken and posted is not None:
                full = before[posted] == LARGEST
                assert (int(dut.full.value) >> port & 1) == full
                self.values[posted] += not full
        self.values = [0 if clear >> number & 1 else value for number, value in enumerate(self.values)]
        await FallingEdge(dut.clk)
        assert self.shown() == self.values


@cocotb.test()
async def test_posts_takes_and_clears(dut):
    """Few semaphores, so that all meet."""
    bench = await SemaphoresBench.start(dut)
    draw = bench.random.randrange
    for number in range(3000):
        posts = [draw(3) if bench.random.random() < 0.6 else None for _ in PORTS]
        clear = 1 << draw(SEMAPHORES) if number % 50 == 0 else 0
        await bench.cycle(posts, draw(4), draw(1, 6), bench.random.random() < 0.5, clear)
    for number in range(SEMAPHORES):  # each is its own
        await bench.cycle([number] * CONFIG.links, number, 1, False, 0)


@cocotb.test()
async def test_a_full_semaphore_stays(dut):
    """Posts in every cycle, which Python does not see, until one less than the largest value is held."""
    bench = await SemaphoresBench.start(dut)
    await FallingEdge(dut.clk)
    bench.post(0, 9)
    await Timer((LARGEST - 1) * CYCLE_PS, unit="ps")
    bench.values[9] = LARGEST - 1
    assert bench.shown() == bench.values
    for port in PORTS:
        for _ in range(3):
            await bench.cycle([9 if p == port else None for p in PORTS], 9, LARGEST, False, 0)
    assert bench.values[9] == LARGEST
    await bench.cycle([9, None][:CONFIG.links], 9, 2, True, 0)  # full when it comes: refused, though some are taken
    assert bench.values[9] == LARGEST - 2
    await bench.cycle([9, None][:CONFIG.links], 9, LARGEST - 2, True, 0)
    assert bench.values[9] == 1
