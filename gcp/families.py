"""Image families: what is in them, what they give, and which of their images are in use."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer.families.image_expiry import FamilyImage
from cos_customizer.customizer.names import UNRELEASED
from cos_customizer.customizer.references import ImageRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.images import ResolvedImage, image_from_family, list_images


def family_images(clients: Clients, project: str, families: Sequence[str]) -> list[FamilyImage]:
    """All images of some families, five hundred for a call.

    Args:
        clients: Google's clients.
        project: of the images.
        families: names.

    Raises:
        CustomizerError: the API does not say.
    """
    wanted = " OR ".join(f"(family = {family})" for family in families)
    # The server's filter is not trusted: what it returns is looked at again.
    return [_fact(image) for image in list_images(clients, project, wanted) if image.family in families]


def _fact(image: ResolvedImage) -> FamilyImage:
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
        ours=image.provenance is not None,
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


def images_in_use(
    clients: Clients, project: str, images: Iterable[FamilyImage], projects: Sequence[str]
) -> dict[str, str]:
    """What disks in all zones were made from, and what instance templates make disks from.

    Args:
        clients: Google's clients.
        project: of the images.
        images: the images that matter.
        projects: whose disks and instance templates are looked at.

    Returns:
        By image id, one of its users: `disk web-1 in us-west1-b`, `instance template web`.

    Raises:
        CustomizerError: the API does not say, of one project.
    """
    ids = {ImageRef(project, image.name).path: image.id for image in images}
    used: dict[str, str] = {}
    for where in projects:
        of = "" if where == project else f"{where}/"
        disks = compute_v1.AggregatedListDisksRequest(project=where, max_results=500)
        for zone, disk in aggregated(clients.disks.aggregated_list, disks, "disks", where):
            used.setdefault(disk.source_image_id, f"disk {disk.name} in {of}{zone}")
        templates = compute_v1.AggregatedListInstanceTemplatesRequest(project=where, max_results=500)
        method = clients.instance_templates.aggregated_list
        for _, template in aggregated(method, templates, "instance_templates", where):
            for attached in template.properties.disks:
                # A template names an image or a family; what a family gives is kept in any case.
                named = ids.get(_path(attached.initialize_params.source_image), "")
                used.setdefault(named, f"instance template {of}{template.name}")
    return {image_id: user for image_id, user in used.items() if image_id}


def _path(link: str) -> str:
    """The part of a link from `projects/` on."""
    return link[link.find("projects/") :] if "projects/" in link else ""


def aggregated(method: Any, request: Any, kind: str, project: str) -> list[tuple[str, Any]]:
    """Everything that an aggregated list gives, page by page, each with its zone.

    Args:
        method: of a Google client.
        request: the method's request message.
        kind: `disks`, `instances` or `instance_templates`.
        project: for error messages.

    Raises:
        CustomizerError: the API does not say.
    """
    doing = f"list the {kind.replace('_', ' ')} of {project}"
    found = calls.listed(method, request, doing)
    return [(scope.rpartition("/")[2], item) for scope, part in found for item in getattr(part, kind)]
