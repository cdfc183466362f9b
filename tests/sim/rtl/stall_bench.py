"""cocotb tests of ``axi_memory``'s stalls: every transfer is as late as :class:`sim.rtl.stalls.Stalls` says."""

import json
import os
from itertools import pairwise

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sim.rtl import test_config
from sim.rtl.stalls import Channel, Stalls

from .memory_pins import reset

STALLS = Stalls(**json.loads(os.environ["STALLS"]))
BURSTS, BEATS = 12, 9


async def handshakes(dut, channels: tuple[str, ...], cycles: int) -> dict[str, list[int]]:
    """Cycles in which a transfer of each channel takes place; the bench's sides are always willing."""
    found: dict[str, list[int]] = {channel: [] for channel in channels}
    for cycle in range(cycles):
        await ReadOnly()
        taken = [channel for channel in channels
                 if all(getattr(dut, f"drive_{channel}{side}").value == 1 for side in ("valid", "ready"))]
        for channel in taken:
            found[channel].append(cycle)
        await FallingEdge(dut.clk)
        if "w" in taken:
            dut.drive_wlast.value = len(found["w"]) % BEATS == BEATS - 1
        for channel in ("ar", "aw"):
            if channel in taken and len(found[channel]) == BURSTS:
                getattr(dut, f"drive_{channel}valid").value = 0
        if "w" in taken and len(found["w"]) == BURSTS * BEATS:
            dut.drive_wvalid.value = 0
    return found


async def begin(dut, channel: str, *ready: str):
    await reset(dut)
    getattr(dut, f"drive_{channel}size").value = test_config().bus_bytes.bit_length() - 1
    getattr(dut, f"drive_{channel}burst").value = 1
    getattr(dut, f"drive_{channel}len").value = BEATS - 1
    getattr(dut, f"drive_{channel}valid").value = 1
    for name in ready:
        getattr(dut, f"drive_{name}").value = 1


def gaps(cycles: list[int]) -> list[int]:
    return [later - now - 1 for now, later in pairwise(cycles)]


def within(values: list[int]) -> list[int]:
    """Of gaps between all beats, those inside a burst."""
    return [gap for number, gap in enumerate(values) if (number + 1) % BEATS]


@cocotb.test()
async def reads_are_late(dut):
    await begin(dut, "ar", "rready")
    found = await handshakes(dut, ("ar", "r"), 3000)
    assert gaps(found["ar"]) == [STALLS.cycles(Channel.AR, t) for t in range(1, BURSTS)]
    assert len(found["r"]) == BURSTS * BEATS
    assert within(gaps(found["r"])) == [STALLS.cycles(Channel.R, t, b) for t in range(BURSTS) for b in range(1, BEATS)]


@cocotb.test()
async def writes_are_late(dut):
    await begin(dut, "aw", "bready", "wvalid")
    found = await handshakes(dut, ("aw", "w", "b"), 3000)
    assert gaps(found["aw"]) == [STALLS.cycles(Channel.AW, t) for t in range(1, BURSTS)]
    assert len(found["w"]) == BURSTS * BEATS
    assert within(gaps(found["w"])) == [STALLS.cycles(Channel.W, t, b) for t in range(BURSTS) for b in range(1, BEATS)]
    assert len(found["b"]) == BURSTS
    assert all(gap >= STALLS.cycles(Channel.B, t) for t, gap in enumerate(gaps(found["b"]), 1))
