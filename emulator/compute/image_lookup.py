"""Finds the image that a request names, directly or by its family."""

from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.references import last, path_of
from cos_customizer.emulator.compute.statuses import ImageStatus
from cos_customizer.emulator.compute.store import Resource, Store
from cos_customizer.emulator.errors import ApiError, not_found, not_ready
from cos_customizer.emulator.machines.backend import STAND_IN
from cos_customizer.emulator.projects import READ_ONLY_PROJECT


@dataclass(frozen=True)
class FoundImage:
    """An image that can be used.

    Attributes:
        path: of the image.
        resource: the image.
        warnings: of the operation that uses it.
    """

    path: str
    resource: Resource
    warnings: tuple[dict[str, Any], ...] = ()


def resolve_image(store: Store, reference: str, project: str, field: str) -> FoundImage:
    """Find the image that something is to be made from; a family stands for its newest image.

    Args:
        store: holds the images.
        reference: full or partial URL of an image or a family.
        project: the request's project, which a partial URL is relative to.
        field: where the reference stands in the request, for errors.

    Raises:
        ApiError: 404, or 400 for an image that cannot be used.
    """
    _, project_name, rest = path_of(reference, project, field).split("/", 2)
    path = f"projects/{store.project_id(project_name)}/{rest}"
    if "/images/family/" in path or "/imageFamilyViews/" in path:
        image = newest_image(store, path.split("/")[1], last(path))
        path = f"projects/{path.split('/')[1]}/global/images/{image['name']}"
    if last(path).isdecimal():
        path = next((p for p, found in store.under(path.rsplit("/", 1)[0]) if found["id"] == last(path)), path)
    image = store.get(path)
    if not path.rsplit("/", 1)[0].endswith("/global/images"):
        raise ApiError(400, "invalid", f"Invalid value for field '{field}': '{reference}'. It is no image.")
    state = image.get("deprecated", {}).get("state", "ACTIVE")
    if state in ("OBSOLETE", "DELETED"):
        raise ApiError(400, "invalid", f"The resource '{path}' is {state} and cannot be used.")
    if image["status"] != ImageStatus.READY:
        raise not_ready(path)
    if state != "DEPRECATED":
        return FoundImage(path, image)
    message = f"The resource '{path}' is deprecated."
    if "replacement" in image["deprecated"]:
        message += f" A suggested replacement is '{image['deprecated']['replacement']}'."
    return FoundImage(path, image, ({"code": "DEPRECATED_RESOURCE_USED", "message": message},))


def newest_image(store: Store, project: str, family: str) -> Resource:
    """Return the newest image of a family that is ready and not deprecated.

    Raises:
        ApiError: 404.
    """
    images = [
        image
        for _, image in store.under(f"projects/{project}/global/images")
        if image.get("family") == family
        and image["status"] == ImageStatus.READY
        and image.get("deprecated", {}).get("state", "ACTIVE") == "ACTIVE"
    ]
    if not images:
        raise not_found(f"projects/{project}/global/images/family/{family}")
    return max(images, key=lambda image: (image["creationTimestamp"], image["id"]))


def image_key(path: str, image: Resource) -> str:
    """Return the backend's key of an image."""
    return STAND_IN if path.split("/")[1] == READ_ONLY_PROJECT else f"image-{image['id']}"
