"""The requests that the original makes by way of Daisy, from the disk with its program to the image, one by one."""

from pathlib import Path
from typing import Any

import pytest
from google.cloud import compute_v1
from google.cloud.storage import Bucket
from support.archives import archive_of, put
from support.compute_clients import COS, PROJECT, ZONE, Compute
from support.storage_clients import BUCKET

from cos_customizer.emulator.server import Emulator

SOURCES = "image-build/cos-customizer/daisy-build-image/sources"
PLACE = f"projects/{PROJECT}/zones/{ZONE}"
SUCCEEDS = {
    "events": [
        {"text": "BuildStatus: Preloading\n"},
        {"text": "BuildSucceeded: Build completed with no errors.\n"},
        {"power_off": True},
    ]
}
WAYS = {"its first release": ["boot-disk"]}
"""The disks of the VM: its newest release has its program on a second one."""


def make_disk(compute: Compute, name: str, source: str) -> None:
    size = {"size_gb": 10} if source == COS else {}
    disk = compute_v1.Disk(name=name, source_image=source, type_=f"{PLACE}/diskTypes/pd-standard", **size)
    compute.ok(compute.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=disk))


def vm(disks: list[str]) -> dict[str, Any]:
    attached = [
        compute_v1.AttachedDisk(source=f"{PLACE}/disks/{name}", boot=number == 0, mode="READ_WRITE", device_name=name)
        for number, name in enumerate(disks)
    ]
    items = {"user-data": "#cloud-config", "block-project-ssh-keys": "TRUE", "daisy-sources-path": f"gs://{BUCKET}"}
    nat = compute_v1.AccessConfig(type_="ONE_TO_ONE_NAT")
    return {
        "machine_type": f"{PLACE}/machineTypes/n1-standard-1",
        "disks": attached,
        "network_interfaces": [compute_v1.NetworkInterface(network="global/networks/default", access_configs=[nat])],
        "metadata": compute_v1.Metadata(items=[compute_v1.Items(key=key, value=text) for key, text in items.items()]),
        "scheduling": compute_v1.Scheduling(on_host_maintenance="MIGRATE"),
        "service_accounts": [
            compute_v1.ServiceAccount(email="default", scopes=["https://www.googleapis.com/auth/cloud-platform"])
        ],
    }


@pytest.mark.parametrize("disks", WAYS.values(), ids=WAYS)
def test_the_original_builds_an_image(emulator: Emulator, bucket: Bucket, tmp_path: Path, disks: list[str]) -> None:
    emulator.scripts.add(SUCCEEDS)
    compute = Compute(emulator)
    put(archive_of(tmp_path, size=64 << 20, form="gnu"), BUCKET, f"{SOURCES}/cidata.tar.gz_")
    bucket.copy_blob(bucket.blob(f"{SOURCES}/cidata.tar.gz_"), bucket, f"{SOURCES}/cidata.tar.gz")
    raw = compute_v1.RawDisk(source=f"https://storage.cloud.google.com/{BUCKET}/{SOURCES}/cidata.tar.gz")
    image = compute_v1.Image(name="cidata", raw_disk=raw)
    compute.ok(compute.images.insert_unary(project=PROJECT, image_resource=image))
    make_disk(compute, "boot-disk", COS)
    make_disk(compute, "cidata-disk", f"projects/{PROJECT}/global/images/cidata")

    compute.create("preload-vm", **vm(disks))
    assert "BuildSucceeded:" in compute.serial("preload-vm").contents
    made = compute.instances.get(project=PROJECT, zone=ZONE, instance="preload-vm")
    assert (made.status, [disk.device_name for disk in made.disks]) == ("TERMINATED", disks)
    made.metadata.items.append(compute_v1.Items(key="DaisyEnd", value="ack"))
    acknowledged = compute.instances.set_metadata_unary(
        project=PROJECT, zone=ZONE, instance="preload-vm", metadata_resource=made.metadata
    )
    compute.ok(acknowledged)
    resize = compute_v1.DisksResizeRequest(size_gb=20)
    compute.ok(
        compute.disks.resize_unary(project=PROJECT, zone=ZONE, disk="boot-disk", disks_resize_request_resource=resize)
    )
    fields = {"family": "mine", "labels": {"a": "b"}, "licenses": ["projects/cos-cloud/global/licenses/cos-pcid"]}
    result = compute.image("result", source_disk=f"{PLACE}/disks/boot-disk", **fields)
    assert (result.status, result.disk_size_gb, result.family) == ("READY", 20, "mine")

    compute.delete("preload-vm")
    for name in ("boot-disk", "cidata-disk"):
        compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk=name))
    compute.ok(compute.images.delete_unary(project=PROJECT, image="cidata"))
    assert (compute.names("disks"), compute.names("images")) == ([], ["result"])
