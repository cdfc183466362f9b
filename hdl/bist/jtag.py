"""The chip's registers over JTAG."""

import enum

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..axi.axi_lite import access_signature
from ..csr import CSR_ADDR_BITS
from .tap import Tap


class Operation(enum.IntEnum):
    """What a scan asks for; any other value asks for nothing."""
    NONE = 0
    READ = 1
    WRITE = 2


class Outcome(enum.IntEnum):
    """What a scan captures of the access before it."""
    OKAY = 0
    FAILED = 2  #: there is no such register
    BUSY = 3  #: it has not ended


def scan_layout() -> data.StructLayout:
    """The data register of instruction REGISTERS, as the one of the RISC-V Debug Specification 0.13 (section 6.1.5)."""
    return data.StructLayout({"operation": 2, "data": 32, "address": CSR_ADDR_BITS})


def jtag_pins() -> dict[str, wiring.Member]:
    """Members of a component for the pins of JTAG."""
    return {name: In(1) for name in ("tck", "trst_n", "tms", "tdi")} | {
        name: Out(1) for name in ("tdo", "tdo_enable")}


class Jtag(wiring.Component):
    """A :class:`~hdl.bist.tap.Tap` whose data register reads and writes the registers of the chip.

    A scan captures how the access before it has ended, with the data that it has read, and asks for the next one when
    it is updated. One that captures BUSY asks for nothing: it is to be repeated.

    The clocks may have any ratio. A request and its answer cross as toggles behind two flip-flops; what goes with them
    is steady meanwhile.

    Members
    -------
    tck, trst_n, tms, tdi : In(1), tdo, tdo_enable : Out(1)
        ``trst_n`` is asynchronous and must be low once after power-up, or always where JTAG is not used.
    access : Out(access_signature)
        In domain ``sync``.
    """

    def __init__(self):
        super().__init__(jtag_pins() | {"access": Out(access_signature(CSR_ADDR_BITS))})

    def elaborate(self, platform):
        m = Module()
        m.domains.tck = ClockDomain(async_reset=True, local=True)
        m.domains.falling = ClockDomain(clk_edge="neg", async_reset=True, local=True)
        for domain in ("tck", "falling"):
            m.d.comb += [ClockSignal(domain).eq(self.tck), ResetSignal(domain).eq(~self.trst_n)]
        tap = Tap()
        m.submodules.tap = DomainRenamer("tck")(tap)
        m.d.comb += [tap.tms.eq(self.tms), tap.tdi.eq(self.tdi), self.tdo.eq(tap.tdo),
                     self.tdo_enable.eq(tap.tdo_enable)]

        request = Signal()
        asked = Signal(scan_layout())
        answer = Signal(reset_less=True)  # a reset of the chip must not repeat an access
        answered = Signal(data.StructLayout({"data": 32, "failed": 1}), reset_less=True)
        self._scan(m, tap, request, asked, answer, answered)
        self._access(m, request, asked, answer, answered)
        return m

    def _scan(self, m, tap, request, asked, answer, answered):
        """In the domain of TCK."""
        scan = Signal(scan_layout())
        answer_here, busy, captured_busy = Signal(), Signal(), Signal()
        m.submodules.answer = FFSynchronizer(answer, answer_here, o_domain="tck")
        m.d.comb += [busy.eq(request != answer_here), tap.user_tdo.eq(scan.operation[0])]
        with m.If(tap.capture):
            m.d.tck += [
                captured_busy.eq(busy),
                scan.operation.eq(Mux(busy, Outcome.BUSY, Mux(answered.failed, Outcome.FAILED, Outcome.OKAY))),
                scan.data.eq(answered.data),
                scan.address.eq(asked.address),
            ]
        with m.If(tap.shift):
            m.d.tck += Value.cast(scan).eq(Cat(Value.cast(scan)[1:], tap.tdi))
        with m.If(tap.update & ~captured_busy & ((scan.operation == Operation.READ)
                                                 | (scan.operation == Operation.WRITE))):
            m.d.tck += [asked.eq(scan), request.eq(~request)]

    def _access(self, m, request, asked, answer, answered):
        """In the domain of the chip."""
        request_here = Signal()
        m.submodules.request = FFSynchronizer(request, request_here)
        access = self.access
        wanted = (asked.operation == Operation.READ) | (asked.operation == Operation.WRITE)
        m.d.comb += [
            access.valid.eq((request_here != answer) & wanted),
            access.write.eq(asked.operation == Operation.WRITE),
            access.address.eq(asked.address),
            access.data.eq(asked.data),
        ]
        m.d.sync += answer.eq(request_here)
        with m.If(access.valid):
            m.d.sync += [answered.data.eq(access.read_data), answered.failed.eq(access.error)]
