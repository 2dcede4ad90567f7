"""Calls of many processes by the minute: written down by each, read and added up by one."""

import json
from collections import Counter
from collections.abc import Iterable

CallsByMinute = dict[int, Counter[str]]
"""By the minute of Unix time, how many calls of each group there were."""


def summed(counted: Iterable[CallsByMinute]) -> CallsByMinute:
    """The calls of several processes together.

    Args:
        counted: those of each.
    """
    total: CallsByMinute = {}
    for minutes in counted:
        for minute, found in minutes.items():
            total.setdefault(minute, Counter()).update(found)
    return total


def peaks(calls: CallsByMinute) -> dict[str, int]:
    """The most calls that each group had in a minute, the busiest group first.

    Args:
        calls: of all processes.
    """
    most: Counter[str] = Counter()
    for found in calls.values():
        most |= found
    return dict(most.most_common())


def to_text(calls: CallsByMinute) -> str:
    """Calls as one line of text.

    Args:
        calls: of one process.
    """
    return json.dumps(calls, separators=(",", ":"))


def from_text(text: str) -> CallsByMinute:
    """Calls as `to_text` has written them; none of what it has not.

    Args:
        text: that somebody else may have changed.
    """
    try:
        return {int(minute): Counter(dict[str, int](found)) for minute, found in json.loads(text).items()}
    except (AttributeError, TypeError, ValueError):
        return {}
