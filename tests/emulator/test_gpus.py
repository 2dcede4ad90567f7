"""GPUs on the local Compute Engine: which zones and machines have them, and how many may run."""

import threading
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import compute_v1
from support.compute_clients import PROJECT, ZONE, Compute, call

from cos_customizer.emulator.compute import gpus, zones
from cos_customizer.emulator.compute.machine_types import MACHINE_TYPES
from cos_customizer.emulator.server import Emulator

TERMINATE = compute_v1.Scheduling(on_host_maintenance="TERMINATE")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def with_gpu(name: str = "nvidia-tesla-t4", count: int = 1, zone: str = ZONE) -> dict[str, Any]:
    """Fields of an instance with GPUs."""
    gpu = compute_v1.AcceleratorConfig(
        accelerator_type=f"zones/{zone}/acceleratorTypes/{name}", accelerator_count=count
    )
    return {"guest_accelerators": [gpu], "scheduling": TERMINATE}


def with_machine(name: str, zone: str = ZONE) -> dict[str, Any]:
    """Fields of an instance of a machine type."""
    return {"machine_type": f"zones/{zone}/machineTypes/{name}", "scheduling": TERMINATE}


def set_quota(emulator: Emulator, **limit: object) -> Any:
    status, answer = call(emulator, "POST", "/emulator/quotas", limit)
    assert status == 200, answer
    return answer["limits"]


def test_every_gpu_is_in_zones_that_exist_and_in_a_machine_that_holds_it() -> None:
    known = set(zones.zone_names())
    for name, gpu in gpus.GPUS.items():
        assert set(gpu.zones()) <= known, name
        built_in = {kind.gpus for kind in MACHINE_TYPES.values() if kind.gpu == name}
        assert set(gpu.counts) == built_in or gpu.family == "n1", name
    for machine in MACHINE_TYPES.values():
        assert not machine.gpu or machine.gpu in gpus.GPUS


@pytest.mark.parametrize(
    ("zone", "has", "lacks"),
    [
        (
            "us-west1-a",
            {"nvidia-tesla-t4", "nvidia-tesla-p100", "nvidia-tesla-v100", "nvidia-l4"},
            {"nvidia-tesla-a100"},
        ),
        ("us-west1-b", {"nvidia-tesla-t4", "nvidia-tesla-p100", "nvidia-l4", "nvidia-tesla-a100"}, {"nvidia-tesla-p4"}),
        ("us-west1-c", {"nvidia-l4", "nvidia-h200-141gb"}, {"nvidia-tesla-p100", "nvidia-tesla-t4"}),
        ("us-central1-f", {"nvidia-tesla-p100", "nvidia-tesla-a100"}, {"nvidia-l4", "nvidia-tesla-p4"}),
        ("us-west2-a", set(), {*gpus.GPUS}),
        ("us-central1-a", {"nvidia-h100-80gb", "nvidia-h100-mega-80gb"}, {"nvidia-tesla-k80", "nvidia-b200"}),
        ("us-central1-b", {"nvidia-b200"}, {"nvidia-tesla-k80"}),
    ],
)
def test_zones_have_the_gpus_that_they_have(compute: Compute, zone: str, has: set[str], lacks: set[str]) -> None:
    names = {kind.name for kind in compute.accelerator_types.list(project=PROJECT, zone=zone)}
    assert has <= names
    assert not lacks & names


def test_an_accelerator_type_has_the_apis_shape(emulator: Emulator) -> None:
    path = f"projects/{PROJECT}/zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4"
    link = "https://www.googleapis.com/compute/v1/"
    status, answer = call(emulator, "GET", f"/compute/v1/{path}")
    assert (status, answer) == (
        200,
        {
            "kind": "compute#acceleratorType",
            "id": answer["id"],
            "creationTimestamp": "1969-12-31T16:00:00.000-08:00",
            "name": "nvidia-tesla-t4",
            "description": "NVIDIA T4",
            "maximumCardsPerInstance": 4,
            "zone": f"{link}projects/{PROJECT}/zones/{ZONE}",
            "selfLink": link + path,
        },
    )


def test_a_type_that_a_zone_lacks_is_not_found_there(compute: Compute) -> None:
    with pytest.raises(NotFound, match="zones/us-west1-c/acceleratorTypes/nvidia-tesla-p100' was not found"):
        compute.accelerator_types.get(project=PROJECT, zone="us-west1-c", accelerator_type="nvidia-tesla-p100")


