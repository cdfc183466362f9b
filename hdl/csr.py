"""Control and status registers: 32 bits each, on AXI4-Lite. The one description that RTL, driver, C header and
documents come from.

A 64-bit quantity is a pair of registers, low word first. Reads of an unmapped address and writes to one answer
``SLVERR``; writes to a read-only register are ignored.
"""

import enum
from dataclasses import dataclass, field

from .config import ADDR_BITS, INSTRUCTION_BYTES, Config, clog2

#: Value of register ID: "CIM1" in memory order.
ID_VALUE = int.from_bytes(b"CIM1", "little")

#: DMA windows of the chip.
WINDOWS = 4

#: Value of register WATCHDOG after reset.
WATCHDOG_CYCLES = 1 << 20

#: Address bits of the register space.
CSR_ADDR_BITS = 12


class Cause(enum.IntEnum):
    """Why a program stopped. ERROR_ADDRESS holds the address named with each cause."""
    NONE = 0
    ILLEGAL_OPCODE = 1  #: of the instruction
    ILLEGAL_FIELD = 2  #: of the instruction
    READ_WINDOW = 3  #: first byte of the burst that no window allows
    WRITE_WINDOW = 4  #: first byte of the burst that no window allows
    READ_ERROR = 5  #: of the bus word that was answered with an error
    WRITE_ERROR = 6  #: first byte of the burst that was answered with an error
    WEIGHT_STREAM = 7  #: of the LOAD_WEIGHTS data's first bus word after which it no longer fits ``steps``
    TOKEN_OVERFLOW = 8  #: the pair of queues, 8 x from + to
    WATCHDOG = 9  #: of the youngest instruction dispatched
    BAD_MULTIPLIER = 10  #: parameter memory entry whose multiplier is infinite or not a number


class Access(enum.Enum):
    RO = "read only"
    RW = "read and write"
    W1 = "write 1 to act, reads 0"
    W1C = "write 1 to clear"


@dataclass(frozen=True)
class Register:
    """One 32-bit register.

    ``fields`` maps a name to (lowest bit, width, meaning). Bits outside ``writable`` read as zero; ``init`` is the
    value after reset. Writes are ignored while bit 2 of the register named ``locked_by`` is set.
    """
    name: str
    offset: int
    access: Access
    meaning: str
    fields: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    writable: int = 0xFFFF_FFFF
    init: int = 0
    locked_by: str | None = None


def _pair(name: str, offset: int, access: Access, meaning: str, *, writable: int = (1 << 64) - 1,
          locked_by: str | None = None) -> list[Register]:
    low, high = writable & 0xFFFF_FFFF, writable >> 32
    return [Register(name, offset, access, f"{meaning}, bits 31 to 0", writable=low, locked_by=locked_by),
            Register(f"{name}_HIGH", offset + 4, access, f"{meaning}, bits 63 to 32", writable=high,
                     locked_by=locked_by)]


#: 64-bit counters of a program, in register order: they restart with START and stand still when it has ended.
COUNTERS = {
    "CYCLES": "cycles from START to the end of the program",
    "ARRAY_BUSY": "cycles in which the array multiplied a plane",
    "WEIGHT_BEATS": "bus words of weights that went into the array",
    "READ_BEATS": "bus words read",
    "WRITE_BEATS": "bus words written",
    "LOAD_BUSY": "cycles in which a load got on",
    "LOAD_TOKEN": "cycles in which a load waited for a token",
    "LOAD_MEMORY": "cycles in which a load waited for the bus",
    "LOAD_BUFFER": "cycles in which a load waited for the weight stream to have room",
    "COMPUTE_BUSY": "cycles in which a GEMM got on",
    "COMPUTE_TOKEN": "cycles in which a GEMM waited for a token and the array did not work",
    "COMPUTE_MEMORY": "cycles in which a GEMM waited for weights and the array did not work",
    "STORE_BUSY": "cycles in which a store got on",
    "STORE_TOKEN": "cycles in which a store waited for a token",
    "STORE_MEMORY": "cycles in which a store waited for the bus",
}


