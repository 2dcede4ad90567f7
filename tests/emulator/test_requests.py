"""What the emulator takes, and how it refuses the rest: bodies, references, filters, pages."""

import json
from typing import Any

import pytest
from google.cloud import compute_v1
from support.compute_clients import COS, DISKS, IMAGES, INSTANCES, PROJECT, ZONE, Compute, body, call

from cos_customizer.emulator.compute.filters import parse
from cos_customizer.emulator.compute.schema import check_body
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.server import Emulator

DISK = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": COS}}


def boot(**parameters: Any) -> list[dict[str, Any]]:
    return [{**DISK, "initializeParams": {"sourceImage": COS, **parameters}}]


REFUSED = [
    # body, status, reason, words of the message
    ({"bootDisk": 1}, 400, "badRequest", 'Unknown name "bootDisk": Cannot find field.'),
    ({"disks": [{**DISK, "size": 1}]}, 400, "badRequest", "Unknown name \"size\" at 'disks[0]'"),
    ({"disks": DISK}, 400, "badRequest", "Invalid value at 'disks' (repeated)"),
    ({"disks": [{**DISK, "boot": "yes"}]}, 400, "badRequest", "'disks[0].boot' (TYPE_BOOL), 'yes'"),
    ({"labels": {"a": 1}}, 400, "badRequest", "'labels[a]' (TYPE_STRING), 1"),
    ({"scheduling": {"maxRunDuration": {"seconds": "soon"}}}, 400, "badRequest", "maxRunDuration.seconds"),
    ({"scheduling": {"onHostMaintenance": "RUN"}}, 400, "invalid", "Must be one of: MIGRATE, TERMINATE"),
    ({"name": "Big"}, 400, "invalid", "'resource.name': 'Big'"),
    ({"name": "a" * 64}, 400, "invalid", "Must be a match of regex"),
    ({"machineType": "zones/us-west1-b/machineTypes/n9"}, 400, "invalid", "Machine type with name 'n9'"),
    ({"machineType": "zones/us-west1-a/machineTypes/n1-standard-1"}, 400, "invalid", "must be in zone 'us-west1-b'"),
    ({"machineType": ""}, 400, "required", "resource.machineType"),
    ({"disks": []}, 400, "invalid", "boot disk"),
    ({"disks": boot(sourceImage="global/images/none")}, 404, "notFound", f"'projects/{PROJECT}/global/images/none'"),
    ({"disks": boot(sourceImage="none")}, 400, "invalid", "The URL is malformed"),
    ({"disks": boot(diskSizeGb="5")}, 400, "invalid", "cannot be smaller than the image size (10 GB)"),
    ({"disks": boot(diskType="pd-huge")}, 400, "invalid", "Disk type with name 'pd-huge' does not exist"),
    ({"disks": boot(sourceImage=COS.replace("86-0", "76-0"))}, 400, "invalid", "is OBSOLETE"),
    ({"disks": boot(sourceImage="projects/cos-cloud/global/images/family/none")}, 404, "notFound", "family/none"),
    (
        {"disks": boot(sourceImage="projects/cos-cloud/global/images/family/cos-arm64-stable")},
        400,
        "invalid",
        "(ARM64) is not compatible with machine type architecture (X86_64)",
    ),
    ({"networkInterfaces": []}, 400, "invalid", "At least one network interface"),
    ({"networkInterfaces": [{"subnetwork": "regions/us-east1/subnetworks/s"}]}, 400, "invalid", "us-west1"),
    ({"labels": {"Team": "x"}}, 400, "invalid", "Keys start with a lower-case letter"),
    ({"labels": {"team": "X"}}, 400, "invalid", "Value of label 'team'"),
    ({"labels": {f"k{n}": "" for n in range(65)}}, 400, "invalid", "at most 64"),
    ({"tags": {"items": ["Web"]}}, 400, "invalid", "resource.tags.items[0]"),
    ({"metadata": {"items": [{"key": "a b", "value": ""}]}}, 400, "invalid", "metadata.items[0].key"),
    ({"metadata": {"items": [{"key": "a", "value": ""}] * 2}}, 400, "invalid", "Duplicate metadata key"),
    ({"metadata": {"items": [{"key": "a", "value": "x" * 262145}]}}, 400, "invalid", "Value is too large"),
    (
        {"metadata": {"items": [{"key": f"k{n}", "value": "x" * 262144} for n in range(3)]}},
        400,
        "invalid",
        "Metadata is too large",
    ),
    ({"scheduling": {"maxRunDuration": {"seconds": "29"}}}, 400, "invalid", "between 30 seconds and 120 days"),
    ({"scheduling": {"instanceTerminationAction": "DELETE"}}, 400, "invalid", "It needs a spot VM, maxRunDuration"),
    (
        {"guestAccelerators": [{"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4"}]},
        400,
        "invalid",
        "do not support live migration",
    ),
    (
        {"guestAccelerators": [{"acceleratorType": "x/nvidia-l4"}], "scheduling": {"onHostMaintenance": "TERMINATE"}},
        400,
        "badRequest",
        "[n1-standard-1, nvidia-l4] features are not compatible",
    ),
    ({"guestAccelerators": [{"acceleratorType": "x/nvidia-9"}]}, 404, "notFound", "acceleratorTypes/nvidia-9' was not"),
    ({"serviceAccounts": [{"email": "me"}]}, 400, "invalid", "must be an e-mail address"),
    ({"sourceMachineImage": "x"}, 501, "notImplemented", "does not support instances with sourceMachineImage"),
]


