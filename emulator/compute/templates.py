"""Instance templates: kept for programs that look for the images they name. No instance is made from one."""

from typing import Any

from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id, path_of
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import fixed
from cos_customizer.emulator.errors import already_exists, invalid


class Templates:
    """The instance templates of all projects, global and regional ones."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def insert(self, project: str, body: dict[str, Any], region: str = "") -> Resource:
        """Keep an instance template; returns the operation.

        Args:
            project: the template's project.
            region: its region; empty for a global one.
            body: an `InstanceTemplate`, checked against the schema.

        Raises:
            ApiError: 400 or 409.
        """
        path = f"{_collection(project, region)}/{check_name(body.get('name', ''))}"
        if self._shared.store.find(path):
            raise already_exists(path)
        if not body.get("properties"):
            raise invalid("resource.properties", "", "An instance template needs properties.")
        _check_images(project, body["properties"])
        template = {
            "kind": "compute#instanceTemplate",
            "id": new_id(),
            "creationTimestamp": self._shared.clock.timestamp(),
            "name": body["name"],
            "description": body.get("description", ""),
            "properties": body["properties"],
            "selfLink": link(path),
        }
        if region:
            template["region"] = link(f"projects/{project}/regions/{region}")
        self._shared.store.put(path, template)
        return self._shared.operations.start(Target(path, template["id"], "insert"))

    def delete(self, project: str, name: str, region: str = "") -> Resource:
        """Delete an instance template; returns the operation.

        Raises:
            ApiError: 404.
        """
        path = f"{_collection(project, region)}/{name}"
        template = self._shared.store.get(path)
        self._shared.store.delete(path)
        return self._shared.operations.start(Target(path, template["id"], "delete"))


def _collection(project: str, region: str) -> str:
    if region:
        fixed(f"projects/{project}/regions/{region}")
    return f"projects/{project}/{f'regions/{region}' if region else 'global'}/instanceTemplates"


def _check_images(project: str, properties: dict[str, Any]) -> None:
    """Refuse images that are none; their links stay as they were given.

    Raises:
        ApiError: 400.
    """
    for number, disk in enumerate(properties.get("disks", [])):
        parameters = disk.get("initializeParams", {})
        if "sourceImage" in parameters:
            field = f"resource.properties.disks[{number}].initializeParams.sourceImage"
            path_of(parameters["sourceImage"], project, field)
