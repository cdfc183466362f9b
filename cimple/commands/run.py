from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from hdl.config import configuration
from hdl.program import Program, ProgramError
from sim.session import BACKENDS, Session


@click.command()
@click.argument("program", type=click.Path(path_type=Path))
@click.option("--backend", type=click.Choice(BACKENDS), default="golden", show_default=True,
              help="golden model, or RTL on a simulator")
@click.option("--config", default=None, help="named configuration  [default: the program's own]")
@click.option("--input", "input_file", type=click.Path(path_type=Path), default=None,
              help=".npz with an array per input  [default: random values]")
@click.option("--output", "output_file", type=click.Path(path_type=Path), default=None,
              help=".npz to write the outputs to")
@click.option("--view", type=click.Choice(["generic", "simulation"]), default="simulation", show_default=True,
              help="of the leaves, on a simulator")
@click.option("--max-cycles", type=click.IntRange(min=1), default=None, help="give up after so many, on a simulator")
@click.option("--progress/--no-progress", default=True, show_default=True, help="bar of simulated cycles")
@click.option("--seed", type=int, default=1, show_default=True, help="of random inputs")
def run(program: Path, backend: str, config: str | None, input_file: Path | None, output_file: Path | None, view: str,
        max_cycles: int | None, progress: bool, seed: int):
    """Runs a compiled program and prints its outputs' shapes and the chip's counters.

    \b
    Example:  cimple run layer.cim --backend verilator --input x.npz --output y.npz
    """
    loaded = Program.load(program)
    chosen = configuration(config or loaded.config_name)
    inputs = _load(input_file) if input_file else _random(loaded, seed)
    result = Session(chosen, backend, view=view).run(loaded, inputs, progress=progress, max_cycles=max_cycles)
    if output_file:
        partial = output_file.with_name(output_file.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, **result.outputs)  # type: ignore[arg-type]
        partial.replace(output_file)
    table = Table(title=f"{program.name} on {backend}", title_justify="left", show_header=False)
    for name, values in result.outputs.items():
        table.add_row(f"output {name}", f"{values.dtype} {' x '.join(map(str, values.shape))}")
    for name, count in result.counters.items():
        table.add_row(name.lower(), str(count))
    table.add_row("overflow", "yes" if result.overflow else "no")
    table.add_row("wall time", f"{result.seconds:.3f} s")
    if result.cycles_per_second:
        table.add_row("simulated cycles per second", f"{result.cycles_per_second:.0f}")
    Console().print(table)


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ProgramError(f"the inputs {str(file)!r} cannot be read as .npz: {error}") from None


def _random(program: Program, seed: int) -> dict[str, np.ndarray]:
    """Random values of each input's type."""
    rng = np.random.default_rng(seed)
    return {name: np.frombuffer(rng.bytes(int(np.prod(tensor.shape)) * np.dtype(tensor.dtype).itemsize),
                                tensor.dtype).reshape(tensor.shape)
            for name, tensor in program.inputs.items()}
