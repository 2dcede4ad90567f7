"""The table of what is deleted and what is kept: framed on a terminal, elsewhere a line for each that grep finds."""

import io
import os
import sys
from collections.abc import Sequence

import click

from cos_customizer.cli.messages import printable
from cos_customizer.customizer.removal import Removal, summary

_STYLES = {"delete": "yellow", "deleted": "yellow", "gone": "dim", "failed": "bold red"}


def show_removals(removals: Sequence[Removal], where: str, dry_run: bool) -> None:
    """Print what becomes of things, or became of them, and why.

    Args:
        removals: what was looked at.
        where: heading of what `Removal.where` says: `family`, say.
        dry_run: whether nothing was deleted; how to delete is then told, if there is anything to delete.
    """
    if removals:
        click.echo(_table(removals, where))
    more = any(removal.action == "delete" for removal in removals)
    click.echo(f"{summary(removals)}{' (dry run: -dry-run=false deletes)' if dry_run and more else ''}")


def _table(removals: Sequence[Removal], where: str) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    table = Table(box=box.SIMPLE_HEAD if on_terminal else None, pad_edge=False, padding=(0, 1))
    for heading in ("action", "kind", where, "name", "why"):
        table.add_column(heading, no_wrap=not on_terminal, overflow="fold")
    for each in removals:
        row = (each.action, each.kind, each.where, each.name, each.reason)
        table.add_row(*map(printable, row), style=_STYLES.get(each.action) if on_terminal else None)
    lines = io.StringIO()
    # Elsewhere as wide as it needs to be: nothing is wrapped or cut off.
    width = None if on_terminal else 100_000
    console = Console(file=lines, force_terminal=on_terminal, width=width, highlight=False, markup=False, emoji=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in lines.getvalue().rstrip("\n").split("\n"))
