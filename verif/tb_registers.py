"""Registers: every register of :mod:`hdl.csr` over AXI4-Lite, with random stalls on every channel."""

import logging
import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from hdl.csr import CSR_ADDR_BITS, WINDOWS, Access, Register, registers
from hdl.ipu.registers import Registers
from sim.rtl import test_config

from .axi_memory import stalls
from .coverage import Coverage, report
from .start import reset, start

_ALL = 0xFFFF_FFFF

#: Bits of a window's flags.
_READ, _LOCK = 1, 4

#: Strobes of neighbouring bytes.
STROBES = [s for s in range(1, 16) if "0" not in bin(s)[2:].strip("0")]

_ACCESSES = Coverage("registers", {"access": list(Access), "strobes": STROBES, "locked": [False, True],
                                   "unmapped": ["read", "write"]}, crosses={"partial": ("access", "strobes")},
                     impossible={"partial": [(Access.RO, strobes) for strobes in STROBES]})


class RegisterBench:
    """The register file with an agent on its bus, and a monitor of its pulses and of the protocol.

    Make one per test with :meth:`start`.
    """

    @classmethod
    async def start(cls, dut: Any) -> "RegisterBench":
        await start(dut, Registers(test_config()))
        return cls(dut)

    def __init__(self, dut: Any):
        self.dut = dut
        self.config = test_config()
        self.map = registers(self.config)
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.inputs = {r.name: getattr(dut, r.name.lower()) for r in self.map if r.access in (Access.RO, Access.W1C)}
        self.pulses: list[tuple[str, int]] = []
        logging.getLogger(f"cocotb.{dut._name}").setLevel(logging.WARNING)
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        write, read = self.bus.write_if, self.bus.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(stalls(random.Random(self.random.random()), 0.3, 3))
        cocotb.start_soon(self._watch())

    async def reset(self):
        await reset(self.dut)
        await ClockCycles(self.dut.clk, 2)
        self.pulses.clear()

    async def _watch(self):
        """Notes pulses; answers must stay until they are taken."""
        dut = self.dut
        outputs = [(r.name, getattr(dut, f"{r.name.lower()}_{'set' if r.access is Access.W1 else 'clear'}"))
                   for r in self.map if r.access in (Access.W1, Access.W1C)]
        answers = {"b": (dut.s_axil_bresp,), "r": (dut.s_axil_rresp, dut.s_axil_rdata)}
        shown: dict[str, tuple[int, ...]] = {}
        while True:
            await RisingEdge(dut.clk)
            if dut.rst.value == 1:
                shown.clear()
                continue
            self.pulses += [(name, int(handle.value)) for name, handle in outputs if int(handle.value)]
            for channel, payload in answers.items():
                valid = getattr(dut, f"s_axil_{channel}valid").value == 1
                assert valid or channel not in shown, f"s_axil_{channel}valid must stay until it is taken"
                if valid:
                    values = tuple(int(pin.value) for pin in payload)
                    assert shown.setdefault(channel, values) == values, f"s_axil_{channel}* must not change"
                    if getattr(dut, f"s_axil_{channel}ready").value == 1:
                        del shown[channel]

    async def read(self, offset: int) -> tuple[AxiResp, int]:
        answer = await self.bus.read(offset, 4)
        return answer.resp, int.from_bytes(answer.data, "little")

    async def write(self, offset: int, value: int, strobes: int = 0xF) -> AxiResp:
        """One access; only neighbouring strobes can be asked of the agent at once."""
        lanes = [i for i in range(4) if strobes >> i & 1]
        assert lanes == list(range(lanes[0], lanes[-1] + 1))
        data = value.to_bytes(4, "little")[lanes[0]:lanes[-1] + 1]
        return (await self.bus.write(offset + lanes[0], data)).resp

    async def aside(self, offset: int, written: int | None = None) -> tuple[int, int]:
        """One access beside the bus; whether it failed, and what was read."""
        dut = self.dut
        await FallingEdge(dut.clk)
        dut.aside__valid.value, dut.aside__write.value = 1, written is not None
        dut.aside__address.value, dut.aside__data.value = offset, written or 0
        await ReadOnly()
        answer = int(dut.aside__error.value), int(dut.aside__read_data.value) if written is None else 0
        await FallingEdge(dut.clk)
        dut.aside__valid.value = 0
        return answer

    async def value(self, register: Register) -> int:
        response, value = await self.read(register.offset)
        assert response == AxiResp.OKAY, f"reading {register.name} answers {response!r}"
        return value

    def of(self, access: Access) -> list[Register]:
        return [r for r in self.map if r.access is access]


