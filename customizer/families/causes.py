"""Why builds fail, in kinds: what many failures of a night are grouped by, and what is done about each."""

import re
from typing import Literal

Cause = Literal["capacity", "quota", "step", "time", "recipe", "permissions", "lost", "late", "other"]

IN_WORDS: dict[Cause, str] = {
    "capacity": "No capacity in the zones",
    "quota": "No quota left",
    "step": "A step or the verification failed",
    "time": "The build's own time limit was over",
    "recipe": "The recipe, or what it names, is not right",
    "permissions": "Something was not permitted",
    "lost": "The run was cancelled or lost",
    "late": "The time of the whole was up",
    "other": "Something else",
}
"""For people; in the order in which a report has them."""

FOR_NOW = frozenset[Cause]({"capacity", "quota"})
"""What another zone or a later hour may have: such a build is tried again."""
NOT_THE_RECIPES = FOR_NOW | frozenset[Cause]({"lost", "late"})
"""What says nothing of the recipe: it does not count as a failure of its."""

_BY_ERROR: dict[str, Cause] = {
    "StockOutError": "capacity",
    "QuotaError": "quota",
    "BuildFailedError": "step",
    "BuildTimeoutError": "time",
    "TimeUpError": "late",
    "UsageError": "recipe",
    "NotFoundError": "recipe",
    "PermissionDeniedError": "permissions",
}
_MESSAGE = re.compile(r"(?s).*?\bencountered an exception: (?:\w+\.)*(?P<error>\w+): (?P<message>.*)")


def cause_of(error: BaseException) -> Cause:
    """The kind of failure that an error is.

    Args:
        error: that a build, or its planning, has ended in.
    """
    return _BY_ERROR.get(type(error).__name__, "other")


def cause_in(message: str) -> tuple[Cause, str]:
    """The kind of failure that Prefect tells of, which knows an exception by its name and its words alone.

    Args:
        message: of a flow run's failed state.

    Returns:
        The cause, and the exception's own words; of a message without an exception, `other` and the message.
    """
    found = _MESSAGE.fullmatch(message)
    return (_BY_ERROR.get(found["error"], "other"), found["message"]) if found else ("other", message)
