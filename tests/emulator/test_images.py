"""Images over Google's client: how they come to be, families, deprecation, labels, deletion; the catalogue."""

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, PreconditionFailed
from google.cloud import compute_v1
from support.compute_clients import COS, PROJECT, ZONE, Compute, call

from cos_customizer.emulator.server import Emulator

DISK = f"zones/{ZONE}/disks/vm"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def deprecate(compute: Compute, name: str, **fields: str) -> None:
    status = compute_v1.DeprecationStatus(**fields)
    compute.ok(compute.images.deprecate_unary(project=PROJECT, image=name, deprecation_status_resource=status))


def test_an_image_of_a_disk_inherits_what_the_disk_had(compute: Compute) -> None:
    vm = compute.create()
    with pytest.raises(BadRequest, match="already being used by"):
        compute.insert_image("i", source_disk=DISK)
    compute.stop()
    key = compute_v1.CustomerEncryptionKey(kms_key_name="projects/p/locations/l/keyRings/r/cryptoKeys/k")
    image = compute.image(
        "i",
        source_disk=DISK,
        family="f",
        labels={"a": "b"},
        description="mine",
        licenses=["projects/p/global/licenses/l"],
        storage_locations=["us-west1"],
        image_encryption_key=key,
    )
    assert (image.status, image.family, dict(image.labels), image.description) == ("READY", "f", {"a": "b"}, "mine")
    assert image.archive_size_bytes > 0
    assert (image.disk_size_gb, image.architecture) == (10, "X86_64")
    assert image.source_disk == vm.disks[0].source
    assert [link.split("/compute/v1/")[1] for link in image.licenses] == [
        "projects/cos-cloud/global/licenses/cos",
        "projects/p/global/licenses/l",
    ]
    assert "UEFI_COMPATIBLE" in {feature.type_ for feature in image.guest_os_features}
    assert list(image.storage_locations) == ["us-west1"]
    assert image.image_encryption_key.kms_key_name == key.kms_key_name
    with pytest.raises(Conflict):
        compute.insert_image("i", source_disk=DISK)
    compute.delete()
    assert compute.names("images") == ["i"]
    parameters = compute_v1.AttachedDiskInitializeParams(source_image="global/images/family/f")
    compute.create("from-it", disks=[compute_v1.AttachedDisk(boot=True, initialize_params=parameters)])


def test_an_image_of_a_running_machine_has_to_be_forced(compute: Compute) -> None:
    compute.create()
    request = compute_v1.InsertImageRequest(
        project=PROJECT, force_create=True, image_resource=compute_v1.Image(name="i", source_disk=DISK)
    )
    compute.ok(compute.images.insert_unary(request))
    assert compute.images.get(project=PROJECT, image="i").status == "READY"


def test_a_disk_stays_as_it_is_while_an_image_is_made_of_it(compute: Compute) -> None:
    compute.create()
    compute.stop()
    compute.emulator.faults.add("operation", method="insert", path="images/i$", seconds=0.3)
    making = compute.insert_image("i", source_disk=DISK)
    assert compute.images.get(project=PROJECT, image="i").status == "PENDING"
    with pytest.raises(BadRequest, match="already being used by"):
        compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm")
    with pytest.raises(BadRequest, match="not ready"):
        compute.images.delete_unary(project=PROJECT, image="i")
    deleting = compute.instances.delete_unary(project=PROJECT, zone=ZONE, instance="vm")
    compute.ok(making)
    compute.ok(deleting)
    assert compute.names("disks") == []
    assert compute.images.get(project=PROJECT, image="i").status == "READY"


def test_a_family_is_its_newest_image_that_is_not_deprecated(compute: Compute) -> None:
    for name in ("one", "two", "three"):
        compute.image(name, family="f")
        compute.emulator.clock.advance(1)

    def newest() -> str:
        return str(compute.images.get_from_family(project=PROJECT, family="f").name)

    assert newest() == "three"
    deprecate(compute, "three", state="DEPRECATED", replacement="two", deleted="2030-01-01T00:00:00Z")
    assert newest() == "two"
    deprecate(compute, "two", state="OBSOLETE")
    deprecate(compute, "one", state="DELETED")
    with pytest.raises(NotFound):
        newest()
    deprecate(compute, "two", state="ACTIVE")
    assert newest() == "two"
    deprecate(compute, "three")  # an empty body clears
    assert newest() == "three"
    assert not compute.images.get(project=PROJECT, image="three").deprecated.state