@pytest.mark.parametrize(("fields", "status", "reason", "words"), REFUSED, ids=[row[3][:40] for row in REFUSED])
def test_an_instance_that_cannot_be_is_refused_and_leaves_nothing(
    emulator: Emulator, fields: dict[str, Any], status: int, reason: str, words: str
) -> None:
    got, answer = call(emulator, "POST", INSTANCES, body(**fields))
    error = answer["error"]
    assert (got, error["code"], error["errors"][0]["reason"]) == (status, status, reason)
    assert words in error["message"]
    assert error["message"] == error["errors"][0]["message"]
    assert Compute(emulator).names("instances") == Compute(emulator).names("disks") == []


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "words"),
    [
        ("POST", INSTANCES, "{", 400, "Invalid JSON payload"),
        ("POST", INSTANCES, [1], 400, "TYPE_MESSAGE"),
        ("POST", INSTANCES, '{"name": "\\ud800"}', 400, "A text is not Unicode."),
        ("POST", DISKS, {"name": "d", "architecture": "\ud800"}, 400, "A text is not Unicode."),
        ("POST", DISKS, "[" * 100_000, 400, "Invalid JSON payload"),
        ("POST", INSTANCES.replace("west1", "mars1"), body(), 404, "zones/us-mars1-b"),
        ("GET", INSTANCES.replace("west1", "mars1"), None, 404, "zones/us-mars1-b"),
        ("POST", INSTANCES + "?requestId=me", body(), 400, "requestId"),
        ("POST", INSTANCES + "?sourceMachineImage=t", body(), 501, "sourceMachineImage"),
        ("GET", INSTANCES + "/none", None, 404, f"'projects/{PROJECT}/zones/{ZONE}/instances/none' was not found"),
        ("GET", INSTANCES + "/none/screenshot", None, 404, "The local Compute Engine has no GET /compute/v1/projects"),
        ("GET", INSTANCES + "/none/serialPort", None, 404, "instances/none"),
        ("POST", INSTANCES + "/none/stop", None, 404, "instances/none"),
        ("DELETE", DISKS + "/none", None, 404, "disks/none"),
        ("POST", DISKS, {"name": "d", "sourceInstantSnapshot": "s"}, 501, "sourceInstantSnapshot"),
        ("DELETE", IMAGES + "/none", None, 404, "images/none"),
        ("GET", IMAGES + "/family/none", None, 404, "images/family/none"),
        ("POST", IMAGES, {"name": "i"}, 400, "Exactly one of"),
        ("POST", IMAGES, {"name": "i", "sourceDisk": f"zones/{ZONE}/disks/none"}, 404, "disks/none"),
        ("GET", IMAGES + "?filter=((", None, 400, "filter"),
        ("GET", IMAGES + "?orderBy=size", None, 400, "orderBy"),
        ("GET", IMAGES + "?maxResults=501", None, 400, "maxResults"),
        ("GET", IMAGES + "?maxResults=" + "9" * 5000, None, 400, "maxResults"),
        ("GET", IMAGES + "?maxResults=%C2%B2", None, 400, "maxResults"),
        ("GET", IMAGES + "?pageToken=x", None, 400, "pageToken"),
        ("GET", IMAGES + "?pageToken=NQ==", None, 400, "pageToken"),
        ("DELETE", "/compute/v1/projects/cos-cloud/global/images/cos-stable-68-10718-86-0", None, 403, "read-only"),
        ("POST", "/compute/v1/projects/cos-cloud/global/images", {"name": "x"}, 403, "read-only"),
        ("GET", f"/compute/v1/projects/{PROJECT}/global/operations/none", None, 404, "operations/none"),
        ("GET", f"/compute/v1/projects/{PROJECT}/global/nonsense", None, 404, "nonsense"),
        ("GET", "/compute/v2/x", None, 404, "no GET /compute/v2/x"),
        ("PUT", IMAGES, {}, 405, "no PUT"),
    ],
)
def test_a_wrong_request_gets_an_error_of_the_apis_shape(
    emulator: Emulator, method: str, path: str, content: object, status: int, words: str
) -> None:
    got, answer = call(emulator, method, path, content)
    assert got == status
    assert words in answer["error"]["message"]
    assert set(answer["error"]) >= {"code", "message", "errors"}
    assert set(answer["error"]["errors"][0]) == {"message", "domain", "reason"}


