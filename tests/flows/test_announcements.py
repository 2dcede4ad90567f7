"""What becomes of images in Prefect's event feed: each thing once, and only when it is true."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.builds import images, signalled, time_is_up
from support.compute_clients import Compute
from support.event_feed import Feed, fed, related
from support.family_images import DAY, add_images
from support.guest_scripts import NONCE, marker, script, succeeded, succeeding
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import BuildFailedError, CustomizerError
from cos_customizer.customizer.reporting.announcements import (
    upstream_keys,
)
from cos_customizer.customizer.reporting.events import Event, StepChange
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import announcements, local_server
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.expire_images import expire_images

pytestmark = pytest.mark.usefixtures("prefect_server")

BUILDER, TEST = "cos-customizer-[0-9a-f]{10}", "cos-customizer-[0-9a-f]{10}-test"
LABELS = ("run-script first.sh", "run-script second.sh")
FAMILY = "gce://my-project/my-family"
IMAGE = "gce://my-project/global/images/my-image"
SOURCE = "gce://cos-cloud/global/images/cos-stable-68-10718-86-0"
RELEASED = ["cos-customizer.image.released", "prefect.asset.referenced", "prefect.asset.referenced"]
FAILS = (
    marker(f"BuildStep: 1 started {LABELS[0]}"),
    marker("BuildStep: 1 failed exit 3"),
    marker("BuildFailed: step 1 exit 3"),
)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    """What is sent to the session's server, as if others could see that."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    with fed() as feed:
        yield feed


def play(emulator: Emulator, *on_test_vm: dict[str, Any]) -> None:
    emulator.scripts.add({"match": {"name": TEST}, "variables": NONCE, "events": list(on_test_vm)})
    emulator.scripts.add({**succeeding(*LABELS), "match": {"name": BUILDER}})


def test_a_build_announces_that_its_image_is_verified_and_then_that_it_is_released(
    emulator: Emulator, make_spec: SpecMaker, feed: Feed
) -> None:
    play(emulator, marker(f"BuildStep: 1 started {LABELS[0]}"), marker("BuildStep: 1 succeeded 0.4"), *succeeded())
    spec = make_spec(output={"family": "my-family"}, verify={"scripts": ["first.sh"]})
    result = build_image(spec)
    assert sorted(feed.names()) == sorted(
        ["cos-customizer.image.verified", *RELEASED, "prefect.asset.materialization.succeeded"]
    )
    (verified,) = feed.named("cos-customizer.image.verified")
    (released,) = feed.named("cos-customizer.image.released")
    assert verified.occurred < released.occurred
    assert verified.payload == {
        "project": "my-project",
        "image": "my-image",
        "family": "my-family",
        "image_id": result.image_id,
        "build_id": result.build_id,
        "scripts": [LABELS[0]],
    }
    assert released.resource.id == IMAGE
    context = f"file://{spec.context.path}"
    made = images(emulator)["my-image"]
    assert released.payload == {
        "project": "my-project",
        "image": "my-image",
        "family": "my-family",
        "image_id": result.image_id,
        "build_id": result.build_id,
        "adopted": False,
        "verified": ["boot", LABELS[0]],
        "source_image": "cos-stable-68-10718-86-0",
        "source_image_id": result.source_image_id,
        "context_sha256": released.payload["context_sha256"],
        "upstream": [SOURCE, context],
        "disk_size_gb": int(made["diskSizeGb"]),
        "archive_size_bytes": int(made["archiveSizeBytes"]),
        "changes": "no difference",
    }
    assert len(released.payload["context_sha256"]) == 64
    assert released.payload["archive_size_bytes"] > 0
    assert related(released)["image-family"] == FAMILY
    assert related(released)["flow-run"].startswith("prefect.flow-run.")  # by Prefect itself
    (materialized,) = feed.named("prefect.asset.materialization.succeeded")
    assert materialized.resource.id == FAMILY
    assert materialized.payload == released.payload
    assert {each.id for each in materialized.related if each.role == "asset"} == {SOURCE, context}
    assert related(materialized)["asset-materialized-by"] == "cos-customizer"
    assert {event.resource.id for event in feed.named("prefect.asset.referenced")} == {SOURCE, context}


