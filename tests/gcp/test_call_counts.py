"""Calls are counted as Compute Engine counts them for its rate quotas."""

import time
from collections import Counter

import pytest

from cos_customizer.customizer.reporting.calls_a_minute import from_text, summed, to_text
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.call_counts import counts, group_of
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.images import list_images
from cos_customizer.gcp.scratch import check_bucket

PLACE = "https://compute.googleapis.com/compute/v1/projects/p"
ZONE = f"{PLACE}/zones/us-west1-b"
GROUPS = [
    ("GET", f"{ZONE}/instances/vm/serialPort?port=3&start=0", "reads of serial consoles"),
    ("POST", f"{ZONE}/operations/operation-1/wait", "waits for operations"),
    ("POST", f"{PLACE}/global/operations/operation-1/wait", "waits for operations"),
    ("GET", f"{ZONE}/operations/operation-1", "reads of operations"),
    ("POST", f"{PLACE}/global/images?requestId=1", "changes of images"),
    ("PATCH", f"{PLACE}/global/images/web", "changes of images"),
    ("GET", f"{PLACE}/global/images?maxResults=500", "lists"),
    ("GET", f"{PLACE}/aggregated/instances", "lists"),
    ("GET", f"{PLACE}/global/images/web", "reads"),
    ("GET", f"{PLACE}/global/images/family/web", "reads"),
    ("GET", f"{ZONE}/instances/vm", "reads"),
    ("POST", f"{ZONE}/instances", "other changes"),
    ("DELETE", f"{ZONE}/disks/d", "other changes"),
    ("POST", "https://storage.googleapis.com/upload/storage/v1/b/bucket/o", "Cloud Storage"),
]


@pytest.mark.parametrize(("method", "url", "group"), GROUPS)
def test_each_call_has_its_group(method: str, url: str, group: str) -> None:
    assert group_of(method, url) == group


def test_every_call_is_counted(emulator: Emulator) -> None:
    began = time.time()

    def told() -> Counter[str]:
        return sum(counts.since(began).values(), Counter())

    before, clients = told(), connect()
    list_images(clients, "my-project")
    check_bucket(clients, "my-project_cloudbuild")
    assert told() - before == {"lists": 1, "Cloud Storage": 1}
    assert emulator.calls.count() == 2


def test_what_processes_have_counted_is_passed_on_as_text_and_added_up() -> None:
    one, other = {7: Counter(reads=2)}, {7: Counter(reads=1, lists=3), 8: Counter(reads=9)}
    together = {7: Counter(reads=3, lists=3), 8: Counter(reads=9)}
    assert summed(from_text(to_text(each)) for each in (one, other)) == together
    for text in ("", "null", "[]", '{"7": 3}', '{"x": {}}', "{"):
        assert from_text(text) == {}
