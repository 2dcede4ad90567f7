"""What is in an image is recorded with it, found by it, and goes with it; a build that cannot record it says so."""

import hashlib
import time
from typing import Any

import pytest
from google.cloud import compute_v1
from support.builds import failing, images, time_is_up
from support.compute_clients import PROJECT, Compute
from support.family_images import DAY, rfc3339
from support.guest_scripts import NONCE, marker, sending, succeeded, succeeding
from support.leftovers import leftovers
from support.packed_contents import packed
from support.specifications import SpecMaker
from support.storage_clients import anonymous_bucket, ask

from cos_customizer.customizer.contents import places
from cos_customizer.customizer.errors import (
    BuildFailedError,
    BuildTimeoutError,
    CustomizerError,
    NotFoundError,
    UsageError,
)
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.names import BUILD_LABEL, EXPIRY_LABEL, IMAGE_KEY, BuildNames
from cos_customizer.customizer.references import ImageRef, ObjectRef
from cos_customizer.customizer.reporting.events import Event, Note, StepChange, listening
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.dry_run import dry_run
from cos_customizer.flows.expire_images import expire_images
from cos_customizer.flows.sweep import sweep
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.contents import contents_of, discard_unused
from cos_customizer.gcp.images import ResolvedImage, find_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
FAMILY = {"family": "my-family"}
CONTENTS = packed(
    before__units=b"a.service enabled\n",
    after__units=b"a.service masked\n",
    **{"after__left-out": b"files: too many\n"},
)


def play(emulator: Emulator, *events: dict[str, Any]) -> None:
    """The builder VM's steps succeed, and then it does this; without anything, it sends CONTENTS."""
    steps = succeeding(*LABELS)["events"]
    before = [event for event in steps if "BuildStep" in event.get("text", "")]
    script = [*before, *(events or succeeded(contents=CONTENTS))]
    emulator.scripts.add({"match": {"name": "cos-customizer-[0-9a-f]{10}"}, "variables": NONCE, "events": script})


def objects() -> list[str]:
    return [blob.name.rpartition("/")[2] for blob in anonymous_bucket().list_blobs()]


def image(name: str = "my-image") -> ResolvedImage:
    found = find_image(connect(), ImageRef("my-project", name))
    assert found
    return found


def recorded(name: str = "my-image") -> tuple[str, ObjectRef]:
    """The build that has made an image, and the object that tells what is in it."""
    provenance = image(name).provenance
    assert provenance
    assert provenance.recorded_contents
    return provenance.build, provenance.recorded_contents


def deprecate(name: str) -> None:
    """Let an image count as deleted since yesterday."""
    body = compute_v1.DeprecationStatus(state="DEPRECATED", deleted=rfc3339(time.time() - DAY))
    clients = connect()
    operation = clients.images.deprecate_unary(project=PROJECT, image=name, deprecation_status_resource=body)
    clients.global_operations.wait(project=PROJECT, operation=operation.name)


def delete_by_hand(name: str) -> None:
    clients = connect()
    operation = clients.images.delete_unary(project=PROJECT, image=name)
    clients.global_operations.wait(project=PROJECT, operation=operation.name)


def address_of(emulator: Emulator) -> str:
    """Where the builder VM was told to send its contents."""
    (vm,) = emulator.list(f"projects/{PROJECT}/zones/-/instances")
    return next((item["value"] for item in vm["metadata"]["items"] if item["key"] == "contents-upload"), "")


def test_an_image_with_a_family_says_where_its_contents_are(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator)
    notes: list[Note] = []
    with listening(lambda event: notes.append(event) if isinstance(event, Note) else None):
        result = build_image(make_spec(output=FAMILY))
    _, target = recorded()
    assert result.contents == target.url
    assert result.contents == f"gs://my-project_cloudbuild/work/cos-customizer/{result.build_id}/contents.tar.gz"
    assert f"contents_sha256={hashlib.sha256(CONTENTS).hexdigest()}" in image().description
    contents = contents_of(connect(), image())
    assert (contents.before.units, contents.after.units) == ({"a.service": "enabled"}, {"a.service": "masked"})
    (warning,) = [note for note in notes if note.topic == "contents" and note.level == "warning"]
    assert warning.text == "not recorded of the image: files: too many"
    blob = anonymous_bucket().get_blob(target.name)
    assert blob.metadata[IMAGE_KEY] == "my-project/my-image"
    assert blob.metadata[BUILD_LABEL] == result.build_id
    assert blob.custom_time is None
    assert leftovers(emulator) == []
    assert "contents" in result.durations


