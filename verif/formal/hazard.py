"""The bank hazard: a bank that is being computed is never written, an uncommitted bank is never computed.

The engine's own wiring of loader, compute queue and array, under any bus words, any legal commands, any halts and any
resets. The memories around them are replaced by free inputs.
"""

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, ResetSignal, Signal

from hdl.cim.array import Array
from hdl.cim.column import Column
from hdl.cim.loader import Loader
from hdl.config import Config
from hdl.ipu.activation_buffer import ActivationBuffer
from hdl.ipu.compute import Compute
from hdl.ipu.decode import fields_of
from hdl.ipu.engine import Engine
from hdl.ipu.load import Load
from hdl.ipu.parameter_memory import ParameterMemory
from hdl.ipu.store import Store
from hdl.ipu.weights import Weights
from hdl.isa import Opcode

from .prover import FormalTop, assume_stable


def _unused(component):
    """A component that is here for its ports; nothing behind them is elaborated."""
    component._MustUse__silence = True
    return component


class BankHazard(FormalTop):
    """Loader, compute queue and array as :class:`~hdl.ipu.engine.Engine` wires them, and what is claimed of them."""

    def __init__(self, config: Config):
        self.config = config
        self.engine = _unused(Engine(config))

    def elaborate(self, platform):
        m = Module()
        config, engine = self.config, self.engine
        engine.weights = weights = _unused(Weights(config, channel=1))
        engine.load = _unused(Load(config, channel=2))
        engine.store = _unused(Store(config))
        engine.activation_buffer = _unused(ActivationBuffer(config))
        engine.parameter_memory = _unused(ParameterMemory(config))
        m.submodules.loader = engine.loader = self.loader = Loader(config)
        m.submodules.compute = engine.compute = self.compute = Compute(config)
        m.submodules.array = engine.array = self.array = CheckedArray(config)
        engine._array(m)
        self._environment(m, weights)
        self._claims(m)
        self._invariants(m)
        return m
