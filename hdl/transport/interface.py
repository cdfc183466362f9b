"""Between the engine, which is reset with every program, and the ports, which are not."""

from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import Config, clog2
from ..csr import SEMAPHORE_BITS, SEMAPHORES
from ..link.formats import Cause


def port_state_layout() -> data.StructLayout:
    """Whether a port's link is up, or has no session; if neither, it trains. ``cause`` is why it is down."""
    return data.StructLayout({"up": 1, "down": 1, "cause": Cause})


def down_address(port, state) -> Value:
    """What ERROR_ADDRESS holds with LINK_DOWN."""
    return Value.cast(state.cause) << 8 | port


def port_signature(config: Config) -> wiring.Signature:
    """A port as seen from the engine: the beats of both virtual channels, and its link's state."""
    return wiring.Signature({
        "requests": Out(stream.Signature(config.bus_bits)),
        "answers": In(stream.Signature(config.bus_bits)),
        "state": In(port_state_layout()),
    })


def semaphore_signature() -> wiring.Signature:
    """The semaphores as seen from the engine: ``enough`` tells, in the same cycle, whether ``semaphore`` holds at least
    ``count``; ``take`` then takes that off."""
    return wiring.Signature({
        "semaphore": Out(clog2(SEMAPHORES)),
        "count": Out(SEMAPHORE_BITS),
        "enough": In(1),
        "take": Out(1),
    })
