"""The chip-to-chip ports of a core."""

from amaranth.hdl import Cat, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi import axi4
from ..axi.write_arbiter import WriteArbiter
from ..config import Config
from ..csr import SEMAPHORES, Access, link_registers
from ..ipu.windows import windows_layout
from .interface import port_signature, semaphore_signature
from .port import Port
from .semaphores import Semaphores


class Transport(wiring.Component):
    """The ports, the semaphores that they share, and their way to memory beside the program's. Programs come and go;
    partners may write and post at any time.

    Members
    -------
    <register> : In or Out(32)
        One per register of :func:`~hdl.csr.link_registers`, as in :class:`~hdl.transport.port.Port`.
    ports : In(port_signature).array(links), semaphores : In(semaphore_signature)
        To the engine.
    windows : In(ArrayLayout)
    clear : In(1)
        Clears all semaphores.
    i_aw, i_w : In(stream), o_b : Out(stream)
        The program's writes.
    aw, w : Out(stream), b : In(stream)
        All writes.
    tx, rx, rx_clk : array(links)
        As in :class:`~hdl.transport.port.Port`.
    changed : Out(1)
    """

    i_aw: stream.Interface
    i_w: stream.Interface
    o_b: stream.Interface
    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        self.map = link_registers(config)
        directions = {Access.RO: Out, Access.RW: In, Access.W1: In}
        address, word = stream.Signature(axi4.address_layout(config)), stream.Signature(axi4.write_layout(config))
        response = stream.Signature(axi4.response_layout(config))
        super().__init__({
            **{register.name.lower() + "_set" * (register.access is Access.W1): directions[register.access](32)
               for register in self.map},
            "ports": In(port_signature(config)).array(config.links),
            "semaphores": In(semaphore_signature()),
            "windows": In(windows_layout()),
            "clear": In(1),
            "i_aw": In(address), "i_w": In(word), "o_b": Out(response),
            "aw": Out(address), "w": Out(word), "b": In(response),
            "tx": Out(config.bus_bits).array(config.links),
            "rx": In(config.bus_bits).array(config.links),
            "rx_clk": In(1).array(config.links),
            "changed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.semaphores = semaphores = Semaphores(config)
        m.submodules.arbiter = arbiter = WriteArbiter(config, 1 + config.links)
        ports = [Port(config, number=number) for number in range(config.links)]
        for number, port in enumerate(ports):
            m.submodules[f"port_{number}"] = port
            connect(m, engine=flipped(self.ports[number]), port=port.engine)
            connect(m, port=port.o_posts, semaphores=semaphores.i_posts[number])
            m.d.comb += [
                port.windows.eq(self.windows), port.full.eq(semaphores.full[number]),
                self.tx[number].eq(port.tx), port.rx.eq(self.rx[number]), port.rx_clk.eq(self.rx_clk[number]),
            ]
            for register in port.map:
                name = register.name.lower() + "_set" * (register.access is Access.W1)
                mine, its = getattr(self, name), getattr(port, name)
                m.d.comb += mine.eq(its) if register.access is Access.RO else its.eq(mine)
        m.d.comb += self.changed.eq(Cat(port.changed for port in ports).any())
        self._semaphores(m, semaphores)
        self._writes(m, arbiter, ports)
        return m

    def _semaphores(self, m, semaphores):
        connect(m, engine=flipped(self.semaphores), semaphores=semaphores.engine)
        m.d.comb += [
            semaphores.clear.eq(self.semaphore_clear_set | self.clear.replicate(SEMAPHORES)),
            *(getattr(self, f"semaphore{number}").eq(semaphores.values[number]) for number in range(SEMAPHORES)),
        ]

    def _writes(self, m, arbiter, ports):
        """The program is the first of the writers."""
        for number, (aw, w, b) in enumerate([(flipped(self.i_aw), flipped(self.i_w), flipped(self.o_b)),
                                             *((port.aw, port.w, port.b) for port in ports)]):
            connect(m, writer=aw, arbiter=arbiter.i_aw[number])
            connect(m, writer=w, arbiter=arbiter.i_w[number])
            connect(m, writer=b, arbiter=arbiter.o_b[number])
        for name in ("aw", "w", "b"):
            connect(m, arbiter=getattr(arbiter, name), bus=flipped(getattr(self, name)))
