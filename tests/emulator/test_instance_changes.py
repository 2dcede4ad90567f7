"""What is changed of an instance after it was made, over Google's client and plain HTTP."""

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from support.compute_clients import INSTANCES, PROJECT, ZONE, Compute, call

from cos_customizer.emulator.server import Emulator

VM = f"{INSTANCES}/vm"
TYPES = f"projects/{PROJECT}/zones/{ZONE}/machineTypes"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def get(compute: Compute) -> dict[str, Any]:
    status, vm = call(compute.emulator, "GET", VM)
    assert status == 200
    return dict(vm)


def change(compute: Compute, method: str, body: object = None, *, http: str = "POST") -> dict[str, Any]:
    """Call a method of the instance; its operation, done."""
    status, operation = call(compute.emulator, http, f"{VM}/{method}", body if body is not None else {})
    assert status == 200, operation
    place = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/operations/{operation['name']}/wait"
    status, done = call(compute.emulator, "POST", place, {})
    assert (status, done["status"], done.get("error")) == (200, "DONE", None)
    return dict(done)


def refused(compute: Compute, method: str, body: object = None) -> tuple[int, str]:
    status, answer = call(compute.emulator, "POST", f"{VM}/{method}", body if body is not None else {})
    return status, answer["error"]["message"]


def test_tags_are_replaced_by_who_knows_the_present_ones(compute: Compute) -> None:
    compute.create()
    change(compute, "setTags", {"items": ["web"], "fingerprint": get(compute)["tags"]["fingerprint"]})
    tags = get(compute)["tags"]
    assert tags["items"] == ["web"]
    assert refused(compute, "setTags", {"items": [], "fingerprint": "b2xk"})[0] == 412
    assert refused(compute, "setTags", {"items": ["Web"], "fingerprint": tags["fingerprint"]})[0] == 400


STOPPED = [
    ("setMachineType", {"machineType": f"zones/{ZONE}/machineTypes/n2-standard-4"}),
    ("setServiceAccount", {"email": "a@b.iam.gserviceaccount.com", "scopes": ["s"]}),
    ("setMinCpuPlatform", {"minCpuPlatform": "Intel Skylake"}),
]


@pytest.mark.parametrize(("method", "body"), STOPPED, ids=[method for method, _ in STOPPED])
def test_what_needs_a_stopped_instance_is_refused_while_it_runs(compute: Compute, method: str, body: Any) -> None:
    compute.create()
    status, message = refused(compute, method, body)
    assert (status, "must be stopped (TERMINATED)" in message) == (400, True)
    compute.stop()
    change(compute, method, body)
    vm = get(compute)
    if method == "setServiceAccount":
        assert vm["serviceAccounts"] == [body]
        change(compute, method, {})
        assert "serviceAccounts" not in get(compute)
    elif method == "setMachineType":
        assert vm["machineType"].endswith(f"{TYPES}/n2-standard-4")
        assert refused(compute, method, {"machineType": f"zones/{ZONE}/machineTypes/none"})[0] == 400
    else:
        assert vm["minCpuPlatform"] == "Intel Skylake"


def test_a_scheduling_is_changed_in_part_and_one_limit_takes_the_place_of_the_other(compute: Compute) -> None:
    compute.create()
    limit = {"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": "DELETE"}
    change(compute, "setScheduling", {**limit, "automaticRestart": False})
    scheduling = get(compute)["scheduling"]
    assert (scheduling["maxRunDuration"], scheduling["automaticRestart"]) == ({"seconds": "3600"}, False)
    change(compute, "setScheduling", {"terminationTime": "2099-01-01T00:00:00Z"})
    assert "maxRunDuration" not in get(compute)["scheduling"]
    assert refused(compute, "setScheduling", {"provisioningModel": "SPOT"})[0] == 400
    compute.emulator.clock.advance(4000)
    assert get(compute)["status"] == "RUNNING"


def test_a_protected_instance_is_not_deleted(compute: Compute) -> None:
    compute.create()
    change(compute, "setDeletionProtection?deletionProtection=true")
    with pytest.raises(BadRequest, match="protected against deletion"):
        compute.delete()
    change(compute, "setDeletionProtection?deletionProtection=false")
    compute.delete()


