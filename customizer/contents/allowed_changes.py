"""Which changes of an image are meant: everything else keeps it from being released."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cos_customizer.customizer.contents import globs
from cos_customizer.customizer.contents.difference import AREAS, Area, Difference, FileChange
from cos_customizer.customizer.contents.difference_text import of_file, shown, values

_MOST_NAMED = 10
"""Changes that a message names one by one."""
_ONE: dict[Area, str] = {
    "system": "variable of os-release",
    "packages": "package",
    "containers": "container image",
    "units": "unit",
    "kernel_arguments": "kernel argument",
    "partitions": "partition",
    "verity": "verified device",
    "modules": "kernel module",
}


@dataclass(frozen=True)
class AllowedChanges:
    """What may change.

    Attributes:
        paths: Patterns of the paths of files; see `globs.of_paths`.
        named: Patterns of names, by area; see `globs.of_names`. What is missing may not change.
    """

    paths: Sequence[str] = ()
    named: Mapping[Area, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Unexpected:
    """A change that nobody has allowed.

    Attributes:
        field: What would allow it: `paths`, `packages`, ….
        name: Its path or name.
        text: What has become of it, in words.
    """

    field: str
    name: str
    text: str


def unexpected(difference: Difference, allowed: AllowedChanges) -> list[Unexpected]:
    """The changes that are not allowed.

    A directory that has come or gone is judged by what is in it, unless it is empty: whoever allows all that is in a
    new directory has allowed the directory.

    Args:
        difference: Of two images.
        allowed: What may change.
    """
    found = []
    for area in AREAS:
        pattern = globs.of_names(allowed.named.get(area, ()))
        for change in difference.area(area):
            if not pattern.match(change.name):
                text = f"{_ONE[area]} {shown(change.name)} {change.way}: {values(change)}"
                found.append(Unexpected(area, shown(change.name), text))
    found += _unexpected_files(difference.files, allowed.paths)
    return found


def _unexpected_files(changes: Sequence[FileChange], paths: Sequence[str]) -> Iterator[Unexpected]:
    pattern = globs.of_paths(paths)
    filled = {(posixpath.dirname(change.path), change.way) for change in changes}
    for change in changes:
        came_or_went_filled = change.is_directory and change.way != "changed" and (change.path, change.way) in filled
        if not pattern.match(change.path) and not came_or_went_filled:
            yield Unexpected("paths", shown(change.path), f"{shown(change.path)} {change.way}: {of_file(change)}")


def in_words(found: Sequence[Unexpected]) -> str:
    """Changes that were not allowed, the first ones by name.

    Args:
        found: At least one.
    """
    more = len(found) - _MOST_NAMED
    named = "; ".join(each.text for each in found[:_MOST_NAMED])
    return f"{named}; and {more} more" if more > 0 else named
