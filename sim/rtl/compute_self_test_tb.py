"""cocotb test that is no test: runs the compute self-test on ``sim_top`` for
:meth:`sim.session.Session.compute_self_test`."""

import cocotb

from .bist_job import interrupt, run_job
from .csr_bus import CsrBus


@cocotb.test()
async def compute_self_test(dut):
    await run_job(dut, _run)


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
        await interrupt(dut, run["cycles"])
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
