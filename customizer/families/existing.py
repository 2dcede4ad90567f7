"""An output image that is there already: which recipe has made it, and which images take its place.

An image cannot be renamed, and its name is free only once it is deleted. So a new image of another recipe gets a name
of its own: that of the first one with a date. All images of such names are a series, of which the newest counts.
"""

import re
from datetime import date

from cos_customizer.customizer.durations import human_moment
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.families.rebuild import with_date
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.reporting.result import MadeBy

_DATED = re.compile(r".+-([0-9]{8})(?:-([1-9][0-9]{0,8}))?")
_WORDS: dict[MadeBy, str] = {
    "this-recipe": "made by this recipe",
    "another-source": "made by this recipe or another one, of another source image",
    "another-recipe": "made by another recipe",
    "other-means": "not made by cos-customizer",
    "unknown": "and it is not known whether this recipe has made it",
}


def made_by(provenance: Provenance | None, source_id: str, recipe: str) -> MadeBy:
    """Tell who has made an image.

    Args:
        provenance: What the image's description says; None if it does not say.
        source_id: Numeric id of the source image as it is now.
        recipe: Fingerprint of the recipe as it is now; empty if it is not known.
    """
    if provenance is None:
        return "other-means"
    if provenance.source_id != source_id:
        return "another-source"
    if not recipe:
        return "unknown"
    return "this-recipe" if provenance.recipe == recipe else "another-recipe"


def in_words(maker: MadeBy) -> str:
    """Who has made an image, for people: `made by another recipe`."""
    return _WORDS[maker]


def what_is_there(image: str, created: str, maker: MadeBy) -> str:
    """Say that an image of another recipe is there: `my-image is there since 2026-11-25 09:37 UTC, made by …`.

    Args:
        image: Its name.
        created: RFC 3339 time of its creation; may be empty.
        maker: Who has made it.
    """
    since = f" since {moment}" if (moment := human_moment(created)) else ""
    return f"{image} is there{since}, {in_words(maker)}"


def what_to_do(project: str, image: str) -> Message:
    """Say what to do about it.

    Args:
        project: Of the image.
        image: Its name.
    """
    return Message(
        "delete it (gcloud compute images delete {} --project={}), take another {}, or {}",
        image,
        project,
        FieldPath("output.name"),
        FieldPath("output.on_existing", "replace"),
    )


def is_of_series(name: str, base: str) -> bool:
    """Whether an image is one of a series: it has the name itself, or one made of it with a date.

    Args:
        name: Of the image.
        base: The name that the series begins with.
    """
    if name == base:
        return True
    found = _DATED.fullmatch(name)
    if found is None:
        return False
    try:
        return with_date(base, date.fromisoformat(found[1]), int(found[2] or 1)) == name
    except ValueError:  # no date
        return False
