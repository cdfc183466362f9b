"""cocotb test that is no test: runs one program on ``sim_top`` for :class:`sim.session.Session`.

Reads ``job.json`` in the current directory and leaves ``result.json`` there; while the program runs it appends
simulated cycles to ``progress``.
"""

import json
import time
from pathlib import Path

import cocotb
from cocotb.triggers import Timer

from .compute_self_test_tb import load_table
from .program_run import Interrupts, outcome, prepare
from .start import CYCLE_PS, identity, reset


@cocotb.test()
async def program(dut):
    job = json.loads(Path("job.json").read_text())
    (csr,) = await reset(dut)
    result = await identity(csr)
    if result == job["expected"]:
        await prepare(csr, job["order"])
        if job["field_test"]:
            await load_table(csr, job["field_test"])
        begin = time.perf_counter()
        await csr.write_fields("CONTROL", start=1)
        ended = await Interrupts(job["max_cycles"]).any([dut.irq])
        result |= {"ended": ended, "seconds": time.perf_counter() - begin} | await outcome(csr)
        dut.dump.value = 1
        await Timer(CYCLE_PS, unit="ps")
    Path("result.json").write_text(json.dumps(result))
