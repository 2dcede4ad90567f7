"""What images, disks and instances share: the parts of the emulator they stand on, and changes common to them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.compute.operations import Operations, Target
from cos_customizer.emulator.compute.references import last, path_of
from cos_customizer.emulator.compute.resources import (
    READ_ONLY_PROJECT,
    Resource,
    Store,
    check_fingerprint,
    check_labels,
    fingerprint,
)
from cos_customizer.emulator.errors import ApiError, in_use
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.backend import STAND_IN, Backend


class BusyDisks:
    """Disks that are being read to make an image: no machine may run on them, nobody may delete them meanwhile."""

    def __init__(self) -> None:
        self._busy: list[str] = []
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, path: str) -> Iterator[None]:
        """Keep a disk busy."""
        self.take(path)
        try:
            yield
        finally:
            self.release(path)

    def take(self, path: str) -> None:
        """Mark a disk as busy, once more if it is already."""
        with self._changed:
            self._busy.append(path)

    def release(self, path: str) -> None:
        """Undo one `take`."""
        with self._changed:
            self._busy.remove(path)
            self._changed.notify_all()

    def check(self, path: str) -> None:
        """Refuse a disk that is busy.

        Raises:
            ApiError: 400.
        """
        if path in self._busy:
            raise in_use(path, "an image that is being made of it")

    def wait(self, path: str) -> None:
        """Return when the disk is not busy."""
        with self._changed:
            self._changed.wait_for(lambda: path not in self._busy)


@dataclass
class Core:
    """The parts that all kinds of resources stand on."""

    store: Store
    operations: Operations
    clock: Clock
    faults: Faults
    backend: Backend
    busy_disks: BusyDisks = field(default_factory=BusyDisks)

    def image_key(self, path: str, image: Resource) -> str:
        """The backend's key of an image."""
        return STAND_IN if path.split("/")[1] == READ_ONLY_PROJECT else f"image-{image['id']}"

    def resolve_image(self, reference: str, project: str, field_name: str) -> tuple[str, Resource, list[Any]]:
        """Find the image that a boot disk is to be made from; a family means its newest image.

        Returns:
            The image's path, the image, and the warnings that its use deserves.

        Raises:
            ApiError: 404, or 400 for an image that cannot be used.
        """
        path = path_of(reference, project, field_name)
        if "/images/family/" in path or "/imageFamilyViews/" in path:
            image = self.newest(path.split("/")[1], last(path))
            path = f"projects/{path.split('/')[1]}/global/images/{image['name']}"
        image = self.store.get(path)
        if not path.rsplit("/", 1)[0].endswith("/global/images"):
            raise ApiError(400, "invalid", f"Invalid value for field '{field_name}': '{reference}'. It is no image.")
        state = image.get("deprecated", {}).get("state", "ACTIVE")
        if state in ("OBSOLETE", "DELETED"):
            raise ApiError(400, "invalid", f"The resource '{path}' is {state} and cannot be used.")
        if image["status"] != "READY":
            raise ApiError(400, "resourceNotReady", f"The resource '{path}' is not ready")
        warnings = []
        if state == "DEPRECATED":
            message = f"The resource '{path}' is deprecated."
            if "replacement" in image["deprecated"]:
                message += f" A suggested replacement is '{image['deprecated']['replacement']}'."
            warnings.append({"code": "DEPRECATED_RESOURCE_USED", "message": message})
        return path, image, warnings

    def newest(self, project: str, family: str) -> Resource:
        """The newest image of a family that is ready and not deprecated.

        Raises:
            ApiError: 404.
        """
        images = [
            image
            for _, image in self.store.under(f"projects/{project}/global/images")
            if image.get("family") == family
            and image["status"] == "READY"
            and image.get("deprecated", {}).get("state", "ACTIVE") == "ACTIVE"
        ]
        if not images:
            path = f"projects/{project}/global/images/family/{family}"
            raise ApiError(404, "notFound", f"The resource '{path}' was not found")
        return max(images, key=lambda image: (image["creationTimestamp"], image["id"]))

    def set_labels(self, path: str, body: dict[str, Any]) -> Resource:
        """Replace a resource's labels; returns the operation.

        Raises:
            ApiError: 404, 412 for an outdated fingerprint, 400 for bad labels.
        """
        resource = self.store.get(path)
        check_fingerprint(body.get("labelFingerprint"), resource.get("labels", {}), "Labels")
        labels = check_labels(body.get("labels", {}), "labels")
        self.store.update(path, labels=labels or None, labelFingerprint=fingerprint(labels))
        return self.operations.start(Target(path, resource["id"], "setLabels"), lambda: None)
