"""Statuses: what they mean, and which changes there can be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cos_customizer.emulator.compute.statuses import (
    DiskStatus,
    ImageStatus,
    InstanceStatus,
    Status,
    change_status,
)
from cos_customizer.emulator.compute.store import Store
from cos_customizer.emulator.errors import ApiError, EmulatorError

PATH = "projects/p/zones/z/instances/i"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PROVISIONING", InstanceStatus.STAGING),
        ("STAGING", InstanceStatus.RUNNING),
        ("STAGING", InstanceStatus.TERMINATED),
        ("RUNNING", InstanceStatus.STOPPING),
        ("RUNNING", InstanceStatus.TERMINATED),
        ("RUNNING", InstanceStatus.RUNNING),
        ("TERMINATED", InstanceStatus.STAGING),
        ("CREATING", DiskStatus.READY),
        ("PENDING", ImageStatus.FAILED),
        ("DELETING", DiskStatus.READY),
        ("DELETING", ImageStatus.READY),
    ],
)
def test_a_change_of_the_table_is_made_and_stored(store: Store, tmp_path: Path, before: str, after: Status) -> None:
    store.put(PATH, {"status": before, "name": "i"})
    changed = change_status(store, PATH, after, size="1")
    assert changed == store.get(PATH) == {"status": after.value, "name": "i", "size": "1"}
    store.close()
    assert Store(tmp_path).get(PATH) == changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("TERMINATED", InstanceStatus.RUNNING),
        ("PROVISIONING", InstanceStatus.RUNNING),
        ("STOPPING", InstanceStatus.RUNNING),
        ("CREATING", DiskStatus.DELETING),
        ("READY", DiskStatus.CREATING),
        ("READY", ImageStatus.PENDING),
        ("FAILED", ImageStatus.READY),
    ],
)
def test_any_other_change_is_refused_and_nothing_is_changed(store: Store, before: str, after: Status) -> None:
    store.put(PATH, {"status": before})
    with pytest.raises(EmulatorError, match=f"is {before} and cannot become {after}"):
        change_status(store, PATH, after)
    assert store.get(PATH) == {"status": before}


def test_what_is_gone_has_no_status(store: Store) -> None:
    with pytest.raises(ApiError, match="was not found"):
        change_status(store, PATH, InstanceStatus.RUNNING)


def test_an_instance_that_does_not_run_is_free_of_quotas_and_a_stopped_one_frees_its_disk() -> None:
    free = [InstanceStatus.SUSPENDED, InstanceStatus.TERMINATED]
    assert [status for status in InstanceStatus if not status.counts_for_quota] == free
    assert [status for status in InstanceStatus if status.disk_is_free] == [InstanceStatus.TERMINATED]
