"""Builds Verilog and runs cocotb tests on it, on Verilator and on Icarus; the only user of the cocotb runner.

    from hdl.config import CONFIGS
    from sim.rtl import build, run

    b = build(lambda config: Column(config), CONFIGS["small"], name="column", simulator="icarus")
    results = run(b, "verif.tb_column")          # raises SimulationFailed, which names tests and log
    print(len(results.passed), results.log)

A cocotb test learns its configuration from :func:`test_config`, sees only the ports of the top module (``public_all``
makes Verilator show everything, slowly), and seeds numpy with ``cocotb.RANDOM_SEED``. Benches of the regression are
listed in ``verif/benches.py``; ``tests/test_sim.py`` runs them all.

Builds are kept under ``build/rtl``, by a digest of the Verilog, the options and the tools: nothing is built twice.
"""

from .build import Build, BuildFailed, build
from .design import generated
from .run import Results, SimulationFailed, run, test_config
from .tools import SIMULATORS, MissingTool

__all__ = ["SIMULATORS", "Build", "BuildFailed", "MissingTool", "Results", "SimulationFailed", "build", "generated",
           "run", "test_config"]
