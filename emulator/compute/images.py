"""Images."""

from typing import Any

from cos_customizer.emulator.clock import from_rfc3339
from cos_customizer.emulator.compute.core import Core
from cos_customizer.emulator.compute.disks import encryption_key
from cos_customizer.emulator.compute.disks import key as disk_key
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id, path_of
from cos_customizer.emulator.compute.resources import Resource, check_labels, fingerprint
from cos_customizer.emulator.errors import ApiError, already_exists, in_use, invalid, not_ready, unsupported

_SOURCES = ("sourceDisk", "sourceImage", "sourceSnapshot", "rawDisk")
_INHERITED = ("architecture", "licenseCodes")


class Images:
    """The images of all projects."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def from_family(self, project: str, family: str) -> Resource:
        """The newest image of a family that is not deprecated."""
        return self._core.newest(project, family)

    def insert(self, project: str, body: dict[str, Any], force: bool = False) -> Resource:
        """Make an image of a disk or of another image; returns the operation.

        Args:
            project: where the image goes.
            body: an `Image`, checked against the schema.
            force: make it although a running instance uses the disk (`forceCreate`).
        """
        name = check_name(body.get("name", ""))
        path = f"projects/{project}/global/images/{name}"
        if self._core.store.find(path):
            raise already_exists(path)
        sources = [source for source in _SOURCES if source in body]
        if len(sources) != 1:
            raise ApiError(400, "invalid", "Exactly one of sourceDisk, sourceImage or rawDisk.source must be given.")
        if sources[0] in ("sourceSnapshot", "rawDisk"):
            raise unsupported(f"images from {sources[0]}")
        source, source_path, size = self._source(project, body, sources[0], force)
        image = self._design(project, path, body, source, size)
        image[sources[0]] = link(source_path)
        image[f"{sources[0]}Id"] = source["id"]
        self._core.store.put(path, image)
        from_disk = sources[0] == "sourceDisk"
        if from_disk:
            self._core.busy_disks.take(source_path)

        def undo(leave: bool) -> None:
            if leave:
                self._core.store.update(path, status="FAILED")
            else:
                self._core.store.delete(path)
            if from_disk:
                self._core.busy_disks.release(source_path)

        def work() -> None:
            try:
                if from_disk:
                    archive = self._core.backend.create_image(key(image), disk_key(source))
                else:
                    archive = self._copy(image, source_path, source)
            except BaseException:
                self._core.store.update(path, status="FAILED")
                raise
            finally:
                if from_disk:
                    self._core.busy_disks.release(source_path)
            self._core.store.update(path, status="READY", archiveSizeBytes=str(archive))

        return self._core.operations.start(Target(path, image["id"], "insert"), work, undo=undo)

    def patch(self, project: str, name: str, body: dict[str, Any]) -> Resource:
        """Change an image's family, description or deprecation; returns the operation.

        https://cloud.google.com/compute/docs/reference/rest/v1/images/patch names these three.
        """
        path = f"projects/{project}/global/images/{name}"
        image = self._core.store.get(path)
        changes: dict[str, Any] = {}
        for field, value in body.items():
            if field == "family":
                changes["family"] = check_name(value, "resource.family") if value else None
            elif field == "description":
                changes["description"] = value or None
            elif field == "deprecated":
                changes["deprecated"] = _deprecation(value)
            elif image.get(field) != value:
                raise invalid(f"resource.{field}", value, "This field of an image cannot be patched.")
        self._core.store.update(path, **changes)
        return self._core.operations.start(Target(path, image["id"], "patch"), lambda: None)

    def deprecate(self, project: str, name: str, body: dict[str, Any]) -> Resource:
        """Set an image's deprecation status, or clear it with an empty body; returns the operation."""
        path = f"projects/{project}/global/images/{name}"
        image = self._core.store.get(path)
        self._core.store.update(path, deprecated=_deprecation(body))
        return self._core.operations.start(Target(path, image["id"], "deprecate"), lambda: None)

    def delete(self, project: str, name: str) -> Resource:
        """Delete an image; returns the operation."""
        path = f"projects/{project}/global/images/{name}"
        image = self._core.store.get(path)
        if image["status"] == "PENDING":
            raise not_ready(path)
        before = image["status"]
        self._core.store.update(path, status="DELETING")

        def work() -> None:
            self._core.backend.delete_image(key(image))
            self._core.store.delete(path)

        def undo(_: bool) -> None:
            self._core.store.update(path, status=before)

        return self._core.operations.start(Target(path, image["id"], "delete"), work, undo=undo)

    def _source(self, project: str, body: dict[str, Any], kind: str, force: bool) -> tuple[Resource, str, str]:
        field = f"resource.{kind}"
        if kind == "sourceImage":
            path, image, _ = self._core.resolve_image(body[kind], project, field)
            return image, path, image["diskSizeGb"]
        path = path_of(body[kind], project, field)
        disk = self._core.store.get(path)
        if path.split("/")[-2] != "disks":
            raise invalid(field, body[kind], "It is no disk.")
        if disk["status"] != "READY":
            raise not_ready(path)
        for user in disk.get("users", []):
            instance = path_of(user, project, field)
            if not force and self._core.store.get(instance)["status"] != "TERMINATED":
                raise in_use(path, instance)
        return disk, path, disk["sizeGb"]

    def _design(self, project: str, path: str, body: dict[str, Any], source: Resource, size: str) -> Resource:
        labels = check_labels(body.get("labels", {}))
        image: Resource = {
            "kind": "compute#image",
            "id": new_id(),
            "creationTimestamp": self._core.clock.timestamp(),
            "name": body["name"],
            "sourceType": "RAW",
            "rawDisk": {"source": "", "containerType": "TAR"},
            "status": "PENDING",
            "diskSizeGb": size,
            "labelFingerprint": fingerprint(labels),
            "storageLocations": body.get("storageLocations") or ["us"],
            "selfLink": link(path),
        }
        image.update({name: source[name] for name in _INHERITED if name in source})
        if body.get("architecture"):
            image["architecture"] = body["architecture"]
        given = [link(path_of(one, project, "resource.licenses")) for one in body.get("licenses", [])]
        licenses = list(dict.fromkeys([*source.get("licenses", []), *given]))
        features = {f["type"]: f for f in [*source.get("guestOsFeatures", []), *body.get("guestOsFeatures", [])]}
        optional = {
            "licenses": licenses,
            "guestOsFeatures": list(features.values()),
            "labels": labels,
            "description": body.get("description"),
            "family": check_name(body["family"], "resource.family") if body.get("family") else None,
            "deprecated": _deprecation(body.get("deprecated", {})),
        }
        if "imageEncryptionKey" in body:
            optional["imageEncryptionKey"] = encryption_key(body["imageEncryptionKey"])
        image.update({name: value for name, value in optional.items() if value})
        return image

    def _copy(self, image: Resource, source_path: str, source: Resource) -> int:
        scratch = f"copy-{image['id']}"
        self._core.backend.create_disk(scratch, self._core.image_key(source_path, source), int(source["diskSizeGb"]))
        try:
            return self._core.backend.create_image(key(image), scratch)
        finally:
            self._core.backend.delete_disk(scratch)


def key(image: Resource) -> str:
    """The backend's key of an image that was made here."""
    return f"image-{image['id']}"


def _deprecation(body: dict[str, Any]) -> dict[str, Any] | None:
    """The status to keep; None clears it. The dates are for information only: nothing ever acts on them."""
    if not body.get("state"):
        if body:
            raise invalid("state", "", "A deprecation status needs a state.")
        return None
    for field in ("deprecated", "obsolete", "deleted"):
        if field in body:
            try:
                from_rfc3339(body[field])
            except ValueError:
                raise invalid(field, body[field], "Not an RFC 3339 time.") from None
    return body
