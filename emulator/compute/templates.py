"""Instance templates, and the requests for instances that they make complete."""

from collections.abc import Mapping
from typing import Any

from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, last, link, new_id, path_of
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.sources import find_named
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import fixed, region_of
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
        template: Resource = {
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

        def undo(_: bool) -> None:
            self._shared.store.delete_same(path, template["id"])

        return self._shared.operations.start(Target(path, template["id"], "insert"), undo=undo)

    def delete(self, project: str, name: str, region: str = "") -> Resource:
        """Delete an instance template; returns the operation.

        Raises:
            ApiError: 404.
        """
        path = f"{_collection(project, region)}/{name}"
        template = self._shared.store.get(path)
        self._shared.store.delete(path)

        def undo(_: bool) -> None:
            with self._shared.store.lock:
                if not self._shared.store.find(path):
                    self._shared.store.put(path, template)

        return self._shared.operations.start(Target(path, template["id"], "delete"), undo=undo)

    def filled_in(self, project: str, zone: str, reference: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request for an instance, with what it does not say as a template says it.

        The request is a JSON merge patch (RFC 7396) of the template's properties: objects are merged, lists and simple
        values take the place of the template's.
        https://cloud.google.com/compute/docs/instances/create-vm-from-instance-template

        Args:
            project: the instance's project.
            zone: its zone.
            reference: full or partial URL of the template.
            body: an `Instance`, checked against the schema.

        Raises:
            ApiError: 404, or 400 for what is no template, or one of another region.
        """
        field = "sourceInstanceTemplate"
        path, template = find_named(self._shared, reference, project, field)
        if path.split("/")[-2] != "instanceTemplates":
            raise invalid(field, reference, "It is no instance template.")
        if template.get("region") and last(template["region"]) != region_of(zone):
            raise invalid(field, reference, f"A regional template must be in the region of zone '{zone}'.")
        filled: dict[str, Any] = _merged(_in_zone(zone, template["properties"]), body)
        return filled


def _in_zone(zone: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return a template's properties as an instance has them: in a template, what is in a zone is only a name."""
    found = dict(properties)
    if "machineType" in found:
        found["machineType"] = f"zones/{zone}/machineTypes/{last(found['machineType'])}"
    if "resourceManagerTags" in found:
        found["params"] = {"resourceManagerTags": found.pop("resourceManagerTags")}
    disks = found.get("disks", [])
    named = [{**disk, "source": f"zones/{zone}/disks/{disk['source']}"} if _is_name(disk) else disk for disk in disks]
    return {**found, "disks": named} if disks else found


def _is_name(disk: dict[str, Any]) -> bool:
    return "/" not in disk.get("source", "/")


def _merged(present: Any, patch: Any) -> Any:
    """Apply a JSON merge patch. A null never comes here: requests are checked without."""
    if not isinstance(patch, Mapping):
        return patch
    before = present if isinstance(present, Mapping) else {}
    return {**before, **{key: _merged(before.get(key), value) for key, value in patch.items()}}


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
