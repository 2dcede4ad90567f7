"""What a sweep finds: remains of builds, and bystanders of every kind that it must not touch."""

from collections.abc import Iterable
from typing import Any

from google.cloud import compute_v1
from google.cloud.storage import Blob, Bucket
from support.compute_clients import COS, PROJECT, ZONE, Compute
from support.family_images import OURS

from cos_customizer.customizer.names import BUILD_LABEL, EXPIRY_LABEL, IMAGE_KEY, STATE_LABEL, BuildNames
from cos_customizer.emulator.server import Emulator

NOW = 1_800_000_000.0
DEAD, ALIVE, STUDIED = BuildNames("dddddddddd"), BuildNames("aaaaaaaaaa"), BuildNames("5555555555")
EXPIRED, RUNNING = DEAD.labels(NOW - 1), ALIVE.labels(NOW + 3600)
"""Labels of a build that is long over at `NOW`, and of one that runs."""
UNRELEASED = {STATE_LABEL: "unreleased"}
_KEPT = ("serial.log", "/difference.json")


def labelled(labels: dict[str, str], **more: Any) -> dict[str, Any]:
    """Fields of a VM whose boot disk bears the same labels."""
    parameters = compute_v1.AttachedDiskInitializeParams(source_image=COS, labels=labels)
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=parameters)
    return {"labels": labels, "disks": [disk], **more}


def make_disk(compute: Compute, name: str, labels: dict[str, str], zone: str = ZONE) -> None:
    disk = compute_v1.Disk(name=name, source_image=COS, labels=labels)
    compute.ok(compute.disks.insert_unary(project=PROJECT, zone=zone, disk_resource=disk))


def boot_from(compute: Compute, name: str, disk: str) -> None:
    source = f"projects/{PROJECT}/zones/{ZONE}/disks/{disk}"
    compute.create(name, disks=[compute_v1.AttachedDisk(boot=True, source=source)])


def relabel(compute: Compute, name: str, labels: dict[str, str]) -> None:
    """Give a VM and its boot disk other labels."""
    where, path = {"project": PROJECT, "zone": ZONE}, f"projects/{PROJECT}/zones/{ZONE}"
    vm = compute_v1.InstancesSetLabelsRequest(
        labels=labels, label_fingerprint=compute.emulator.get(f"{path}/instances/{name}")["labelFingerprint"]
    )
    request = compute_v1.SetLabelsInstanceRequest(**where, instance=name, instances_set_labels_request_resource=vm)
    compute.ok(compute.instances.set_labels_unary(request))
    disk = compute_v1.ZoneSetLabelsRequest(
        labels=labels, label_fingerprint=compute.emulator.get(f"{path}/disks/{name}")["labelFingerprint"]
    )
    compute.ok(
        compute.disks.set_labels_unary(
            compute_v1.SetLabelsDiskRequest(**where, resource=name, zone_set_labels_request_resource=disk)
        )
    )


def store(bucket: Bucket, name: str, metadata: dict[str, str] | None) -> None:
    blob = bucket.blob(name)
    blob.metadata = metadata
    blob.upload_from_string(b"content")


def everything(compute: Compute, bucket: Bucket) -> set[str]:
    """All there is, by name."""
    kinds = ("instances", "disks", "images")
    named = {f"{kind}/{name}" for kind in kinds for name in compute.names(kind)}
    return named | {f"objects/{blob.name}" for blob in bucket.list_blobs()}


def bystanders(compute: Compute, bucket: Bucket, alive: dict[str, str] = RUNNING) -> set[str]:
    """One of every kind that is none of our business.

    Args:
        compute: clients of the emulator.
        bucket: for objects.
        alive: labels of a build that runs.

    Returns:
        What was made; see `everything`.
    """
    before = everything(compute, bucket)
    no_expiry, no_number = {BUILD_LABEL: DEAD.id}, {BUILD_LABEL: DEAD.id, EXPIRY_LABEL: "soon"}
    only_expiry = {EXPIRY_LABEL: EXPIRED[EXPIRY_LABEL]}
    for name, labels in (
        *(("unlabelled", {}), ("running-build", alive), ("no-expiry", no_expiry), ("no-number", no_number)),
        *(("only-expiry", only_expiry), ("others-label", {"cos-customizer-builds": "x", **only_expiry})),
    ):
        compute.create(f"vm-{name}", **labelled(labels))
        make_disk(compute, f"disk-{name}", labels)
        store(bucket, f"cos-customizer/dddddddddd/{name}", labels or None)
    store(bucket, "dddddddddd/elsewhere", EXPIRED)
    store(bucket, "my-cos-customizer/dddddddddd/not-ours", EXPIRED)
    for name, labels in (
        *(("no-family", {}), ("expired-by-label", EXPIRED), ("failed", {**EXPIRED, STATE_LABEL: "failed"})),
        *(("still-verified", {**alive, **UNRELEASED}), ("unreleased-only", UNRELEASED)),
    ):
        compute.image(f"image-{name}", labels=labels, description=OURS)
    compute.image("image-in-its-family", labels={**EXPIRED, **UNRELEASED}, family="my-family", description=OURS)
    compute.create(ALIVE.builder_vm, **labelled(alive))
    # A disk of an expired build that somebody looks into.
    make_disk(compute, STUDIED.builder_vm, STUDIED.labels(NOW - 1))
    boot_from(compute, "vm-of-a-curious-one", STUDIED.builder_vm)
    # What somebody has labelled as if it were ours.
    compute.create("production-db", **labelled({BUILD_LABEL: "x", EXPIRY_LABEL: "1"}))
    make_disk(compute, "data-of-production", EXPIRED)
    compute.image("image-of-others", labels={**EXPIRED, **UNRELEASED})
    make_disk(compute, "cos-customizer-x", {BUILD_LABEL: "x", EXPIRY_LABEL: EXPIRED[EXPIRY_LABEL]})
    make_disk(compute, "cos-customizer-eeeeeeeeee", {BUILD_LABEL: "eeeeeeeeee", EXPIRY_LABEL: "1"})
    return everything(compute, bucket) - before


def leftovers(emulator: Emulator) -> list[str]:
    """Everything temporary that is still there, apart from logs, differences, and contents of images that are there."""
    from cos_customizer.gcp.clients import connect

    zonal = [
        resource["name"]
        for kind in ("instances", "disks")
        for resource in emulator.list(f"projects/my-project/zones/-/{kind}")
    ]
    return zonal + passing_objects(emulator, connect().storage.list_blobs("my-project_cloudbuild"))


def passing_objects(emulator: Emulator, blobs: Iterable[Blob]) -> list[str]:
    """Names of objects that no build leaves: no logs, no differences, nothing that belongs to an image that is there.

    Args:
        emulator: with the images, of project `my-project`.
        blobs: all objects.
    """
    there = {f"my-project/{image['name']}" for image in emulator.list("projects/my-project/global/images")}
    passing = [blob for blob in blobs if (blob.metadata or {}).get(IMAGE_KEY) not in there]
    return [blob.name for blob in passing if not blob.name.endswith(_KEPT)]
