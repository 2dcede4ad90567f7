"""Deleting a family's images past their date of deletion: a look, then the deed."""

from collections.abc import Sequence
from dataclasses import dataclass

from cos_customizer.customizer.families.image_expiry import DEFAULT_KEEP_LAST, FamilyImage, plan_expiry
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef
from cos_customizer.gcp import deletion
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.families import current_image, family_images, images_in_use

Decision = tuple[FamilyImage, Removal]


@dataclass(frozen=True)
class Retention:
    """Whose images are looked at, and what is kept.

    Attributes:
        project: of the images.
        families: names.
        keep_last: how many of a family's newest ready and released images are kept whatever their date.
        include_others: delete images that this tool has not made, too.
        disk_projects: whose disks and instance templates are asked for the images they are made from; none: `project`.
    """

    project: str
    families: Sequence[str]
    keep_last: int = DEFAULT_KEEP_LAST
    include_others: bool = False
    disk_projects: Sequence[str] = ()


def look(clients: Clients, retention: Retention, now: float) -> list[Decision]:
    """Decide on every image of the families. Nothing is changed.

    Args:
        clients: Google's clients.
        retention: what is kept.
        now: Unix time.

    Returns:
        Every image and what is to become of it; see `plan_expiry`.

    Raises:
        CustomizerError: the API does not say what is there, or what is in use.
    """
    images = family_images(clients, retention.project, retention.families)
    there = sorted({image.family for image in images})
    current = {family: current_image(clients, retention.project, family) for family in there}
    used: dict[str, str] = {}
    decided = _plan(images, current, used, retention, now)
    if any(removal.action == "delete" for _, removal in decided):  # else what is in use does not matter
        projects = retention.disk_projects or [retention.project]
        used = images_in_use(clients, retention.project, images, projects)
        decided = _plan(images, current, used, retention, now)
    return decided


def _plan(
    images: list[FamilyImage], current: dict[str, str], used: dict[str, str], retention: Retention, now: float
) -> list[Decision]:
    return plan_expiry(images, current, used, now, retention.keep_last, retention.include_others)


def carry_out(clients: Clients, project: str, decided: Sequence[Decision]) -> list[Removal]:
    """Delete what is to be deleted.

    Args:
        clients: Google's clients.
        project: of the images.
        decided: by `look`.

    Returns:
        What came of every image, in the same order.
    """
    going = [
        deletion.image(clients, ImageRef(project, image.id), removal) for image, removal in decided if _goes(removal)
    ]
    ended = iter(deletion.delete_all(clients, going))
    return [next(ended) if _goes(removal) else removal for _, removal in decided]


def _goes(removal: Removal) -> bool:
    return removal.action == "delete"
