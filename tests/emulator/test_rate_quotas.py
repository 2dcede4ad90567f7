"""Rate quotas of the local Compute Engine: how many requests of a group a project may make in a minute."""

from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.api_core.retry import Retry
from google.cloud import compute_v1
from support.compute_clients import PROJECT, ZONE, Compute, call

from cos_customizer.emulator.compute.rate_quotas import METRICS
from cos_customizer.emulator.server import Emulator

PREFIX = "compute.googleapis.com/"
CALLS: dict[str, Any] = {
    # What counts for each metric.
    "get_serial_port_output_requests_per_region": lambda compute: compute.instances.get_serial_port_output(
        project=PROJECT, zone=ZONE, instance="vm", retry=None
    ),
    "read_requests_per_region": lambda compute: compute.instances.get(
        project=PROJECT, zone=ZONE, instance="vm", retry=None
    ),
    "list_requests_per_region": lambda compute: compute.instances.list(
        compute_v1.ListInstancesRequest(project=PROJECT, zone=ZONE), retry=None
    ),
    "heavy_weight_read_requests": lambda compute: compute.disks.aggregated_list(
        compute_v1.AggregatedListDisksRequest(project=PROJECT), retry=None
    ),
    "list_requests": lambda compute: compute.images.list(compute_v1.ListImagesRequest(project=PROJECT), retry=None),
    "read_requests": lambda compute: compute.images.get(project=PROJECT, image="app", retry=None),
    "global_resource_write_requests": lambda compute: compute.images.deprecate_unary(
        project=PROJECT, image="app", deprecation_status_resource=compute_v1.DeprecationStatus(state="ACTIVE")
    ),
}


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    compute = Compute(emulator)
    compute.create()
    compute.image("app")
    return compute


def set_limit(emulator: Emulator, metric: str, limit: int) -> Any:
    status, answer = call(emulator, "POST", "/emulator/quotas", {"metric": PREFIX + metric, "limit": limit})
    assert status == 200, answer
    return answer["limits"]


@pytest.mark.parametrize("metric", CALLS)
def test_a_group_is_refused_when_it_is_used_up_and_refilled_at_the_full_minute(metric: str, compute: Compute) -> None:
    emulator = compute.emulator
    assert set_limit(emulator, metric, 2) == [{"metric": PREFIX + metric, "limit": 2}]
    emulator.clock.advance(60 - emulator.clock.now() % 60)
    for _ in range(2):
        CALLS[metric](compute)
    with pytest.raises(Forbidden, match=f"quota metric '{PREFIX}{metric}'") as refused:
        CALLS[metric](compute)
    assert [error["reason"] for error in refused.value.errors] == ["rateLimitExceeded"]
    for other in CALLS.keys() - {metric}:
        CALLS[other](compute)
    emulator.clock.advance(60)
    CALLS[metric](compute)
    set_limit(emulator, metric, -1)
    for _ in range(3):
        CALLS[metric](compute)


def test_a_region_has_a_quota_of_its_own(compute: Compute) -> None:
    set_limit(compute.emulator, "read_requests_per_region", 1)
    compute.emulator.clock.advance(60 - compute.emulator.clock.now() % 60)
    for zone in (ZONE, "us-east1-b"):
        compute.machine_types.get(project=PROJECT, zone=zone, machine_type="n1-standard-1", retry=Retry(timeout=0))
    with pytest.raises(Forbidden):
        compute.machine_types.get(project=PROJECT, zone="us-west1-a", machine_type="n1-standard-1", retry=None)


def test_service_usage_tells_what_was_set(emulator: Emulator) -> None:
    metric = "get_serial_port_output_requests_per_region"
    path = f"/v1beta1/projects/{PROJECT}/services/compute.googleapis.com/consumerQuotaMetrics/{PREFIX}"
    for limit, told in ((None, "-1"), (70, "70")):
        if limit is not None:
            set_limit(emulator, metric, limit)
        status, answer = call(emulator, "GET", path.replace("com/", "com%2F") + metric)
        assert (status, answer["metric"]) == (200, PREFIX + metric)
        (limits,) = answer["consumerQuotaLimits"]
        assert limits["unit"] == "1/min/{project}/{region}"
        buckets = {each.get("dimensions", {}).get("region"): each["effectiveLimit"] for each in limits["quotaBuckets"]}
        assert (buckets[None], buckets["us-west1"]) == (told, told)
    assert emulator.calls.count("serviceusage") == 2
    assert call(emulator, "GET", f"{path}no_such_metric")[0] == 404


@pytest.mark.parametrize("limit", ["many", "Infinity", None])
def test_a_limit_that_is_none_is_refused(emulator: Emulator, limit: object) -> None:
    for metric in ("read_requests", "no_such_metric"):
        status, answer = call(emulator, "POST", "/emulator/quotas", {"metric": PREFIX + metric, "limit": limit})
        assert (status, answer["error"]["code"]) == (400, 400)
    status, answer = call(emulator, "POST", "/emulator/quotas", {"metric": f"{PREFIX}none", "limit": 1})
    assert status == 400
    assert all(metric in answer["error"]["message"] for metric in METRICS)
