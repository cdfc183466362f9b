"""Registers of a simulated chip by name, over AXI4-Lite, from a cocotb test."""

from typing import Any

from cocotb.triggers import FallingEdge, RisingEdge

from hdl.config import Config
from hdl.csr import register_map

_OKAY = 0


class CsrError(RuntimeError):
    """An access that the chip answered with an error."""


class CsrBus:
    """AXI4-Lite master on ports ``s_axil_*``. It waits for clock edges only while an access is under way, so that a
    simulation between accesses runs at full speed.

    Parameters
    ----------
    dut
        Top level handle with ``clk`` and ``s_axil_*``; its inputs are driven from here on.
    prefix : str
        Of the ports ``s_axil_*``, on a top with several chips.
    """

    def __init__(self, dut: Any, config: Config, prefix: str = ""):
        self._dut, self._prefix = dut, prefix
        self._map = register_map(config)
        for name in ("awaddr", "awprot", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr", "arprot", "arvalid",
                     "rready"):
            self._pin(name).value = 0

    def _pin(self, name: str) -> Any:
        return getattr(self._dut, f"{self._prefix}s_axil_{name}")

    async def _send(self, channels: tuple[str, ...]):
        """Holds each channel's valid until its ready."""
        await FallingEdge(self._dut.clk)
        waiting = set(channels)
        for channel in channels:
            self._pin(f"{channel}valid").value = 1
        while waiting:
            await RisingEdge(self._dut.clk)
            taken = {channel for channel in waiting if self._pin(f"{channel}ready").value == 1}
            await FallingEdge(self._dut.clk)
            for channel in taken:
                self._pin(f"{channel}valid").value = 0
            waiting -= taken

    async def _answer(self, channel: str, register: str, *members: str) -> list[int]:
        """Takes the answer on a channel. Raises :class:`CsrError` unless it is OKAY."""
        self._pin(f"{channel}ready").value = 1
        while True:
            await RisingEdge(self._dut.clk)
            if self._pin(f"{channel}valid").value == 1:
                break
        response, *values = (int(self._pin(f"{channel}{member}").value) for member in ("resp", *members))
        await FallingEdge(self._dut.clk)
        self._pin(f"{channel}ready").value = 0
        if response != _OKAY:
            raise CsrError(f"the chip answered the access to register {register} with response {response}")
        return values

    async def write(self, register: str, value: int):
        """Writes one 32-bit register."""
        self._pin("awaddr").value = self._map[register].offset
        self._pin("wdata").value = value
        self._pin("wstrb").value = 0xF
        await self._send(("aw", "w"))
        await self._answer("b", register)

    async def read(self, register: str) -> int:
        """Reads one 32-bit register."""
        self._pin("araddr").value = self._map[register].offset
        await self._send(("ar",))
        return (await self._answer("r", register, "data"))[0]

    async def write64(self, register: str, value: int):
        """Writes a pair of registers, named by its low word."""
        await self.write(register, value & 0xFFFFFFFF)
        await self.write(f"{register}_HIGH", value >> 32)

    async def read64(self, register: str) -> int:
        """Reads a pair of registers that stands still, named by its low word."""
        return await self.read(register) | await self.read(f"{register}_HIGH") << 32

    async def write_fields(self, register: str, **fields: int):
        """Writes one register from its fields by name; those left out are zero."""
        known = self._map[register].fields
        await self.write(register, sum(value << known[name][0] for name, value in fields.items()))

    async def read_fields(self, register: str) -> dict[str, int]:
        """The fields of one register by name."""
        value = await self.read(register)
        return {name: value >> low & (1 << width) - 1 for name, (low, width, _) in self._map[register].fields.items()}