@pytest.mark.parametrize(
    ("type_name", "given", "checked"),
    [
        ("Image", {"diskSizeGb": 10, "name": "i", "family": None}, {"diskSizeGb": "10", "name": "i"}),
        ("Image", {"disk_size_gb": "10"}, {"diskSizeGb": "10"}),
        ("Disk", {"labels": {"a": "b"}, "licenses": ["x"]}, {"labels": {"a": "b"}, "licenses": ["x"]}),
        ("NetworkInterface", {"networkIP": "10.0.0.1"}, {"networkIP": "10.0.0.1"}),
        ("Duration", {"seconds": 5.0, "nanos": 1}, {"seconds": "5", "nanos": 1}),
    ],
)
def test_bodies_are_brought_into_the_apis_own_form(type_name: str, given: Any, checked: Any) -> None:
    assert check_body(type_name, given) == checked


@pytest.mark.parametrize("value", [True, 1.5, "1.5", 2**63, -(2**63) - 1, "", [1]])
def test_what_is_no_64_bit_number_is_refused(value: object) -> None:
    with pytest.raises(ApiError, match="TYPE_INT64"):
        check_body("Image", {"diskSizeGb": value})


RESOURCE: dict[str, Any] = {
    "name": "cos-stable-1",
    "family": "cos-stable",
    "diskSizeGb": "10",
    "labels": {"team": "a", "empty": ""},
    "deprecated": {"state": "OBSOLETE"},
    "creationTimestamp": "2026-01-01T00:00:00.000-08:00",
    "guestOsFeatures": [{"type": "GVNIC"}, {"type": "UEFI_COMPATIBLE"}],
    "boot": True,
}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ("name = cos-stable-1", True),
        ('name="cos-stable-1"', True),
        ("name != cos-stable-1", False),
        ("name = cos-*", True),
        ("name:cos", True),
        ("name:os", False),
        ("family = none", False),
        ("none = x", False),
        ("none != x", True),
        ("(family = cos-stable) (name != y)", True),
        ("(family = cos-stable) (name = y)", False),
        ("family = cos-stable AND name = y", False),
        ("family = cos-stable OR name = y", True),
        ("name = y OR (family = cos-stable AND diskSizeGb = 10)", True),
        ("NOT name = y", True),
        ("-name = y", True),
        ("NOT (family = cos-stable)", False),
        ("labels.team = a", True),
        ("labels.team:*", True),
        ("labels.other:*", False),
        ("labels:team", True),
        ("deprecated.state = OBSOLETE", True),
        ("deprecated.state != OBSOLETE", False),
        ("diskSizeGb > 9", True),
        ("diskSizeGb >= 10 diskSizeGb < 11", True),
        ("diskSizeGb < 10", False),
        ("creationTimestamp > 2025-12-31", True),
        ('creationTimestamp < "2025-12-31T00:00:00Z"', False),
        ("guestOsFeatures.type = GVNIC", True),
        ("boot = true", True),
        ("name eq cos-.*", True),
        ("name eq cos", False),
        ("name ne cos-.*", False),
        (r'family eq ".*\bcos\-stable\b.*"', True),
        ('(family eq "cos-stable")(name ne "y")', True),
    ],
)
def test_filters(expression: str, matches: bool) -> None:
    assert parse(expression)(RESOURCE) is matches


