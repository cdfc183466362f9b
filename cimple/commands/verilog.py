import json
from dataclasses import asdict
from pathlib import Path

import click

from hdl.config import configuration
from sim.rtl import generated
from sim.session import chip

from ..header import c_header


@click.command()
@click.option("--config", default="small", show_default=True, help="named configuration, see `cimple configs`")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=None,
              help="folder to write to  [default: build/verilog/CONFIG]")
@click.option("--view", type=click.Choice(["generic", "simulation"]), default="generic", show_default=True,
              help="of the leaves; only generic is for synthesis")
def verilog(config: str, out: Path | None, view: str):
    """Synthesizable Verilog of a chip (chip.v), its ports (chip.json) and the C header (cimple_CONFIG.h).

    \b
    Example:  cimple verilog --config small --out build/verilog/small
    """
    chosen = configuration(config)
    design = generated(chip, chosen, name="chip", view=view)
    folder = out or Path("build") / "verilog" / chosen.name
    description = {
        "top": design.name, "configuration": asdict(chosen), "hash": f"{chosen.hash:016x}", "view": view,
        "ports": {name: {"direction": direction, "width": width}
                  for name, (direction, width) in design.ports.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("chip.v", design.text), ("chip.json", json.dumps(description, indent=1) + "\n"),
                       (f"cimple_{chosen.name}.h", c_header(chosen))):
        partial = folder / f"{name}.partial"
        partial.write_text(text)
        partial.replace(folder / name)
        print(folder / name)
