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

#: Semaphores of a chip with links, and bits of each.
SEMAPHORES, SEMAPHORE_BITS = 16, 16

#: Value of register WATCHDOG after reset.
WATCHDOG_CYCLES = 1 << 20

#: Cycles without partner after which a link is down, unless software says otherwise: a second at 1 GHz.
DOWN_AFTER_CYCLES = 1 << 30

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
    BIST_RUNNING = 11  #: zero; the program was not started, because a self-test runs
    LINK_DOWN = 12  #: the port, and 256 x the cause of its link
    REMOTE_WINDOW = 13  #: in the partner's memory: first byte of the packet that no window allows
    REMOTE_ERROR = 14  #: in the partner's memory: first byte of the packet that was answered with an error
    REMOTE_SEMAPHORE = 15  #: the partner's semaphore that would have passed its largest value
    REMOTE_PACKET = 16  #: address in the header that the partner did not understand
    SELF_TEST = 17  #: macro x 65536 + logical column whose signature is wrong; the column after the last: words read
    SELF_TEST_REFUSED = 18  #: why there was no self-test, as CBIST_STATUS.cause


class BistCause(enum.IntEnum):
    """Why a self-test refused a command or ended a run: the March controller, whose BIST_STATUS.step is the microcode
    word that came next, or the compute self-test, whose CBIST_STATUS.step is the row of its table."""
    NONE = 0
    PROGRAM_RUNNING = 1  #: a program runs, or has stopped with an error that awaits its soft reset
    ILLEGAL_CODE = 2  #: the word is none of the microcode, or cannot stand there; or the code ends within an element
    READ_BEFORE_WRITE = 3  #: the word reads what this run has not written
    RANGE = 4  #: BIST_RANGE, BIST_MODE or CBIST_MODE names no address or macro, or a partner beside both banks
    CODE_TOO_LONG = 5  #: more microcode words or rows were written than there is room for
    PARTNER = 6  #: the word goes to the other bank, which BIST_RANGE.partner does not allow
    SAME_BANK = 7  #: the word reads and writes the same bank
    NOT_HELD = 8  #: there is no run to resume, or to end
    COMPUTE_RUNNING = 9  #: the compute self-test runs
    MARCH_RUNNING = 10  #: the March controller runs, or has a run that is held
    EMPTY_TABLE = 11  #: the compute self-test has no rows
    ILLEGAL_ROW = 12  #: a field of the row has a value that means nothing
    ABORTED = 13  #: the compute self-test was ended by abort or by a soft reset


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


#: Counters that a chip with links has besides, after the others.
LINK_COUNTERS = {
    "LINK_BUSY": "cycles in which a SEND got on",
    "LINK_TOKEN": "cycles in which a SEND waited for a token",
    "LINK_MEMORY": "cycles in which a SEND waited for the bus, the link or the partner",
    "RECEIVE_TOKEN": "cycles in which a RECV waited for a token",
    "RECEIVE_WAIT": "cycles in which a RECV waited for its semaphore",
}


def counters(config: Config) -> dict[str, str]:
    """The counters of a chip, in register order."""
    return COUNTERS | LINK_COUNTERS if config.links else COUNTERS


