"""Instance templates: kept for programs that look for the images they name. No instance is made from one."""

from typing import Any

from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id, path_of
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import already_exists, invalid


class Templates:
    """The global instance templates of all projects; there are no regional ones."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def insert(self, project: str, body: dict[str, Any]) -> Resource:
        """Keep an instance template; returns the operation.

        Args:
            project: the template's project.
            body: an `InstanceTemplate`, checked against the schema.

        Raises:
            ApiError: 400 or 409.
        """
        path = f"projects/{project}/global/instanceTemplates/{check_name(body.get('name', ''))}"
        if self._shared.store.find(path):
            raise already_exists(path)
        if not body.get("properties"):
            raise invalid("resource.properties", "", "An instance template needs properties.")
        template = {
            "kind": "compute#instanceTemplate",
            "id": new_id(),
            "creationTimestamp": self._shared.clock.timestamp(),
            "name": body["name"],
            "description": body.get("description", ""),
            "properties": self._full(project, body["properties"]),
            "selfLink": link(path),
        }
        self._shared.store.put(path, template)
        return self._shared.operations.start(Target(path, template["id"], "insert"))

    def delete(self, project: str, name: str) -> Resource:
        """Delete an instance template; returns the operation.

        Raises:
            ApiError: 404.
        """
        path = f"projects/{project}/global/instanceTemplates/{name}"
        template = self._shared.store.get(path)
        self._shared.store.delete(path)
        return self._shared.operations.start(Target(path, template["id"], "delete"))

    def _full(self, project: str, properties: dict[str, Any]) -> dict[str, Any]:
        """Return the properties as the API shows them: images are full links."""
        if not properties.get("disks"):
            return properties
        disks = []
        for number, disk in enumerate(properties["disks"]):
            parameters = disk.get("initializeParams", {})
            if "sourceImage" in parameters:
                field = f"resource.properties.disks[{number}].initializeParams.sourceImage"
                image = link(path_of(parameters["sourceImage"], project, field))
                disk = {**disk, "initializeParams": {**parameters, "sourceImage": image}}
            disks.append(disk)
        return {**properties, "disks": disks}
