"""Runs a miter of two views for as many cycles as ``CIMPLE_CYCLES`` says."""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, Timer


@cocotb.test()
async def test_views_are_equal(dut):
    """Every output of the simulation view equals the generic view's, in every compared cycle."""
    wanted = int(os.environ["CIMPLE_CYCLES"])
    dut.rst.value = 1
    Clock(dut.clk, 2, unit="ns", impl="gpi").start()
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await Timer(2 * wanted + 4000, unit="ns")
    assert int(dut.mismatches.value) == 0
    assert int(dut.cycles.value) >= wanted
