import click
from rich.console import Console
from rich.table import Table

from hdl.config import CONFIGS


@click.command()
def configs():
    """The named configurations.

    \b
    Example:  cimple configs
    """
    table = Table(title="configurations", title_justify="left")
    for column in ("name", "rows x cols", "grid K x N", "cores", "planes", "bus", "accumulators", "activations",
                   "outputs per step", "hash"):
        table.add_column(column)
    for config in CONFIGS.values():
        table.add_row(config.name, f"{config.rows} x {config.cols}", f"{config.grid_k} x {config.grid_n}",
                      str(config.cores), str(config.planes), f"{config.bus_bits} bits", f"{config.acc_vectors} vectors",
                      f"{config.act_bytes} bytes", str(config.out_cols), f"{config.hash:016x}")
    Console(width=140).print(table)
