"""The command line: ``cimple COMMAND``. Each command calls a room and prints what it answers."""

import click

from . import commands
from .errors import one_sentence
from .version import VERSION


class _OneSentence(click.Group):
    """A group whose commands answer known errors with one sentence and exit code 2."""

    def invoke(self, ctx: click.Context):
        with one_sentence():
            return super().invoke(ctx)


@click.group(cls=_OneSentence, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="cimple")
def main():
    """An open SRAM compute-in-memory neural processor: its Verilog, its golden model, its simulations.

    \b
    cimple doctor                           which tools are there
    cimple verilog --config small           Verilog, port list and C header
    cimple run layer.cim --backend golden   run a compiled program
    cimple bench sim-speed                  one of the published figures
    cimple demo                             a layer of a real model on the chip
    """


for command in (commands.doctor, commands.configs, commands.verilog, commands.run, commands.waves, commands.bench,
                commands.demo):
    main.add_command(command)
