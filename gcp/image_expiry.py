"""Deleting a family's images past their date of deletion: plan first, then delete."""

from collections.abc import Sequence

from cos_customizer.customizer.families.image_expiry import FamilyImage, Retention, plan_expiry
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef
from cos_customizer.gcp import deletion
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.families import current_image, family_images, images_in_use

Decision = tuple[FamilyImage, Removal]


def plan(clients: Clients, retention: Retention, now: float) -> list[Decision]:
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
    return plan_expiry(images, current, used, retention, now)


def apply(clients: Clients, project: str, decided: Sequence[Decision]) -> list[Removal]:
    """Delete what is to be deleted.

    Args:
        clients: Google's clients.
        project: of the images.
        decided: by `plan`.

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
