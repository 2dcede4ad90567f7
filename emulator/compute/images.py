"""Images."""

import tempfile
from pathlib import Path
from typing import Any

from cos_customizer.emulator.clock import from_rfc3339
from cos_customizer.emulator.compute.disks import encryption_key
from cos_customizer.emulator.compute.image_lookup import image_key, newest_image
from cos_customizer.emulator.compute.instant_changes import change_at_once
from cos_customizer.emulator.compute.labels import check_labels, fingerprint
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import check_name, link, new_id, path_of, path_of_link
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.source_objects import bucket_and_name, check_object, opened_object, put_object
from cos_customizer.emulator.compute.sources import Source, delete_made, find_source, make_image
from cos_customizer.emulator.compute.statuses import ImageStatus, InstanceStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import (
    ApiError,
    OperationError,
    already_exists,
    in_use,
    invalid,
    not_ready,
)
from cos_customizer.emulator.machines.raw_archive import Imported, NoImageError

_SOURCES = ("sourceDisk", "sourceImage", "sourceSnapshot", "rawDisk")
_INHERITED = ("architecture", "licenseCodes", "shieldedInstanceInitialState")


class Images:
    """The images of all projects."""

    def __init__(self, shared: SharedParts) -> None:
        self._shared = shared

    def from_family(self, project: str, family: str) -> Resource:
        """Return the newest image of a family that is not deprecated.

        Raises:
            ApiError: 404.
        """
        return newest_image(self._shared.store, project, family)

    def insert(self, project: str, body: dict[str, Any], force: bool = False) -> Resource:
        """Make an image of a disk, a snapshot, another image or an archive; returns the operation.

        Args:
            project: the image's project.
            body: an `Image`, checked against the schema.
            force: make it although a running instance uses the disk (`forceCreate`).

        Raises:
            ApiError: 400, 404, 409 or 501.
        """
        name, store = check_name(body.get("name", "")), self._shared.store
        path = f"projects/{project}/global/images/{name}"
        if store.find(path):
            raise already_exists(path)
        sources = [source for source in _SOURCES if source in body]
        if len(sources) != 1:
            raise ApiError(
                400,
                "invalid",
                "Exactly one of sourceDisk, sourceImage, sourceSnapshot or rawDisk.source must be given.",
            )
        if sources[0] == "rawDisk":
            return self._import(project, path, body)
        source = find_source(self._shared, project, body, "resource")
        if source is None:
            raise invalid(f"resource.{sources[0]}", "", "It must not be empty.")
        if source.is_disk and not force:
            self._check_free(source)
        wanted = int(body.get("diskSizeGb", 0))
        if 0 < wanted < source.size_gb:
            why = f"Requested image size cannot be smaller than the {source.kind} size ({source.size_gb} GB)"
            raise invalid("resource.diskSizeGb", wanted, why)
        image = self._draft(project, path, body, source.resource, str(max(wanted, source.size_gb)))
        image.update(source.fields())
        store.put(path, image)
        busy = self._shared.busy_disks
        reading = busy.take(source.path, refuses=True) if source.is_disk else None

        def undo(leave: bool) -> None:
            if leave:
                change_status(store, path, ImageStatus.FAILED)
            else:
                store.delete(path)
            if reading:
                busy.release(reading)

        def work() -> None:
            try:
                archive = make_image(self._shared, image_key(path, image), source)
            except BaseException:
                change_status(store, path, ImageStatus.FAILED)
                raise
            finally:
                if reading:
                    busy.release(reading)
            change_status(store, path, ImageStatus.READY, archiveSizeBytes=str(archive))

        target = Target(path, image["id"], "insert")
        return self._shared.operations.start(target, work, undo=undo, warnings=source.warnings)

    def _import(self, project: str, path: str, body: dict[str, Any]) -> Resource:
        """Make an image of an archive in Cloud Storage; returns the operation.

        Raises:
            ApiError: 400 or 404.
        """
        given, store, shared = body["rawDisk"], self._shared.store, self._shared
        bucket, name = bucket_and_name(given.get("source", ""), "resource.rawDisk.source")
        check_object(shared.storage(), bucket, name)
        wanted = int(body.get("diskSizeGb", 0))
        image = self._draft(project, path, body, {}, str(wanted))
        store.put(path, image)

        def undo(leave: bool) -> None:
            if leave:
                change_status(store, path, ImageStatus.FAILED)
            else:
                store.delete(path)

        def work() -> None:
            key = image_key(path, image)
            try:
                with opened_object(shared.storage(), bucket, name) as archive:
                    found = shared.backend.import_image(key, archive)
                check_import(found, given.get("sha1Checksum", ""), wanted)
            except BaseException as error:
                shared.backend.delete_image(key)
                change_status(store, path, ImageStatus.FAILED)
                if isinstance(error, NoImageError):
                    raise OperationError("INVALID_IMAGE", str(error)) from None
                raise
            size = str(max(wanted, found.size_gb))
            sizes = {"diskSizeGb": size, "archiveSizeBytes": str(found.archive_bytes)}
            change_status(store, path, ImageStatus.READY, **sizes)

        return shared.operations.start(Target(path, image["id"], "insert"), work, undo=undo)

    def export(self, path: str, destination: str) -> int:
        """Write an image as an archive to Cloud Storage, as `gcloud compute images export` does.

        Args:
            path: of the image, for example `projects/p/global/images/i`.
            destination: address of the object, in a bucket that is there.

        Returns:
            The archive's length in bytes.

        Raises:
            ApiError: 400 or 404.
            EmulatorError: it could not be written.
        """
        bucket, name = bucket_and_name(destination, "destination")
        image = self._shared.store.get(path)
        if image["status"] != ImageStatus.READY:
            raise not_ready(path)
        with tempfile.TemporaryDirectory() as directory:
            archive = Path(directory) / "disk.tar.gz"
            self._shared.backend.export_image(image_key(path, image), archive)
            put_object(self._shared.storage(), bucket, name, archive)
            return archive.stat().st_size

    def patch(self, project: str, name: str, body: dict[str, Any]) -> Resource:
        """Change an image's family, description or deprecation; returns the operation.

        https://cloud.google.com/compute/docs/reference/rest/v1/images/patch names these three.

        Raises:
            ApiError: 404, or 400 for any other field.
        """
        path = f"projects/{project}/global/images/{name}"
        image = self._shared.store.get(path)
        changes: dict[str, Any] = {}
        for field, value in body.items():
            if field == "family":
                changes["family"] = check_name(value, "resource.family") if value else None
            elif field == "description":
                changes["description"] = value or None
            elif field == "deprecated":
                changes["deprecated"] = _deprecation(project, value)
            elif image.get(field) != value:
                raise invalid(f"resource.{field}", value, "This field of an image cannot be patched.")
        return change_at_once(self._shared, path, "patch", **changes)

    def deprecate(self, project: str, name: str, body: dict[str, Any]) -> Resource:
        """Set an image's deprecation status, or clear it with an empty body; returns the operation.

        Raises:
            ApiError: 400 or 404.
        """
        path = f"projects/{project}/global/images/{name}"
        self._shared.store.get(path)
        return change_at_once(self._shared, path, "deprecate", deprecated=_deprecation(project, body))

    def delete(self, project: str, name: str) -> Resource:
        """Delete an image; returns the operation.

        Raises:
            ApiError: 404, or 400 for an image that is being made or deleted.
        """
        path = f"projects/{project}/global/images/{name}"
        return delete_made(self._shared, path, ImageStatus, lambda image: image_key(path, image))

    def _check_free(self, source: Source) -> None:
        """Refuse a disk that a running instance uses.

        Raises:
            ApiError: 400.
        """
        for user in source.resource.get("users", []):
            instance = path_of_link(user)
            if not InstanceStatus(self._shared.store.get(instance)["status"]).disk_is_free:
                raise in_use(source.path, instance)

    def _draft(self, project: str, path: str, body: dict[str, Any], source: Resource, size: str) -> Resource:
        """Design an image, PENDING and not yet stored."""
        labels = check_labels(body.get("labels", {}))
        if len(locations := body.get("storageLocations") or ["us"]) > 1:
            why = "An image is kept in one region or multi-region."
            raise invalid("resource.storageLocations", ", ".join(locations), why)
        image: Resource = {
            "kind": "compute#image",
            "id": new_id(),
            "creationTimestamp": self._shared.clock.timestamp(),
            "name": body["name"],
            "sourceType": "RAW",
            "rawDisk": {"source": "", "containerType": "TAR"},
            "status": ImageStatus.PENDING,
            "diskSizeGb": size,
            "labelFingerprint": fingerprint(labels),
            "storageLocations": locations,
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
            "deprecated": _deprecation(project, body.get("deprecated", {})),
        }
        if body.get("shieldedInstanceInitialState"):
            image["shieldedInstanceInitialState"] = body["shieldedInstanceInitialState"]
        if "imageEncryptionKey" in body:
            optional["imageEncryptionKey"] = encryption_key(body["imageEncryptionKey"])
        image.update({name: value for name, value in optional.items() if value})
        return image


def check_import(found: Imported, sha1: str, wanted_gb: int) -> None:
    """Check what an archive held against what its request said of it.

    Args:
        found: it.
        sha1: of the archive; empty if nothing was said.
        wanted_gb: size of the image in GiB; 0 if nothing was said.

    Raises:
        NoImageError: they differ.
    """
    if sha1 and sha1.lower() != found.sha1:
        raise NoImageError(f"The SHA1 checksum of the archive is {found.sha1}, not {sha1} as given.")
    if 0 < wanted_gb < found.size_gb:
        raise NoImageError(f"The requested size of {wanted_gb} GB is smaller than the disk's, {found.size_gb} GB.")


def _deprecation(project: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Check a deprecation status; None clears it. Its dates are for information only: nothing acts on them.

    The link of the replacement is shown as all links are, at whatever address the client has asked.

    Raises:
        ApiError: 400.
    """
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
    if "/" in body.get("replacement", ""):
        return {**body, "replacement": link(path_of(body["replacement"], project, "replacement"))}
    return body
