"""Image families: what is in them, and what they give."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cos_customizer.customizer.families.image_expiry import FamilyImage
from cos_customizer.customizer.names import UNRELEASED
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, image_from_family, list_images
from cos_customizer.gcp.side_by_side import do_all

_LONGEST_FILTER = 2000
"""Characters of a filter. It is part of the URL, and servers refuse long ones with status 414."""


def family_images(clients: Clients, project: str, families: Sequence[str]) -> list[FamilyImage]:
    """All images of some families, five hundred for a call, and many families in one.

    Args:
        clients: Google's clients.
        project: of the images.
        families: names.

    Raises:
        CustomizerError: the API does not say.
    """
    asked = set(families)
    found = do_all(lambda expression: list_images(clients, project, expression), list(_filters(families)))
    # The server's filter is not trusted: what it returns is looked at again.
    return [_fact(image) for images in found for image in images if image.family in asked]


def _filters(families: Sequence[str]) -> Iterator[str]:
    """Filters for images of families: as few as there can be of that length."""
    expression = ""
    for family in dict.fromkeys(families):
        one = f"(family = {family})"
        longer = f"{expression} OR {one}" if expression else one
        if expression and len(longer) > _LONGEST_FILTER:
            yield expression
            longer = one
        expression = longer
    if expression:
        yield expression


def _fact(image: ResolvedImage) -> FamilyImage:
    provenance = image.provenance
    return FamilyImage(
        name=image.name,
        id=image.id,
        family=image.family,
        created=_seconds(image.created) or 0.0,
        status=image.status,
        deprecation=image.deprecation,
        deleted=_seconds(image.deleted),
        # One that is in its family was verified; its build could not take the label off.
        state="" if image.state == UNRELEASED else image.state,
        ours=provenance is not None,
        build=provenance.build if provenance else "",
        contents=provenance.recorded_contents if provenance else None,
    )


def _seconds(rfc3339: str) -> float | None:
    """Unix time; None if there is no date, or none that can be read or told, which then nobody acts on."""
    try:
        when = datetime.fromisoformat(rfc3339.strip().upper())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def current_image(clients: Clients, project: str, family: str) -> str:
    """Id of the image that a family gives to those who ask for it; empty if it gives none.

    Args:
        clients: Google's clients.
        project: of the family.
        family: its name.

    Raises:
        CustomizerError: the API does not say.
    """
    image = image_from_family(clients, project, family)
    return image.id if image else ""
