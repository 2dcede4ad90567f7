"""Writes the documentation site's sources, which are the repository's documents, and checks the links of what is built.

The documents are written for a forge: their links lead through the repository, and their lists are indented as forges
read them. The generator gets copies, in which links to other pages lead to these, links to other files lead to the
repository (or nowhere, where its address is not known), and lists are indented by four.
"""

import argparse
import os
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "make" / "site.yaml"
STYLE = ROOT / "make" / "site.css"
_LINK = re.compile(r"(!?)\[((?:[^][]|!?\[[^]]*\](?:\([^)]*\))?)*)\]\(([^)\s]+)\)")
_FILE = re.compile(r"[\w./-]+\.md")
_FENCE = re.compile(r"^ *```")
_ITEM = re.compile(r"^( *)([-*]|\d+\.)( +)(?=\S)")
_COMMENT = re.compile(r"^<!-- .*? -->\n", re.MULTILINE)
_NAV = re.compile(r"^nav:\n(?:(?:[ -].*|)\n)+", re.MULTILINE)


def pages(configuration: str) -> list[str]:
    """The documents of the site, from the top of the repository, in the order of its navigation."""
    return list(_leaves(yaml.safe_load(_NAV.search(configuration)[0])["nav"]))  # type: ignore[index]


def _leaves(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for each in entry if isinstance(entry, list) else entry.values():
            yield from _leaves(each)


def place(document: str) -> str:
    """Where a document of the repository is on the site."""
    directory, name = posixpath.split(document)
    if document == "README.md":
        return "index.md"
    if name == "README.md":
        return f"{directory}/index.md"
    return f"{name.lower()}" if directory in ("", "docs") else document


def page(text: str, document: str, known: dict[str, str], titles: dict[str, str], repository: str) -> str:
    """A document as the generator gets it.

    Args:
        text: the document's.
        document: its path, from the top of the repository.
        known: where pages and pictures of the repository are on the site.
        titles: of pages, which links name that name the page's file.
        repository: address of its files on a forge, without a slash at its end; empty: not known.
    """

    def link(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        words = _LINK.sub(link, words)
        if "://" in target or target.startswith("#"):
            return f"{mark}[{words}]({target})"
        path, _, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(document), path))
        anchor = f"#{anchor}" if anchor else ""
        file = f"{file}/README.md" if f"{file}/README.md" in known else file
        if file in known:
            words = titles.get(file, words) if _FILE.fullmatch(words) else words
            way = posixpath.relpath(known[file], posixpath.dirname(known[document]) or ".")
            return f"{mark}[{words}]({way}{anchor})"
        return f"[{words}]({repository}/{file}{anchor})" if repository else words

    parts = []
    for prose, part in _parts(_COMMENT.sub("", text)):
        parts.append(_LINK.sub(link, part) if prose else part)
    return indented("".join(parts))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Prose and code, by turns."""
    part, code = "", False
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        if fence and not code:
            yield True, part
            part = ""
        part += line
        if fence:
            if code:
                yield False, part
                part = ""
            code = not code
    yield not code, part


def indented(text: str) -> str:
    """The text with what belongs to an item of a list indented by four, however it was; code is moved as a whole."""
    depths: list[int] = []  # columns at which the text of the items begins that are open
    lines, code = [], False
    for line in text.splitlines(keepends=True):
        if not line.strip():
            lines.append(line)
            continue
        column = len(line) - len(line.lstrip(" "))
        if not code:
            while depths and column < depths[-1]:
                depths.pop()
        moved = 4 * len(depths) - (depths[-1] if depths else 0)
        item = None if code else _ITEM.match(line)
        if item:
            head = f"{item[2]} ".ljust(4)
            lines.append(" " * (4 * len(depths)) + head + line[item.end() :])
            depths.append(item.end())
        else:
            lines.append(" " * moved + line)
        if _FENCE.match(line):
            code = not code
    return "".join(lines)


def write(directory: Path, repository: str) -> None:
    """Write the generator's sources and its settings.

    Args:
        directory: what is in it is replaced.
        repository: address of the repository's files on a forge; empty: not known.
    """
    configuration = CONFIGURATION.read_text()
    listed = pages(configuration)
    images = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "images").iterdir())
    known = {each: place(each) for each in listed} | {each: each.removeprefix("docs/") for each in images}
    texts = {each: (ROOT / each).read_text() for each in listed}
    titles = {each: text.partition("\n")[0].removeprefix("# ") for each, text in texts.items()}
    shutil.rmtree(directory, ignore_errors=True)
    for source, target in known.items():
        file = directory / "pages" / target
        file.parent.mkdir(parents=True, exist_ok=True)
        if source in texts:
            file.write_text(page(texts[source], source, known, titles, repository))
        else:
            shutil.copy(ROOT / source, file)

    shutil.copy(STYLE, directory / "pages" / STYLE.name)

    def staged(found: re.Match[str]) -> str:
        return re.sub(r"\S+\.md$", lambda document: place(document[0]), found[0], flags=re.MULTILINE)

    settings = _NAV.sub(staged, configuration)
    address = f"repo_url: {repository.partition('/blob/')[0]}\n" if repository else ""
    (directory / "mkdocs.yml").write_text(f"{settings}{address}docs_dir: pages\nsite_dir: html\n")


class _Links(HTMLParser):
    """What a page links to, and where it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "base":
                self.targets.append(value)


def broken_links(directory: Path) -> list[str]:
    """The links of a site that lead nowhere within it; those that lead out of it are not followed.

    Args:
        directory: the built site.
    """
    found = {path: _Links(path.read_text()) for path in sorted(directory.rglob("*.html"))}
    broken = []
    for path, links in found.items():
        if path.name == "404.html":  # its links are from the root of wherever the site is
            continue
        for target in links.targets:
            if re.match(r"[a-z]+:|//", target):
                continue
            way, _, anchor = target.partition("#")
            file = Path(os.path.normpath(path.parent / unquote(way.partition("?")[0]))) if way else path
            file = file / "index.html" if file.is_dir() else file
            lost = not file.is_file() or (anchor and file in found and unquote(anchor) not in found[file].anchors)
            if lost and anchor != "__skip":
                broken.append(f"{path.relative_to(directory)}: {target}")
    return sorted(set(broken))


def main() -> None:
    """Write the sources, or check what was built from them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("write", "check"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("repository", nargs="?", default="", help="address of the repository's files on a forge")
    arguments = parser.parse_args()
    if arguments.action == "write":
        write(arguments.directory, arguments.repository)
        return
    broken = broken_links(arguments.directory / "html")
    if broken:
        sys.exit("links that lead nowhere:\n" + "\n".join(f"  {each}" for each in broken))


if __name__ == "__main__":
    main()
