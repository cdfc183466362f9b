"""The array: a grid of macros, the K reduction, and the accumulators."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, Config, clog2
from ..isa import queues
from ..verilog import once
from .accumulator import Accumulator
from .bit_slice import BitSlice
from .interfaces import (
    bist_layout,
    classes,
    connect_load,
    connect_test,
    delivery_signature,
    issue_layout,
    load_signature,
    test_signature,
)
from .macro import Macro
from .signature import WIDTH
from .tested_macro import TestedMacro


def target_layout(config: Config) -> data.StructLayout:
    """Where the vector being issued is accumulated. ``start`` begins a sum, ``maximum`` takes the larger value instead;
    ``final`` marks the end of an instruction, also where nothing is issued, with the queues that it signals."""
    return data.StructLayout({
        "vector": clog2(config.acc_vectors),
        "start": 1,
        "maximum": 1,
        "final": 1,
        "signal": len(queues(config)),
    })


class Array(wiring.Component):
    """``grid_k x grid_n`` macros in lockstep.

    Throughput one plane of every column per cycle; results of a vector are in the accumulators :meth:`latency` cycles
    after its last plane is issued.

    Members
    -------
    issue : In(issue_layout), target : In(target_layout)
    line : In(8 * line_bytes)
        Activations of the vector, with ``issue.first``: macro row ``k`` takes bytes ``k x rows`` on.
    act_signed : In(1), zero_point : In(8)
        With ``issue.first``.
    load : In(load_signature), deliveries : In(delivery_signature).array(classes)
    repair : In.array(macros, spare_cols)
    bist : In(bist_layout), bist_data : In(rows), bist_words : Out(ArrayLayout)
        All macros at once; 2 cycles.
    isolated : In(macros), test : In(test_signature), i_signature : In(32), o_signature : Out(32)
        Macros that the compute self-test drives, with what, and the chain of all signatures, ascending.
    retired : Out(1), retired_signal : Out
        The last vector of an instruction is in the accumulators.
    overflow : Out(1)
        A psum or accumulator has wrapped around in this cycle.
    post_fetch : In(1), post_vector : In, post_block : In
        Reads ``post_lanes`` neighbouring output channels of a vector.
    post_values : Out(ArrayLayout)
        One cycle later.
    """

    def __init__(self, config: Config):
        self.config = config
        blocks = config.out_cols // config.post_lanes
        super().__init__({
            "issue": In(issue_layout(config)),
            "target": In(target_layout(config)),
            "line": In(8 * config.line_bytes),
            "act_signed": In(1),
            "zero_point": In(8),
            "load": In(load_signature(config)),
            "deliveries": In(delivery_signature(config)).array(classes(config)),
            "repair": In(clog2(config.cols + 1)).array(config.macros, config.spare_cols),
            "bist": In(bist_layout(config)),
            "bist_data": In(config.rows),
            "bist_words": Out(data.ArrayLayout(config.rows, config.macros)),
            "isolated": In(config.macros),
            "test": In(test_signature(config)),
            "i_signature": In(WIDTH),
            "o_signature": Out(WIDTH),
            "retired": Out(1),
            "retired_signal": Out(len(queues(config))),
            "overflow": Out(1),
            "post_fetch": In(1),
            "post_vector": In(clog2(config.acc_vectors)),
            "post_block": In(clog2(blocks)),
            "post_values": Out(data.ArrayLayout(signed(ACC_BITS), config.post_lanes)),
        })

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from the issue of a vector's last plane until its accumulators can be read."""
        return Macro.latency(config) + 1

    def elaborate(self, platform):
        m = Module()
        macros = self._grid(m, platform)
        self._accumulate(m, platform, macros)
        return m

    def _grid(self, m, platform):
        """Macros by (k, n); all loads are broadcast, each macro takes those that name its columns."""
        config = self.config
        members = config.cols // classes(config)
        macros = {}
        for k in range(config.grid_k):
            bit_slice = BitSlice(config)
            m.submodules[f"bit_slice_{k}"] = once(bit_slice, platform)
            m.d.comb += [
                bit_slice.line.eq(self.line.word_select(k, 8 * config.rows)),
                bit_slice.act_signed.eq(self.act_signed),
                bit_slice.zero_point.eq(self.zero_point),
            ]
            for n in range(config.grid_n):
                macro = TestedMacro(config)
                number = k * config.grid_n + n
                m.submodules[f"macro_{k}_{n}"] = once(macro, platform)
                m.d.comb += [
                    macro.issue.eq(self.issue),
                    *(mine.eq(given) for mine, given in zip(macro.repair, self.repair[number])),
                    macro.bist.eq(self.bist),
                    macro.bist_data.eq(self.bist_data),
                    self.bist_words[number].eq(macro.word),
                    *(mine.eq(given) for mine, given in zip(macro.act, bit_slice.act)),
                    macro.isolated.eq(self.isolated[number]),
                ]
                connect_test(m, source=self.test, sink=macro.test)
                connect_load(m, source=self, sink=macro)
                for mine, offered in zip(macro.deliveries, self.deliveries):
                    m.d.comb += mine.valid.eq(offered.valid & (offered.member[clog2(members):] == number))
                macros[k, n] = macro
        chain = list(macros.values())
        for macro, behind in zip(chain, [*(after.o_signature for after in chain[1:]), self.i_signature]):
            m.d.comb += macro.i_signature.eq(behind)
        m.d.comb += self.o_signature.eq(chain[0].o_signature)
        return macros

    def _accumulate(self, m, platform, macros):
        config = self.config
        now = data.StructLayout({"valid": 1, "target": target_layout(config)})
        fetch = Signal(now)
        m.d.comb += [fetch.valid.eq(self.issue.valid & self.issue.last), fetch.target.eq(self.target)]
        for cycle in range(Macro.latency(config) - 1):
            delayed = Signal(now, name=f"target_{cycle + 1}")
            m.d.sync += delayed.eq(fetch)
            fetch = delayed
        add = Signal(now)
        m.d.sync += add.eq(fetch)

        block = Signal.like(self.post_block)
        m.d.sync += block.eq(self.post_block)
        overflows = []
        for channel in range(config.out_cols):
            n, column = divmod(channel, config.cols)
            accumulator = Accumulator(config)
            m.submodules[f"accumulator_{channel}"] = once(accumulator, platform)
            here, lane = divmod(channel, config.post_lanes)
            m.d.comb += [
                accumulator.fetch.eq(fetch.valid), accumulator.vector.eq(fetch.target.vector),
                accumulator.add.eq(add.valid), accumulator.start.eq(add.target.start),
                accumulator.maximum.eq(add.target.maximum),
                *(accumulator.psums[k].eq(macros[k, n].scaled[column]) for k in range(config.grid_k)),
                accumulator.post_fetch.eq(self.post_fetch & (self.post_block == here)),
                accumulator.post_vector.eq(self.post_vector),
            ]
            with m.If(block == here):
                m.d.comb += self.post_values[lane].eq(accumulator.post_value)
            overflows.append(accumulator.overflow)
        m.d.sync += [
            self.overflow.eq(Cat(overflows).any()),
            self.retired.eq(add.target.final),
            self.retired_signal.eq(add.target.signal),
        ]
