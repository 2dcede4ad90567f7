"""Why builds fail, in kinds: what programs act on, what many failures of a night are grouped by."""

import re
from typing import Literal

Cause = Literal[
    "stock-out",
    "quota",
    "preempted",
    "step-failed",
    "verification",
    "changes",
    "approval",
    "guest-failed",
    "lost-vm",
    "timeout",
    "recipe",
    "permission",
    "policy",
    "conflict",
    "unavailable",
    "clean-up",
    "interrupted",
    "lost-run",
    "late",
    "other",
]

IN_WORDS: dict[Cause, str] = {
    "stock-out": "No capacity in the zones",
    "quota": "No quota left",
    "preempted": "Compute Engine has taken a spot VM back",
    "step-failed": "A step failed",
    "verification": "The image does not boot, or a verification script failed",
    "changes": "More has changed in the image than may",
    "approval": "Nobody has approved the image, or somebody has refused it",
    "guest-failed": "The VM failed outside of its steps",
    "lost-vm": "A VM stopped by itself, or was deleted",
    "timeout": "The build's own time limit was over",
    "recipe": "The recipe, or what it names, is not right",
    "permission": "Something was not permitted",
    "policy": "A policy of the organization forbids something",
    "conflict": "Something else has the name, or is at work on it",
    "unavailable": "Google Cloud gave no answer, or failed in itself",
    "clean-up": "The image is made, and something of the build is left",
    "interrupted": "Somebody ended the build",
    "lost-run": "The run was cancelled or lost",
    "late": "The time of the whole was up",
    "other": "Something else",
}
"""For people; in the order in which a report has them."""

FOR_NOW = frozenset[Cause]({"stock-out", "quota", "preempted"})
"""What another zone or a later hour may have: such a build is tried again."""
NOT_THE_RECIPES = FOR_NOW | frozenset[Cause]({"unavailable", "interrupted", "lost-run", "late"})
"""What says nothing of the recipe: it does not count as a failure of its."""

_BY_ERROR: dict[str, Cause] = {
    "StockOutError": "stock-out",
    "QuotaError": "quota",
    "RateLimitedError": "quota",
    "PreemptedError": "preempted",
    "StepFailedError": "step-failed",
    "VerificationFailedError": "verification",
    "UnexpectedChangesError": "changes",
    "NotApprovedError": "approval",
    "BuildFailedError": "guest-failed",
    "LostVmError": "lost-vm",
    "BuildTimeoutError": "timeout",
    "TimeUpError": "late",
    "UsageError": "recipe",
    "NotFoundError": "recipe",
    "PermissionDeniedError": "permission",
    "CredentialsError": "permission",
    "PolicyError": "policy",
    "AlreadyExistsError": "conflict",
    "ConflictError": "conflict",
    "UnavailableError": "unavailable",
    "CleanUpError": "clean-up",
}
"""By the names of `customizer.errors`: a name is all that Prefect keeps of an exception."""
_MESSAGE = re.compile(r"(?s).*?\bencountered an exception: (?:\w+\.)*(?P<error>\w+): (?P<message>.*)")


def cause_of(error: BaseException) -> Cause:
    """The kind of failure that an error is.

    Args:
        error: that a build, or its planning, has ended in.
    """
    if not isinstance(error, Exception):  # a signal's
        return "interrupted"
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
