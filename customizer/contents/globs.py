"""Patterns that name several things at once: paths as shells and .gitignore have them, and names of anything else."""

import re
from collections.abc import Iterable
from functools import lru_cache

_WILD = re.compile(r"(\*\*|\*|\?)")
_NOTHING = re.compile(r"(?!)")


def of_paths(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches the whole of each path that one of the patterns names.

    `*` and `?` stand for characters within one directory, `**` for any; a pattern that ends in `/**` names the
    directory itself, too.

    Args:
        patterns: Absolute.
    """
    return _any_of(tuple(patterns), within_directory=True)


def of_names(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches the whole of each name that one of the patterns names: `*` stands for any characters, `?` for one.

    Args:
        patterns: For names of packages, containers, units, ….
    """
    return _any_of(tuple(patterns), within_directory=False)


@lru_cache(maxsize=64)
def _any_of(patterns: tuple[str, ...], within_directory: bool) -> re.Pattern[str]:
    if not patterns:
        return _NOTHING
    return re.compile("|".join(f"(?:{_expression(each, within_directory)})" for each in patterns), re.DOTALL)


def _expression(pattern: str, within_directory: bool) -> str:
    below = within_directory and pattern.endswith("/**")
    text = pattern.removesuffix("/**") if below else pattern
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"} if within_directory else {"**": ".*", "*": ".*", "?": "."}
    parts = (wild.get(part) or re.escape(part) for part in _WILD.split(text))
    return "".join(parts) + ("(?:/.*)?" if below else "") + r"\Z"
