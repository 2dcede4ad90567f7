"""Tables on standard output: framed on a terminal, elsewhere a line for each row that grep finds.

No name is broken on a terminal, since it is there to be copied. Only the last column, whose texts are sentences, is
wrapped; where not even that is enough, a row is a block of lines, one for each column.
"""

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cos_customizer.cli.messages import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    "delete": "yellow",
    "deleted": "yellow",
    "gone": "dim",
    "failed": "bold red",
    "to-build": "bold",
    "built": "green",
}

_GAP = 3
"""Columns of the terminal between two columns of a table."""

_NARROWEST = 16
"""Columns of the terminal that sentences need at least."""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, without a line end.

    Args:
        headings: of the columns; that of the first, what becomes of a thing, decides a row's colour.
        rows: as many texts each.
    """
    from rich.cells import cell_len
    from rich.console import Console

    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    shown = [[printable(text) for text in row] for row in rows]
    lines = io.StringIO()
    # Elsewhere as wide as it needs to be: nothing is wrapped or cut off.
    width = None if on_terminal else 100_000
    console = Console(file=lines, force_terminal=on_terminal, width=width, highlight=False, markup=False, emoji=False)
    widths = [max(map(cell_len, texts)) for texts in zip(headings, *shown, strict=True)]
    needed = sum(each + _GAP for each in widths[:-1]) + min(widths[-1], _NARROWEST) + 2
    if needed <= console.width:
        console.print(_framed(headings, shown, on_terminal))
    else:
        console.print(_blocks(headings, shown), soft_wrap=True)
    return "\n".join(line.rstrip() for line in lines.getvalue().rstrip("\n").split("\n"))


def _framed(headings: Sequence[str], rows: Iterable[Sequence[str]], on_terminal: bool) -> "Table":
    from rich import box
    from rich.table import Table

    framed = Table(box=box.SIMPLE_HEAD if on_terminal else None, pad_edge=False, padding=(0, 1))
    for heading in headings:
        framed.add_column(heading, no_wrap=not on_terminal or heading != headings[-1], overflow="fold")
    for row in rows:
        framed.add_row(*row, style=_style(row) if on_terminal else None)
    return framed


def _blocks(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> "Text":
    """Each row as lines of heading and text, which the terminal breaks where it must; empty ones are left out."""
    from rich.text import Text

    width = max(map(len, headings))
    blocks = [
        Text(
            "\n".join(f"{heading:{width}}  {text}" for heading, text in zip(headings, row, strict=True) if text),
            style=_style(row) or "",
        )
        for row in rows
    ]
    return Text("\n\n").join(blocks)


def _style(row: Sequence[str]) -> str | None:
    return _STYLES.get(row[0])
