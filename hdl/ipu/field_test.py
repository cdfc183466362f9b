"""TEST instructions: a macro tests itself while a program runs."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..csr import BistCause, Cause
from .fault import fault_layout, raise_fault

#: ERROR_ADDRESS of cause SELF_TEST is the macro times this, plus the column.
MACRO_STRIDE = 1 << 16


def field_test_signature() -> wiring.Signature:
    """From a program to the compute self-test.

    ``begin`` isolates ``macro`` and starts the test; one cycle later ``cause`` is not 0 if it was refused. Without
    ``busy`` it is over: ``cause`` says again why it was not completed, ``failed`` and ``place`` the verdict. ``held``
    says that a macro is isolated; ``release`` ends that.
    """
    return wiring.Signature({
        "begin": Out(1),
        "release": Out(1),
        "macro": Out(8),
        "busy": In(1),
        "held": In(1),
        "failed": In(1),
        "cause": In(8),
        "place": In(data.StructLayout({"column": 16, "macro": 8})),
    })


class FieldTest(wiring.Component):
    """Executes a TEST when nothing is on its way through the array.

    Members
    -------
    run : In(1), macro : In(8), begin : In(1), end : In(1)
        An instruction waits, until ``done``.
    quiet : In(1)
        Every vector issued is in the accumulators.
    done : Out(1)
        Until ``run`` falls.
    control : Out(field_test_signature)
    fault : Out(fault_layout)
        A signature is wrong, or there was no test. The instruction is never done.
    """

    def __init__(self):
        super().__init__({
            "run": In(1),
            "macro": In(8),
            "begin": In(1),
            "end": In(1),
            "quiet": In(1),
            "done": Out(1),
            "control": Out(field_test_signature()),
            "fault": Out(fault_layout()),
        })

    def elaborate(self, platform):
        m = Module()
        control = self.control
        m.d.comb += control.macro.eq(self.macro)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.run & self.quiet):
                    m.d.comb += control.begin.eq(self.begin)
                    m.next = "BEGUN"
            with m.State("BEGUN"):
                with m.If(self.begin & (control.cause != 0)):
                    raise_fault(m, self.fault, Cause.SELF_TEST_REFUSED, control.cause)
                with m.Elif(self.end):
                    m.next = "END"
                with m.Else():
                    m.next = "DONE"
            with m.State("END"):
                with m.If(~control.held):
                    raise_fault(m, self.fault, Cause.SELF_TEST_REFUSED, BistCause.NOT_HELD)
                with m.Elif(~control.busy & self.quiet):
                    with m.If(control.cause != 0):
                        raise_fault(m, self.fault, Cause.SELF_TEST_REFUSED, control.cause)
                    with m.Elif(control.failed):
                        raise_fault(m, self.fault, Cause.SELF_TEST,
                                    control.place.macro * MACRO_STRIDE + control.place.column)
                    with m.Else():
                        m.d.comb += control.release.eq(1)
                        m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.eq(1)
                with m.If(~self.run):
                    m.next = "IDLE"
        return m
