"""cocotb test that is no test: runs the compute self-test on ``sim_top`` for
:meth:`sim.session.Session.compute_self_test`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there.
"""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import First, RisingEdge, Timer

from .csr_bus import CsrBus
from .start import CYCLE_PS, identity, reset


@cocotb.test()
async def compute_self_test(dut):
    job = json.loads(Path("job.json").read_text())
    (csr,) = await reset(dut)
    result, runs = await identity(csr), []
    if result == job["expected"]:
        await csr.write_fields("IRQ_ENABLE", bist=1)
        runs = [await _run(dut, csr, run) for run in job["runs"]]
    Path("result.json").write_text(json.dumps(result | {"runs": runs}))


async def load_table(csr: CsrBus, run: dict):
    """Table, mode and expectations of a run."""
    await csr.write_fields("CBIST_CONTROL", clear=1)
    for row in run["table"]:
        await csr.write("CBIST_ROW", row & 0xFFFF_FFFF)
        await csr.write("CBIST_ROW_HIGH", row >> 32)
    await csr.write_fields("CBIST_MODE", **run["mode"])
    await csr.write("CBIST_EXPECTED", run["expected"])
    await csr.write("CBIST_EXPECTED_WORDS", run["words"])


async def _run(dut, csr: CsrBus, run: dict) -> dict:
    await load_table(csr, run)
    await csr.write_fields("CBIST_CONTROL", start=1)
    while (await csr.read_fields("CBIST_STATUS"))["running"]:
        if dut.irq.value != 1:
            await First(RisingEdge(dut.irq), Timer(2 * run["cycles"] * CYCLE_PS, unit="ps"))
    await csr.write_fields("IRQ_STATUS", bist=1)
    wrong = []
    for macro in range(run["macros"]):
        await csr.write_fields("CBIST_SELECT", macro=macro)
        wrong.append(sum([await csr.read(f"CBIST_COLUMNS{n}") << 32 * n for n in range(-(-(run["cols"] + 1) // 32))]))
    status = await csr.read_fields("CBIST_STATUS")
    return {"status": status, "cycles": await csr.read("CBIST_CYCLES"), "wrong": wrong,
            "signatures": await _signatures(csr, run) if status["failed"] else None}


async def _signatures(csr: CsrBus, run: dict) -> list[list[int]]:
    """All of them, by macro: each column's, and that of the words."""
    found: list[list[int]] = []
    for _ in range(run["macros"]):
        found.append([])
        for _ in range(run["cols"] + 1):
            found[-1].append(await csr.read("CBIST_SIGNATURE"))
            await csr.write_fields("CBIST_CONTROL", next=1)
    return found
