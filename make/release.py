"""Makes a commit a release, and checks that tag, version and changelog agree."""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
_HEADING = re.compile(r"^## (Unreleased|v\d{8})$", re.MULTILINE)
_TAG = re.compile(r"v(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def disagreement(tag: str, pyproject: str, changelog: str) -> str:
    """Why these are not one release; empty if they are.

    Args:
        tag: for example `v20261201`; empty between releases.
        pyproject: text of pyproject.toml.
        changelog: text of CHANGELOG.md.
    """
    version, heading = _VERSION.search(pyproject), _HEADING.search(changelog)
    if version is None or heading is None:
        return "pyproject.toml has no version, or CHANGELOG.md no heading `## Unreleased` or `## vYYYYMMDD`"
    if tag and not _TAG.fullmatch(tag):
        return f"{tag!r} is no tag of a release: vYYYYMMDD"
    if heading[1] == "Unreleased":
        if tag:
            return f"CHANGELOG.md begins with Unreleased, not with {tag}"
        developed = re.fullmatch(r"\d{8}\.dev0", version[1])
        return "" if developed else f"the version {version[1]} is not that of something unreleased: YYYYMMDD.dev0"
    if heading[1] != f"v{version[1]}":
        return f"CHANGELOG.md begins with {heading[1]}, and the version is {version[1]}"
    return f"the version is {version[1]}, and the tag {tag}" if tag and tag != heading[1] else ""


def released(date: str, pyproject: str, changelog: str) -> tuple[str, str]:
    """Both texts as those of the release of a date."""
    return (
        _VERSION.sub(f'version = "{date}"', pyproject, count=1),
        changelog.replace("## Unreleased\n", f"## v{date}\n", 1),
    )


def opened(date: str, pyproject: str, changelog: str) -> tuple[str, str]:
    """Both texts as those of what will be the release of a date."""
    return (
        _VERSION.sub(f'version = "{date}.dev0"', pyproject, count=1),
        _HEADING.sub(lambda match: f"## Unreleased\n\nNothing yet.\n\n{match[0]}", changelog, count=1),
    )


def main() -> int:
    """Check, or change the two files; the exit code says whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag", nargs="?", default="")
    for name in ("release", "next"):
        commands.add_parser(name).add_argument("date")
    arguments = parser.parse_args()
    files = ROOT / "pyproject.toml", ROOT / "CHANGELOG.md"
    pyproject, changelog = (file.read_text() for file in files)
    tag = arguments.tag if arguments.command == "check" else ""
    if arguments.command != "check":
        if not _TAG.fullmatch(f"v{arguments.date}"):
            print(f"{arguments.date!r} is no date: YYYYMMDD", file=sys.stderr)
            return 2
        change = released if arguments.command == "release" else opened
        pyproject, changelog = change(arguments.date, pyproject, changelog)
        for file, text in zip(files, (pyproject, changelog), strict=True):
            file.write_text(text)
    if why := disagreement(tag, pyproject, changelog):
        print(f"not a release: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
