"""cimple: an open SRAM compute-in-memory neural processor. The public names of its Python side.

    from cimple import Program, Session, configuration

    session = Session(configuration("small"), backend="verilator")
    result = session.run(Program.load("layer.cim"), inputs, progress=True)
    print(result.outputs, result.cycles)
"""

from hdl.config import CONFIGS, Config, ConfigError, configuration
from hdl.program import Program, ProgramError, Tensor
from sim.card import Card
from sim.session import ProgramStopped, Result, Session

__all__ = ["CONFIGS", "Card", "Config", "ConfigError", "Program", "ProgramError", "ProgramStopped", "Result", "Session",
           "Tensor", "configuration"]
