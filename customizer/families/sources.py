"""Which source images have been replaced by newer ones since somebody looked. Facts in, decisions out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.announcements import SourceRenewed, source_key

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import SourceImage

_MEMORY = re.compile("[A-Za-z0-9_-]{1,255}")
TIME_LIMIT = "15m0s"
"""Go duration that looking takes at most, unless it is given another."""


@dataclass(frozen=True)
class SourceLook:
    """What a family or milestone that recipes start from gives.

    Attributes:
        outcome: whether that is another image than before.
        recipes: files of the recipes that start from it.
        source: what they name: `cos-cloud family cos-stable`; empty for a recipe that cannot be read.
        image: name of the image that it gives.
        why: why it could not be looked at.
    """

    outcome: Literal["renewed", "unchanged", "seen-first", "failed"]
    recipes: tuple[str, ...]
    source: str = ""
    image: str = ""
    why: str = ""


def check_memory(name: str) -> str:
    """The name, if a Prefect variable can have it.

    Raises:
        ValueError: it cannot.
    """
    if not _MEMORY.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a Prefect variable: letters, digits, - and _, at most 255")
    return name


def in_words(source: "SourceImage") -> str:
    """What recipes name as their source.

    Args:
        source: of a specification.
    """
    if source.family is not None:
        return f"family {source.family}"
    if source.milestone is not None:
        return f"milestone {source.milestone}"
    return f"image {source.name}"


def compare(
    source: "SourceImage", recipes: Sequence[str], image: str, image_id: str, before: Mapping[str, str]
) -> tuple[SourceLook, SourceRenewed | None]:
    """Decide what is new.

    What was never looked at before is not new: whether the recipes' images are made of it is for a rebuild to find out.

    Args:
        source: that was looked at.
        recipes: files of the recipes that start from it.
        image: name of the image that it gives.
        image_id: the numeric id of that.
        before: ids of the images that sources gave before, by `source_key`.

    Returns:
        A row for people, and what is to be announced, if anything is.
    """
    key = source_key(source)
    seen = before.get(key, "")
    told = f"{source.project} {in_words(source)}"
    if seen in ("", image_id):
        outcome: Literal["unchanged", "seen-first"] = "unchanged" if seen else "seen-first"
        return SourceLook(outcome=outcome, source=told, image=image, recipes=tuple(recipes)), None
    renewed = SourceRenewed(
        project=source.project,
        source=in_words(source),
        key=key,
        image=image,
        image_id=image_id,
        replaces_id=seen,
        recipes=tuple(recipes),
    )
    return SourceLook(outcome="renewed", source=told, image=image, recipes=tuple(recipes)), renewed


def raise_failures(looks: Sequence[SourceLook]) -> None:
    """Raise an error that names what could not be looked at, if there is any.

    Raises:
        CustomizerError: see there.
    """
    failed = [look for look in looks if look.outcome == "failed"]
    if failed:
        which = "; ".join(f"{look.source or ', '.join(look.recipes)}: {look.why}" for look in failed)
        raise CustomizerError(
            f"{len(failed)} could not be looked at: {which}", "the others were looked at all the same."
        )