@cocotb.test()
async def test_values_after_reset(dut):
    """Also a second one, after everything has been written."""
    bench = await RegisterBench.start(dut)
    for _ in range(2):
        for register in bench.map:
            assert await bench.value(register) == register.init, f"{register.name} must be {register.init:#x}"
            if register.access is Access.RW:
                assert int(getattr(dut, register.name.lower()).value) == register.init
        for register in bench.map:
            assert await bench.write(register.offset, _ALL) == AxiResp.OKAY
        await bench.reset()


@cocotb.test()
async def test_writable_registers_keep_what_is_written(dut):
    """Byte by byte, only the bits that exist, and nothing else changes."""
    bench = await RegisterBench.start(dut)
    model = {r.name: r.init for r in bench.of(Access.RW)}
    for register in bench.random.sample(bench.of(Access.RW), len(model)):
        for strobes in (0xF, *bench.random.sample(STROBES, 4)):
            value = bench.random.getrandbits(32) & ~(_LOCK if register.name.endswith("FLAGS") else 0)
            assert await bench.write(register.offset, value, strobes) == AxiResp.OKAY
            lanes = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1)
            model[register.name] = (model[register.name] & ~lanes | value & lanes) & register.writable
            assert await bench.value(register) == model[register.name], register.name
            assert int(getattr(dut, register.name.lower()).value) == model[register.name]
            _ACCESSES.sample(access=register.access, strobes=strobes)
    for register in bench.of(Access.RW):
        assert await bench.value(register) == model[register.name], f"{register.name} was changed by another's write"
    assert not bench.pulses
    report()


@cocotb.test()
async def test_read_only_registers_show_the_chip(dut):
    """They follow their inputs; a write is answered and changes nothing."""
    bench = await RegisterBench.start(dut)
    for register in bench.of(Access.RO):
        value = bench.random.getrandbits(32)
        bench.inputs[register.name].value = value
        assert await bench.value(register) == value, register.name
        assert await bench.write(register.offset, ~value & _ALL) == AxiResp.OKAY
        assert await bench.value(register) == value, register.name
        _ACCESSES.sample(access=register.access, strobes=0xF)
    assert not bench.pulses
    report()


@cocotb.test()
async def test_commands_act_for_one_cycle(dut):
    """Write 1 to act reads as zero; write 1 to clear shows its input, and asks for the ones written to be cleared."""
    bench = await RegisterBench.start(dut)
    for register in bench.of(Access.W1) + bench.of(Access.W1C):
        shown = 0
        if register.access is Access.W1C:
            shown = bench.random.getrandbits(32)
            bench.inputs[register.name].value = shown
        for strobes in STROBES:
            value = bench.random.getrandbits(32) | 0x01010101
            bench.pulses.clear()
            assert await bench.write(register.offset, value, strobes) == AxiResp.OKAY
            await ClockCycles(dut.clk, 5)
            lanes = sum(0xFF << 8 * i for i in range(4) if strobes >> i & 1)
            assert bench.pulses == [(register.name, value & lanes)], f"{register.name}: {bench.pulses}"
            assert await bench.value(register) == shown
            _ACCESSES.sample(access=register.access, strobes=strobes)
    report()


