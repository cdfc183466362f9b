import sys

import click

from .. import programs


@click.command()
@click.option("--bench", required=True, help="name in verif/benches.py, as column or macro")
@click.option("--config", default="small", show_default=True, help="named configuration")
@click.option("--sim", type=click.Choice(["verilator", "icarus"]), default="verilator", show_default=True)
@click.option("--testcase", default=None, help="only this cocotb test")
@click.option("--seed", type=int, default=None, help="of the cocotb tests")
def waves(bench: str, config: str, sim: str, testcase: str | None, seed: int | None):
    """Runs one bench with waves and prints the paths of the waves and of a GTKWave save file.

    \b
    Example:  cimple waves --bench macro --config small --sim icarus
    """
    programs.folder("verif")
    arguments = ["--bench", bench, "--config", config, "--sim", sim]
    arguments += ["--testcase", testcase] if testcase else []
    arguments += ["--seed", str(seed)] if seed is not None else []
    sys.exit(programs.start("verif.waves", *arguments))
