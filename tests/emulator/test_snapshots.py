"""Snapshots, and what is made of snapshots and of disks, over Google's client and plain HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import compute_v1
from support.compute_clients import COS, DISKS, IMAGES, INSTANCES, PROJECT, SNAPSHOTS, ZONE, Compute, call, disk_path

from cos_customizer.emulator.machines.scripted import ScriptedBackend
from cos_customizer.emulator.server import Emulator

LINK = "https://www.googleapis.com/compute/v1/"
SNAPSHOT = f"projects/{PROJECT}/global/snapshots/s"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


@contextmanager
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A backend that reads disks for as long as this lasts."""
    goes_on, make = threading.Event(), ScriptedBackend.create_image

    def slow(self: ScriptedBackend, key: str, disk: str) -> int:
        goes_on.wait()
        return make(self, key, disk)

    with monkeypatch.context() as patched:
        patched.setattr(ScriptedBackend, "create_image", slow)
        try:
            yield
        finally:
            goes_on.set()


def test_a_snapshot_is_what_its_disk_was(compute: Compute) -> None:
    disk = compute.disk("d", size_gb=20, source_image=COS)
    made = compute.snapshot("s", "d", description="before", labels={"a": "b"})
    status, shown = call(compute.emulator, "GET", f"{SNAPSHOTS}/s")
    size = str(100 << 20)
    assert status == 200
    assert made.status == "READY"
    assert {key: shown[key] for key in ("kind", "name", "description", "selfLink", "labels")} == {
        "kind": "compute#snapshot",
        "name": "s",
        "description": "before",
        "selfLink": LINK + SNAPSHOT,
        "labels": {"a": "b"},
    }
    assert (shown["sourceDisk"], shown["sourceDiskId"]) == (LINK + disk_path("d"), str(disk.id))
    assert (shown["diskSizeGb"], shown["storageBytes"], shown["storageBytesStatus"]) == ("20", size, "UP_TO_DATE")
    assert (shown["downloadBytes"], shown["storageLocations"], shown["snapshotType"]) == (size, ["us"], "STANDARD")
    assert (shown["licenses"], shown["architecture"]) == (list(disk.licenses), "X86_64")
    assert [feature["type"] for feature in shown["guestOsFeatures"]] == [f.type_ for f in disk.guest_os_features]


@pytest.mark.parametrize(
    ("zone", "location"), [("europe-west4-a", "eu"), ("asia-east1-a", "asia"), ("australia-southeast1-a", "asia")]
)
def test_a_snapshot_is_kept_near_its_disk(compute: Compute, zone: str, location: str) -> None:
    compute.ok(compute.disks.insert_unary(project=PROJECT, zone=zone, disk_resource=compute_v1.Disk(name="d")))
    compute.ok(
        compute.disks.create_snapshot_unary(
            project=PROJECT, zone=zone, disk="d", snapshot_resource=compute_v1.Snapshot(name="s")
        )
    )
    assert compute.snapshots.get(project=PROJECT, snapshot="s").storage_locations == [location]


def test_the_older_form_is_an_operation_on_the_disk(compute: Compute) -> None:
    compute.disk("d")
    resource = compute_v1.Snapshot(name="s", labels={"a": "b"}, storage_locations=["europe-west4"])
    done = compute.ok(
        compute.disks.create_snapshot_unary(project=PROJECT, zone=ZONE, disk="d", snapshot_resource=resource)
    )
    assert (done.operation_type, done.target_link) == ("createSnapshot", LINK + disk_path("d"))
    made = compute.snapshots.get(project=PROJECT, snapshot="s")
    assert (dict(made.labels), made.storage_locations) == ({"a": "b"}, ["europe-west4"])


