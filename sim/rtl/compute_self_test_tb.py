"""cocotb test that is no test: runs the compute self-test on ``sim_top`` for
:meth:`sim.session.Session.compute_self_test`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there.
"""

import json
from pathlib import Path

import cocotb
from cocotb.triggers import First, RisingEdge, Timer

from .csr_bus import CsrBus
from .start import CYCLE_PS, start


@cocotb.test()
async def compute_self_test(dut):
    job = json.loads(Path("job.json").read_text())
    csr, result, is_right = await start(dut, job["expected"])
    runs = []
    if is_right:
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
    return {"status": await csr.read_fields("CBIST_STATUS"), "cycles": await csr.read("CBIST_CYCLES"), "wrong": wrong}
