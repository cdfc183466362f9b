"""cocotb tests of ``axi_memory`` through a chip that passes its bus on."""

import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, Timer
from cocotbext.axi import AxiBurstType, AxiBus, AxiMaster, AxiResp

from sim.rtl import test_config
from sim.rtl.image import read_image

from .memory_pins import OUTPUTS, reset

READ_LATENCY = int(os.environ["READ_LATENCY"])
MEMORY_BYTES = int(os.environ["MEMORY_BYTES"])

def content() -> np.ndarray:
    """What the image that the bench was started with holds."""
    return read_image(Path(os.environ["IMAGE"]), test_config().bus_bytes, MEMORY_BYTES)


async def master(dut) -> AxiMaster:
    await reset(dut)
    return AxiMaster(AxiBus.from_prefix(dut, "drive"), dut.clk, dut.rst, max_burst_len=64)


@cocotb.test()
async def outside_and_other_bursts_answer_errors(dut):
    axi = await master(dut)
    expected = content()
    assert (await axi.read(MEMORY_BYTES, 8)).resp == AxiResp.DECERR
    assert (await axi.write(MEMORY_BYTES, bytes(8))).resp == AxiResp.DECERR
    assert (await axi.read(0, 8, burst=AxiBurstType.FIXED)).resp == AxiResp.SLVERR
    assert (await axi.write(0, b"\xff" * 8, burst=AxiBurstType.FIXED)).resp == AxiResp.SLVERR
    if test_config().bus_bytes > 1:
        assert (await axi.read(0, 8, size=0)).resp == AxiResp.SLVERR
    assert (await axi.read(0, 8)).data == expected[:8].tobytes()


@cocotb.test()
async def bursts_follow_one_another_without_a_bubble(dut):
    """Four bursts of 16 beats: the first beat after the latency, then 64 beats in 64 cycles, in order."""
    await reset(dut)
    size, expected = test_config().bus_bytes, content()
    dut.drive_arsize.value = size.bit_length() - 1
    dut.drive_arburst.value = 1
    dut.drive_arlen.value = 15
    dut.drive_rready.value = 1
    dut.drive_arvalid.value = 1
    beats: list[tuple[int, int, int]] = []
    for cycle in range(READ_LATENCY + 64 + 4):
        if cycle < 4:
            dut.drive_araddr.value = cycle * 16 * size
            dut.drive_arid.value = cycle
        else:
            dut.drive_arvalid.value = 0
        await ReadOnly()
        assert dut.drive_arready.value == 1
        if dut.drive_rvalid.value == 1:
            beats.append((cycle, int(dut.drive_rid.value), int(dut.drive_rlast.value)))
            data = dut.drive_rdata.value.to_unsigned().to_bytes(size, "little")
            at = (len(beats) - 1) * size
            assert data == expected[at:at + size].tobytes()
        await FallingEdge(dut.clk)
    assert beats == [(READ_LATENCY + i, i // 16, int(i % 16 == 15)) for i in range(64)]


@cocotb.test()
async def nothing_is_unknown(dut):
    outputs = [getattr(dut, f"drive_{name}") for name in OUTPUTS]
    await reset(dut)
    for _ in range(50):
        dut.drive_arvalid.value = random.randrange(2)
        dut.drive_araddr.value = random.randrange(2 * MEMORY_BYTES)
        dut.drive_rready.value = random.randrange(2)
        await RisingEdge(dut.clk)
        await ReadOnly()
        assert all(handle.value.is_resolvable for handle in outputs)
        await FallingEdge(dut.clk)


@cocotb.test()
async def random_reads_and_writes_agree_with_bytes(dut):
    """Last, since the tests share the memory."""
    axi, expected = await master(dut), content()
    for _ in range(60):
        length = random.randrange(1, 600)
        address = random.randrange(MEMORY_BYTES - length)
        if random.random() < 0.5:
            data = random.randbytes(length)
            expected[address:address + length] = np.frombuffer(data, np.uint8)
            assert (await axi.write(address, data)).resp == AxiResp.OKAY
        else:
            read = await axi.read(address, length)
            assert read.resp == AxiResp.OKAY
            assert read.data == expected[address:address + length].tobytes()
    dut.dump.value = 1
    await Timer(1, "ns")
    assert (read_image(Path("dump.hex"), test_config().bus_bytes, MEMORY_BYTES) == expected).all()