@pytest.mark.parametrize("output", [{}, {**FAMILY, "record_contents": False}])
def test_a_build_that_records_nothing_pays_nothing(
    emulator: Emulator, make_spec: SpecMaker, output: dict[str, Any]
) -> None:
    play(emulator)
    told: list[str] = []

    def look(event: Event) -> None:
        if isinstance(event, StepChange) and not told:
            told.append(address_of(emulator))

    with listening(look):
        result = build_image(make_spec(output=output))
    assert (told, result.contents) == ([""], "")
    assert not any("contents" in call.path for call in emulator.calls.list())
    with pytest.raises(NotFoundError, match="has no recorded contents: it was made without recording its contents"):
        contents_of(connect(), image())


SHA = "0" * 64
FAILURES: dict[str, tuple[tuple[dict[str, Any], ...], str]] = {
    "it could not be sent": ((marker("BuildContents: failed HTTP 503 and so on"),), "HTTP 503 and so on"),
    "nothing is said of it": ((), "the builder VM has not reported that it has sent them"),
    "another digest": ((sending(CONTENTS)[0], marker(f"BuildContents: sent 5 {SHA}")), f"not {SHA}"),
    "nothing was sent": ((marker(f"BuildContents: sent 5 {SHA}"),), "there is no such object"),
    "garbage": (sending(b"garbage"), "the recorded contents cannot be read"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_build_that_was_told_to_record_fails_if_it_cannot(
    emulator: Emulator, make_spec: SpecMaker, case: str
) -> None:
    events, why = FAILURES[case]
    play(emulator, *events, *succeeded()[2:])
    error, result = failing(make_spec(output={"record_contents": True}), BuildFailedError)
    assert error.message.startswith("what is in the image could not be recorded: ")
    assert why in error.message
    assert result.contents == ""
    assert images(emulator) == {}
    assert leftovers(emulator) == []


@pytest.mark.parametrize("case", FAILURES)
def test_a_build_that_records_by_default_warns_and_goes_on(emulator: Emulator, make_spec: SpecMaker, case: str) -> None:
    events, why = FAILURES[case]
    play(emulator, *events, *succeeded()[2:])
    warnings: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Note) and event.level == "warning" and event.topic == "contents":
            warnings.append(event.text)

    with listening(note):
        result = build_image(make_spec(output=FAMILY))
    assert (result.outcome, result.contents) == ("built", "")
    (warning,) = warnings
    assert why in warning
    assert warning.endswith("; the image is made without")
    assert "contents.tar.gz" not in objects()
    assert leftovers(emulator) == []


def test_a_flipped_byte_in_the_bucket_is_found(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator)
    build_image(make_spec(output=FAMILY))
    _, target = recorded()
    anonymous_bucket().blob(target.name).upload_from_string(CONTENTS[:-1] + b"x")
    with pytest.raises(CustomizerError, match="it is not what the builder VM has sent"):
        contents_of(connect(), image())


def test_contents_of_an_image_that_fails_its_verification_go_with_it(emulator: Emulator, make_spec: SpecMaker) -> None:
    fails = (
        marker("BuildStep: 1 started run-script first.sh"),
        marker("BuildStep: 1 failed exit 7"),
        marker("BuildFailed: step 1 exit 7"),
    )
    test_vm = {"match": {"name": "cos-customizer-[0-9a-f]{10}-test"}, "variables": NONCE, "events": list(fails)}
    play(emulator)
    emulator.scripts.add(test_vm)
    failing(make_spec(output=FAMILY, verify={"scripts": ["first.sh"]}), BuildFailedError)
    assert images(emulator) == {}
    assert "contents.tar.gz" not in objects()

    kept = make_spec(output=FAMILY, verify={"scripts": ["first.sh"], "keep_failed_image": True})
    failing(kept, BuildFailedError)
    assert list(images(emulator)) == ["my-image"]
    assert contents_of(connect(), image()).after.units == {"a.service": "masked"}


def test_a_build_that_ends_in_the_middle_of_the_upload_leaves_nothing_and_nobody_can_send_any_more(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    play(emulator, marker("BuildStep: 2 succeeded 0.1"))  # and no more
    addresses: list[str] = []

    def is_sending(event: Event) -> bool:
        if not (isinstance(event, StepChange) and event.number == 2 and event.state == "succeeded"):
            return False
        address = address_of(emulator)
        addresses.append(address)
        half = ask(emulator, "PUT", address, "x" * (1 << 20), Content_Range=f"bytes 0-{(1 << 20) - 1}/*")
        assert half[0] == 308
        return True

    with time_is_up(is_sending):
        failing(make_spec(output=FAMILY), BuildTimeoutError)
    assert leftovers(emulator) == []
    status, *_ = ask(emulator, "PUT", addresses[0], b"", Content_Range="bytes */2097152")
    assert status == 404


def test_what_a_killed_build_has_recorded_is_found_by_its_hook_unless_its_image_is_there(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    play(emulator)
    build_image(make_spec(output=FAMILY))
    build, target = recorded()
    assert discard_unused(connect(), target, BuildNames(build)) == []
    assert "contents.tar.gz" in objects()
    delete_by_hand("my-image")
    removals = discard_unused(connect(), target, BuildNames(build))
    assert [(each.name.rpartition("/")[2], each.action) for each in removals] == [
        (name, "deleted") for name in ("contents.tar.gz", *places.DOCUMENTS)
    ]
    assert "contents.tar.gz" not in objects()
    assert discard_unused(connect(), target, BuildNames(build)) == []


def test_an_expired_image_takes_its_contents_with_it(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator)
    for name in ("old", "new"):
        build_image(make_spec(output={**FAMILY, "name": name}))
        emulator.clock.advance(1)
    deprecate("old")
    _, old = recorded("old")
    removals = expire_images("my-project", ["my-family"], keep_last=1)
    assert [(each.kind, each.name, each.action) for each in removals] == [
        ("image", "new", "keep"),
        ("image", "old", "deleted"),
        *(("object", each.name, "deleted") for each in (old, *(places.beside(old, name) for name in places.DOCUMENTS))),
    ]
    assert objects().count("contents.tar.gz") == 1
    assert contents_of(connect(), image("new"))


def test_sweep_takes_contents_whose_image_is_gone_and_no_others(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator)
    for name in ("gone", "there"):
        build_image(make_spec(output={**FAMILY, "name": name}))
    bucket = anonymous_bucket()
    for blob in bucket.list_blobs():
        if IMAGE_KEY in (blob.metadata or {}):
            blob.metadata = {**blob.metadata, EXPIRY_LABEL: str(int(time.time() - DAY))}
            blob.patch()
    (_, gone), (_, there) = recorded("gone"), recorded("there")
    delete_by_hand("gone")
    removals = {each.name: each for each in sweep("my-project")}
    assert removals[gone.name].action == "deleted"
    assert (removals[there.name].action, removals[there.name].reason) == ("keep", "in use by image my-project/there")
    assert objects().count("contents.tar.gz") == 1
    assert contents_of(connect(), image("there"))


def test_an_image_s_description_makes_nobody_delete_what_is_not_its_own(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    bucket, compute = anonymous_bucket(), Compute(emulator)
    bucket.blob("precious").upload_from_string("x")
    named = Provenance("dddddddddd", "42", "f" * 32, "gs://my-project_cloudbuild/precious", "0" * 64)
    description = named.description("projects/cos-cloud/global/images/cos-stable")
    for name in ("old", "new"):
        compute.image(name, family="my-family", description=description)
        emulator.clock.advance(1)
    deprecate("old")
    actions = {each.name: each.action for each in expire_images("my-project", ["my-family"], keep_last=1)}
    assert actions == {"old": "deleted", "new": "keep", "precious": "keep"}
    assert bucket.get_blob("precious")


def test_a_description_without_room_for_it_is_refused_or_goes_without(emulator: Emulator, make_spec: SpecMaker) -> None:
    more: dict[str, Any] = {"scratch": {"workdir": "w" * 300}}
    output = {**FAMILY, "description": "x" * 1700}
    with pytest.raises(UsageError, match="the image's description, which says where"):
        build_image(make_spec(output={**output, "record_contents": True}, **more))
    assert leftovers(emulator) == []
    play(emulator)
    spec = make_spec(output=output, **more)
    secret = spec.model_copy(update={"steps": [spec.steps[0].model_copy(update={"env": {"TOKEN": "hunter2"}})]})
    planned = dry_run(secret)
    assert "hunter2" not in repr(planned)
    assert not any(
        request.path.startswith("upload") and "contents" in str(request.body) for request in planned.requests
    )
    assert build_image(spec).contents == ""