def test_all_zones_in_one_list(compute: Compute) -> None:
    request = compute_v1.AggregatedListAcceleratorTypesRequest(project=PROJECT, filter="name = nvidia-tesla-t4")
    scopes = dict(compute.accelerator_types.aggregated_list(request))
    assert set(scopes) == {f"zones/{zone}" for zone in zones.zone_names()}
    having = {scope for scope, listed in scopes.items() if listed.accelerator_types}
    assert having == {f"zones/{zone}" for zone in gpus.GPUS["nvidia-tesla-t4"].zones()}
    assert {kind.name for listed in scopes.values() for kind in listed.accelerator_types} == {"nvidia-tesla-t4"}
    empty = scopes["zones/us-west1-c"]
    assert empty.warning.code == "NO_RESULTS_ON_PAGE"
    assert empty.warning.message == "There are no results for scope 'zones/us-west1-c' on this page."


def test_all_zones_come_in_pages_too(compute: Compute) -> None:
    request = compute_v1.AggregatedListAcceleratorTypesRequest(project=PROJECT, max_results=7)
    found = [
        (scope, kind.name)
        for scope, listed in compute.accelerator_types.aggregated_list(request)
        for kind in listed.accelerator_types
    ]
    assert len(found) == len(set(found)) == sum(len(set(gpu.zones())) for gpu in gpus.GPUS.values())


@pytest.mark.parametrize(
    ("zone", "has", "lacks"),
    [
        ("us-west1-b", {"g2-standard-4", "a2-highgpu-1g", "a3-highgpu-1g", "a3-megagpu-8g"}, {"a2-ultragpu-1g"}),
        ("us-west1-c", {"n1-standard-1", "g2-standard-4", "a3-ultragpu-8g"}, {"a2-highgpu-1g", "a3-highgpu-8g"}),
        ("us-central1-b", {"a4-highgpu-8g"}, {"a3-highgpu-2g", "a2-ultragpu-8g"}),
        ("us-west2-a", {"n1-standard-1"}, {"g2-standard-4"}),
    ],
)
def test_machines_with_gpus_are_where_the_gpus_are(compute: Compute, zone: str, has: set[str], lacks: set[str]) -> None:
    names = {kind.name for kind in compute.machine_types.list(project=PROJECT, zone=zone)}
    assert has <= names
    assert not lacks & names


@pytest.mark.parametrize(
    ("machine", "gpu", "count"),
    [
        ("a2-highgpu-2g", "nvidia-tesla-a100", 2),
        ("a3-highgpu-1g", "nvidia-h100-80gb", 1),
        ("a3-megagpu-8g", "nvidia-h100-mega-80gb", 8),
        ("g2-standard-24", "nvidia-l4", 2),
    ],
)
def test_a_machine_brings_its_gpus(compute: Compute, machine: str, gpu: str, count: int) -> None:
    (accelerator,) = compute.create(**with_machine(machine)).guest_accelerators
    assert accelerator.accelerator_type.endswith(f"/zones/{ZONE}/acceleratorTypes/{gpu}")
    assert accelerator.accelerator_count == count


@pytest.mark.parametrize(
    ("zone", "fields", "error", "words"),
    [
        (
            "us-west1-c",
            with_gpu("nvidia-tesla-p100", zone="us-west1-c"),
            NotFound,
            f"The resource 'projects/{PROJECT}/zones/us-west1-c/acceleratorTypes/nvidia-tesla-p100' was not found",
        ),
        (ZONE, with_gpu("nvidia-tesla-k80"), NotFound, "acceleratorTypes/nvidia-tesla-k80' was not found"),
        (ZONE, with_gpu(count=3), BadRequest, "acceleratorCount': '3'. Must be one of 1, 2, 4"),
        (
            "us-west1-c",
            with_machine("a2-highgpu-1g", "us-west1-c"),
            BadRequest,
            "Machine type with name 'a2-highgpu-1g' does not exist in zone 'us-west1-c'",
        ),
    ],
)
def test_what_a_zone_lacks_is_refused(
    compute: Compute, zone: str, fields: dict[str, Any], error: type[GoogleAPICallError], words: str
) -> None:
    with pytest.raises(error) as refused:
        compute.insert(zone=zone, **fields)
    assert words in refused.value.message
    assert compute.names("instances") == []


def quotas(compute: Compute, region: str = "us-west1") -> dict[str, tuple[float, float]]:
    """Limit and usage of each quota of a region, and of the project."""
    shown = [
        *compute.regions.get(project=PROJECT, region=region).quotas,
        *compute.projects.get(project=PROJECT).quotas,
    ]
    return {quota.metric: (quota.limit, quota.usage) for quota in shown}


