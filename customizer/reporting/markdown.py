"""Pages of Markdown, as Prefect's UI shows them: texts that are no markup, and tables."""

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, in lines.

    Args:
        head: of the columns.
        rows: as many cells each, which are Markdown.
    """
    lines = (f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    return list(lines)


def as_text(text: str) -> str:
    """Text as it stands.

    Args:
        text: of one line.
    """
    # No underscore: within a word it is no markup, and Prefect's UI shows the backslash before it.
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", text)
