"""What all answers of Compute Engine have in common: parts of them, aggregated lists, links, policies, metadata."""

from typing import Any

import pytest
from support.compute_clients import IMAGES, PROJECT, ZONE, Compute, body, call

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.partial_answers import selected
from cos_customizer.emulator.server import Emulator

OURS = f"/compute/v1/projects/{PROJECT}"
ANSWER = {"kind": "list", "items": [{"name": "a", "disks": [{"source": "s", "boot": True}], "tags": {"x": {"y": 1}}}]}
SELECTIONS: list[tuple[str, Any]] = [
    ("kind", {"kind": "list"}),
    ("items/name", {"items": [{"name": "a"}]}),
    ("kind,items(name,disks/source)", {"kind": "list", "items": [{"name": "a", "disks": [{"source": "s"}]}]}),
    ("items(disks(source,boot))", {"items": [{"disks": [{"source": "s", "boot": True}]}]}),
    ("items/tags/*/y", {"items": [{"tags": {"x": {"y": 1}}}]}),
    ("*", ANSWER),
    ("nextPageToken", {}),
]


@pytest.mark.parametrize(("fields", "part"), SELECTIONS, ids=[fields for fields, _ in SELECTIONS])
def test_a_part_of_an_answer_is_what_is_named(fields: str, part: Any) -> None:
    assert selected(ANSWER, fields) == part


@pytest.mark.parametrize("fields", ["items(name", "items)", "a,,b", "a/", "()"])
def test_what_is_no_selection_is_refused(fields: str) -> None:
    with pytest.raises(ApiError, match="Invalid field selection"):
        selected(ANSWER, fields)


def test_lists_and_resources_and_operations_come_in_part(emulator: Emulator) -> None:
    Compute(emulator).create()
    status, answer = call(emulator, "GET", f"{OURS}/zones/{ZONE}/instances?fields=items(name,disks/boot),kind")
    shown = {"kind": "compute#instanceList", "items": [{"name": "vm", "disks": [{"boot": True}]}]}
    assert (status, answer) == (200, shown)
    assert call(emulator, "GET", f"{OURS}?fields=name") == (200, {"name": PROJECT})
    status, operation = call(emulator, "DELETE", f"{OURS}/zones/{ZONE}/instances/vm?fields=operationType")
    assert (status, operation) == (200, {"operationType": "delete"})
    assert call(emulator, "GET", f"{OURS}?fields=a(")[0] == 400
    assert call(emulator, "GET", f"{OURS}/zones/none?fields=name")[1]["error"]["code"] == 404


