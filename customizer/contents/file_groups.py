"""Changes of files in few lines: where a directory has many of them, it is one line that counts them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cos_customizer.customizer.contents.difference import FileChange, Way

_MOST_LINES = 8
"""Lines that one directory may have, and those below it."""
_MOST_OF_TOP = 40
"""The same of a directory at the top: `/var`, `/home`, `/var/lib`."""
_DEPTH_OF_TOP = 2


@dataclass(frozen=True)
class Group:
    """What one line tells.

    Attributes:
        path: Of the one file; or of the directory, with a slash at its end.
        changes: The one file's, or all of the directory and below it.
    """

    path: str
    changes: tuple[FileChange, ...]

    @property
    def counts(self) -> dict[Way, int]:
        """How many have been added, changed and removed; directories count where there is nothing else."""
        return counts(self.changes)

    @property
    def single(self) -> FileChange | None:
        """The one change that it tells of; None if it tells of several."""
        return self.changes[0] if len(self.changes) == 1 else None


@dataclass
class _Node:
    own: FileChange | None = None
    children: dict[str, "_Node"] = field(default_factory=dict)


def counts(changes: Iterable[FileChange]) -> dict[Way, int]:
    """How many files have been added, changed and removed.

    A directory that came or went with what is in it is no more than that; directories count where there are no others.

    Args:
        changes: Of files.
    """
    changes = list(changes)
    counted = [each for each in changes if not each.is_directory or each.way == "changed"] or changes
    found = Counter(each.way for each in counted)
    order: tuple[Way, ...] = ("added", "changed", "removed")
    return {way: found[way] for way in order if found[way]}


def groups(changes: Sequence[FileChange]) -> list[Group]:
    """Changes in few groups, in the order of their paths.

    Args:
        changes: Each path once.
    """
    root = _Node()
    for change in changes:
        node = root
        for part in change.path.strip("/").split("/"):
            node = node.children.setdefault(part, _Node())
        node.own = change
    return _groups_of(root, "/", 0)


def singly(changes: Sequence[FileChange]) -> list[Group]:
    """Changes, each in a group of its own."""
    return [Group(change.path, (change,)) for change in changes]


def _groups_of(node: _Node, path: str, depth: int) -> list[Group]:
    below = [
        group
        for name, child in sorted(node.children.items())
        for group in _groups_of(child, f"{path}{name}/", depth + 1)
    ]
    own = node.own
    came_with_content = own is not None and own.is_directory and own.way != "changed" and below
    # That a directory is new goes without saying where what is in it is told.
    found = [Group(own.path, (own,)), *below] if own is not None and not came_with_content else below
    if depth == 0 or len(found) <= (_MOST_OF_TOP if depth <= _DEPTH_OF_TOP else _MOST_LINES):
        return found
    return [Group(path, tuple(change for group in found for change in group.changes))]
