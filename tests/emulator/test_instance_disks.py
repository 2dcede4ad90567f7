"""Instances with more disks than the one they boot from, over Google's client and plain HTTP."""

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import compute_v1
from support.compute_clients import COS, DISKS, INSTANCES, PROJECT, ZONE, Compute, body, call, disk_path

from cos_customizer.emulator.machines.backend import DataDisk, MachineSpec
from cos_customizer.emulator.machines.scripted import ScriptedMachine
from cos_customizer.emulator.server import Emulator

LINK = "https://www.googleapis.com/compute/v1/"
VM = f"{INSTANCES}/vm"
BOOT = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": COS}}


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What machines are given and lose while they run."""
    seen: list[Any] = []
    monkeypatch.setattr(ScriptedMachine, "attach", lambda _, disk: seen.append(disk))
    monkeypatch.setattr(ScriptedMachine, "detach", lambda _, device: seen.append(device))
    return seen


def do(compute: Compute, path: str, content: object = None) -> None:
    """A change by plain HTTP, which must succeed."""
    status, operation = call(compute.emulator, "POST", path, content if content is not None else {})
    assert status == 200, operation
    compute.ok(compute.zone_operations.get(project=PROJECT, zone=ZONE, operation=operation["name"]))


def attach(compute: Compute, name: str, vm: str = "vm", **fields: Any) -> None:
    do(compute, f"{INSTANCES}/{vm}/attachDisk", {"source": disk_path(name), **fields})


def shown(compute: Compute) -> list[dict[str, Any]]:
    return list(call(compute.emulator, "GET", VM)[1]["disks"])


def users(compute: Compute, name: str) -> list[str]:
    return [user.rpartition("/")[2] for user in call(compute.emulator, "GET", f"{DISKS}/{name}")[1].get("users", [])]


def spec_of(emulator: Emulator) -> list[MachineSpec]:
    """What machines are told of their instances, when one is made."""
    seen: list[MachineSpec] = []
    emulator.scripts.add(lambda spec: seen.append(spec) or [])  # type: ignore[func-returns-value]
    return seen


def test_an_instance_has_the_disks_of_its_request(compute: Compute) -> None:
    specs = spec_of(compute.emulator)
    compute.disk("mine")
    blank = {"autoDelete": True, "initializeParams": {"diskSizeGb": "7", "diskType": "pd-ssd", "labels": {"a": "b"}}}
    named = {"deviceName": "data", "initializeParams": {"diskName": "named", "sourceImage": COS}}
    do(compute, INSTANCES, body(disks=[BOOT, blank, named, {"source": disk_path("mine"), "mode": "READ_ONLY"}]))
    disks = shown(compute)
    assert [disk["source"] for disk in disks] == [LINK + disk_path(name) for name in ("vm", "vm-1", "named", "mine")]
    assert [disk["index"] for disk in disks] == [0, 1, 2, 3]
    assert [disk["boot"] for disk in disks] == [True, False, False, False]
    assert [disk["deviceName"] for disk in disks] == [
        "persistent-disk-0",
        "persistent-disk-1",
        "data",
        "persistent-disk-3",
    ]
    assert [disk["mode"] for disk in disks] == [*["READ_WRITE"] * 3, "READ_ONLY"]
    assert [disk["diskSizeGb"] for disk in disks] == ["10", "7", "10", "10"]
    first = compute.disks.get(project=PROJECT, zone=ZONE, disk="vm-1")
    assert (first.type_.rpartition("/")[2], dict(first.labels), first.source_image) == ("pd-ssd", {"a": "b"}, "")
    assert [users(compute, name) for name in ("vm-1", "named", "mine")] == [["vm"]] * 3
    assert [(disk.device, disk.read_only) for disk in specs[0].disks] == [
        ("persistent-disk-1", False),
        ("data", False),
        ("persistent-disk-3", True),
    ]
    compute.delete()
    assert sorted(compute.names("disks")) == ["mine", "named"], "what is auto-deleted is gone"
    assert users(compute, "mine") == []


def test_a_disk_shows_what_its_request_said_of_it(compute: Compute) -> None:
    said = {"provisionedIops": "3000", "architecture": "ARM64", "resourcePolicies": ["daily"], "description": "mine"}
    features = [{"type": "UEFI_COMPATIBLE"}, {"type": "GVNIC"}]
    do(compute, DISKS, {"name": "own", "sizeGb": "1", "guestOsFeatures": features, **said})
    extra = {"initializeParams": {"diskName": "its", **said}, "guestOsFeatures": features}
    do(compute, INSTANCES, body(disks=[BOOT, extra]))
    for name in ("own", "its"):
        disk = call(compute.emulator, "GET", f"{DISKS}/{name}")[1]
        assert {key: disk[key] for key in (*said, "guestOsFeatures")} == {**said, "guestOsFeatures": features}
    do(compute, DISKS, {"name": "more", "sourceImage": COS, "guestOsFeatures": [{"type": "TDX_CAPABLE"}]})
    boot = compute.disks.get(project=PROJECT, zone=ZONE, disk="vm")
    more = compute.disks.get(project=PROJECT, zone=ZONE, disk="more")
    types = [feature.type_ for feature in boot.guest_os_features]
    assert [feature.type_ for feature in more.guest_os_features] == [*types, "TDX_CAPABLE"]
    several = {"name": "x", "sizeGb": "1", "accessMode": "READ_WRITE_MANY"}
    assert call(compute.emulator, "POST", DISKS, several)[0] == 501


DISKS_REFUSED: list[tuple[list[dict[str, Any]], int, str]] = [
    ([BOOT, {**BOOT, "boot": True}], 400, "resource.disks[1].boot"),
    ([{"source": disk_path("free")}, BOOT], 400, "the first must be the boot disk"),
    ([BOOT, {"source": disk_path("used")}], 400, "already being used by"),
    ([BOOT, {"source": disk_path("free")}, {"source": disk_path("free")}], 400, "already being used by"),
    ([BOOT, {"source": disk_path("none")}], 404, "disks/none"),
    ([BOOT, {"source": disk_path("free"), "deviceName": "a/b"}], 400, "resource.disks[1].deviceName"),
    ([{**BOOT, "deviceName": "a"}, {"source": disk_path("free"), "deviceName": "a"}], 400, "a device of this name"),
    ([BOOT, {"source": disk_path("free"), "initializeParams": {}}], 400, "Exactly one of source and"),
    ([BOOT, {"initializeParams": {"diskName": "vm"}}], 409, "disks/vm' already exists"),
    ([BOOT, {"initializeParams": {"diskName": "free"}}], 409, "disks/free' already exists"),
    ([BOOT, {"mode": "READ_ONLY", "initializeParams": {}}], 400, "READ_WRITE"),
    ([BOOT, {"source": disk_path("free"), "mode": "READ_ONLY", "autoDelete": True}], 400, "autoDelete"),
    ([{"boot": True, "source": disk_path("free"), "mode": "READ_ONLY"}], 501, "boot disks in READ_ONLY mode"),
    ([BOOT, {"source": disk_path("hyper"), "mode": "READ_ONLY"}], 400, "hyperdisk-balanced disk type cannot be"),
    ([BOOT, {"initializeParams": {"diskType": "zones/us-west1-a/diskTypes/pd-ssd"}}], 400, "of zone 'us-west1-b'"),
    ([BOOT, {"initializeParams": {"diskType": f"zones/{ZONE}/machineTypes/pd-ssd"}}], 400, "one of the diskTypes"),
    ([BOOT, {"type": "SCRATCH", "initializeParams": {"diskType": "local-ssd"}}], 501, "local SSDs"),
    ([{"boot": True, "initializeParams": {"diskSizeGb": "10"}}], 400, "A boot disk needs an image, or a snapshot"),
    ([BOOT, {"initializeParams": {"diskSizeGb": "5", "sourceImage": COS}}], 400, "resource.disks[1].initializeParams"),
    ([BOOT, *[{"initializeParams": {}}] * 128], 400, "At most 128 disks"),
]


@pytest.mark.parametrize(("disks", "status", "words"), DISKS_REFUSED, ids=[row[2] for row in DISKS_REFUSED])
def test_disks_that_cannot_be_are_refused_and_leave_nothing(
    compute: Compute, disks: list[dict[str, Any]], status: int, words: str
) -> None:
    compute.disk("free")
    compute.disk("used")
    compute.disk("hyper", type_="hyperdisk-balanced")
    compute.create("other")
    attach(compute, "used", "other")
    got, answer = call(compute.emulator, "POST", INSTANCES, body(disks=disks))
    assert (got, words in answer["error"]["message"]) == (status, True), answer
    assert (sorted(compute.names("disks")), compute.names("instances")) == (
        ["free", "hyper", "other", "used"],
        ["other"],
    )


def test_a_disk_is_attached_and_detached_while_the_instance_runs(compute: Compute, changes: list[Any]) -> None:
    compute.create()
    disk = compute.disk("d")
    attach(compute, "d", deviceName="data", mode="READ_ONLY")
    attached = shown(compute)[1]
    assert (attached["deviceName"], attached["mode"], attached["index"]) == ("data", "READ_ONLY", 1)
    with pytest.raises(BadRequest, match="already being used by"):
        compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d")
    do(compute, f"{VM}/detachDisk?deviceName=data")
    assert changes == [DataDisk(f"disk-{disk.id}", "data", read_only=True), "data"]
    assert (len(shown(compute)), users(compute, "d")) == (1, [])
    detached = compute.disks.get(project=PROJECT, zone=ZONE, disk="d")
    assert detached.last_attach_timestamp
    assert detached.last_detach_timestamp
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))


def test_a_stopped_instance_has_its_disks_when_it_starts(compute: Compute, changes: list[Any]) -> None:
    specs = spec_of(compute.emulator)
    compute.create()
    compute.disk("d")
    compute.disk("e")
    compute.stop()
    attach(compute, "d", autoDelete=True)
    attach(compute, "e")
    do(compute, f"{VM}/detachDisk?deviceName=persistent-disk-1")
    assert [disk["deviceName"] for disk in shown(compute)] == ["persistent-disk-0", "persistent-disk-2"]
    attach(compute, "d", deviceName="again", autoDelete=True)
    assert [(disk["deviceName"], disk["index"]) for disk in shown(compute)][1:] == [
        ("again", 1),
        ("persistent-disk-2", 2),
    ]
    do(compute, f"{VM}/start")
    assert len(specs) == 1
    do(compute, f"{VM}/setDiskAutoDelete?deviceName=persistent-disk-2&autoDelete=true")
    compute.delete()
    assert compute.names("disks") == []


def test_a_disk_that_grows_is_larger_in_its_instance_too(compute: Compute) -> None:
    compute.create()
    compute.disk("d")
    attach(compute, "d")
    do(compute, f"{DISKS}/d/resize", {"sizeGb": "30"})
    assert [disk["diskSizeGb"] for disk in shown(compute)] == ["10", "30"]


def test_several_instances_read_one_disk_and_none_writes_it(compute: Compute) -> None:
    compute.disk("d")
    for name in ("vm", "other"):
        compute.create(name)
        attach(compute, "d", name, mode="READ_ONLY")
    assert users(compute, "d") == ["vm", "other"]
    path = f"{VM}/setDiskAutoDelete?deviceName=persistent-disk-1&autoDelete=true"
    assert call(compute.emulator, "POST", path, {})[0] == 400
    compute.create("third")
    status, answer = call(compute.emulator, "POST", f"{INSTANCES}/third/attachDisk", {"source": disk_path("d")})
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "resourceInUseByAnotherResource")
    compute.delete("vm")
    assert users(compute, "d") == ["other"]


def test_a_boot_disk_changes_places_while_its_instance_is_stopped(compute: Compute) -> None:
    compute.create()
    compute.disk("d", source_image=COS)
    detach = f"{VM}/detachDisk?deviceName=persistent-disk-0"
    status, answer = call(compute.emulator, "POST", detach, {})
    assert (status, "while the instance" in answer["error"]["message"]) == (400, True)
    compute.stop()
    do(compute, detach)
    status, answer = call(compute.emulator, "POST", f"{VM}/start", {})
    assert (status, "no boot disk" in answer["error"]["message"]) == (400, True)
    attach(compute, "d", boot=True)
    assert [(disk["boot"], disk["index"]) for disk in shown(compute)] == [(True, 0)]
    do(compute, f"{VM}/start")
    compute.delete()
    assert sorted(compute.names("disks")) == ["d", "vm"]


ATTACH_REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("attachDisk", {}, 400, "'source' not specified"),
    ("attachDisk", {"initializeParams": {"diskSizeGb": "1"}}, 400, "must be there before"),
    ("attachDisk", {"source": disk_path("none")}, 404, "disks/none"),
    ("attachDisk", {"source": disk_path("vm")}, 400, "already being used by 'the same instance'"),
    ("attachDisk", {"source": disk_path("d"), "boot": True}, 400, "has a boot disk"),
    ("attachDisk", {"source": disk_path("d"), "deviceName": "persistent-disk-0"}, 400, "a device of this name"),
    ("attachDisk", {"source": disk_path("d"), "mode": "WRITE"}, 400, "mode"),
    ("attachDisk", {"source": disk_path("d", "us-west1-a")}, 404, "us-west1-a/disks/d"),
    ("attachDisk?forceAttach=true", {"source": disk_path("d")}, 501, "forced attachment"),
    ("detachDisk?deviceName=none", {}, 400, "No attached disk found with device name 'none'"),
    ("detachDisk", {}, 400, "No attached disk found"),
]


@pytest.mark.parametrize(("method", "content", "status", "words"), ATTACH_REFUSED)
def test_what_cannot_be_attached_or_detached_is_refused(
    compute: Compute, method: str, content: dict[str, Any], status: int, words: str
) -> None:
    compute.create()
    compute.disk("d")
    got, answer = call(compute.emulator, "POST", f"{VM}/{method}", content)
    assert (got, words in answer["error"]["message"]) == (status, True), answer
    assert (len(shown(compute)), users(compute, "d")) == (1, [])


def test_an_attachment_that_fails_leaves_nothing_attached(compute: Compute) -> None:
    compute.create()
    compute.disk("d")
    compute.emulator.faults.add("operation", method="attachDisk", code="X")
    resource = compute_v1.AttachedDisk(source=disk_path("d"))
    attach_disk = compute.instances.attach_disk_unary
    failed = compute.wait(attach_disk(project=PROJECT, zone=ZONE, instance="vm", attached_disk_resource=resource))
    assert failed.error.errors[0].code == "X"
    assert (len(shown(compute)), users(compute, "d")) == (1, [])
    attach(compute, "d")
    assert users(compute, "d") == ["vm"]
