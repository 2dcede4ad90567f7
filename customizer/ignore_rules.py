"""What is left out of a build context: what nobody means to build with, and what an ignore file names.

The rules are those of gcloud (https://cloud.google.com/sdk/gcloud/reference/topic/gcloudignore), whose format is
.gitignore's: a file .gcloudignore at the context's root, else the .gitignore that is there.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec, PathSpec, Pattern, RegexPattern

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message

IGNORE_FILE, GIT_IGNORE_FILE = ".gcloudignore", ".gitignore"

DEFAULT_RULES = (
    *(IGNORE_FILE, GIT_IGNORE_FILE),
    *(".git", ".hg", ".svn", ".bzr", "CVS/"),
    *("*~", ".*.sw[a-p]", r"\#*\#", ".#*", ".idea/", ".vscode/", ".DS_Store", "Thumbs.db"),
    *("__pycache__/", "*.py[co]", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".cos-customizer-workdir/"),
)
"""Left out unless an ignore file takes it in with `!`: the history of a repository, what editors leave, caches."""

_INCLUDE = "!include:"
_ANYWHERE = "^(?:.+/)?"
"""How the expression begins of a rule for any directory."""


class IgnoreRules:
    """The rules of a build context.

    Args:
        root: The context's directory.

    Raises:
        UsageError: An ignore file includes one that is not there, or not beside it.
        OSError: It cannot be read.
    """

    def __init__(self, root: Path) -> None:
        there = {path.name for path in root.iterdir()}
        found = [name for name in (IGNORE_FILE, GIT_IGNORE_FILE) if name in there and (root / name).is_file()]
        rules = _rules(root, found[0], includes=found[0] == IGNORE_FILE) if found else ()
        lines = [*DEFAULT_RULES, *rules]
        self._of_files = GitIgnoreSpec.from_lines(lines)
        # That one is about files, and lets `*` win over `!*/`: whether a directory is entered, the last rule says.
        self._of_directories = PathSpec.from_lines("gitignore", lines)
        self._any = _any_of([*self._of_files.patterns, *self._of_directories.patterns])

    def leave_out(self, name: str, is_directory: bool) -> bool:
        """Whether something is left out; what a directory that is left out holds, is too, whatever the rules say.

        Args:
            name: Relative to the context's root.
            is_directory: Whether it is a directory, and no symbolic link to one.
        """
        path = f"{name}/" if is_directory else name
        if not self._any.search(path):  # most files; asking each rule would take a third of an archive's time
            return False
        return (self._of_directories if is_directory else self._of_files).match_file(path)


def _any_of(patterns: Iterable[Pattern]) -> re.Pattern[str]:
    """What matches where any of the rules does: each in the form that pathspec gives it, where a group has a name."""
    known = [each.regex for each in patterns if isinstance(each, RegexPattern) and each.include is not None]
    texts = sorted({str(each.pattern).replace("(?P<ps_d>/)", "/") for each in known if each is not None})
    inside = [text.removeprefix(_ANYWHERE) for text in texts if text.startswith(_ANYWHERE)]
    others = [f"(?:{text})" for text in texts if not text.startswith(_ANYWHERE)]
    return re.compile("|".join([f"{_ANYWHERE}(?:{'|'.join(inside)})", *others]))


def _rules(root: Path, name: str, includes: bool) -> Iterator[str]:
    """The rules of an ignore file, in its order, with those of the files that it includes."""
    content = (root / name).read_bytes().removeprefix(codecs.BOM_UTF8)
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        rule = line.removesuffix("\r")
        included = rule[1:].lstrip()
        if includes and rule.startswith("#") and included.startswith(_INCLUDE):
            other = included.removeprefix(_INCLUDE).strip()
            if "/" in other or not (root / other).is_file():
                raise UsageError(
                    Message("{}: {} includes {!r}, which is no file beside it", FieldPath("context.path"), name, other),
                    "only files in the same directory can be included.",
                )
            yield from _rules(root, other, includes=False)
        elif _is_valid(rule):
            yield rule


def _is_valid(rule: str) -> bool:
    """Whether a rule can be matched; one that cannot matches nothing, for Git and gcloud as well."""
    try:
        GitIgnoreSpec.from_lines([rule])
    except ValueError:
        return False
    return True