def test_a_disk_that_is_not_deleted_with_its_instance_stays(compute: Compute) -> None:
    compute.create()
    device = get(compute)["disks"][0]["deviceName"]
    change(compute, f"setDiskAutoDelete?deviceName={device}&autoDelete=false")
    status, message = refused(compute, "setDiskAutoDelete?deviceName=none&autoDelete=false")
    assert (status, "'none'" in message) == (400, True)
    compute.delete()
    assert compute.names("disks") == ["vm"]


def test_an_external_address_comes_and_goes(compute: Compute) -> None:
    compute.create()
    change(compute, "addAccessConfig?networkInterface=nic0", {"name": "web"})
    (config,) = get(compute)["networkInterfaces"][0]["accessConfigs"]
    assert config["name"] == "web"
    assert config["natIP"]
    assert refused(compute, "addAccessConfig?networkInterface=nic0")[0] == 400
    assert refused(compute, "deleteAccessConfig?networkInterface=nic0&accessConfig=other")[0] == 404
    change(compute, "deleteAccessConfig?networkInterface=nic0&accessConfig=web")
    assert "accessConfigs" not in get(compute)["networkInterfaces"][0]


def test_what_shields_an_instance_is_changed_in_part(compute: Compute) -> None:
    compute.create()
    compute.stop()
    change(compute, "updateShieldedInstanceConfig", {"enableSecureBoot": True}, http="PATCH")
    change(compute, "updateShieldedInstanceConfig", {"enableVtpm": False}, http="PATCH")
    assert get(compute)["shieldedInstanceConfig"] == {"enableSecureBoot": True, "enableVtpm": False}


def test_a_reset_instance_boots_again_and_is_running_all_the_time(compute: Compute) -> None:
    compute.emulator.scripts.add({"events": [{"text": "up\n"}, {"after": 60, "text": "later\n"}]})
    compute.create()
    compute.emulator.clock.advance(60)
    assert compute.serial().contents == "up\nlater\n"
    change(compute, "reset")
    assert (get(compute)["status"], compute.serial().contents) == ("RUNNING", "up\nlater\nup\n")
    compute.stop()
    status, message = refused(compute, "reset")
    assert (status, "is not in state RUNNING" in message) == (400, True)


def test_a_suspended_instance_stands_still_until_it_is_resumed(compute: Compute) -> None:
    compute.emulator.scripts.add({"events": [{"after": 60, "text": "tick\n"}, {"after": 60, "power_off": True}]})
    compute.create()
    assert refused(compute, "resume")[0] == 400
    change(compute, "suspend")
    assert get(compute)["status"] == "SUSPENDED"
    compute.emulator.clock.advance(600)
    assert (compute.serial().contents, get(compute)["status"]) == ("", "SUSPENDED")
    assert refused(compute, "start")[0] == 400
    change(compute, "resume")
    assert get(compute)["status"] == "RUNNING"
    compute.emulator.clock.advance(60)
    assert (compute.serial().contents, get(compute)["status"]) == ("tick\n", "RUNNING")
    compute.emulator.clock.advance(60)
    assert get(compute)["status"] == "TERMINATED"


@pytest.mark.parametrize("end", ["stop", "delete"])
def test_a_suspended_instance_can_be_stopped_and_deleted(compute: Compute, end: str) -> None:
    compute.create()
    change(compute, "suspend")
    if end == "stop":
        compute.stop()
        assert get(compute)["status"] == "TERMINATED"
    else:
        compute.delete()
        assert compute.names("instances") == compute.names("disks") == []


def test_a_disk_grows_under_a_running_instance_and_never_shrinks(compute: Compute) -> None:
    compute.create()
    place = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/disks/vm"
    status, operation = call(compute.emulator, "POST", f"{place}/resize", {"sizeGb": "30"})
    assert status == 200
    compute.ok(compute.zone_operations.get(project=PROJECT, zone=ZONE, operation=operation["name"]))
    assert call(compute.emulator, "GET", place)[1]["sizeGb"] == "30"
    for size, message in (("20", "must be larger"), ("70000", "at most 65536")):
        status, answer = call(compute.emulator, "POST", f"{place}/resize", {"sizeGb": size})
        assert (status, message in answer["error"]["message"]) == (400, True)
