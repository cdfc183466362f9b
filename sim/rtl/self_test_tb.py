"""cocotb test that is no test: runs March tests on ``sim_top`` for :meth:`sim.session.Session.self_test`."""

import cocotb

from .bist_job import interrupt, run_job
from .csr_bus import CsrBus


@cocotb.test()
async def self_test(dut):
    await run_job(dut, _run)


async def _run(dut, csr: CsrBus, run: dict) -> dict:
    await csr.write_fields("BIST_CONTROL", clear=1)
    for word in run["code"]:
        await csr.write("BIST_CODE", word)
    for name, value in run["registers"].items():
        await csr.write(name, value)
    await csr.write_fields("BIST_CONTROL", start=1)
    log = []
    while True:
        await interrupt(dut, run["cycles"])
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