def test_snapshots_are_listed_labelled_and_deleted(compute: Compute) -> None:
    compute.disk("d")
    made = compute.snapshot("s", "d")
    compute.snapshot("t", "d", labels={"keep": "yes"})
    request = compute_v1.ListSnapshotsRequest(project=PROJECT, filter="labels.keep=yes")
    assert [found.name for found in compute.snapshots.list(request)] == ["t"]
    labels = compute_v1.GlobalSetLabelsRequest(labels={"a": "b"}, label_fingerprint=made.label_fingerprint)
    set_labels = compute.snapshots.set_labels_unary
    compute.ok(set_labels(project=PROJECT, resource="s", global_set_labels_request_resource=labels))
    by_id = compute.snapshots.get(project=PROJECT, snapshot=str(made.id))
    assert (by_id.name, dict(by_id.labels)) == ("s", {"a": "b"})
    compute.ok(compute.snapshots.delete_unary(project=PROJECT, snapshot="s"))
    with pytest.raises(NotFound):
        compute.snapshots.get(project=PROJECT, snapshot="s")
    assert compute.names("snapshots") == ["t"]


def test_a_running_vm_has_its_disk_snapshot_and_is_deleted_meanwhile(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute.create()
    resource = compute_v1.Snapshot(name="s", source_disk=disk_path("vm"))
    with reading(monkeypatch):
        operation = compute.snapshots.insert_unary(project=PROJECT, snapshot_resource=resource)
        assert call(compute.emulator, "DELETE", f"{SNAPSHOTS}/s")[0] == 400
        gone = compute.instances.delete_unary(project=PROJECT, zone=ZONE, instance="vm")
        assert compute.names("disks") == ["vm"], "it is read"
    compute.ok(operation)
    compute.ok(gone)
    assert (compute.names("disks"), compute.names("snapshots")) == ([], ["s"])


def test_a_disk_of_a_snapshot_is_like_the_disk_it_was_made_of(compute: Compute) -> None:
    compute.disk("d", source_image=COS, size_gb=20)
    snapshot = compute.snapshot("s", "d")
    made = compute.disk("e", source_snapshot=SNAPSHOT, size_gb=0)
    assert (made.size_gb, made.source_snapshot, made.source_snapshot_id) == (20, LINK + SNAPSHOT, str(snapshot.id))
    assert (made.licenses, made.guest_os_features) == (snapshot.licenses, snapshot.guest_os_features)
    larger = compute.disk("f", source_snapshot=LINK + SNAPSHOT, size_gb=30)
    assert larger.size_gb == 30


def test_a_disk_of_a_disk_is_in_its_zone_and_of_its_type(compute: Compute) -> None:
    source = compute.disk("d", size_gb=20, type_=f"zones/{ZONE}/diskTypes/pd-ssd", source_image=COS)
    made = compute.disk("e", source_disk=disk_path("d"), size_gb=0)
    assert (made.size_gb, made.type_, made.licenses) == (20, source.type_, source.licenses)
    assert (made.source_disk, made.source_disk_id) == (LINK + disk_path("d"), str(source.id))
    assert not made.source_image


def test_images_and_vms_are_made_of_a_snapshot(compute: Compute) -> None:
    compute.disk("d", source_image=COS, size_gb=20)
    snapshot = compute.snapshot("s", "d")
    resource = compute_v1.Image(name="i", source_snapshot=SNAPSHOT)
    compute.ok(compute.images.insert_unary(project=PROJECT, image_resource=resource))
    image = compute.images.get(project=PROJECT, image="i")
    assert (image.status, image.disk_size_gb, image.source_snapshot_id) == ("READY", 20, str(snapshot.id))
    assert (image.licenses, image.guest_os_features) == (snapshot.licenses, snapshot.guest_os_features)
    parameters = compute_v1.AttachedDiskInitializeParams(source_snapshot=SNAPSHOT)
    compute.create(disks=[compute_v1.AttachedDisk(boot=True, initialize_params=parameters)])
    disk = compute.disks.get(project=PROJECT, zone=ZONE, disk="vm")
    assert (disk.source_snapshot, disk.size_gb) == (LINK + SNAPSHOT, 20)


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    (SNAPSHOTS, {"name": "s", "sourceDisk": disk_path("d")}, 409, "already exists"),
    (SNAPSHOTS, {"name": "S", "sourceDisk": disk_path("d")}, 400, "resource.name"),
    (SNAPSHOTS, {"name": "t"}, 400, "'resource.sourceDisk' not specified"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": disk_path("none")}, 404, "disks/none"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": SNAPSHOT}, 400, "It is no disk"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": "d"}, 400, "The URL is malformed"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": disk_path("d"), "labels": {"A": ""}}, 400, "labels"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": disk_path("d"), "snapshotType": "OLD"}, 400, "snapshotType"),
    (SNAPSHOTS, {"name": "t", "sourceDisk": disk_path("d"), "storageLocations": ["eu", "us"]}, 400, "one location"),
    (SNAPSHOTS, {"name": "t", "sourceInstantSnapshot": "x"}, 501, "sourceInstantSnapshot"),
    (f"{DISKS}/none/createSnapshot", {"name": "t"}, 404, "disks/none"),
    (f"{DISKS}/d/createSnapshot?guestFlush=true", {"name": "t"}, 501, "guestFlush"),
    (f"{DISKS}/d/createSnapshot", {"name": "t", "guestFlush": True}, 501, "guestFlush"),
    (DISKS, {"name": "e", "sourceSnapshot": SNAPSHOT, "sizeGb": "9"}, 400, "smaller than the snapshot size (10 GB)"),
    (DISKS, {"name": "e", "sizeGb": "-9"}, 400, "smaller than 1 GB"),
    (DISKS, {"name": "e", "sourceDisk": disk_path("d"), "sizeGb": "9"}, 400, "smaller than the disk size (10 GB)"),
    (DISKS, {"name": "e", "sourceDisk": disk_path("d"), "sourceSnapshot": SNAPSHOT}, 400, "At most one of"),
    (DISKS, {"name": "e", "sourceSnapshot": SNAPSHOT[:-1] + "none"}, 404, "snapshots/none"),
    (DISKS, {"name": "e", "sourceDisk": SNAPSHOT}, 400, "It is no disk"),
    (DISKS.replace("us-west1-b", "us-west1-a"), {"name": "e", "sourceDisk": disk_path("d")}, 400, "must be in zone"),
    (IMAGES, {"name": "i", "sourceSnapshot": SNAPSHOT, "diskSizeGb": "9"}, 400, "smaller than the snapshot size"),
    (IMAGES, {"name": "i", "sourceSnapshot": disk_path("d")}, 400, "It is no snapshot"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), REFUSED)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    compute: Compute, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    compute.disk("d")
    compute.snapshot("s", "d")
    got, answer = call(compute.emulator, "POST", path, body)
    assert (got, words in answer["error"]["message"]) == (status, True), answer
    assert (compute.names("snapshots"), compute.names("disks"), compute.names("images")) == (["s"], ["d"], [])


