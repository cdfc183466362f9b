"""Issues the planes of vectors to the array."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..cim.array import target_layout
from ..cim.interfaces import issue_layout
from ..cim.loader import plane_count_bits
from ..config import Config
from .gather import line_layout


class Issue(wiring.Component):
    """Issues the planes of each vector, one per cycle, without a bubble between vectors.

    All outputs are registered: the first plane is issued one cycle after its line was taken.

    Members
    -------
    i_lines : In(stream)
    issue : Out(issue_layout), target : Out(target_layout)
    line : Out(8 * line_bytes), act_signed : Out(1), zero_point : Out(8)
        With the first plane of ``issue``.
    multiplies : Out(1)
        With ``issue``: the plane is stored in some column, not the empty one that writes zeros.
    start, release : Out(2)
        To :class:`~hdl.ipu.banks.Banks`, one cycle before the plane.
    """

    i_lines: stream.Interface

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i_lines": In(stream.Signature(line_layout(config))),
            "issue": Out(issue_layout(config)),
            "target": Out(target_layout(config)),
            "line": Out(8 * config.line_bytes),
            "act_signed": Out(1),
            "zero_point": Out(8),
            "multiplies": Out(1),
            "start": Out(2),
            "release": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        issue, target = self.issue, self.target
        vector = self.i_lines.payload.vector
        planes = Signal(plane_count_bits(self.config))  # of the vector being issued
        closes = Signal()
        final = Signal()
        accept = Signal()
        takes_vector = Signal()
        next_last = Signal()  # the plane that is issued next is its vector's last
        next_closes = Signal()
        m.d.comb += [
            self.i_lines.ready.eq(~issue.valid | issue.last),
            accept.eq(self.i_lines.valid & self.i_lines.ready),
            takes_vector.eq(accept & ~vector.empty),
        ]
        m.d.sync += [issue.valid.eq(0), issue.first.eq(0), issue.step.eq(0), issue.last.eq(0), target.final.eq(0),
                     self.multiplies.eq(0)]
        with m.If(accept):
            m.d.comb += [next_last.eq(vector.planes <= 1), next_closes.eq(takes_vector & vector.closes)]
            m.d.sync += [
                issue.valid.eq(~vector.empty),
                issue.first.eq(1),
                issue.step.eq(vector.opens),
                issue.last.eq(next_last),
                issue.bank.eq(vector.bank),
                issue.plane.eq(0),
                self.multiplies.eq(takes_vector & (vector.planes != 0)),
                target.vector.eq(vector.acc_vector),
                target.start.eq(vector.start),
                target.maximum.eq(vector.maximum),
                target.final.eq(vector.final & (next_last | vector.empty)),
                target.signal.eq(vector.signal),
                self.line.eq(self.i_lines.payload.line),
                self.act_signed.eq(vector.act_signed),
                self.zero_point.eq(vector.zero_point),
                planes.eq(vector.planes),
                closes.eq(vector.closes),
                final.eq(vector.final),
            ]
        with m.Elif(issue.valid & ~issue.last):
            m.d.comb += [next_last.eq(issue.plane + 2 >= planes), next_closes.eq(closes)]
            m.d.sync += [
                issue.valid.eq(1),
                issue.plane.eq(issue.plane + 1),
                issue.last.eq(next_last),
                self.multiplies.eq(1),
                target.final.eq(final & next_last),
            ]
        bank = Signal()
        m.d.comb += bank.eq(issue.bank)
        with m.If(accept):
            m.d.comb += bank.eq(vector.bank)
        for b in range(2):
            m.d.comb += [
                self.start[b].eq(takes_vector & vector.opens & (bank == b)),
                self.release[b].eq(next_last & next_closes & (bank == b)),
            ]
        return m
