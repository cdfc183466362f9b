"""cocotb test that is no test: runs a program on each chip of ``sim_card`` for :class:`sim.card.Card`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there; while the programs run it appends
simulated cycles to ``progress``. All chips do the same at the same time, so that all START in the same cycle.
"""

import json
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, Timer

from hdl.link.link import LinkState

from .csr_bus import CsrBus
from .program_run import Interrupts, outcome, prepare
from .start import CYCLE_PS, identity, reset

#: Cycles that the links have to come up; an attempt to train takes fewer.
UP_CYCLES = 100_000

#: Cycles from one look at the links to the next.
_LOOK_CYCLES = 64


async def at_once(coroutines: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Runs all of them at the same time; their results."""
    return [await task for task in [cocotb.start_soon(each) for each in coroutines]]


@cocotb.test()
async def programs(dut):
    job = json.loads(Path("job.json").read_text())
    chips = range(len(job["orders"]))
    buses = await reset(dut, [f"chip{chip}_" for chip in chips])
    dut.load.value = 1
    identities = await at_once(identity(bus) for bus in buses)
    result: dict[str, Any] = {"identities": identities}
    if all(found == job["expected"] for found in identities):
        result["links"] = await links_up(dut, buses, job["ends"])
        if all(state == LinkState.UP for state in result["links"]):
            await at_once(prepare(bus, order) for bus, order in zip(buses, job["orders"]))
            result |= await run(dut, buses, job["max_cycles"])
            dut.dump.value = 1
            await Timer(CYCLE_PS, unit="ps")
    Path("result.json").write_text(json.dumps(result))


async def links_up(dut, buses: list[CsrBus], ends: list[tuple[int, int]]) -> list[int]:
    """Enables the links at ``ends``, pairs of chip and port, and waits until all are up; their states."""
    for chip, port in ends:
        await buses[chip].write_fields(f"LINK{port}_CONTROL", enable=1)
    states: list[int] = []
    for _ in range(UP_CYCLES // _LOOK_CYCLES):
        states = [(await buses[chip].read_fields(f"LINK{port}_STATUS"))["state"] for chip, port in ends]
        if all(state == LinkState.UP for state in states):
            break
        await ClockCycles(dut.clk, _LOOK_CYCLES)
    return states


async def run(dut, buses: list[CsrBus], max_cycles: int | None) -> dict[str, Any]:
    """Starts all chips and waits until all have ended, or one has stopped with an error."""
    begin = time.perf_counter()
    await at_once(bus.write_fields("CONTROL", start=1) for bus in buses)
    interrupts, stopped = Interrupts(max_cycles), False
    waiting = {chip: getattr(dut, f"chip{chip}_irq") for chip in range(len(buses))}
    while waiting and not stopped and await interrupts.any(list(waiting.values())):
        for chip in [chip for chip, irq in waiting.items() if irq.value == 1]:
            del waiting[chip]
            stopped |= bool((await buses[chip].read_fields("STATUS"))["error"])
    seconds = time.perf_counter() - begin
    return {"ended": stopped or not waiting, "seconds": seconds, "chips": await at_once(map(outcome, buses))}
