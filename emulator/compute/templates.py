"""Instance templates: kept and shown, for what looks at the images that they name. No instance is made from one."""

from typing import Any

from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id, path_of
from cos_customizer.emulator.compute.resources import Resource
from cos_customizer.emulator.errors import already_exists, invalid


class Templates:
    """The instance templates of all projects; none is regional."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def insert(self, project: str, body: dict[str, Any]) -> Resource:
        """Keep an instance template; returns the operation.

        Args:
            project: where it goes.
            body: an `InstanceTemplate`, checked against the schema.
        """
        path = f"projects/{project}/global/instanceTemplates/{check_name(body.get('name', ''))}"
        if self._core.store.find(path):
            raise already_exists(path)
        if not body.get("properties"):
            raise invalid("resource.properties", "", "An instance template needs properties.")
        template = {
            "kind": "compute#instanceTemplate",
            "id": new_id(),
            "creationTimestamp": self._core.clock.timestamp(),
            "name": body["name"],
            "description": body.get("description", ""),
            "properties": self._full(project, body["properties"]),
            "selfLink": link(path),
        }
        self._core.store.put(path, template)
        return self._core.operations.start(Target(path, template["id"], "insert"), lambda: None)

    def delete(self, project: str, name: str) -> Resource:
        """Forget an instance template; returns the operation."""
        path = f"projects/{project}/global/instanceTemplates/{name}"
        template = self._core.store.get(path)
        self._core.store.delete(path)
        return self._core.operations.start(Target(path, template["id"], "delete"), lambda: None)

    def _full(self, project: str, properties: dict[str, Any]) -> dict[str, Any]:
        """The properties with images as full links, as the API gives them."""
        disks = []
        for number, disk in enumerate(properties.get("disks", [])):
            parameters = dict(disk.get("initializeParams", {}))
            if "sourceImage" in parameters:
                field = f"resource.properties.disks[{number}].initializeParams.sourceImage"
                parameters["sourceImage"] = link(path_of(parameters["sourceImage"], project, field))
            disks.append({**disk, **({"initializeParams": parameters} if parameters else {})})
        return {**properties, **({"disks": disks} if disks else {})}
