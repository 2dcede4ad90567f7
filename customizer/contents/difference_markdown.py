"""A difference as a page of Markdown, for somebody who knows the images and not their recipe."""

from collections.abc import Sequence

from cos_customizer.customizer.contents import file_groups
from cos_customizer.customizer.contents.compared import Compared
from cos_customizer.customizer.contents.difference import AREAS, Difference
from cos_customizer.customizer.contents.difference_text import TITLES, about, growth, shown, sign, summary, values
from cos_customizer.customizer.reporting.markdown import as_text, table

_MOST_ROWS = 100
"""Of a table. The page has an end, whatever an image holds: Prefect keeps it in its database."""
_LONGEST_CELL = 200
_SIGNS = {"+": "added", "-": "removed", "~": "changed"}


def markdown(compared: Compared, *, title: str = "") -> str:
    """Tell what two images differ in.

    Args:
        compared: They.
        title: Of the page; by default the name of the image that is compared.
    """
    difference = compared.difference
    lines = [
        f"# {as_text(title or f'What is different in {compared.after.name}')}",
        "",
        f"Compared with {as_text(compared.before.in_words)}: **{as_text(summary(difference))}**.",
    ]
    for area in AREAS:
        if changes := difference.area(area):
            rows = [(change.way, _cell(shown(change.name)), _cell(values(change))) for change in changes]
            lines += _section(TITLES[area], ("", "Name", "What"), rows)
    lines += _files(difference)
    if sizes := [size for size in difference.sizes if size.before != size.after]:
        lines += ["", "## Size", "", *(f"- {size.name}: {growth(size)}" for size in sizes)]
    if difference.left_out:
        lines += ["", "## Not compared", "", "What one image lacks here may seem to have come or gone.", ""]
        lines += [f"- {_cell(shown(each))}" for each in difference.left_out[:_MOST_ROWS]]
    return "\n".join(lines) + "\n"


def _files(difference: Difference) -> list[str]:
    if not difference.files:
        return []
    rows = [
        (_SIGNS[sign(group)], _cell(shown(group.path)), _cell(about(group)))
        for group in file_groups.groups(difference.files)
    ]
    return _section("Files", ("", "Path", "What"), rows)


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    more = len(rows) - _MOST_ROWS
    rest = ["", f"… and {more} more: the difference in the bucket has all."] if more > 0 else []
    return ["", f"## {title}", "", *table(head, rows[:_MOST_ROWS]), *rest]


def _cell(text: str) -> str:
    return as_text(text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…")
