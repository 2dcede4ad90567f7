"""The documentation site: every document is a page of it, and its pages say and link what the documents do."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from documentation import DOCUMENTS
from site_pages import CONFIGURATION, broken_links, indented, page, pages, place
from support.paths import ROOT

PAGES = pages(CONFIGURATION.read_text())
KNOWN = {each: place(each) for each in PAGES} | {"docs/images/demo.svg": "images/demo.svg"}
TITLES = {"docs/guest.md": "On the builder VM"}
FORGE = "https://forge.example/repository/blob/main"


def test_every_document_is_a_page_and_every_page_is_there() -> None:
    assert sorted(PAGES) == sorted(str(path.relative_to(ROOT)) for path in DOCUMENTS), (
        f"{CONFIGURATION.relative_to(ROOT)} has the site's navigation"
    )


def test_no_two_documents_are_one_page() -> None:
    assert len(set(KNOWN.values())) == len(KNOWN)


@pytest.mark.parametrize(
    ("document", "text", "expected"),
    [
        ("README.md", "[r](docs/recipes.md#fields)", "[r](recipes.md#fields)"),
        ("README.md", "[docs/guest.md](docs/guest.md#the-plan)", "[On the builder VM](guest.md#the-plan)"),
        ("README.md", "[examples](examples)", "[examples](examples/index.md)"),
        ("docs/guest.md", "[r](../README.md)", "[r](index.md)"),
        ("docs/guest.md", "[r](#the-plan)", "[r](#the-plan)"),
        ("docs/guest.md", "[r](https://example.com/a.md)", "[r](https://example.com/a.md)"),
        ("examples/scheduled/README.md", "[r](../../docs/guest.md)", "[r](../../guest.md)"),
        ("README.md", "![r](docs/images/demo.svg)", "![r](images/demo.svg)"),
        ("docs/guest.md", "[in `guest/`](../guest)", f"[in `guest/`]({FORGE}/guest)"),
        ("docs/guest.md", "`a`\n\n```\n[r](../guest)\n```\n", "`a`\n\n```\n[r](../guest)\n```\n"),
        ("docs/guest.md", "before\n<!-- fields source -->\nafter", "before\nafter"),
    ],
)
def test_links_lead_to_the_page_or_to_the_repository(document: str, text: str, expected: str) -> None:
    assert page(text, document, KNOWN, TITLES, FORGE) == expected


def test_a_link_to_a_file_is_its_words_where_the_repository_s_address_is_not_known() -> None:
    assert page("see [guest/](../guest), and [a](recipes.md)", "docs/guest.md", KNOWN, TITLES, "") == (
        "see guest/, and [a](recipes.md)"
    )


@pytest.mark.parametrize(
    ("forge", "site"),
    [
        ("- a\n  b\n", "-   a\n    b\n"),
        ("1. a\n   - b\n     c\n\n   d\n2. e\n", "1.  a\n    -   b\n        c\n\n    d\n2.  e\n"),
        ("10. a\n    b\n", "10. a\n    b\n"),
        ("- a\n\nb\n", "-   a\n\nb\n"),
        (
            "- a:\n\n  ```yaml\n  b:\n    c\n  - d\n  ```\n",
            "-   a:\n\n    ```yaml\n    b:\n      c\n    - d\n    ```\n",
        ),
        ("1. a\n\n   | b |\n   |---|\n", "1.  a\n\n    | b |\n    |---|\n"),
        ("```\n- a\n  b\n```\n", "```\n- a\n  b\n```\n"),
        ("a - b\nc\n", "a - b\nc\n"),
    ],
)
def test_lists_are_indented_as_the_generator_reads_them(forge: str, site: str) -> None:
    assert indented(forge) == site


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_is_written_so_that_the_generator_reads_it_as_a_forge_does(document: Path) -> None:
    """What the generator would take otherwise: a list or a table that follows its paragraph without an empty line."""
    text = re.sub(r"^```.*?^```$|^ +```.*?^ +```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.sub(r"^<!-- .* -->$", "", text, flags=re.MULTILINE).splitlines()
    for before, line in pairwise(lines):
        prose = before.strip() and not re.match(r"\s|[-*|>#]|\d+\. ", before)
        assert not (prose and re.match(r"[-*] |\d+\. |\|", line)), f"an empty line is missing before: {line}"


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="below/a.html#here">1</a><a href="below/a.html#there">2</a><a href="#me" id="me">3</a>'
        '<a href="gone.html">4</a><img src="gone.png"><a href="https://example.com/gone">5</a><a href="below/">6</a>'
    )
    (tmp_path / "below" / "a.html").write_text('<p id="here"><a href="../index.html?q=1">1</a></p>')
    assert broken_links(tmp_path) == [
        f"index.html: {each}" for each in ("below/", "below/a.html#there", "gone.html", "gone.png")
    ]
