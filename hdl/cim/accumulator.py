"""The accumulators of one output channel."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import ACC_BITS, Config, clog2
from .interfaces import scaled_layout


class Accumulator(wiring.Component):
    """Adds the scaled psums of the macros along K, in ascending order, to a 32-bit accumulator that wraps around.

    ``fetch`` reads ``vector``; one cycle later ``add`` adds ``psums`` (or, with ``start``, begins with them) and writes
    back. With ``maximum`` the larger of the accumulator and the sum of the psums is written, unless ``start``. One
    vector per cycle, also the same one again. ``post_value`` follows ``post_fetch`` by one cycle.

    Members
    -------
    fetch : In(1), vector : In
    add : In(1), start : In(1), maximum : In(1), psums : In(ArrayLayout)
        One cycle after ``fetch``.
    overflow : Out(1)
        With ``add``: a psum or a sum does not fit. Combinational.
    post_fetch : In(1), post_vector : In, post_value : Out(signed(32))
    """

    module_name = "accumulator"

    def __init__(self, config: Config):
        self.config = config
        vector = clog2(config.acc_vectors)
        super().__init__({
            "fetch": In(1),
            "vector": In(vector),
            "add": In(1),
            "start": In(1),
            "maximum": In(1),
            "psums": In(data.ArrayLayout(scaled_layout(), config.grid_k)),
            "overflow": Out(1),
            "post_fetch": In(1),
            "post_vector": In(vector),
            "post_value": Out(signed(ACC_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        memory = Memory(shape=signed(ACC_BITS), depth=self.config.acc_vectors, init=[])
        m.submodules.memory = memory
        write = memory.write_port()
        read = memory.read_port(transparent_for=(write,))
        post = memory.read_port()
        vector = Signal.like(self.vector, reset_less=True)
        m.d.sync += vector.eq(self.vector)
        m.d.comb += [
            read.en.eq(self.fetch), read.addr.eq(self.vector),
            post.en.eq(self.post_fetch), post.addr.eq(self.post_vector), self.post_value.eq(post.data),
            write.en.eq(self.add), write.addr.eq(vector),
        ]
        total, overflows = None, []
        for k, psum in enumerate(self.psums):
            overflows.append(psum.overflow)
            if total is None:
                before = Mux(self.start | self.maximum, 0, read.data)
            else:
                before = total
            exact = Signal(signed(ACC_BITS + 1), name=f"exact_{k}")
            total = Signal(signed(ACC_BITS), name=f"total_{k}")
            m.d.comb += [exact.eq(before + psum.value), total.eq(exact)]
            overflows.append(exact[ACC_BITS] != exact[ACC_BITS - 1])
        larger = self.maximum & ~self.start & (read.data > total)
        m.d.comb += [write.data.eq(Mux(larger, read.data, total)), self.overflow.eq(self.add & Cat(overflows).any())]
        return m
