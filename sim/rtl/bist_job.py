"""A job of self-tests: what their cocotb tests have in common."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cocotb.triggers import First, RisingEdge, Timer

from .csr_bus import CsrBus
from .start import CYCLE_PS, identity, reset


async def run_job(dut: Any, run_one: Callable[[Any, CsrBus, dict], Awaitable[dict]]):
    """Runs ``job.json`` of the current directory on ``sim_top`` and leaves ``result.json`` there: the chip's identity,
    and if it is the expected one what each of the runs found."""
    job = json.loads(Path("job.json").read_text())
    (csr,) = await reset(dut)
    result, runs = await identity(csr), []
    if result == job["expected"]:
        await csr.write_fields("IRQ_ENABLE", bist=1)
        runs = [await run_one(dut, csr, run) for run in job["runs"]]
    Path("result.json").write_text(json.dumps(result | {"runs": runs}))


async def interrupt(dut: Any, cycles: int):
    """Waits until a run ends, at most twice the ``cycles`` that it should take."""
    if dut.irq.value != 1:
        await First(RisingEdge(dut.irq), Timer(2 * cycles * CYCLE_PS, unit="ps"))
