"""What disks, images and snapshots are made of: an image, a snapshot, or a disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cos_customizer.emulator.compute.image_lookup import image_key, resolve_image
from cos_customizer.emulator.compute.operations import Target
from cos_customizer.emulator.compute.references import last, link, path_of
from cos_customizer.emulator.compute.shared import SharedParts
from cos_customizer.emulator.compute.statuses import DiskStatus, ImageStatus, SnapshotStatus, change_status
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError, invalid, not_ready

INHERITED = ("architecture", "guestOsFeatures", "licenses", "licenseCodes")
"""What is made of a source has these fields as the source has them."""
_KINDS = {
    "sourceDisk": ("disks", "disk", DiskStatus.READY),
    "sourceSnapshot": ("snapshots", "snapshot", SnapshotStatus.READY),
    "sourceImage": ("images", "image", ""),
}
"""The fields that name a source: its collection, its kind in words, and the status in which it can be used."""


@dataclass(frozen=True)
class Source:
    """Something that a disk, an image or a snapshot may be made of.

    Attributes:
        field: that names it in a request, for example `sourceSnapshot`.
        path: of it.
        resource: it.
        warnings: of the operation that uses it.
    """

    field: str
    path: str
    resource: Resource
    warnings: tuple[dict[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return _KINDS[self.field][1]

    @property
    def size_gb(self) -> int:
        """Its size in GiB: nothing smaller is made of it."""
        return int(self.resource["sizeGb" if self.is_disk else "diskSizeGb"])

    @property
    def is_disk(self) -> bool:
        """Whether it is a disk."""
        return self.field == "sourceDisk"

    def fields(self) -> dict[str, str]:
        """The fields by which what is made of it names it."""
        return {self.field: link(self.path), f"{self.field}Id": self.resource["id"]}

    def inherited(self) -> dict[str, Any]:
        """The fields that what is made of it has as it has them."""
        return {key: self.resource[key] for key in INHERITED if key in self.resource}


def find_source(shared: SharedParts, project: str, body: Mapping[str, Any], field: str) -> Source | None:
    """Return the source that a request names; None if it names none.

    Args:
        shared: holds the resources.
        project: the request's, which a partial URL is relative to.
        body: a `Disk`, `Image`, `Snapshot` or `AttachedDiskInitializeParams`.
        field: where it stands in the request, for errors.

    Raises:
        ApiError: 404, or 400 for a source that cannot be used, and for more than one.
    """
    given = [name for name in _KINDS if body.get(name)]
    if len(given) > 1:
        raise ApiError(400, "invalid", f"At most one of {', '.join(given)} can be given in '{field}'.")
    if not given:
        return None
    name, where = given[0], f"{field}.{given[0]}"
    if name == "sourceImage":
        image = resolve_image(shared.store, body[name], project, where)
        return Source(name, image.path, image.resource, image.warnings)
    collection, kind, usable = _KINDS[name]
    path, resource = find_named(shared, body[name], project, where)
    if path.split("/")[-2] != collection:
        raise invalid(where, body[name], f"It is no {kind}.")
    if resource["status"] != usable:
        raise not_ready(path)
    return Source(name, path, resource)


def find_named(shared: SharedParts, reference: str, project: str, field: str) -> tuple[str, Resource]:
    """Return path and resource that a reference means, by name or by id.

    Args:
        shared: holds the resources.
        reference: full or partial URL.
        project: the request's, which a partial URL is relative to.
        field: where the reference stands in the request, for errors.

    Raises:
        ApiError: 404, or 400 for what is no URL.
    """
    _, owner, rest = path_of(reference, project, field).split("/", 2)
    path = f"projects/{shared.store.project_id(owner)}/{rest}"
    if last(path).isdecimal():
        path = next((p for p, r in shared.store.under(path.rpartition("/")[0]) if r["id"] == last(path)), path)
    return path, shared.store.get(path)


def disk_key(disk: Resource) -> str:
    """Return the backend's key of a disk."""
    return f"disk-{disk['id']}"


def snapshot_key(snapshot: Resource) -> str:
    """Return the backend's key of a snapshot, which is an image to it."""
    return f"snapshot-{snapshot['id']}"


def make_disk(shared: SharedParts, key: str, source: Source | None, size_gb: int) -> None:
    """Make the content of a disk.

    Args:
        shared: has the backend.
        key: of the new disk.
        source: that it is made of; None for an empty disk.
        size_gb: its size in GiB.

    Raises:
        ApiError: 404, the source is gone.
        EmulatorError: it could not be made.
    """
    if source is None:
        shared.backend.create_disk(key, None, size_gb)
        return
    with _as_image(shared, key, source) as image:
        shared.backend.create_disk(key, image, size_gb)


def make_image(shared: SharedParts, key: str, source: Source) -> int:
    """Make the content of an image or of a snapshot.

    Args:
        shared: has the backend.
        key: of the new image.
        source: that it is made of.

    Returns:
        Its size in bytes.

    Raises:
        ApiError: 404, the source is gone.
        EmulatorError: it could not be made.
    """
    backend, scratch = shared.backend, f"copy-{key}"
    if source.is_disk:
        shared.busy_disks.await_machine(source.path)
        return backend.create_image(key, disk_key(source.resource))
    with _as_image(shared, key, source) as image:
        backend.create_disk(scratch, image, source.size_gb)
    try:
        return backend.create_image(key, scratch)
    finally:
        backend.delete_disk(scratch)


@contextmanager
def _as_image(shared: SharedParts, key: str, source: Source) -> Iterator[str]:
    """Give the backend's key of an image with a source's content, for as long as it is needed."""
    shared.store.get_same(source.path, source.resource["id"])
    if source.field == "sourceImage":
        yield image_key(source.path, source.resource)
    elif source.field == "sourceSnapshot":
        yield snapshot_key(source.resource)
    else:
        scratch = f"copy-{key}"
        shared.busy_disks.await_machine(source.path)
        try:
            shared.backend.create_image(scratch, disk_key(source.resource))
            yield scratch
        finally:
            shared.backend.delete_image(scratch)


def delete_made(
    shared: SharedParts,
    path: str,
    statuses: type[ImageStatus] | type[SnapshotStatus],
    key: Callable[[Resource], str],
) -> Resource:
    """Delete an image or a snapshot; returns the operation.

    Args:
        shared: hold it, and its content.
        path: of it.
        statuses: that it may have.
        key: returns the name of its content among the machines' images.

    Raises:
        ApiError: 404, or 400 for one that is being made or deleted.
    """
    store = shared.store
    resource = store.get(path)
    before = statuses(resource["status"])
    if before not in (statuses.READY, statuses.FAILED):
        raise not_ready(path)
    change_status(store, path, statuses.DELETING)

    def work() -> None:
        shared.backend.delete_image(key(resource))
        store.delete(path)

    def undo(_: bool) -> None:
        change_status(store, path, before)

    return shared.operations.start(Target(path, resource["id"], "delete"), work, undo=undo)
