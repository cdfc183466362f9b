import sys

import click
from rich.console import Console
from rich.table import Table

from sim.rtl.tools import find_tools


@click.command()
def doctor():
    """Which tools were found, what they are needed for, and the commands that install the others.

    Exit code 2 if a tool is missing without which `make sim` cannot run.

    \b
    Example:  cimple doctor
    """
    tools = find_tools()
    table = Table(title="tools", title_justify="left")
    for column in ("tool", "version", "where", "needed for"):
        table.add_column(column, overflow="fold", no_wrap=column == "tool")
    for tool in tools:
        style = None if tool.path else "red" if tool.required else "yellow"
        table.add_row(tool.name, tool.version, tool.path or "missing", tool.needed_for, style=style)
    console = Console()
    console.print(table)
    absent = [tool for tool in tools if tool.path is None]
    if absent:
        print("to install what is missing:")
        for tool in absent:
            print(f"  {tool.name:<20} {tool.install}")
    missing = [tool for tool in tools if tool.required and tool.path is None]
    if missing:
        for tool in missing:
            print(f"error: {tool.name} is missing, which {tool.needed_for} needs: run {tool.install}", file=sys.stderr)
        sys.exit(2)
    console.print("everything that is required is there")
