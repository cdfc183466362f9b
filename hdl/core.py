"""A core: engine, control, self-test, ports and registers, with its own reset for the engine."""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .axi import axi4, axi_lite
from .bist.compute import ComputeTest
from .bist.march import March
from .cim.interfaces import connect_test
from .config import ADDR_BITS, FORMAT_VERSION, Config
from .csr import CSR_ADDR_BITS, ID_VALUE, WINDOWS, Access, counters
from .ipu.control import Control
from .ipu.engine import Engine
from .ipu.registers import Registers, wide
from .transport.transport import Transport


class Core(wiring.Component):
    """One grid with its IPU and its self-test: an AXI4 master, an AXI4-Lite slave, and an interrupt.

    Members
    -------
    bus : Out(axi4.Signature)
    s_axil_* : AXI4-Lite slave
    irq : Out(1)
        High while an enabled event is set in IRQ_STATUS.
    aside : In(access_signature)
        Access to the registers beside the slave's.
    tx, rx, rx_clk : array(links)
        With links only, as in :class:`~hdl.transport.port.Port`.
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "bus": Out(axi4.Signature(config)),
            **axi_lite.ports(CSR_ADDR_BITS),
            "irq": Out(1),
            "aside": In(axi_lite.access_signature(CSR_ADDR_BITS)),
            **(self._lines() if config.links else {}),
        })

    def _lines(self):
        links, bits = self.config.links, self.config.bus_bits
        return {"tx": Out(bits).array(links), "rx": In(bits).array(links), "rx_clk": In(1).array(links)}

    def elaborate(self, platform):
        m = Module()
        m.domains.engine = ClockDomain(local=True)
        m.submodules.registers = registers = Registers(self.config)
        m.submodules.control = control = Control(self.config)
        m.submodules.march = march = March(self.config)
        m.submodules.compute_test = compute_test = ComputeTest(self.config)
        engine = Engine(self.config)
        m.submodules.engine = DomainRenamer("engine")(engine)
        m.d.comb += [
            ClockSignal("engine").eq(ClockSignal()),
            ResetSignal("engine").eq(control.engine_reset),  # a register, so that no input reaches the engine at once
        ]
        axi_lite.connect_ports(m, outer=self, inner=registers, addr_bits=CSR_ADDR_BITS)
        wiring.connect(m, aside=wiring.flipped(self.aside), registers=registers.aside)
        self.events = [control.done_event, control.error_event, march.stopped | compute_test.stopped]
        self._control(m, registers, control, engine)
        self._test(m, registers, control, march, compute_test, engine)
        self._bus(m, control, engine)
        if self.config.links:
            self._links(m, registers, control, engine)
        else:
            wiring.connect(m, engine=engine.bus, bus=wiring.flipped(self.bus))
        self._status(m, registers, control)
        return m

    def _control(self, m, registers, control, engine):
        """From registers to the engine."""
        m.d.comb += [
            control.start.eq(registers.control_set[0]),
            control.soft_reset.eq(registers.control_set[1]),
            control.watchdog.eq(registers.watchdog),
            control.fault.eq(engine.fault),
            control.finished.eq(engine.finished),
            control.dispatched_address.eq(engine.dispatched_address),
            control.overflow.eq(engine.overflow),
            control.events.eq(engine.events),
            engine.go.eq(control.go),
            engine.halt.eq(control.halt),
            engine.address.eq(wide(registers, "program_address")[:ADDR_BITS]),
            engine.count.eq(registers.program_count),
            engine.counters.eq(control.counters),
        ]
        for number in range(WINDOWS):
            window = engine.windows[number]
            flags = getattr(registers, f"window{number}_flags")
            m.d.comb += [
                window.base.eq(wide(registers, f"window{number}_base")),
                window.limit.eq(wide(registers, f"window{number}_limit")),
                window.read.eq(flags[0]),
                window.write.eq(flags[1]),
                window.remote.eq(flags[3]),
            ]
        for macro in range(self.config.macros):
            for spare in range(self.config.spare_cols):
                m.d.comb += engine.repair[macro][spare].eq(getattr(registers, f"repair{macro}_{spare}"))

    def _test(self, m, registers, control, march, compute_test, engine):
        """The self-tests, and that they and programs keep out of each other's way."""
        for test in (march, compute_test):
            _connect_registers(m, registers, test)
            m.d.comb += [
                test.blocked.eq(control.busy | control.error),
                test.discard.eq(control.soft_reset | control.go),
            ]
        connect_test(m, source=compute_test.test, sink=engine.test)
        wiring.connect(m, engine=engine.field_test, test=compute_test.field_test)
        m.d.comb += [
            march.computing.eq(compute_test.busy),
            compute_test.marching.eq(march.active),
            compute_test.i_signature.eq(engine.o_signature),
            engine.i_signature.eq(compute_test.o_signature),
            engine.isolated.eq(compute_test.isolated),
            compute_test.running.eq(control.busy),
            control.testing.eq(march.busy | compute_test.busy),
            engine.bist.eq(march.request),
            engine.bist_data.eq(march.data),
            march.words.eq(engine.bist_words),
        ]

    def _links(self, m, registers, control, engine):
        """The ports, which share the way to memory with the program's writes."""
        m.submodules.transport = transport = Transport(self.config)
        _connect_registers(m, registers, transport)
        wiring.connect(m, engine=engine.semaphores, transport=transport.semaphores)
        for name in ("ar", "r"):
            wiring.connect(m, engine=getattr(engine.bus, name), bus=wiring.flipped(getattr(self.bus, name)))
        for name, mine in (("aw", transport.i_aw), ("w", transport.i_w), ("b", transport.o_b)):
            wiring.connect(m, engine=getattr(engine.bus, name), transport=mine)
            wiring.connect(m, transport=getattr(transport, name), bus=wiring.flipped(getattr(self.bus, name)))
        for number in range(self.config.links):
            wiring.connect(m, engine=engine.ports[number], transport=transport.ports[number])
            m.d.comb += [self.tx[number].eq(transport.tx[number]), transport.rx[number].eq(self.rx[number]),
                         transport.rx_clk[number].eq(self.rx_clk[number])]
        m.d.comb += [
            transport.windows.eq(engine.windows),
            transport.clear.eq(control.reset_event),
            control.sending.eq(engine.sending),
        ]
        self.events.append(transport.changed)

    def _status(self, m, registers, control):
        """From the engine to registers and interrupt."""
        config, count = self.config, len(self.events)
        pending = Signal(count)
        m.d.sync += pending.eq((pending & ~registers.irq_status_clear[:count]) | Cat(self.events))
        with m.If(control.reset_event):
            m.d.sync += pending.eq(0)
        m.d.comb += [
            registers.id.eq(ID_VALUE),
            registers.format_version.eq(FORMAT_VERSION),
            wide(registers, "config_hash").eq(config.hash),
            registers.status.eq(Cat(control.busy, control.done, control.error, control.overflowed)),
            registers.irq_status.eq(pending),
            registers.cause.eq(control.cause),
            wide(registers, "error_address").eq(control.error_address),
            self.irq.eq((pending & registers.irq_enable[:count]).any()),
            *(wide(registers, name.lower()).eq(counter) for name, counter in zip(counters(config), control.counters)),
        ]

    def _bus(self, m, control, engine):
        """What of the bus the program's counters and its end depend on."""
        handshake = {name: getattr(engine.bus, name).valid & getattr(engine.bus, name).ready
                     for name in ("ar", "r", "aw", "w", "b")}
        m.d.comb += [
            control.read_request.eq(handshake["ar"]),
            control.read_beat.eq(handshake["r"]),
            control.read_end.eq(handshake["r"] & engine.bus.r.payload.last),
            control.write_request.eq(handshake["aw"]),
            control.write_beat.eq(handshake["w"]),
            control.write_end.eq(handshake["b"]),
            control.requesting.eq(engine.bus.ar.valid | engine.bus.aw.valid),
        ]


def _connect_registers(m, registers, part):
    """Wires the registers in the map of a part to its members, which have their names."""
    for register in part.map:
        name = register.name.lower()
        match register.access:
            case Access.RO:
                m.d.comb += getattr(registers, name).eq(getattr(part, name))
            case Access.RW:
                m.d.comb += getattr(part, name).eq(getattr(registers, name))
            case Access.W1:
                m.d.comb += getattr(part, f"{name}_set").eq(getattr(registers, f"{name}_set"))
