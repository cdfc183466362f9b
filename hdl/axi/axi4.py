"""The subset of AXI4 that the chip's master port uses.

Incrementing bursts of whole bus words that never cross a 4 KiB boundary; one ID per DMA channel, so that responses of
different channels may come in any order; ``rready`` is always high.
"""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import ADDR_BITS, Config

#: Response that is no error; EXOKAY never comes since no exclusive access is made.
OKAY = 0


def id_bits(config: Config) -> int:
    """Width of an AXI ID: one per DMA channel, of which a chip with links has one more."""
    return 3 if config.links else 2


def address_layout(config: Config) -> data.StructLayout:
    """Read or write address: ``len`` is the number of beats less one."""
    return data.StructLayout({"id": id_bits(config), "addr": ADDR_BITS, "len": 8})


def read_layout(config: Config) -> data.StructLayout:
    return data.StructLayout({"id": id_bits(config), "data": config.bus_bits, "resp": 2, "last": 1})


def write_layout(config: Config) -> data.StructLayout:
    return data.StructLayout({"data": config.bus_bits, "strb": config.bus_bytes, "last": 1})


def response_layout(config: Config) -> data.StructLayout:
    return data.StructLayout({"id": id_bits(config), "resp": 2})


class Signature(wiring.Signature):
    """A master's five channels."""

    def __init__(self, config: Config):
        super().__init__({
            "ar": Out(stream.Signature(address_layout(config))),
            "r": In(stream.Signature(read_layout(config))),
            "aw": Out(stream.Signature(address_layout(config))),
            "w": Out(stream.Signature(write_layout(config))),
            "b": In(stream.Signature(response_layout(config))),
        })


def ports(config: Config) -> dict[str, wiring.Member]:
    """Members of a component for a flat AXI4 master port, by their standard names under ``m_axi_``."""
    address = {"id": id_bits(config), "addr": ADDR_BITS, "len": 8, "size": 3, "burst": 2}
    channels = {
        "aw": (Out, address),
        "w": (Out, {"data": config.bus_bits, "strb": config.bus_bytes, "last": 1}),
        "b": (In, {"id": id_bits(config), "resp": 2}),
        "ar": (Out, address),
        "r": (In, {"id": id_bits(config), "data": config.bus_bits, "resp": 2, "last": 1}),
    }
    members = {}
    for channel, (forward, signals) in channels.items():
        backward = In if forward is Out else Out
        members |= {f"m_axi_{channel}{name}": forward(width) for name, width in signals.items()}
        members |= {f"m_axi_{channel}valid": forward(1), f"m_axi_{channel}ready": backward(1)}
    return members


def connect_ports(m, component, bus, config: Config):
    """Wires a flat port made of :func:`ports` to an interface of :class:`Signature`."""
    for channel in ("aw", "ar"):
        m.d.comb += [
            getattr(component, f"m_axi_{channel}size").eq((config.bus_bytes - 1).bit_length()),
            getattr(component, f"m_axi_{channel}burst").eq(1),
        ]
    for channel in ("aw", "w", "b", "ar", "r"):
        inner = getattr(bus, channel)
        names = {name: getattr(component, f"m_axi_{channel}{name}") for name, _ in inner.payload.shape()}
        valid, ready = (getattr(component, f"m_axi_{channel}{name}") for name in ("valid", "ready"))
        if channel in ("b", "r"):
            m.d.comb += [inner.valid.eq(valid), ready.eq(inner.ready)]
            m.d.comb += [inner.payload[name].eq(port) for name, port in names.items()]
        else:
            m.d.comb += [valid.eq(inner.valid), inner.ready.eq(ready)]
            m.d.comb += [port.eq(inner.payload[name]) for name, port in names.items()]
