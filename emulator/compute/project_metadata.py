"""The metadata of a project, which all its instances see besides their own."""

from collections.abc import Callable
from typing import Any

from cos_customizer.emulator.compute.instance_requests import metadata
from cos_customizer.emulator.compute.labels import check_fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.compute.zones import project_resource


class ProjectMetadata:
    """The common instance metadata of all projects."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def of(self, project: str) -> dict[str, Any]:
        """Return a project's metadata as its resource shows it."""
        kept = self._shared.store.find(_path(project))
        return dict(kept["metadata"]) if kept else metadata({})

    def attributes(self, project: str) -> dict[str, str]:
        """Return a project's metadata by key."""
        return {item["key"]: item["value"] for item in self.of(project).get("items", [])}

    def set(self, project: str, body: dict[str, Any], show: Callable[[], None]) -> Resource:
        """Replace a project's metadata; returns the operation.

        Args:
            project: the project.
            body: a `Metadata`, checked against the schema.
            show: shows the project's instances the metadata that it has now.

        Raises:
            ApiError: 404, 412 for an outdated fingerprint, 400 for bad metadata.
        """
        resource = project_resource(project)
        check_fingerprint(body.get("fingerprint"), self.of(project).get("items", []), "Metadata")
        before, changed = self.of(project), metadata(body)
        self._shared.store.put(_path(project), {"metadata": changed})
        show()

        def undo(_: bool) -> None:
            with self._shared.store.lock:
                if self.of(project) == changed:
                    self._shared.store.put(_path(project), {"metadata": before})
            show()

        target = Target(f"projects/{project}", resource["id"], "setCommonInstanceMetadata")
        return self._shared.operations.start(target, undo=undo)


def _path(project: str) -> str:
    return f"projects/{project}/emulator/metadata"
