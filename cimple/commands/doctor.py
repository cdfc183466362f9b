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
    for column in ("tool", "found", "needed for", "install with"):
        table.add_column(column, overflow="fold")
    for tool in tools:
        found = tool.version or tool.path or ""
        found = f"{found}\n{tool.path}" if tool.path and tool.version else found
        style = None if tool.path else "red" if tool.required else "yellow"
        table.add_row(tool.name, found or "missing", tool.needed_for, "" if tool.path else tool.install, style=style)
    console = Console()
    console.print(table)
    missing = [tool for tool in tools if tool.required and tool.path is None]
    if missing:
        for tool in missing:
            print(f"error: {tool.name} is missing, which {tool.needed_for} needs: run {tool.install}", file=sys.stderr)
        sys.exit(2)
    console.print("everything that is required is there")
