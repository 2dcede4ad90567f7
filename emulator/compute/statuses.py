"""The statuses of resources, what they mean for other resources, and which changes of status there can be.

Sources: https://cloud.google.com/compute/docs/instances/instance-lifecycle and the enums `status` of the resources in
https://cloud.google.com/compute/docs/reference/rest/v1. Statuses that nothing here ever has are left out.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cos_customizer.emulator.compute.store import Resource, Store
from cos_customizer.emulator.errors import EmulatorError


class InstanceStatus(StrEnum):
    """The status of an instance."""

    PROVISIONING = "PROVISIONING"
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUSPENDING = "SUSPENDING"
    SUSPENDED = "SUSPENDED"
    TERMINATED = "TERMINATED"

    @property
    def counts_for_quota(self) -> bool:
        """True while the instance uses up quotas, such as those of GPUs."""
        return self not in (InstanceStatus.TERMINATED, InstanceStatus.SUSPENDED)

    @property
    def disk_is_free(self) -> bool:
        """True while an image may be made of the instance's disk without force."""
        return self is InstanceStatus.TERMINATED


class DiskStatus(StrEnum):
    """The status of a disk."""

    CREATING = "CREATING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


class ImageStatus(StrEnum):
    """The status of an image."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


class SnapshotStatus(StrEnum):
    """The status of a snapshot."""

    CREATING = "CREATING"
    UPLOADING = "UPLOADING"
    READY = "READY"
    FAILED = "FAILED"
    DELETING = "DELETING"


class OperationStatus(StrEnum):
    """The status of an operation."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"


Status = InstanceStatus | DiskStatus | ImageStatus | SnapshotStatus

_CHANGES: Mapping[type[Status], Mapping[str, tuple[Status, ...]]] = {
    InstanceStatus: {
        # A killed emulator leaves instances in any status; the next one finds that none of them runs.
        InstanceStatus.PROVISIONING: (InstanceStatus.STAGING, InstanceStatus.STOPPING, InstanceStatus.TERMINATED),
        InstanceStatus.STAGING: (InstanceStatus.RUNNING, InstanceStatus.STOPPING, InstanceStatus.TERMINATED),
        # A guest may turn itself off, which skips STOPPING.
        InstanceStatus.RUNNING: (InstanceStatus.STOPPING, InstanceStatus.SUSPENDING, InstanceStatus.TERMINATED),
        InstanceStatus.SUSPENDING: (  # back to RUNNING if it cannot be suspended
            InstanceStatus.SUSPENDED,
            InstanceStatus.RUNNING,
            InstanceStatus.STOPPING,
            InstanceStatus.TERMINATED,
        ),
        InstanceStatus.SUSPENDED: (InstanceStatus.RUNNING, InstanceStatus.STOPPING, InstanceStatus.TERMINATED),
        InstanceStatus.STOPPING: (InstanceStatus.TERMINATED,),
        # Deletion goes through STOPPING from everywhere.
        InstanceStatus.TERMINATED: (InstanceStatus.STAGING, InstanceStatus.STOPPING),
    },
    DiskStatus: {
        DiskStatus.CREATING: (DiskStatus.READY, DiskStatus.FAILED),
        DiskStatus.READY: (DiskStatus.DELETING,),
        DiskStatus.FAILED: (DiskStatus.DELETING,),
        # As of an image.
        DiskStatus.DELETING: (DiskStatus.READY, DiskStatus.FAILED),
    },
    ImageStatus: {
        ImageStatus.PENDING: (ImageStatus.READY, ImageStatus.FAILED),
        ImageStatus.READY: (ImageStatus.DELETING,),
        ImageStatus.FAILED: (ImageStatus.DELETING,),
        # A deletion that was made to fail leaves the image as it was.
        ImageStatus.DELETING: (ImageStatus.READY, ImageStatus.FAILED),
    },
    SnapshotStatus: {
        SnapshotStatus.CREATING: (SnapshotStatus.UPLOADING, SnapshotStatus.FAILED),
        SnapshotStatus.UPLOADING: (SnapshotStatus.READY, SnapshotStatus.FAILED),
        SnapshotStatus.READY: (SnapshotStatus.DELETING,),
        SnapshotStatus.FAILED: (SnapshotStatus.DELETING,),
        # As of an image.
        SnapshotStatus.DELETING: (SnapshotStatus.READY, SnapshotStatus.FAILED),
    },
}
"""The changes of status that can happen. A resource may also end in any status, by being deleted."""


def change_status(store: Store, path: str, status: Status, **changes: Any) -> Resource:
    """Change a resource's status, and other fields with it. A resource may be given the status that it has.

    Args:
        store: holds the resource.
        path: of the resource.
        status: the new one.
        changes: other fields, as `Store.update` takes them.

    Raises:
        ApiError: 404.
        EmulatorError: the table of changes has no such change.
    """
    with store.lock:
        before = store.get(path)["status"]
        if before != status and status not in _CHANGES[type(status)][before]:
            raise EmulatorError(f"{path} is {before} and cannot become {status}")
        return store.update(path, status=status, **changes)
