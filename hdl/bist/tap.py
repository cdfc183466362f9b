"""A test access port after IEEE 1149.1: state machine, instruction register, BYPASS and IDCODE."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

#: Width of the instruction register, and what it holds after Capture-IR.
IR_BITS, IR_CAPTURED = 4, 0b0001

#: Instructions. Every other one is BYPASS.
IDCODE, REGISTERS, BYPASS = 0x1, 0x2, 0xF

#: Value of the IDCODE register: version 1, part number "CI" in ASCII, no manufacturer of JEP106 (the standard reserves
#: number 127 of bank 0), and the 1 that ends every IDCODE.
IDCODE_VALUE = 1 << 28 | int.from_bytes(b"CI", "big") << 12 | 127 << 1 | 1

#: Successors of each state with TMS low and high.
_STATES = {
    "TEST_LOGIC_RESET": ("RUN_TEST_IDLE", "TEST_LOGIC_RESET"),
    "RUN_TEST_IDLE": ("RUN_TEST_IDLE", "SELECT_DR"),
    "SELECT_DR": ("CAPTURE_DR", "SELECT_IR"),
    "CAPTURE_DR": ("SHIFT_DR", "EXIT1_DR"),
    "SHIFT_DR": ("SHIFT_DR", "EXIT1_DR"),
    "EXIT1_DR": ("PAUSE_DR", "UPDATE_DR"),
    "PAUSE_DR": ("PAUSE_DR", "EXIT2_DR"),
    "EXIT2_DR": ("SHIFT_DR", "UPDATE_DR"),
    "UPDATE_DR": ("RUN_TEST_IDLE", "SELECT_DR"),
    "SELECT_IR": ("CAPTURE_IR", "TEST_LOGIC_RESET"),
    "CAPTURE_IR": ("SHIFT_IR", "EXIT1_IR"),
    "SHIFT_IR": ("SHIFT_IR", "EXIT1_IR"),
    "EXIT1_IR": ("PAUSE_IR", "UPDATE_IR"),
    "PAUSE_IR": ("PAUSE_IR", "EXIT2_IR"),
    "EXIT2_IR": ("SHIFT_IR", "UPDATE_IR"),
    "UPDATE_IR": ("RUN_TEST_IDLE", "SELECT_DR"),
}


class Tap(wiring.Component):
    """One TAP with one data register of the user, selected by instruction :data:`REGISTERS`.

    Works on the rising edge of the clock of its domain; TDO, which changes on the falling edge, is a register of domain
    ``falling``.

    Members
    -------
    tms, tdi : In(1), tdo, tdo_enable : Out(1)
        ``tdo_enable`` is high while data are shifted.
    capture, shift, update : Out(1)
        What the user's register does with the next rising edge. Data enter it through ``tdi``.
    user_tdo : In(1)
        Its bit that leaves next.
    """

    def __init__(self):
        super().__init__({
            "tms": In(1), "tdi": In(1), "tdo": Out(1), "tdo_enable": Out(1),
            "capture": Out(1), "shift": Out(1), "update": Out(1), "user_tdo": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        states = {name: Signal(name=name.lower()) for name in _STATES}
        with m.FSM(init="TEST_LOGIC_RESET"):
            for name, (low, high) in _STATES.items():
                with m.State(name):
                    m.d.comb += states[name].eq(1)
                    with m.If(self.tms):
                        m.next = high
                    with m.Else():
                        m.next = low

        instruction = Signal(IR_BITS, init=IDCODE)
        shifted = Signal(IR_BITS)
        with m.If(states["CAPTURE_IR"]):
            m.d.sync += shifted.eq(IR_CAPTURED)
        with m.If(states["SHIFT_IR"]):
            m.d.sync += shifted.eq(Cat(shifted[1:], self.tdi))
        with m.If(states["UPDATE_IR"]):
            m.d.sync += instruction.eq(shifted)
        with m.If(states["TEST_LOGIC_RESET"]):
            m.d.sync += instruction.eq(IDCODE)

        idcode, bypass = Signal(32), Signal()
        with m.If(states["CAPTURE_DR"]):
            m.d.sync += [idcode.eq(Const(IDCODE_VALUE, 32)), bypass.eq(0)]
        with m.If(states["SHIFT_DR"]):
            m.d.sync += [idcode.eq(Cat(idcode[1:], self.tdi)), bypass.eq(self.tdi)]
        user = instruction == REGISTERS
        m.d.comb += [
            self.capture.eq(user & states["CAPTURE_DR"]),
            self.shift.eq(user & states["SHIFT_DR"]),
            self.update.eq(user & states["UPDATE_DR"]),
        ]
        m.d.falling += [
            self.tdo_enable.eq(states["SHIFT_DR"] | states["SHIFT_IR"]),
            self.tdo.eq(Mux(states["SHIFT_IR"], shifted[0], Mux(user, self.user_tdo, Mux(
                instruction == IDCODE, idcode[0], bypass)))),
        ]
        return m