def test_usage_counts_what_runs(compute: Compute) -> None:
    assert quotas(compute)["NVIDIA_T4_GPUS"] == quotas(compute)["GPUS_ALL_REGIONS"] == (8, 0)
    compute.create(**with_gpu(count=2))
    compute.create("other", **with_machine("g2-standard-4"))
    assert quotas(compute)["NVIDIA_T4_GPUS"] == (8, 2)
    assert quotas(compute)["NVIDIA_L4_GPUS"] == (8, 1)
    assert quotas(compute)["GPUS_ALL_REGIONS"] == (8, 3)
    assert quotas(compute, "us-central1")["NVIDIA_T4_GPUS"] == (8, 0)
    compute.stop()
    assert quotas(compute)["NVIDIA_T4_GPUS"] == (8, 0)
    compute.delete("other")
    assert quotas(compute)["GPUS_ALL_REGIONS"] == (8, 0)


@pytest.mark.parametrize(
    ("limit", "message", "name", "dimensions"),
    [
        (
            {"region": "us-west1", "metric": "NVIDIA_T4_GPUS", "limit": 1},
            "Quota 'NVIDIA_T4_GPUS' exceeded.  Limit: 1.0 in region us-west1.",
            "NVIDIA-T4-GPUS-per-project-region",
            {"region": "us-west1"},
        ),
        (
            {"metric": "GPUS_ALL_REGIONS", "limit": 0},
            "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.",
            "GPUS-ALL-REGIONS-per-project",
            {"region": "global"},
        ),
    ],
)
def test_beyond_the_quota_the_operation_fails_and_leaves_nothing(
    emulator: Emulator, compute: Compute, limit: dict[str, Any], message: str, name: str, dimensions: dict[str, str]
) -> None:
    assert set_quota(emulator, **limit) == [limit]
    failed = compute.wait(compute.insert(**with_gpu(count=2)))
    (error,) = failed.error.errors
    assert (error.code, error.message, failed.http_error_status_code) == ("QUOTA_EXCEEDED", message, 403)
    info = error.error_details[0].quota_info
    assert (info.limit_name, dict(info.dimensions), info.limit) == (name, dimensions, limit["limit"])
    assert compute.names("instances") == compute.names("disks") == []


def test_a_stopped_machine_needs_quota_to_start(emulator: Emulator, compute: Compute) -> None:
    compute.create(**with_gpu())
    compute.stop()
    set_quota(emulator, region="us-west1", metric="NVIDIA_T4_GPUS", limit=0)
    start = compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm")
    assert compute.wait(start).error.errors[0].code == "QUOTA_EXCEEDED"
    assert compute.instances.get(project=PROJECT, zone=ZONE, instance="vm").status == "TERMINATED"
    set_quota(emulator, region="us-west1", metric="NVIDIA_T4_GPUS", limit=1)
    compute.ok(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))


def test_of_many_at_once_only_as_many_start_as_may(emulator: Emulator, compute: Compute) -> None:
    set_quota(emulator, region="us-west1", metric="NVIDIA_T4_GPUS", limit=3)
    codes = []

    def create(number: int) -> None:
        done = compute.wait(compute.insert(f"vm{number}", **with_gpu()))
        codes.append(done.error.errors[0].code if done.error.errors else "")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == 3 * [""] + 3 * ["QUOTA_EXCEEDED"]


def test_machines_without_gpus_need_no_quota_of_gpus(emulator: Emulator, compute: Compute) -> None:
    set_quota(emulator, metric="GPUS_ALL_REGIONS", limit=0)
    compute.create()


@pytest.mark.parametrize(
    "body",
    [
        {"region": "us-west1", "metric": "NVIDIA_T9_GPUS", "limit": 1},
        {"region": "us-mars1", "metric": "NVIDIA_T4_GPUS", "limit": 1},
        {"region": "us-west1", "metric": "GPUS_ALL_REGIONS", "limit": 1},
        {"metric": "NVIDIA_T4_GPUS", "limit": 1},
        {"region": "us-west1", "metric": "NVIDIA_T4_GPUS", "limit": "many"},
        {"region": "us-west1", "metric": "NVIDIA_T4_GPUS"},
    ],
)
def test_a_limit_of_nothing_is_refused(emulator: Emulator, body: dict[str, Any]) -> None:
    status, answer = call(emulator, "POST", "/emulator/quotas", body)
    assert (status, answer["error"]["code"]) == (400, 400)
    assert call(emulator, "GET", "/emulator/quotas") == (200, {"limits": []})


def test_limits_outlive_the_emulator_until_the_default_is_wanted(tmp_path: Path) -> None:
    limit = {"region": "us-west1", "metric": "NVIDIA_T4_GPUS", "limit": 0.0}
    with Emulator(tmp_path) as first:
        set_quota(first, **limit)
    with Emulator(tmp_path) as second:
        assert call(second, "GET", "/emulator/quotas")[1] == {"limits": [limit]}
        assert quotas(Compute(second))["NVIDIA_T4_GPUS"] == (0, 0)
        assert set_quota(second, **{**limit, "limit": -1}) == []
        assert quotas(Compute(second))["NVIDIA_T4_GPUS"] == (8, 0)
