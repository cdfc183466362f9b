"""The activation buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2


class ActivationBuffer(wiring.Component):
    """``act_bytes`` bytes: written by bus word and read by line of ``line_bytes`` bytes, both at any byte address.
    Addresses wrap around.

    Two memories, one of the even lines and one of the odd ones, so that what begins anywhere in a line and ends in the
    next is one access to each. Read latency 1 cycle; one write and one read per cycle. A byte that is read in the cycle
    in which it is written comes as it was before.

    Members
    -------
    write : In(1), write_address : In, write_word : In(bus_bits), write_mask : In(bus_bytes)
        Byte ``i`` of the word goes to ``write_address + i`` if bit ``i`` of the mask is set.
    read : In(1), read_address : In, line : Out(8 * line_bytes)
        The bytes from ``read_address`` on; held until the next read.
    """

    def __init__(self, config: Config):
        self.config = config
        address = clog2(config.act_bytes)
        super().__init__({
            "write": In(1),
            "write_address": In(address),
            "write_word": In(config.bus_bits),
            "write_mask": In(config.bus_bytes),
            "read": In(1),
            "read_address": In(address),
            "line": Out(8 * config.line_bytes),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lines = [Memory(shape=8 * config.line_bytes, depth=config.act_lines // 2, init=[]) for _ in range(2)]
        m.submodules.even, m.submodules.odd = lines
        self._write(m, [memory.write_port(granularity=8) for memory in lines])
        self._read(m, [memory.read_port() for memory in lines])
        return m

    def _rows(self, address):
        """Where the even and the odd memory hold the line of ``address`` and the next one."""
        pair = clog2(2 * self.config.line_bytes)
        return address[pair:] + address[pair - 1], address[pair:]

    def _write(self, m, ports):
        """Turns the word so that its bytes are where they belong in an aligned word, which may be any of a line; the
        mask tells which."""
        config = self.config
        turned = Signal(config.bus_bits)
        placed = Signal(2 * config.line_bytes + config.bus_bytes)
        mask = Signal(2 * config.line_bytes)
        m.d.comb += [
            turned.eq(self.write_word.replicate(2) >> ((-self.write_address)[:clog2(config.bus_bytes)] << 3)),
            placed.eq(Mux(self.write, self.write_mask, 0) << self.write_address[:clog2(2 * config.line_bytes)]),
            mask.eq(placed | (placed >> 2 * config.line_bytes)),
        ]
        for number, (port, row) in enumerate(zip(ports, self._rows(self.write_address))):
            m.d.comb += [
                port.addr.eq(row),
                port.data.eq(turned.replicate(config.line_bytes // config.bus_bytes)),
                port.en.eq(mask.word_select(number, config.line_bytes)),
            ]

    def _read(self, m, ports):
        """Fetches two lines and shifts the one asked for out of them."""
        config = self.config
        place = Signal(clog2(2 * config.line_bytes))
        even, odd = ports
        for port, row in zip(ports, self._rows(self.read_address)):
            m.d.comb += [port.addr.eq(row), port.en.eq(self.read)]
        with m.If(self.read):
            m.d.sync += place.eq(self.read_address)
        both = Mux(place[-1], Cat(odd.data, even.data), Cat(even.data, odd.data))
        m.d.comb += self.line.eq(both >> (place[:-1] << 3))
