"""Which images are to be made anew, and what they are called."""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import count
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cos_customizer.customizer.errors import BuildFailedError
from cos_customizer.customizer.families.build_queue import Job, Wait
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.reporting.causes import Cause

NOTHING = "nothing has changed"
"""Why an image that is as it would be made now is not."""
_LONGEST_NAME = 63


class Rebuild(BaseModel):
    """What has become of one recipe."""

    model_config = ConfigDict(frozen=True)

    recipe: str = Field(description="The recipe's file.")
    family: str = Field("", description="Family of the output image.")
    outcome: Literal["to-build", "built", "up-to-date", "skipped", "failed"] = Field(
        "failed", description="What has become of it, or what would. `skipped`: it has failed too often."
    )
    image: str = Field("", description="The family's newest image, the one that was built above all.")
    why: str = Field("", description="Why it was built, or was not, or has failed.")
    cause: Cause | None = Field(None, description="Of what kind the failure is.")
    seconds: float | None = Field(None, description="How long its builds were at work, if it had any.")
    waited: dict[Wait, float] = Field(default_factory=dict, description="Seconds, by what it has waited for.")

    def after(self, job: Job, newest: str) -> "Rebuild":
        """What has become of it, once its build is over.

        Args:
            job: the build.
            newest: the image that its family had before.
        """
        told: dict[str, Any] = {"outcome": "built", "waited": dict(job.waits)}
        told["seconds"] = sum(attempt.seconds for attempt in job.attempts)
        if job.failure:
            told |= {"outcome": "failed", "image": newest, "why": job.failure, "cause": job.cause}
        return self.model_copy(update=told)


class RebuildFailedError(BuildFailedError):
    """A recipe has failed; the others were done all the same.

    Attributes:
        rows: what has become of each recipe.
    """

    def __init__(self, rows: Sequence[Rebuild]) -> None:
        failed = [row for row in rows if row.outcome == "failed"]
        super().__init__(
            f"{len(failed)} of {len(rows)} recipes failed: " + "; ".join(f"{row.recipe}: {row.why}" for row in failed),
            "the others are done: what they have built stays." if any(row.outcome == "built" for row in rows) else "",
        )
        self.rows = tuple(rows)


def raise_failures(rows: Sequence[Rebuild]) -> None:
    """Raise an error that names the recipes that have failed, if there are any.

    Raises:
        RebuildFailedError: see there.
    """
    if any(row.outcome == "failed" for row in rows):
        raise RebuildFailedError(rows)


def why_to_build(
    newest: str, provenance: Provenance | None, source_id: str, source: str, recipe: str, force: bool
) -> str:
    """Why an image is to be made anew; empty if the newest one is what would be made.

    Args:
        newest: name of the newest released image of the family; empty if there is none.
        provenance: what that image's description tells; None if it was not made by this tool.
        source_id: numeric id of the source image as it is now.
        source: the source image's name.
        recipe: fingerprint of the recipe as it is now.
        force: build in any case.
    """
    if not newest:
        return "the family has no image yet"
    if provenance is None:
        return f"{newest} was not made by this tool"
    if provenance.source_id != source_id:
        return f"the source image is now {source}"
    if provenance.recipe != recipe:
        return "the recipe or its build context has changed"
    return "forced" if force else ""


def dated_name(base: str, day: date, taken: Callable[[str], bool]) -> str:
    """A new image's name: the recipe's own, the date, and a counter where that is taken.

    Args:
        base: a valid name; its end gives way where the whole would be too long.
        day: to put into the name.
        taken: whether a name cannot be used.

    Returns:
        For example `web-20261124`, `web-20261124-2`.
    """
    return next(name for counter in count(1) if not taken(name := with_date(base, day, counter)))


def with_date(base: str, day: date, counter: int) -> str:
    """One of the names that `dated_name` tries.

    Args:
        base: a valid name; its end gives way where the whole would be too long.
        day: to put into the name.
        counter: from 1, which is not written.
    """
    suffix = f"-{day:%Y%m%d}" + (f"-{counter}" if counter > 1 else "")
    return base[: _LONGEST_NAME - len(suffix)].rstrip("-") + suffix


FOLDED_FROM = 20
"""How many recipes that are up to date make one line in a table."""


def folded(rows: Sequence[Rebuild]) -> list[Rebuild]:
    """What has become of recipes, for people: what is remarkable, and how many are as they were.

    Args:
        rows: one for each recipe.

    Returns:
        The same, in which a single row stands in the end for those that are up to date, if they are many; not for one
        whose image was rolled back.
    """
    same = [row for row in rows if row.outcome == "up-to-date" and row.why == NOTHING]
    if len(same) < FOLDED_FROM:
        return list(rows)
    return [row for row in rows if row.outcome != "up-to-date" or row.why != NOTHING] + [
        Rebuild(recipe=f"{len(same)} recipes", outcome="up-to-date", why=NOTHING)
    ]
