"""Tables on standard output: framed on a terminal, elsewhere a line for each row that grep finds."""

import io
import os
import sys
from collections.abc import Iterable, Sequence

from cos_customizer.cli.messages import printable

_STYLES = {
    "delete": "yellow",
    "deleted": "yellow",
    "gone": "dim",
    "failed": "bold red",
    "to-build": "bold",
    "built": "green",
}


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, without a line end.

    Args:
        headings: of the columns; that of the first, what becomes of a thing, decides a row's colour.
        rows: as many texts each.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    framed = Table(box=box.SIMPLE_HEAD if on_terminal else None, pad_edge=False, padding=(0, 1))
    for heading in headings:
        framed.add_column(heading, no_wrap=not on_terminal, overflow="fold")
    for row in rows:
        framed.add_row(*map(printable, row), style=_STYLES.get(row[0]) if on_terminal else None)
    lines = io.StringIO()
    # Elsewhere as wide as it needs to be: nothing is wrapped or cut off.
    width = None if on_terminal else 100_000
    console = Console(file=lines, force_terminal=on_terminal, width=width, highlight=False, markup=False, emoji=False)
    console.print(framed)
    return "\n".join(line.rstrip() for line in lines.getvalue().rstrip("\n").split("\n"))
