"""cocotb tests of the toy, one of which fails when asked to."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from sim.rtl import test_config


async def reset(dut):
    Clock(dut.clk, 1000, unit="ps", impl="gpi").start()
    dut.rst.value = 1
    dut.i_value.value = 0
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test()
async def adds(dut):
    await reset(dut)
    expected = 0
    for _ in range(20):
        value = random.randrange(256)
        dut.i_value.value = value
        expected = (expected + value) % 256
        await FallingEdge(dut.clk)
        assert dut.o_total.value.to_unsigned() == expected


@cocotb.test()
async def knows_the_configuration(dut):
    await reset(dut)
    assert test_config().name == os.environ["EXPECTED_CONFIG"]
    assert "FAIL" not in os.environ
    if "HANG" in os.environ:
        while True:
            await FallingEdge(dut.clk)
