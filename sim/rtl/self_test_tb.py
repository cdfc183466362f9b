"""cocotb test that is no test: runs March tests on ``sim_top`` for :meth:`sim.session.Session.self_test`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there.
"""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import First, RisingEdge, Timer

from .csr_bus import CsrBus
from .start import CYCLE_PS, identity, reset


@cocotb.test()
async def self_test(dut):
    job = json.loads(Path("job.json").read_text())
    (csr,) = await reset(dut)
    result, runs = await identity(csr), []
    if result == job["expected"]:
        await csr.write_fields("IRQ_ENABLE", bist=1)
        runs = [await _run(dut, csr, run) for run in job["runs"]]
    Path("result.json").write_text(json.dumps(result | {"runs": runs}))


async def _run(dut, csr: CsrBus, run: dict) -> dict:
    await csr.write_fields("BIST_CONTROL", clear=1)
    for word in run["code"]:
        await csr.write("BIST_CODE", word)
    for name, value in run["registers"].items():
        await csr.write(name, value)
    await csr.write_fields("BIST_CONTROL", start=1)
    log = []
    while True:
        if dut.irq.value != 1:
            await First(RisingEdge(dut.irq), Timer(2 * run["cycles"] * CYCLE_PS, unit="ps"))
        await csr.write_fields("IRQ_STATUS", bist=1)
        while (status := await csr.read_fields("BIST_STATUS"))["logged"]:
            step = await csr.read_fields("BIST_LOG_STEP")
            log.append((await csr.read_fields("BIST_LOG_ADDRESS"), step["macro"]))
            await csr.write_fields("BIST_CONTROL", next=1)
        if not status["held"]:
            break
        await csr.write_fields("BIST_CONTROL", resume=1)
    return {"status": status, "cycles": await csr.read64("BIST_CYCLES"), "fails": await csr.read("BIST_FAILS"),
            "log": log}