@pytest.mark.parametrize(("state", "usable"), [("DEPRECATED", True), ("OBSOLETE", False), ("DELETED", False)])
def test_what_is_obsolete_or_deleted_cannot_be_used(compute: Compute, state: str, usable: bool) -> None:
    compute.image("i")
    deprecate(compute, "i", state=state)
    if usable:
        compute.image("copy", source_image="global/images/i")
    else:
        with pytest.raises(BadRequest, match=state):
            compute.insert_image("copy", source_image="global/images/i")


def test_dates_of_a_deprecation_are_for_information_only(compute: Compute) -> None:
    compute.image("i")
    deprecate(compute, "i", state="DEPRECATED", deleted="2026-01-01T00:00:00-08:00")
    compute.emulator.clock.advance(10 * 366 * 86400)
    assert compute.images.get(project=PROJECT, image="i").deprecated.state == "DEPRECATED"
    with pytest.raises(BadRequest, match="RFC 3339"):
        deprecate(compute, "i", state="DEPRECATED", deleted="tomorrow")


def test_an_image_gets_its_family_when_it_is_released(compute: Compute) -> None:
    compute.image("i", labels={"state": "unreleased"})
    patch = compute_v1.Image(family="f", description="tested")
    compute.ok(compute.images.patch_unary(project=PROJECT, image="i", image_resource=patch))
    image = compute.images.get_from_family(project=PROJECT, family="f")
    assert image.description == "tested"
    request = compute_v1.GlobalSetLabelsRequest(labels={}, label_fingerprint=image.label_fingerprint)
    where: dict[str, Any] = {"project": PROJECT, "resource": "i", "global_set_labels_request_resource": request}
    compute.ok(compute.images.set_labels_unary(**where))
    assert not compute.images.get(project=PROJECT, image="i").labels
    with pytest.raises(PreconditionFailed):
        compute.images.set_labels_unary(**where)
    other = compute_v1.Image(disk_size_gb=99)
    with pytest.raises(BadRequest, match=r"resource\.diskSizeGb"):
        compute.images.patch_unary(project=PROJECT, image="i", image_resource=other)


def test_a_deleted_image_is_gone(compute: Compute) -> None:
    compute.image("i")
    compute.ok(compute.images.delete_unary(project=PROJECT, image="i"))
    with pytest.raises(NotFound, match=f"'projects/{PROJECT}/global/images/i' was not found"):
        compute.images.get(project=PROJECT, image="i")


def test_an_image_that_cannot_be_made_is_failed(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr("cos_customizer.emulator.machines.scripted.ScriptedBackend.create_image", broken)
    done = compute.wait(compute.insert_image("i"))
    assert "disk full" in done.error.errors[0].message
    image = compute.images.get(project=PROJECT, image="i")
    assert image.status == "FAILED"
    with pytest.raises(BadRequest, match="not ready"):
        compute.insert_image("copy", source_image="global/images/i")


def test_the_catalogue_offers_stand_ins_under_the_names_of_cos(compute: Compute) -> None:
    images = {image.name: image for image in compute.images.list(project="cos-cloud")}
    assert {"cos-stable-68-10718-86-0", "cos-dev-72-11172-0-0", "cos-125-19216-532-62"} <= set(images)
    assert all("stand-in" in image.description.lower() for image in images.values())
    assert {image.architecture for image in images.values()} == {"X86_64", "ARM64"}
    assert {image.deprecated.state for image in images.values()} == {"", "DEPRECATED", "OBSOLETE"}
    assert {name.split("-")[-4] for name in images} >= {"68", "69", "72", "117", "121", "125"}
    for family in ("cos-stable", "cos-beta", "cos-dev", "cos-125-lts", "cos-arm64-stable"):
        newest = compute.images.get_from_family(project="cos-cloud", family=family)
        assert newest.family == family
        assert newest.creation_timestamp == max(i.creation_timestamp for i in images.values() if i.family == family)
    assert images[COS.split("/")[-1]].disk_size_gb == 10


def test_the_catalogue_cannot_be_changed(compute: Compute) -> None:
    with pytest.raises(Forbidden, match="read-only"):
        compute.images.delete_unary(project="cos-cloud", image="cos-stable-68-10718-86-0")


def test_a_timestamp_says_its_zone(emulator: Emulator) -> None:
    image = call(emulator, "GET", "/compute/v1/" + COS)[1]
    assert image["creationTimestamp"] == "2018-08-29T12:00:00.000-08:00"
    assert image["selfLink"] == "https://www.googleapis.com/compute/v1/" + COS
