"""What is to be removed, or has been, and why: one line of a table for people."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from cos_customizer.customizer.errors import CustomizerError

TIME_LIMIT = "1h0m0s"
"""Go duration that a command may take which deletes, unless it is given another."""

Action = Literal["keep", "delete", "deleted", "gone", "failed"]
"""To be kept; to be deleted; was deleted; was not there any more; could not be deleted."""


@dataclass(frozen=True)
class Removal:
    """One thing that was looked at.

    Attributes:
        kind: `image`, `VM`, `disk` or `object`.
        where: the image's family, or the zone, bucket or `global`.
        name: of the thing.
        action: what becomes of it.
        reason: why.
        hint: what to do about it; may be empty, or a `Message`.
    """

    kind: str
    where: str
    name: str
    action: Action
    reason: str
    hint: str = ""

    def ended(self, action: Action, reason: str = "", hint: str = "") -> "Removal":
        """The same thing with what came of it.

        Args:
            action: `deleted`, `gone`, `failed` or, on second thoughts, `keep`.
            reason: in place of the one before; empty leaves that.
            hint: what to do about it.
        """
        return replace(self, action=action, reason=reason or self.reason, hint=hint)


def summary(removals: Iterable[Removal]) -> str:
    """How many of each: `3 to delete, 297 kept`."""
    counts = Counter(removal.action for removal in removals)
    words = {"delete": "to delete", "deleted": "deleted", "gone": "gone already", "keep": "kept", "failed": "failed"}
    said = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]  # type: ignore[index]
    return ", ".join(said) or "nothing found"


def raise_failures(removals: Iterable[Removal]) -> None:
    """Raise an error that names what could not be deleted, if there is any.

    Raises:
        CustomizerError: see there.
    """
    failed = [removal for removal in removals if removal.action == "failed"]
    if failed:
        which = "; ".join(f"{removal.kind} {removal.name}: {removal.reason}" for removal in failed)
        hint = next((removal.hint for removal in failed if removal.hint), "")
        raise CustomizerError(
            f"{len(failed)} could not be deleted: {which}",
            hint or "the others were; run it again when the cause is gone.",
        )