@pytest.mark.parametrize(
    "expression", ["name", "name =", "= x", "(name = x", "name = x)", "name ~ x", 'name = "x', "AND"]
)
def test_bad_filters_are_refused(expression: str) -> None:
    with pytest.raises(ApiError, match="Invalid list filter expression"):
        parse(expression)


def test_lists_come_in_pages_whatever_their_order(emulator: Emulator) -> None:
    images = Compute(emulator).images
    request = compute_v1.ListImagesRequest(project="cos-cloud", max_results=4)
    names = [image.name for image in images.list(request)]
    assert len(names) == len(set(names)) > 12
    assert names == sorted(names)
    assert emulator.calls.count(path="pageToken") == (len(names) - 1) // 4
    request = compute_v1.ListImagesRequest(project="cos-cloud", max_results=5, order_by="creationTimestamp desc")
    times = [image.creation_timestamp for image in images.list(request)]
    assert times == sorted(times, reverse=True)
    assert len(times) == len(names)
    request = compute_v1.ListImagesRequest(project="cos-cloud", max_results=2, filter="(family = cos-stable)")
    assert {image.family for image in images.list(request)} == {"cos-stable"}


def test_an_empty_list_has_no_items(emulator: Emulator) -> None:
    assert "items" not in call(emulator, "GET", IMAGES)[1]


def test_zones_and_what_they_offer(emulator: Emulator) -> None:
    def get(path: str) -> Any:
        status, answer = call(emulator, "GET", f"/compute/v1/projects/{PROJECT}{path}")
        assert status == 200, answer
        return answer

    assert get("")["name"] == PROJECT
    assert any(zone["name"] == ZONE for zone in get("/zones")["items"])
    assert get(f"/zones/{ZONE}")["region"].endswith("/regions/us-west1")
    assert get("/regions/us-west1")["status"] == "UP"
    assert get(f"/zones/{ZONE}/machineTypes/n1-standard-1")["guestCpus"] == 1
    assert get(f"/zones/{ZONE}/machineTypes/a2-highgpu-1g")["accelerators"][0]["guestAcceleratorCount"] == 1
    assert get(f"/zones/{ZONE}/diskTypes/pd-ssd")["name"] == "pd-ssd"
    assert get(f"/zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4")["name"] == "nvidia-tesla-t4"
    assert get("/global/networks/default")["autoCreateSubnetworks"]
    assert get("/regions/us-west1/subnetworks/default")["region"].endswith("us-west1")


def test_a_connection_is_kept_open_for_many_requests(emulator: Emulator) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", emulator.port)
    connection.request("POST", INSTANCES, json.dumps({"nonsense": 1}), {"Content-Type": "application/json"})
    assert connection.getresponse().read()
    first = connection.sock
    assert first is not None
    connection.request("GET", IMAGES)
    assert connection.getresponse().status == 200
    assert connection.sock is first
    connection.close()