def test_operations_of_all_scopes_are_in_the_aggregated_list(emulator: Emulator) -> None:
    compute = Compute(emulator)
    compute.create()
    compute.image("mine")
    status, answer = call(emulator, "GET", f"{OURS}/aggregated/operations")
    assert (status, answer["kind"]) == (200, "compute#operationAggregatedList")
    found = {
        scope: [operation["operationType"] for operation in part["operations"]]
        for scope, part in answer["items"].items()
        if "operations" in part
    }
    assert found == {"global": ["insert"], f"zones/{ZONE}": ["insert"]}
    assert answer["items"]["regions/us-west1"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"


def test_subnetworks_of_all_regions_are_in_the_aggregated_list(emulator: Emulator) -> None:
    items = call(emulator, "GET", f"{OURS}/aggregated/subnetworks")[1]["items"]
    assert items["regions/us-west1"]["subnetworks"][0]["name"] == "default"
    assert all("subnetworks" in part for part in items.values())


EMPTY = ["global/firewalls", "global/httpHealthChecks", "regions/us-west1/addresses", f"zones/{ZONE}/reservations"]


@pytest.mark.parametrize("place", EMPTY)
def test_lists_of_what_there_is_none_of_are_empty(emulator: Emulator, place: str) -> None:
    status, answer = call(emulator, "GET", f"{OURS}/{place}")
    assert (status, "items" in answer) == (200, False)


@pytest.mark.parametrize("kind", ["addresses", "routers", "instanceGroups"])
def test_aggregated_lists_of_what_there_is_none_of_say_so_of_each_scope(emulator: Emulator, kind: str) -> None:
    status, answer = call(emulator, "GET", f"{OURS}/aggregated/{kind}")
    assert status == 200
    assert {part["warning"]["code"] for part in answer["items"].values()} == {"NO_RESULTS_ON_PAGE"}


@pytest.mark.parametrize("place", ["aggregated/bananas", "global/bananas", "zones/none/reservations"])
def test_lists_of_what_cannot_be_are_not_found(emulator: Emulator, place: str) -> None:
    assert call(emulator, "GET", f"{OURS}/{place}")[0] == 404


def test_the_link_of_a_replacement_is_google_s_whatever_address_was_asked(emulator: Emulator) -> None:
    Compute(emulator).image("old")
    local = f"http://127.0.0.1:{emulator.port}/compute/v1/projects/{PROJECT}/global/images/new"
    for replacement in (local, f"projects/{PROJECT}/global/images/new", "global/images/new"):
        status, _ = call(emulator, "POST", f"{IMAGES}/old/deprecate", {"state": "OBSOLETE", "replacement": replacement})
        assert status == 200
        shown = call(emulator, "GET", f"{IMAGES}/old")[1]["deprecated"]["replacement"]
        assert shown == f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/images/new"


def test_holes_in_lists_are_taken_as_compute_engine_takes_them(emulator: Emulator) -> None:
    """Packer leaves some."""
    items = [None, {"key": "a", "value": "b"}, None]
    vm = body(metadata={"items": items})
    assert call(emulator, "POST", f"{OURS}/zones/{ZONE}/instances", vm)[0] == 200
    shown = call(emulator, "GET", f"{OURS}/zones/{ZONE}/instances/vm")[1]["metadata"]["items"]
    assert shown == [{"key": "a", "value": "b"}]


def test_an_image_s_policy_is_kept_given_back_and_gone_with_it(emulator: Emulator) -> None:
    compute = Compute(emulator)
    compute.image("mine")
    status, before = call(emulator, "GET", f"{IMAGES}/mine/getIamPolicy")
    assert (status, before.get("bindings")) == (200, None)
    bindings = [{"role": "roles/compute.imageUser", "members": ["allUsers"]}]
    policy = {"policy": {"bindings": bindings, "etag": before["etag"]}}
    status, after = call(emulator, "POST", f"{IMAGES}/mine/setIamPolicy", policy)
    assert (status, after["bindings"], after["etag"] != before["etag"]) == (200, bindings, True)
    assert call(emulator, "POST", f"{IMAGES}/mine/setIamPolicy", policy)[0] == 412
    wrong = {"policy": {"bindings": [{"role": "owner"}]}}
    assert call(emulator, "POST", f"{IMAGES}/mine/setIamPolicy", wrong)[0] == 400
    asked = {"permissions": ["compute.images.get"]}
    assert call(emulator, "POST", f"{IMAGES}/mine/testIamPermissions", asked) == (200, asked)
    assert call(emulator, "GET", f"{IMAGES}/none/getIamPolicy")[0] == 404
    compute.ok(compute.images.delete_unary(project=PROJECT, image="mine"))
    compute.image("mine")
    assert "bindings" not in call(emulator, "GET", f"{IMAGES}/mine/getIamPolicy")[1]


def test_metadata_of_a_project_is_set_by_who_knows_the_present_one(emulator: Emulator) -> None:
    before = call(emulator, "GET", OURS)[1]["commonInstanceMetadata"]
    change = {"items": [{"key": "storage-endpoint", "value": "http://x"}], "fingerprint": before["fingerprint"]}
    status, operation = call(emulator, "POST", f"{OURS}/setCommonInstanceMetadata", change)
    assert (status, operation["operationType"]) == (200, "setCommonInstanceMetadata")
    assert operation["targetLink"].endswith(f"/compute/v1/projects/{PROJECT}")
    assert call(emulator, "GET", OURS)[1]["commonInstanceMetadata"]["items"] == change["items"]
    assert call(emulator, "POST", f"{OURS}/setCommonInstanceMetadata", {"fingerprint": "b2xk"})[0] == 412
    assert call(emulator, "GET", f"{OURS}x")[1]["commonInstanceMetadata"].get("items") is None


CUSTOM = {
    "custom-4-8192": (4, 8192),
    "n2-custom-8-16384": (8, 16384),
    "e2-custom-2-4096": (2, 4096),
    "n2-custom-2-32768-ext": (2, 32768),
    "n1-custom-1-3840": (1, 3840),
    "custom-1-3840": (1, 3840),
    "custom-96-638976": (96, 638976),
    "n2-custom-36-73728": (36, 73728),
    "n2d-custom-96-786432": (96, 786432),
    "e2-custom-32-131072": (32, 131072),
    "custom-3-8192": None,
    "custom-02-8192": None,
    "custom-96-639232-ext": None,
    "n2-custom-1-4096": None,
    "n2-custom-34-69632": None,
    "n2-custom-2-9999872-ext": None,
    "n2d-custom-6-8192": None,
    "e2-custom-32-262144": None,
    "n2-custom-2-32768": None,
    "e2-custom-2-32768-ext": None,
    "n2-custom-4-8000": None,
    "x9-custom-4-8192": None,
    "n2-custom-256-8192": None,
}


@pytest.mark.parametrize(("name", "size"), CUSTOM.items(), ids=CUSTOM)
def test_machines_of_a_size_of_one_s_own(emulator: Emulator, name: str, size: tuple[int, int] | None) -> None:
    status, kind = call(emulator, "GET", f"{OURS}/zones/{ZONE}/machineTypes/{name}")
    assert ((kind["guestCpus"], kind["memoryMb"]) if status == 200 else None) == size
    vm = body(machineType=f"zones/{ZONE}/machineTypes/{name}")
    assert call(emulator, "POST", f"{OURS}/zones/{ZONE}/instances", vm)[0] == (200 if size else 400)