def bist_registers(config: Config) -> list[Register]:
    """Registers of the March controller, by ascending offset. Those locked by BIST_STATUS ignore writes during a run
    and while one is held."""
    ro, rw, w1 = Access.RO, Access.RW, Access.W1
    lock = "BIST_STATUS"
    address = {"column": (0, 12, "physical column"), "word": (12, 12, "plane slot; then the sign word and the words of "
                                                              "the bank record"), "bank": (24, 1, "bank")}
    step = {"step": (0, 8, "microcode word"), "macro": (8, 8, "lowest-numbered macro that failed"),
            "others": (16, 1, "others failed in the same read")}
    regs = [
        Register("BIST_CONTROL", 0x200, w1, "commands", {
            "start": (0, 1, "run the microcode; ignored during a run"),
            "abort": (1, 1, "hold the run before its next step"),
            "resume": (2, 1, "go on with a run that is held"),
            "next": (3, 1, "drop the oldest entry of the fail log"),
            "clear": (4, 1, "forget the microcode; ignored during a run and while one is held")}),
        Register(lock, 0x204, ro, "state", {
            "running": (0, 1, "a run is under way"),
            "held": (1, 1, "a run is held; a program that starts ends it"),
            "active": (2, 1, "running or held"),
            "done": (3, 1, "the last run has come to its end"),
            "failed": (4, 1, "a read of the last run has failed"),
            "error": (5, 1, "the last command was refused or the run was ended; see cause"),
            "logged": (6, 1, "the fail log has an entry"),
            "lost": (7, 1, "a failing read found the log full"),
            "cause": (8, 8, "see the table of causes"),
            "step": (16, 8, "microcode word that comes next")}),
        Register("BIST_RANGE", 0x208, rw, "addresses that a run visits and overwrites", {
            "first": (0, 12, "first physical column"), "last": (12, 12, "last physical column"),
            "banks": (24, 2, "a bit per bank; none after reset"),
            "partner": (26, 1, "one bank is visited, and the other may be used and overwritten too")},
            0x07FF_FFFF, (config.physical_cols - 1) << 12, lock),
        Register("BIST_MODE", 0x20C, rw, "how a run is done", {
            "rows": (0, 4, "background: 0, or 1 more than the bit of the row's number that it takes"),
            "columns": (4, 1, "background: inverted in odd physical columns"),
            "words": (5, 1, "background: inverted in odd words"),
            "user": (6, 1, "background: XOR with BIST_USER"),
            "fast_word": (7, 1, "words run faster than columns"),
            "hold_full": (8, 1, "hold the run when the fail log is full"),
            "single": (9, 1, "only one macro is compared"),
            "macro": (16, 8, "which one")}, 0x00FF_03FF, 0, lock),
        *_pair("BIST_USER", 0x210, rw, "background of rows 0 to 63, repeated for more", locked_by=lock),
        Register("BIST_CODE", 0x218, w1, "appends a microcode word; ignored during a run and while one is held"),
        Register("BIST_LENGTH", 0x21C, ro, "microcode words held"),
        *_pair("BIST_CYCLES", 0x220, ro, "cycles of the last run, not those in which it was held"),
        Register("BIST_FAILS", 0x228, ro, "reads of the last run that failed"),
        Register("BIST_FIRST_ADDRESS", 0x22C, ro, "first of them: where", address),
        Register("BIST_FIRST_STEP", 0x230, ro, "first of them: in which step", step),
        Register("BIST_LOG_ADDRESS", 0x234, ro, "oldest entry of the fail log: where", address),
        Register("BIST_LOG_STEP", 0x238, ro, "oldest entry of the fail log: in which step", step),
    ]
    for number in range(-(-config.macros // 32)):
        regs.append(Register(f"BIST_FAILED{number}", 0x240 + 4 * number, ro,
                             f"macros that failed in the last run, from macro {32 * number}, one bit each"))
    for offset, name in ((0x280, "EXPECTED"), (0x2A0, "SEEN")):
        for number in range(-(-config.rows // 32)):
            regs.append(Register(f"BIST_LOG_{name}{number}", offset + 4 * number, ro,
                                 f"oldest entry of the fail log: word {name.lower()}, from row {32 * number}"))
    return regs


def cbist_registers(config: Config) -> list[Register]:
    """Registers of the compute self-test, by ascending offset. Those locked by CBIST_STATUS ignore writes during a
    run."""
    ro, rw, w1 = Access.RO, Access.RW, Access.W1
    lock = "CBIST_STATUS"
    regs = [
        Register("CBIST_CONTROL", 0x880, w1, "commands", {
            "start": (0, 1, "run the table; ignored during a run"),
            "abort": (1, 1, "end the run"),
            "next": (2, 1, "show the next signature; ignored during a run"),
            "clear": (3, 1, "forget the table; ignored during a run")}),
        Register(lock, 0x884, ro, "state", {
            "running": (0, 1, "a run is under way"),
            "active": (2, 1, "the same"),
            "done": (3, 1, "the last run has come to its end"),
            "failed": (4, 1, "a signature of the last run is wrong"),
            "error": (5, 1, "the last command was refused or the run was ended; see cause"),
            "cause": (8, 8, "see the table of causes"),
            "step": (16, 8, "row that is loaded")}),
        Register("CBIST_MODE", 0x888, rw, "how a run is done", {
            "moved": (0, 1, "rows that move no column move all, and the opposite: spares take part"),
            "vote": (1, 1, "compare with what most signatures are, not with CBIST_EXPECTED"),
            "single": (2, 1, "only one macro is tested"),
            "macro": (16, 8, "which one")}, 0x00FF_0007, 0, lock),
        Register("CBIST_ROW", 0x88C, rw, "bits 31 to 0 of a row", locked_by=lock),
        Register("CBIST_ROW_HIGH", 0x890, w1, "bits 63 to 32 of a row, which is appended to the table; ignored during "
                                              "a run"),
        Register("CBIST_LENGTH", 0x894, ro, "rows held"),
        Register("CBIST_EXPECTED", 0x898, rw, "what the signature of every column must be", locked_by=lock),
        Register("CBIST_EXPECTED_WORDS", 0x89C, rw, "what the signature of the words that a macro reads must be",
                 locked_by=lock),
        Register("CBIST_CYCLES", 0x8A0, ro, "cycles of the last run"),
        Register("CBIST_FAILS", 0x8A4, ro, "signatures of the last run that are wrong"),
        Register("CBIST_FIRST", 0x8A8, ro, "first of them", {
            "column": (0, 12, f"logical column; {config.cols}: words read"), "macro": (16, 8, "macro")}),
        Register("CBIST_SIGNATURE", 0x8AC, ro, "a signature: after a run that of macro 0 and column 0; then columns "
                                               "ascending, words read, and the next macro"),
        Register("CBIST_SELECT", 0x8B0, rw, "what CBIST_COLUMNS show", {"macro": (0, 8, "of which macro")}, 0xFF),
    ]
    for number in range(-(-config.macros // 32)):
        regs.append(Register(f"CBIST_FAILED{number}", 0x8C0 + 4 * number, ro,
                             f"macros that failed in the last run, from macro {32 * number}, one bit each"))
    for number in range(-(-(config.cols + 1) // 32)):
        regs.append(Register(f"CBIST_COLUMNS{number}", 0x900 + 4 * number, ro,
                             f"signatures of the macro that are wrong, from column {32 * number}, one bit each"))
    return regs


#: Registers of a link's own counters, and what they count since reset; they wrap around.
LINE_COUNTERS = {
    "FLITS_SENT": "flits sent",
    "FLITS_GOOD": "flits received with a right CRC",
    "FLITS_BAD": "flits received with a wrong CRC",
    "REPLAYS": "times that the transmitter went back",
    "TIMEOUTS": "of these, for want of an acknowledgement",
    "RETRAINS": "times that the link was up and trained again",
    "FLITS_REFUSED": "flits that were right by their CRC and broke a rule, and HELLO flits of other configurations",
    "SKIP_ERRORS": "lane words that should have been skip words",
    "OVERRUNS": "words lost because the partner's clock was out of tolerance",
}

#: Errors that a link injects: the transmitter from bit 0 on, the receiver from bit 8 on.
INJECTED = {
    "transmit_corrupt": (0, 1, "a wrong bit behind the CRC"),
    "transmit_type": (1, 1, "DATA flit of type 3"),
    "transmit_length": (2, 1, "DATA flit of 31 beats"),
    "transmit_channel": (3, 1, "DATA flit of channel 3"),
    "transmit_sequence": (4, 1, "DATA flit with the next number"),
    "transmit_credit": (5, 1, "a beat without credit"),
    "receive_corrupt": (8, 1, "a wrong bit in front of the CRC's check"),
    "receive_lose": (9, 1, "a good flit is not seen"),
    "receive_deaf": (10, 1, "a good flit's message is not heard"),
}


def link_registers(config: Config) -> list[Register]:
    """Registers of the links and semaphores, by ascending offset."""
    ro, rw, w1 = Access.RO, Access.RW, Access.W1
    regs = []
    for port in range(config.links):
        name, base = f"LINK{port}", 0x600 + 0x100 * port
        injected = sum(1 << low for low, _, _ in INJECTED.values())
        regs += [
            Register(f"{name}_CONTROL", base, rw, f"port {port}: what software sets", {
                "enable": (0, 1, "a rising edge begins a session; low: down"),
                "retrain": (1, 1, "while high, a link that is up trains again"),
                "near_loopback": (2, 1, "receives what it transmits; the receive clock must be that of the chip"),
                "far_loopback": (3, 1, "sends back what it receives"),
                "test": (4, 1, "while down: test pattern on all lanes, both ways")}, writable=31),
            Register(f"{name}_DOWN_AFTER", base + 4, rw,
                     "cycles after which a link that is not up goes down; 0: never", init=DOWN_AFTER_CYCLES),
            Register(f"{name}_STATUS", base + 8, ro, "state", {
                "state": (0, 4, "0 DOWN, 1 TRAINING, 2 HELLO, 3 UP, 4 TEST"),
                "cause": (4, 4, "why it is DOWN, see the table of link causes; 0: told to"),
                "refused": (8, 4, "what its receiver has refused last in this session"),
                "undelivered": (16, 12, "beats that were taken and not acknowledged")}),
            Register(f"{name}_MASKS", base + 0xC, ro, "lanes in use, by the number of their transmitter", {
                "transmit": (0, 16, "of the transmitter"), "receive": (16, 16, "of the receiver")}),
            Register(f"{name}_TEST_MASK", base + 0x10, ro, "lanes whose test pattern is followed"),
            Register(f"{name}_INJECT_ONCE", base + 0x14, w1, "errors in the next flit that they can hit", INJECTED),
            Register(f"{name}_INJECT_ALWAYS", base + 0x18, rw, "errors in every flit", INJECTED, writable=injected),
        ]
        regs += [Register(f"{name}_{counter}", base + 0x20 + 4 * number, ro, meaning)
                 for number, (counter, meaning) in enumerate(LINE_COUNTERS.items())]
        regs += [
            Register(f"{name}_REFUSED", base + 0x50, ro, "packets of the partner that were refused, since reset"),
            Register(f"{name}_REFUSED_CAUSE", base + 0x54, ro, "last of them: why", {
                "cause": (0, 8, "see the table of causes")}),
            *_pair(f"{name}_REFUSED_ADDRESS", base + 0x58, ro, "last of them: address that the cause names"),
        ]
        regs += [Register(f"{name}_LANE_ERRORS{lane}", base + 0x80 + 4 * lane, ro,
                          f"wrong bits of the test pattern of lane {lane}, since the test began")
                 for lane in range(config.link_lanes)]
    if config.links:
        regs += [Register(f"SEMAPHORE{number}", 0x800 + 4 * number, ro,
                          "posted by partners and not yet taken off; a soft reset clears it")
                 for number in range(SEMAPHORES)]
        regs.append(Register("SEMAPHORE_CLEAR", 0x840, w1, "semaphores to clear, one bit each"))
    return regs


def registers(config: Config) -> list[Register]:
    """All registers of a chip, by ascending offset."""
    ro, rw, w1, w1c = Access.RO, Access.RW, Access.W1, Access.W1C
    link = {"link": (3, 1, "a link has come up, or is not up any more")} if config.links else {}
    remote = {"remote": (3, 1, "partners may write")} if config.links else {}
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
            "overflow": (3, 1, "an accumulator, a scaled partial sum or a sum with an int32 residual has wrapped "
                         "around since START"),
        }),
        Register("IRQ_ENABLE", 0x018, rw, "which events raise the interrupt", {
            "done": (0, 1, "program completed"), "error": (1, 1, "program stopped"),
            "bist": (2, 1, "self-test run ended or held"), **link}, writable=15 if config.links else 7),
        Register("IRQ_STATUS", 0x01C, w1c, "events that have happened", {
            "done": (0, 1, "program completed"), "error": (1, 1, "program stopped"),
            "bist": (2, 1, "self-test run ended or held"), **link}),
        Register("CAUSE", 0x020, ro, "why the program stopped", {"cause": (0, 8, "see the table of causes")}),
        *_pair("ERROR_ADDRESS", 0x028, ro, "where; what it holds depends on CAUSE"),
        *_pair("PROGRAM_ADDRESS", 0x030, rw, "first instruction; a multiple of 64",
              writable=(1 << ADDR_BITS) - INSTRUCTION_BYTES),
        Register("PROGRAM_COUNT", 0x038, rw, "instructions of the program"),
        Register("WATCHDOG", 0x03C, rw, "cycles without progress after which a program is stopped; 0: never",
                 init=WATCHDOG_CYCLES),
    ]
    offset = 0x040
    for name, meaning in counters(config).items():
        regs += _pair(name, offset, ro, meaning)
        offset += 8
    for w in range(WINDOWS):
        base, flags = 0x100 + 0x20 * w, f"WINDOW{w}_FLAGS"
        bounds = {"writable": (2 << ADDR_BITS) - 1, "locked_by": flags}
        regs += [*_pair(f"WINDOW{w}_BASE", base, rw, f"first byte of window {w}", **bounds),
                 *_pair(f"WINDOW{w}_LIMIT", base + 8, rw, f"first byte after window {w}", **bounds),
                 Register(flags, base + 16, rw, f"what window {w} allows", {
                     "read": (0, 1, "DMA may read"), "write": (1, 1, "DMA may write"),
                     "lock": (2, 1, "this window's registers ignore writes until reset"), **remote},
                     15 if config.links else 7, 0, flags)]
    regs += bist_registers(config)
    for macro in range(config.macros):
        for spare in range(config.spare_cols):
            regs.append(Register(
                f"REPAIR{macro}_{spare}", 0x400 + 4 * (macro * config.spare_cols + spare), rw,
                f"macro {macro}: columns from this one on move up by one physical column", {
                    "column": (0, 16, f"{config.cols}: none, the value after reset; ascending over the spares")},
                (1 << clog2(config.cols + 1)) - 1, config.cols))
    return regs + link_registers(config) + cbist_registers(config)


def register_map(config: Config) -> dict[str, Register]:
    """Registers by name."""
    return {r.name: r for r in registers(config)}
