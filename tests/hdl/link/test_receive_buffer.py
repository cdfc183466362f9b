"""The receive buffer against a queue that shows a beat in the cycle after it came."""

from collections import deque
from random import Random

import pytest
from amaranth.sim import Simulator

from hdl.link.receive_buffer import ReceiveBuffer

DEPTH, BITS = 4, 16


@pytest.mark.parametrize("reading", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("writing", [1.0, 0.5, 0.1])
def test_beats_show_at_once_and_in_order(writing, reading):
    dut = ReceiveBuffer(BITS, DEPTH)
    random = Random(1)
    held: deque[int] = deque()
    read = 0

    async def bench(ctx):
        nonlocal read
        for _ in range(1000):
            write, ready = len(held) < DEPTH and random.random() < writing, random.random() < reading
            beat = random.getrandbits(BITS)
            ctx.set(dut.beat_valid, write)
            ctx.set(dut.beat, beat)
            ctx.set(dut.o_payload.ready, ready)
            assert ctx.get(dut.level) == len(held)
            assert ctx.get(dut.o_payload.valid) == bool(held)
            if held:
                assert ctx.get(dut.o_payload.payload) == held[0]
                if ready:
                    held.popleft()
                    read += 1
            if write:
                held.append(beat)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert read > 50
