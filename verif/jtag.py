"""The chip's registers over JTAG, by the driver of cocotbext-jtag."""

from typing import Any

from cocotbext.jtag import JTAGBus, JTAGDevice, JTAGDriver

from hdl.bist.jtag import Operation, Outcome, scan_layout
from hdl.bist.tap import BYPASS, IDCODE, IDCODE_VALUE, IR_BITS, REGISTERS
from hdl.config import Config
from hdl.csr import register_map

from .layout import Codec


class JtagRegisters:
    """Registers by name; one TAP, ``period`` picoseconds per cycle of TCK, which stands still between scans."""

    def __init__(self, dut: Any, config: Config, period: int):
        self._map = register_map(config)
        self._codec = Codec(scan_layout())
        self._period = period
        device = JTAGDevice("cimple", IDCODE_VALUE, IR_BITS)
        assert device.names["BYPASS"].address == BYPASS
        device.add_jtag_reg("IDCODE", 32, IDCODE)
        device.add_jtag_reg("REGISTERS", self._codec.bits, REGISTERS, write=True)
        bus = JTAGBus(dut, signals={"tck": "jtag_tck", "tms": "jtag_tms", "tdi": "jtag_tdi", "tdo": "jtag_tdo",
                                    "trst": "jtag_trst_n"})
        self.driver = JTAGDriver(bus, period, "ps", logging_enabled=False)
        self.driver.add_device(device)
        self.driver.random_pause = True
        self.busy = 0

    async def reset(self):
        """TRST; longer than the one that the driver gives by itself."""
        await self.driver.set_reset(20 * self._period)

    async def scan(self, operation: int, address: int = 0, value: int = 0) -> dict[str, int]:
        """One scan; returns what it captured."""
        await self.driver.write("REGISTERS", self._codec.pack({
            "operation": operation, "address": address, "data": value}))
        captured = self._codec.unpack(self.driver.ret_val)
        self.busy += captured["operation"] == Outcome.BUSY
        return captured

    async def access(self, operation: Operation, address: int, value: int = 0) -> tuple[Outcome, int]:
        """An access, repeated while the one before is under way, and how it ended."""
        while (await self.scan(operation, address, value))["operation"] == Outcome.BUSY:
            pass
        while (captured := await self.scan(Operation.NONE))["operation"] == Outcome.BUSY:
            pass
        assert captured["address"] == address
        return Outcome(captured["operation"]), captured["data"]

    async def read(self, name: str) -> int:
        outcome, value = await self.access(Operation.READ, self._map[name].offset)
        assert outcome is Outcome.OKAY, f"reading {name} over JTAG failed"
        return value

    async def write(self, name: str, value: int):
        outcome, _ = await self.access(Operation.WRITE, self._map[name].offset, value)
        assert outcome is Outcome.OKAY, f"writing {name} over JTAG failed"
