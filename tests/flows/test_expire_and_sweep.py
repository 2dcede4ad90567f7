"""The flows expire-images and sweep, as a schedule runs them: what goes, the table they leave, how they fail."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ParameterTypeError
from support.compute_clients import PROJECT, Compute
from support.family_images import DAY, add_images, changes
from support.leftovers import ALIVE, DEAD, NOW, bystanders, everything, make_disk
from support.storage_clients import anonymous_bucket
from support.time_up import CommandClock, time_up_during

from cos_customizer.customizer.errors import CustomizerError, UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.expire_images import expire_images
from cos_customizer.flows.sweep import sweep

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def table(key: str) -> tuple[str, list[dict[str, Any]]]:
    """Description and rows of the newest artifact with this key."""

    async def read() -> Any:
        async with get_client() as client:
            of_key = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
            return await client.read_artifacts(artifact_filter=of_key, sort=ArtifactSort.CREATED_DESC, limit=1)

    (artifact,) = asyncio.run(read())
    return artifact.description, json.loads(artifact.data)


def test_expired_images_go_and_the_table_tells_of_every_image(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"old": {"deleted": past}, "theirs": {"deleted": past, "description": ""}, "now": {}})
    removals = expire_images("my-project", ["my-family"], keep_last=1)
    assert [(each.name, each.action) for each in removals] == [("now", "keep"), ("theirs", "keep"), ("old", "deleted")]
    assert sorted(compute.names("images")) == ["now", "theirs"]
    description, rows = table("expire-images")
    assert description == "Images of my-family in my-project: 1 deleted, 2 kept"
    assert rows[1] == {
        "action": "keep",
        "kind": "image",
        "family": "my-family",
        "name": "theirs",
        "why": "not made by cos-customizer",
    }


def test_leftovers_go_and_bystanders_stay(compute: Compute) -> None:
    bucket = anonymous_bucket()
    others = bystanders(compute, bucket, ALIVE.labels(NOW * 2))
    make_disk(compute, DEAD.builder_vm, DEAD.labels(time.time() - 1))
    removals = sweep("my-project")
    assert [each.name for each in removals if each.action == "deleted"] == [DEAD.builder_vm]
    assert everything(compute, bucket) == others
    description, rows = table("sweep")
    assert description.startswith("Left of builds in my-project: 1 deleted, ")
    (row,) = [row for row in rows if row["name"] == DEAD.builder_vm]
    assert {"action": "deleted", "kind": "disk", "where": "us-west1-b"}.items() <= row.items()


def test_a_dry_run_makes_the_table_and_no_more(compute: Compute) -> None:
    make_disk(compute, DEAD.builder_vm, DEAD.labels(time.time() - 1))
    make_disk(compute, ALIVE.builder_vm, ALIVE.labels(time.time() + DAY))
    add_images(compute, {"old": {"deleted": time.time() - DAY}, "now": {}})
    compute.emulator.calls.clear()
    assert [each.action for each in sweep("my-project", dry_run=True)] == ["keep", "delete"]
    later = datetime.now(UTC) + timedelta(days=2)
    assert [each.action for each in sweep("my-project", dry_run=True, as_of=later)] == ["delete", "delete"]
    assert [each.action for each in expire_images("my-project", ["my-family"], 0, dry_run=True)] == ["keep", "delete"]
    assert changes(compute) == []
    assert table("sweep")[0] == "Left of builds in my-project (dry run): 2 to delete"
    with pytest.raises(UsageError, match="as_of: that time has not come yet"):
        sweep("my-project", as_of=later)
    assert changes(compute) == []


def test_what_cannot_be_deleted_fails_the_run_when_the_rest_is_gone(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"old-1": {"deleted": past}, "old-2": {"deleted": past}, "now": {}})
    path = f"projects/{PROJECT}/global/images/old-1"
    compute.emulator.faults.add(kind="operation", method="delete", path=path, code="INTERNAL_ERROR", message="oops")
    with pytest.raises(
        CustomizerError, match="1 could not be deleted: image old-1: could not delete image old-1: oops"
    ):
        expire_images("my-project", ["my-family"], keep_last=1)
    assert sorted(compute.names("images")) == ["now", "old-1"]
    assert [row["action"] for row in table("expire-images")[1]] == ["keep", "deleted", "failed"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"project": "No Project", "image_families": ["f"]},
        {"project": "my-project", "image_families": []},
        {"project": "my-project", "image_families": ["F"]},
        {"project": "my-project", "image_families": ["f"], "keep_last": -1},
    ],
)
def test_parameters_that_cannot_be_right_are_refused(emulator: Emulator, parameters: dict[str, Any]) -> None:
    with pytest.raises(ParameterTypeError):
        expire_images(**parameters)
    assert emulator.calls.count() == 0


def test_what_was_not_deleted_in_time_stays_in_the_table_and_fails_the_run(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = CommandClock(monkeypatch)
    past = time.time() - DAY
    add_images(compute, {"old-1": {"deleted": past}, "old-2": {"deleted": past}, "now": {}})
    make_disk(compute, DEAD.builder_vm, DEAD.labels(past))
    compute.emulator.faults.add("operation", method="delete", path="/(images|disks)/", seconds=1e9, count=0)
    with time_up_during(compute.emulator, clock, r"/images/[0-9]+($|\?)", method="DELETE"):  # noqa: SIM117 - one each
        with pytest.raises(
            CustomizerError, match=r"2 could not be deleted: image old-2: .* it was begun, and there was"
        ):
            expire_images("my-project", ["my-family"], keep_last=0, timeout="1h")
    assert [row["action"] for row in table("expire-images")[1]] == ["keep", "failed", "failed"]
    clock.start_anew()
    with time_up_during(compute.emulator, clock, "/zones/.*/wait", method="POST"):  # noqa: SIM117
        with pytest.raises(CustomizerError, match=r"1 could not be deleted: disk .* no time left to see it end"):
            sweep("my-project", timeout="30m")
    assert table("sweep")[0] == "Left of builds in my-project: 1 failed"


@pytest.mark.parametrize("timeout", ["0s", "-1h", "soon"])
def test_a_time_limit_that_is_none_is_refused(emulator: Emulator, timeout: str) -> None:
    with pytest.raises(ParameterTypeError):
        expire_images("my-project", ["my-family"], timeout=timeout)
    with pytest.raises(ParameterTypeError):
        sweep("my-project", timeout=timeout)
    assert emulator.calls.count() == 0