@pytest.mark.parametrize("leave", [True, False])
def test_a_snapshot_that_fails_is_failed_or_gone(compute: Compute, leave: bool) -> None:
    compute.disk("d")
    compute.emulator.faults.add("operation", method="insert", name="s", code="X", leave=leave)
    resource = compute_v1.Snapshot(name="s", source_disk=disk_path("d"))
    done = compute.wait(compute.snapshots.insert_unary(project=PROJECT, snapshot_resource=resource))
    assert done.error.errors[0].code == "X"
    assert compute.names("snapshots") == (["s"] if leave else [])
    if leave:
        with pytest.raises(BadRequest, match="not ready"):
            compute.disk("e", source_snapshot=SNAPSHOT)
        compute.ok(compute.snapshots.delete_unary(project=PROJECT, snapshot="s"))
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))


def test_snapshots_are_there_again_after_a_stop(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        compute = Compute(first)
        compute.disk("d")
        made = compute.snapshot("s", "d")
    with Emulator(tmp_path) as second:
        compute = Compute(second)
        assert compute.snapshots.get(project=PROJECT, snapshot="s").id == made.id
        assert compute.disk("e", source_snapshot=SNAPSHOT).status == "READY"


def test_a_vm_starts_when_its_disk_was_read_for_a_snapshot(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    compute.create()
    compute.stop()
    resource = compute_v1.Snapshot(name="s", source_disk=disk_path("vm"))
    with reading(monkeypatch):
        operation = compute.snapshots.insert_unary(project=PROJECT, snapshot_resource=resource)
        start = compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm")
        assert call(compute.emulator, "GET", f"{INSTANCES}/vm")[1]["status"] == "STAGING"
    compute.ok(operation)
    compute.ok(start)
    assert call(compute.emulator, "GET", f"{INSTANCES}/vm")[1]["status"] == "RUNNING"