@cocotb.test()
async def test_accesses_beside_the_bus(dut):
    """Each takes one cycle, whatever the bus does: what one port writes the other reads, pulses come once, addresses
    without a register are errors; accesses of the bus in the same cycles are neither lost nor repeated."""
    bench = await RegisterBench.start(dut)
    by_name = {r.name: r for r in bench.map}
    assert await bench.aside(by_name["CONTROL"].offset, 3) == (0, 0)
    await ClockCycles(dut.clk, 3)
    assert bench.pulses == [("CONTROL", 3)]
    bench.pulses.clear()
    assert (await bench.aside(0xFFC))[0] == 1
    assert (await bench.aside(0xFFC, 1))[0] == 1
    bus = cocotb.start_soon(_write_and_read(bench, by_name["PROGRAM_COUNT"]))
    count = 0
    while not bus.done():
        count += 1
        assert (await bench.aside(by_name["WATCHDOG"].offset, count))[0] == 0
        assert await bench.aside(by_name["WATCHDOG"].offset) == (0, count)
        await ClockCycles(dut.clk, bench.random.randrange(3))
    await bus
    assert await bench.value(by_name["WATCHDOG"]) == count
    assert not bench.pulses


async def _write_and_read(bench: RegisterBench, register: Register):
    for _ in range(100):
        value = bench.random.getrandbits(32)
        assert await bench.write(register.offset, value) == AxiResp.OKAY
        assert await bench.value(register) == value


@cocotb.test()
async def test_unmapped_addresses_answer_slverr(dut):
    bench = await RegisterBench.start(dut)
    mapped = {r.offset for r in bench.map}
    free = [offset for offset in range(0, 1 << CSR_ADDR_BITS, 4) if offset not in mapped]
    # every gap between registers, both ends of each, and some of the rest
    edges = [offset for offset in free if {offset - 4, offset + 4} & mapped]
    for offset in sorted({*edges, *bench.random.sample(free, 40), free[-1]}):
        response, value = await bench.read(offset)
        assert (response, value) == (AxiResp.SLVERR, 0), f"reading {offset:#x} answers {response!r}, {value:#x}"
        assert await bench.write(offset, _ALL) == AxiResp.SLVERR, f"writing {offset:#x}"
    _ACCESSES.sample(unmapped="read")
    _ACCESSES.sample(unmapped="write")
    for register in bench.of(Access.RW):
        assert await bench.value(register) == register.init, f"{register.name} was changed by a write beside it"
    assert not bench.pulses
    report()


@cocotb.test()
async def test_a_locked_window_ignores_writes_until_reset(dut):
    """The lock covers its own window with its flags, and no other."""
    bench = await RegisterBench.start(dut)
    by_name = {r.name: r for r in bench.map}
    for locked in range(WINDOWS):
        await bench.reset()
        own = [r for r in bench.of(Access.RW) if r.locked_by == f"WINDOW{locked}_FLAGS"]
        assert len(own) == 5
        kept = {r.name: bench.random.getrandbits(32) & r.writable for r in own}
        kept[f"WINDOW{locked}_FLAGS"] = _READ | _LOCK
        for name, value in kept.items():  # the flags are the last
            await bench.write(by_name[name].offset, value)
        for register in bench.of(Access.RW):
            if not register.name.endswith("FLAGS"):
                assert await bench.write(register.offset, _ALL) == AxiResp.OKAY
        assert await bench.write(by_name[f"WINDOW{locked}_FLAGS"].offset, 0) == AxiResp.OKAY
        for register in bench.of(Access.RW):
            if register.name.endswith("FLAGS") and register not in own:
                continue
            expected = kept[register.name] if register in own else register.writable
            assert await bench.value(register) == expected, f"{register.name} with window {locked} locked"
            _ACCESSES.sample(locked=register in own)
    await bench.reset()
    assert await bench.value(by_name["WINDOW0_FLAGS"]) == 0
    report()
