"""cocotb test that is no test: runs one program on ``sim_top`` for :class:`sim.session.Session`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there; while the program runs it appends
simulated cycles to ``progress``.
"""

import json
import time
from pathlib import Path

import cocotb
from cocotb.triggers import First, RisingEdge, Timer

from hdl.csr import COUNTERS

from .compute_self_test_tb import load_table
from .csr_bus import CsrBus
from .start import CYCLE_PS, start

#: Wall time between two lines of ``progress``, about.
_PROGRESS_SECONDS = 0.3


async def _wait(dut, max_cycles: int | None) -> bool:
    """Waits for the interrupt; False if it has not come after ``max_cycles``. Python sleeps meanwhile."""
    cycles, chunk = 0, 256
    with Path("progress").open("w", buffering=1) as progress:
        while dut.irq.value != 1:
            if max_cycles is not None:
                if cycles >= max_cycles:
                    return False
                chunk = min(chunk, max_cycles - cycles)
            begin = time.perf_counter()
            await First(RisingEdge(dut.irq), Timer(chunk * CYCLE_PS, unit="ps"))
            cycles += chunk
            if dut.irq.value != 1:
                progress.write(f"{cycles}\n")
            if time.perf_counter() - begin < _PROGRESS_SECONDS:
                chunk *= 2
    return True


@cocotb.test()
async def program(dut):
    job = json.loads(Path("job.json").read_text())
    csr, result, is_right = await start(dut, job["expected"])
    if is_right:
        result |= await _run(dut, csr, job)
    Path("result.json").write_text(json.dumps(result))


async def _run(dut, csr: CsrBus, job: dict) -> dict:
    for window, (base, limit, flags) in enumerate(job["windows"]):
        await csr.write64(f"WINDOW{window}_BASE", base)
        await csr.write64(f"WINDOW{window}_LIMIT", limit)
        await csr.write_fields(f"WINDOW{window}_FLAGS", **dict.fromkeys(flags, 1))
    for name, column in job["repair"].items():
        await csr.write(name, column)
    if job["field_test"]:
        await load_table(csr, job["field_test"])
    await csr.write64("PROGRAM_ADDRESS", job["entry"])
    await csr.write("PROGRAM_COUNT", job["count"])
    await csr.write("WATCHDOG", job["watchdog"])
    await csr.write_fields("IRQ_ENABLE", done=1, error=1)
    begin = time.perf_counter()
    await csr.write_fields("CONTROL", start=1)
    ended = await _wait(dut, job["max_cycles"])
    seconds = time.perf_counter() - begin
    result = {
        "ended": ended, "seconds": seconds, "status": await csr.read_fields("STATUS"),
        "cause": (await csr.read_fields("CAUSE"))["cause"], "error_address": await csr.read64("ERROR_ADDRESS"),
        "counters": {name: await csr.read64(name) for name in COUNTERS},
    }
    dut.dump.value = 1
    await Timer(CYCLE_PS, unit="ps")
    return result
