"""Two chips of different configurations on a cable; the plan is ``verif/plans/strangers.md``."""

import cocotb
import numpy as np

from hdl.csr import Cause
from hdl.isa import Instruction, Opcode
from hdl.link.formats import Cause as LinkCause
from hdl.link.link import LinkState

from .card import REMOTE, CardBench, program


@cocotb.test()
async def test_strangers_refuse_each_other(dut):
    """Neither link comes up, both say why and count it, and a program that sends stops at once."""
    bench = CardBench(dut)
    await bench.reset()
    hashes = [await chip.csr.read64("CONFIG_HASH") for chip in bench.chip]
    assert hashes[0] == bench.config.hash != hashes[1]
    for chip in bench.chip:
        for _ in range(100):
            if await chip.csr.read("LINK0_FLITS_REFUSED"):
                break
            await bench.cycles(100)
        await bench.cycles(5000)
        status = await chip.csr.read_fields("LINK0_STATUS")
        assert (status["state"], status["cause"]) == (LinkState.DOWN, LinkCause.CONFIGURATION)
        assert status["refused"] == LinkCause.CONFIGURATION
    made = program(bench.config, np.zeros(REMOTE, np.uint8), [
        Instruction(Opcode.SEND, {"rows": 1, "row_bytes": 8, "remote_address": REMOTE, "post": 1})])
    await bench.begin([made, made])
    for chip, memory in zip(bench.chip, await bench.memories()):
        outcome = await chip.ended()
        assert (outcome.cause, outcome.address) == (Cause.LINK_DOWN, 256 * LinkCause.CONFIGURATION)
        assert not memory[REMOTE:REMOTE + 8].any()
        assert await chip.csr.read("SEMAPHORE0") == 0