def registers(config: Config) -> list[Register]:
    """All registers of a chip, by ascending offset."""
    ro, rw, w1, w1c = Access.RO, Access.RW, Access.W1, Access.W1C
    regs = [
        Register("ID", 0x000, ro, f"{ID_VALUE:#010x}, \"CIM1\""),
        Register("FORMAT_VERSION", 0x004, ro, "version of the formats of steps, instructions and registers"),
        *_pair("CONFIG_HASH", 0x008, ro, "hash of the configuration that the chip was built from"),
        Register("CONTROL", 0x010, w1, "commands", {
            "start": (0, 1, "run the program; ignored unless idle"),
            "soft_reset": (1, 1, "abandon the program; registers other than STATUS, CAUSE, ERROR_ADDRESS, IRQ_STATUS "
                                 "and the counters keep their values"),
        }),
        Register("STATUS", 0x014, ro, "state", {
            "busy": (0, 1, "a program runs, or a soft reset waits for outstanding transfers"),
            "done": (1, 1, "the program has completed"),
            "error": (2, 1, "the program was stopped; see CAUSE"),
            "overflow": (3, 1, "an accumulator or a scaled partial sum has wrapped around since START"),
        }),
        Register("IRQ_ENABLE", 0x018, rw, "which events raise the interrupt", {
            "done": (0, 1, "program completed"), "error": (1, 1, "program stopped")}, writable=3),
        Register("IRQ_STATUS", 0x01C, w1c, "events that have happened", {
            "done": (0, 1, "program completed"), "error": (1, 1, "program stopped")}),
        Register("CAUSE", 0x020, ro, "why the program stopped", {"cause": (0, 8, "see the table of causes")}),
        *_pair("ERROR_ADDRESS", 0x028, ro, "where; what it holds depends on CAUSE"),
        *_pair("PROGRAM_ADDRESS", 0x030, rw, "first instruction; a multiple of 64",
              writable=(1 << ADDR_BITS) - INSTRUCTION_BYTES),
        Register("PROGRAM_COUNT", 0x038, rw, "instructions of the program"),
        Register("WATCHDOG", 0x03C, rw, "cycles without progress after which a program is stopped; 0: never",
                 init=WATCHDOG_CYCLES),
    ]
    offset = 0x040
    for name, meaning in COUNTERS.items():
        regs += _pair(name, offset, ro, meaning)
        offset += 8
    for w in range(WINDOWS):
        base, flags = 0x100 + 0x20 * w, f"WINDOW{w}_FLAGS"
        bounds = {"writable": (2 << ADDR_BITS) - 1, "locked_by": flags}
        regs += [*_pair(f"WINDOW{w}_BASE", base, rw, f"first byte of window {w}", **bounds),
                 *_pair(f"WINDOW{w}_LIMIT", base + 8, rw, f"first byte after window {w}", **bounds),
                 Register(flags, base + 16, rw, f"what window {w} allows", {
                     "read": (0, 1, "DMA may read"), "write": (1, 1, "DMA may write"),
                     "lock": (2, 1, "this window's registers ignore writes until reset")}, 7, 0, flags)]
    for macro in range(config.macros):
        for spare in range(config.spare_cols):
            regs.append(Register(
                f"REPAIR{macro}_{spare}", 0x400 + 4 * (macro * config.spare_cols + spare), rw,
                f"macro {macro}: columns from this one on move up by one physical column", {
                    "column": (0, 16, f"{config.cols}: none, the value after reset; ascending over the spares")},
                (1 << clog2(config.cols + 1)) - 1, config.cols))
    return regs


def register_map(config: Config) -> dict[str, Register]:
    """Registers by name."""
    return {r.name: r for r in registers(config)}
