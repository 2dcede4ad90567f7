"""Tables on terminals of every width: names stay whole, since they are copied; sentences are wrapped."""

import re
import sys

import pytest

from cos_customizer.cli.tables import table

HEADINGS = ("project", "name", "state", "from")
IMAGE = ("my-project", "cos-stable-125-19216-104-25-hello", "ready", "cos-cloud/cos-stable-125-19216-104-25, build 1")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize("columns", [30, 60, 77, 78, 79, 80, 100, 120, 200])
def test_a_name_is_never_broken_and_a_frame_never_too_wide(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = plain(table(HEADINGS, [IMAGE])).split("\n")
    assert any(IMAGE[1] in line for line in lines)
    if "─" in "".join(lines):
        assert max(map(len, lines)) <= columns


@pytest.mark.usefixtures("on_terminal")
def test_where_columns_do_not_fit_each_row_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ends = [
        "project  my-project",
        f"name     {IMAGE[1]}",
        "state    ready",
        f"from     {IMAGE[3]}",
        "",
        "project  my-project",
        "name     web",
        "from     elsewhere",
    ]
    shown = table(HEADINGS, [IMAGE, ("my-project", "web", "", "elsewhere")])
    assert plain(shown).split("\n") == ends


@pytest.mark.usefixtures("on_terminal")
def test_only_the_last_column_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [("to-build", "recipes/web.yaml", "web-20261128", "the recipe or its build context has changed")]
    lines = plain(table(("outcome", "recipe", "image", "why"), rows)).split("\n")
    assert [" ".join(line.split()) for line in lines if "recipe or" in line or "changed" in line] == [
        "to-build recipes/web.yaml web-20261128 the recipe or its build context",
        "has changed",
    ]


def test_elsewhere_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = table(HEADINGS, [IMAGE]).split("\n")
    assert len(lines) == 2
    assert lines[1].split("  ")[0] == "my-project"
