"""Instances made from instance templates, over Google's client and plain HTTP."""

from typing import Any

import pytest
from google.cloud import compute_v1
from support.compute_clients import COS, INSTANCES, PROJECT, ZONE, Compute, call, disk_path

from cos_customizer.emulator.server import Emulator

TEMPLATES = f"/compute/v1/projects/{PROJECT}/global/instanceTemplates"
REGIONAL = f"/compute/v1/projects/{PROJECT}/regions/us-west1/instanceTemplates"
TEMPLATE = f"projects/{PROJECT}/global/instanceTemplates/t"
PROPERTIES: dict[str, Any] = {
    "machineType": "n1-standard-2",
    "description": "from a template",
    "labels": {"a": "template", "b": "template"},
    "tags": {"items": ["web", "db"]},
    "metadata": {"items": [{"key": "k", "value": "v"}]},
    "scheduling": {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"},
    "serviceAccounts": [{"email": "default", "scopes": ["s"]}],
    "networkInterfaces": [{"network": f"projects/{PROJECT}/global/networks/default"}],
    "guestAccelerators": [{"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 1}],
    "disks": [
        {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": COS, "diskType": "pd-ssd"}},
        {"source": "mine", "mode": "READ_ONLY"},
    ],
}


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    compute = Compute(emulator)
    compute.disk("mine")
    for place in (TEMPLATES, REGIONAL):
        assert call(emulator, "POST", place, {"name": "t", "properties": PROPERTIES})[0] == 200
    return compute


def make(compute: Compute, template: str = TEMPLATE, **fields: Any) -> tuple[int, Any]:
    """Ask for an instance of a template; the status, and the instance or the error."""
    path = f"{INSTANCES}?sourceInstanceTemplate={template}"
    status, answer = call(compute.emulator, "POST", path, {"name": "vm", **fields})
    if status != 200:
        return status, answer["error"]["message"]
    compute.ok(compute.zone_operations.get(project=PROJECT, zone=ZONE, operation=answer["name"]))
    return call(compute.emulator, "GET", f"{INSTANCES}/vm")


@pytest.mark.parametrize(
    "template", [TEMPLATE, TEMPLATE.replace("global", "regions/us-west1"), f"https://x/v1/{TEMPLATE}"]
)
def test_an_instance_is_as_its_template_says(compute: Compute, template: str) -> None:
    status, vm = make(compute, template)
    assert status == 200, vm
    assert (vm["status"], vm["description"]) == ("RUNNING", "from a template")
    assert vm["machineType"].endswith(f"zones/{ZONE}/machineTypes/n1-standard-2")
    assert (vm["labels"], vm["tags"]["items"]) == (PROPERTIES["labels"], ["web", "db"])
    assert vm["scheduling"]["provisioningModel"] == "SPOT"
    assert vm["metadata"]["items"] == PROPERTIES["metadata"]["items"]
    assert vm["guestAccelerators"][0]["acceleratorType"].endswith(f"{ZONE}/acceleratorTypes/nvidia-tesla-t4")
    assert [disk["source"].partition("/v1/")[2] for disk in vm["disks"]] == [disk_path("vm"), disk_path("mine")]
    assert vm["serviceAccounts"][0]["scopes"] == ["s"]


def test_a_request_goes_over_its_template_object_by_object_and_list_by_list(compute: Compute) -> None:
    disks = [{"boot": True, "initializeParams": {"sourceImage": COS, "diskSizeGb": "30"}}]
    over: dict[str, Any] = {
        "machineType": f"zones/{ZONE}/machineTypes/n1-standard-4",
        "labels": {"b": "request", "c": "request"},
        "tags": {"items": ["only"]},
        "scheduling": {"instanceTerminationAction": "STOP"},
        "disks": disks,
    }
    status, vm = make(compute, **over)
    assert status == 200, vm
    assert vm["machineType"].endswith("n1-standard-4")
    assert vm["labels"] == {"a": "template", "b": "request", "c": "request"}
    assert vm["tags"]["items"] == ["only"]
    assert (vm["scheduling"]["provisioningModel"], vm["scheduling"]["instanceTerminationAction"]) == ("SPOT", "STOP")
    assert [disk["diskSizeGb"] for disk in vm["disks"]] == ["30"]
    assert vm["description"] == "from a template"


@pytest.mark.parametrize(
    ("template", "status", "words"),
    [
        ("global/instanceTemplates/none", 404, "instanceTemplates/none"),
        ("t", 400, "The URL is malformed"),
        (disk_path("mine"), 400, "It is no instance template"),
    ],
)
def test_what_is_no_template_is_refused(compute: Compute, template: str, status: int, words: str) -> None:
    got, message = make(compute, template)
    assert (got, words in message) == (status, True), message
    assert compute.names("instances") == []


def test_a_regional_template_is_for_its_region(compute: Compute) -> None:
    path = INSTANCES.replace("us-west1-b", "us-east1-b")
    template = TEMPLATE.replace("global", "regions/us-west1")
    status, answer = call(compute.emulator, "POST", f"{path}?sourceInstanceTemplate={template}", {"name": "vm"})
    assert (status, "in the region of zone" in answer["error"]["message"]) == (400, True)


def test_googles_client_makes_an_instance_of_a_template(compute: Compute) -> None:
    request = compute_v1.InsertInstanceRequest(
        project=PROJECT,
        zone=ZONE,
        instance_resource=compute_v1.Instance(name="vm"),
        source_instance_template=TEMPLATE,
    )
    compute.ok(compute.instances.insert_unary(request))
    assert compute.instances.get(project=PROJECT, zone=ZONE, instance="vm").labels["a"] == "template"
