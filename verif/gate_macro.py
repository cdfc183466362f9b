"""A macro whose columns are the gates that Yosys makes of them, with stuck-at faults among which a port chooses."""

from functools import cache

import numpy as np
from amaranth.hdl import Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hdl.cim.column import Column
from hdl.cim.macro import Macro
from hdl.config import Config, clog2
from mbist.netlist import Kind, Netlist, column_netlist
from mbist.stuck_at import Faults, Pin, stuck_at

#: Faults that a build can inject: every pin of every gate would double what is simulated.
FAULTS = 400

FAULT_BITS = clog2(FAULTS + 1)


@cache
def netlist(config: Config) -> Netlist:
    """Gates of a column."""
    return column_netlist(config)


@cache
def injectable(config: Config) -> tuple[Faults, np.ndarray]:
    """All stuck-at faults of a column, and the numbers of :data:`FAULTS` of them: the same ones in every process."""
    faults = stuck_at(netlist(config))
    return faults, np.random.default_rng(1).choice(len(faults), FAULTS, replace=False)


class GateColumn(wiring.Component):
    """:class:`~hdl.cim.column.Column` as gates and flip-flops.

    Members
    -------
    fault : In
        Which of the injectable faults it has, counted from 1; 0 is none.
    """

    module_name = "gate_column"

    def __init__(self, config: Config):
        self.config = config
        column = Column(config)
        column._MustUse__silence = True  # it is here for its signature
        super().__init__({**column.signature.members, "fault": In(FAULT_BITS)})

    def elaborate(self, platform):
        m = Module()
        gates = netlist(self.config)
        faults, numbers = injectable(self.config)
        stuck: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for k, number in enumerate(numbers, start=1):
            stuck.setdefault((int(faults.pin[number]), int(faults.index[number])), []).append(
                (k, int(faults.value[number])))

        def at(pin: Pin, index: int, value):
            for k, forced in stuck.get((int(pin), index), ()):
                value = Mux(self.fault == k, forced, value)
            return value

        nets: list[Value] = [Const(0, 1), Const(1, 1), *(Signal(name=f"n{i}") for i in range(2, gates.nets))]
        ports = {"__".join(map(str, path)): port for path, _, port in self.signature.flatten(self)}
        for name, port in ports.items():
            if name in gates.inputs:
                for net, bit in zip(gates.inputs[name], Value.cast(port)):
                    m.d.comb += nets[net].eq(at(Pin.INPUT, int(net), bit))
        reset = int(gates.inputs["rst"][0])
        m.d.comb += nets[reset].eq(at(Pin.INPUT, reset, ResetSignal()))
        for gate, kind in enumerate(gates.kind):
            a, b = (at(pin, gate, nets[of[gate]]) for pin, of in ((Pin.A, gates.a), (Pin.B, gates.b)))
            made = _function(Kind(kind), a, b, nets[gates.c[gate]])
            m.d.comb += nets[gates.out[gate]].eq(at(Pin.OUT, gate, made))
        for flop, (d, q) in enumerate(zip(gates.d, gates.q)):
            held = Signal(name=f"q{q}", reset_less=True)
            m.d.sync += held.eq(at(Pin.D, flop, nets[d]))
            m.d.comb += nets[q].eq(at(Pin.Q, flop, held))
        for name, port in ports.items():
            if name in gates.outputs:
                m.d.comb += [bit.eq(nets[net]) for net, bit in zip(gates.outputs[name], Value.cast(port))]
        return m


def _function(kind: Kind, a, b, c):
    match kind:
        case Kind.AND:
            return a & b
        case Kind.NAND:
            return ~(a & b)
        case Kind.OR:
            return a | b
        case Kind.NOR:
            return ~(a | b)
        case Kind.XOR:
            return a ^ b
        case Kind.XNOR:
            return ~(a ^ b)
        case Kind.NOT:
            return ~a
        case Kind.MUX:
            return Mux(c, b, a)


class GateMacro(Macro):
    """:class:`~hdl.cim.macro.Macro` of :class:`GateColumn`. It has a generic view only.

    Members
    -------
    fault : In, faulty : In(physical columns)
        A fault, and the columns that have it.
    """

    module_name = "gate_macro"

    def __init__(self, config: Config):
        super().__init__(config, fault=In(FAULT_BITS), faulty=In(config.physical_cols))

    def elaborate(self, platform):
        self._faults = [Signal(FAULT_BITS, name=f"fault_{n}") for n in range(self.config.physical_cols)]
        m = super().elaborate(platform)
        m.d.comb += [fault.eq(Mux(here, self.fault, 0)) for fault, here in zip(self._faults, self.faulty)]
        return m

    def _column(self, number: int):
        column = GateColumn(self.config)
        column.fault = self._faults[number]
        return column
