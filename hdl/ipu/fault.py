"""How the parts of the IPU report why a program must stop."""

from amaranth.lib import data

from ..csr import Cause
from .windows import DMA_ADDR_BITS


def fault_layout() -> data.StructLayout:
    """Held until reset once ``valid``."""
    return data.StructLayout({"valid": 1, "cause": 8, "address": DMA_ADDR_BITS})


def raise_fault(m, fault, cause: Cause, address):
    """Statements that latch a fault, for use under the condition that makes it. The first one stays."""
    with m.If(~fault.valid):
        m.d.sync += [fault.valid.eq(1), fault.cause.eq(cause), fault.address.eq(address)]
