"""A part of many tests or cases in each run of CI, chosen by the commit, so that the whole comes round."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

Item = TypeVar("Item")


def part(items: Sequence[Item], variable: str, parts: int) -> Sequence[Item]:
    """Return the part of them whose turn it is, every `parts`th; all if nothing asks for a part.

    Args:
        items: in an order that each run has.
        variable: an environment variable: the number of a part, or `commit` to let the commit choose.
        parts: how many there are.

    Raises:
        ValueError: the variable is neither.
    """
    wanted = os.environ.get(variable)
    if not wanted:
        return items
    if wanted == "commit":
        tree = Path(__file__).parent
        ran = subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        return items[int(ran.stdout or "0", 16) % parts :: parts]
    if not wanted.isdecimal():
        raise ValueError(f"{variable} is {wanted!r}, neither a number nor commit")
    return items[int(wanted) % parts :: parts]


def that_wait(items: list[pytest.Item], variable: str, parts: int) -> list[pytest.Item]:
    """Return the tests with VMs that leave this run to others: whole groups that share something, not the vital ones.

    Args:
        items: all tests.
        variable: as of `part`.
        parts: as of `part`.
    """
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("vm") and not item.get_closest_marker("vital"):
            shared = item.get_closest_marker("xdist_group")
            name = shared.args[0] if shared else f"{getattr(item, 'originalname', item.name)} {item.path.name}"
            groups.setdefault(name, []).append(item)
    names = sorted(groups)
    chosen = part(names, variable, parts)
    return [item for name in names if name not in chosen for item in groups[name]]