def test_an_image_that_is_there_already_is_not_announced_again(
    emulator: Emulator, make_spec: SpecMaker, feed: Feed
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    assert build_image(make_spec()).outcome == "built"
    assert feed.names() == ["cos-customizer.image.released"]  # an image of no family is no asset
    assert build_image(make_spec()).outcome == "exists"
    assert feed.names() == ["cos-customizer.image.released"]


def test_what_an_earlier_build_has_left_unreleased_is_announced_by_the_one_that_releases_it(
    emulator: Emulator, make_spec: SpecMaker, feed: Feed
) -> None:
    play(emulator, *succeeded())
    emulator.faults.add(kind="operation", method="setLabels", code="INTERNAL_ERROR", message="oops")
    spec = make_spec(output={"family": "my-family"}, verify={"boot": True})
    with pytest.raises(CustomizerError, match="its release is not complete"):
        build_image(spec)
    (failed,) = feed.named("cos-customizer.image.failed")
    assert failed.payload["stage"] == "release"
    assert failed.payload["image_id"] == images(emulator)["my-image"]["id"]
    assert feed.named("cos-customizer.image.released") == []
    assert feed.named("prefect.asset.materialization.failed") == []  # the family gives it all the same
    again = build_image(spec)
    (released,) = feed.named("cos-customizer.image.released")
    assert released.payload["adopted"]
    assert released.payload["build_id"] == again.build_id != failed.payload["build_id"]
    assert len(feed.named("cos-customizer.image.verified")) == 1


def test_a_failed_build_says_where_why_and_what_to_do(emulator: Emulator, make_spec: SpecMaker, feed: Feed) -> None:
    emulator.scripts.add(script(*FAILS))
    spec = make_spec(output={"family": "my-family"})
    with pytest.raises(BuildFailedError) as error:
        build_image(spec)
    assert sorted(feed.names()) == [
        "cos-customizer.image.failed",
        "prefect.asset.materialization.failed",
        "prefect.asset.referenced",
        "prefect.asset.referenced",
    ]
    (failed,) = feed.named("cos-customizer.image.failed")
    assert failed.resource.id == IMAGE
    assert failed.resource["cos-customizer.outcome"] == "failed"
    payload = failed.payload
    assert payload["stage"] == "steps"
    assert payload["cause"] == error.value.message == "step 1/2 failed: run-script first.sh exited with 3"
    assert payload["hint"] == str(error.value.hint)
    assert failed.resource["cos-customizer.cause"] == payload["failure"]["cause"] == "step-failed"
    assert (payload["failure"]["step"], payload["failure"]["message"]) == (1, payload["cause"])
    assert payload["image_id"] == ""
    assert payload["serial_log"].startswith("gs://my-project_cloudbuild/work/cos-customizer/")
    assert payload["upstream"] == list(upstream_keys(spec))


def test_a_build_that_is_stopped_or_out_of_time_says_so(emulator: Emulator, make_spec: SpecMaker, feed: Feed) -> None:
    def begun(event: Event) -> bool:
        return isinstance(event, StepChange)

    emulator.scripts.add(script(marker(f"BuildStep: 1 started {LABELS[0]}")))
    with pytest.raises(CustomizerError), time_is_up(begun):
        build_image(make_spec())
    with pytest.raises(KeyboardInterrupt), signalled(signal.SIGINT, begun):
        build_image(make_spec())
    told = [(event.payload["outcome"], event.payload["stage"]) for event in feed.named("cos-customizer.image.failed")]
    assert told == [("timed-out", "steps"), ("interrupted", "steps")]


def test_a_source_that_is_not_there_is_told_by_the_name_that_the_image_would_have(
    emulator: Emulator, make_spec: SpecMaker, feed: Feed
) -> None:
    with pytest.raises(CustomizerError):
        build_image(make_spec(source={"name": "cos-none"}, output={"name": None, "suffix": "-app"}))
    (failed,) = feed.named("cos-customizer.image.failed")
    assert failed.resource.id == "gce://my-project/global/images/*-app"
    assert failed.payload["stage"] == "prepare"


def test_expired_images_are_announced_and_no_others(emulator: Emulator, feed: Feed) -> None:
    past = time.time() - DAY
    add_images(Compute(emulator), {"old-1": {"deleted": past}, "old-2": {"deleted": past}, "now": {}})
    emulator.faults.add("operation", method="delete", path="/old-1|/[0-9]+", code="INTERNAL_ERROR", message="oops")
    with pytest.raises(CustomizerError, match="1 could not be deleted"):
        expire_images("my-project", ["my-family"], keep_last=0)
    (gone,) = feed.read()
    assert gone.event == "cos-customizer.image.expired"
    assert {*images(emulator)} == {"now", "old-1", "old-2"} - {gone.payload["image"]}
    assert gone.payload["image_id"]
    assert related(gone)["image-family"] == FAMILY


def test_a_server_that_nobody_sees_gets_no_events(
    emulator: Emulator, make_spec: SpecMaker, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "is_throw_away", lambda: True)
    emulator.scripts.add(succeeding(*LABELS))
    build_image(make_spec(output={"family": "my-family"}))
    assert feed.names() == []


def test_a_feed_that_takes_nothing_neither_fails_nor_delays_a_build(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    monkeypatch.setattr(announcements, "emit_event", _broken)
    emulator.scripts.add(succeeding(*LABELS))
    assert build_image(make_spec(output={"family": "my-family"})).outcome == "built"


def _broken(*_arguments: Any, **_others: Any) -> None:
    raise RuntimeError("no events today")
