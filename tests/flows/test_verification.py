"""Tested before released: an image that fails is never what a family gives."""

import time
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import compute_v1
from support.builds import failing, images, make_image, time_is_up
from support.guest_scripts import NONCE, marker, said, succeeded, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import (
    BuildFailedError,
    BuildTimeoutError,
    ConflictError,
    CustomizerError,
    UsageError,
)
from cos_customizer.customizer.reporting.events import Event, Note, StepChange, listening
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.context import Archive
from cos_customizer.tasks.scratch import archive_context

pytestmark = pytest.mark.usefixtures("prefect_server")

BUILDER, TEST = "cos-customizer-[0-9a-f]{10}", "cos-customizer-[0-9a-f]{10}-test"
LABELS = ("run-script first.sh", "run-script second.sh")
VERIFIED = {"scripts": ["first.sh"]}
OUTPUT = {"family": "my-family", "deprecate_old_images": True, "labels": {"team": "web"}}


def play(emulator: Emulator, *on_test_vm: dict[str, Any]) -> None:
    """The builder VM succeeds; the test VM says this."""
    emulator.scripts.add({"match": {"name": TEST}, "variables": NONCE, "events": list(on_test_vm)})
    emulator.scripts.add({**succeeding(*LABELS), "match": {"name": BUILDER}})


PASSES = (
    marker("BuildStep: 1 started run-script first.sh"),
    said("BuildStatus: all is well\n"),
    marker("BuildStep: 1 succeeded 0.4"),
    *succeeded(),
)
FAILS = (
    marker("BuildStep: 1 started run-script first.sh"),
    said("BuildStatus: no docker here\n"),
    marker("BuildStep: 1 failed exit 7"),
    marker("BuildFailed: step 1 exit 7"),
)


def newest_of_family() -> str:
    try:
        return str(connect().images.get_from_family(project="my-project", family="my-family").name)
    except NotFound:
        return ""


def test_an_image_that_passes_is_released_and_only_then_are_old_ones_deprecated(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_image("old", family="my-family")
    play(emulator, *PASSES)
    seen: list[tuple[str, dict[str, Any]]] = []

    def look(event: Event) -> None:
        if isinstance(event, StepChange) and event.stage == "verify":
            seen.append((newest_of_family(), images(emulator)))

    with listening(look):
        result = build_image(make_spec(output=OUTPUT, verify=VERIFIED))
    for newest, before in seen:
        assert newest == "old"
        assert "family" not in before["my-image"]
        assert before["my-image"]["labels"]["cos-customizer-state"] == "unreleased"
        assert int(before["my-image"]["labels"]["cos-customizer-expires"]) > time.time()
        assert "deprecated" not in before["old"]
    assert len(seen) == 2  # started, succeeded
    assert newest_of_family() == "my-image"
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}
    assert images(emulator)["old"]["deprecated"]["state"] == "DEPRECATED"
    assert result.outcome == "built"
    assert result.deprecated == ("old",)
    assert [step.state for step in result.verification] == ["succeeded"]
    assert leftovers(emulator) == []


def test_what_policies_and_people_ask_for_is_seen_at_vms_and_image(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator, *PASSES)
    spec = make_spec(
        builder={
            "confidential_vm": "SEV",
            "scopes": ["storage-ro"],
            "metadata": {"enable-guest-attributes": "TRUE"},
            "spot": True,
        },
        output={"description": "Web servers", "guest_os_features": ["IDPF"]},
        verify=VERIFIED,
    )
    seen: dict[str, Any] = {}

    def look(event: Event) -> None:
        if isinstance(event, StepChange):
            seen.update({vm["name"]: vm for vm in emulator.list("projects/my-project/zones/-/instances")})

    with listening(look):
        result = build_image(spec)
    assert len(seen) == 2
    for vm in seen.values():
        assert vm["confidentialInstanceConfig"] == {"confidentialInstanceType": "SEV"}
        assert vm["machineType"].endswith("/n2d-standard-2")
        assert (vm["scheduling"]["provisioningModel"], vm["scheduling"]["onHostMaintenance"]) == ("SPOT", "TERMINATE")
        assert vm["serviceAccounts"][0]["scopes"] == ["https://www.googleapis.com/auth/devstorage.read_only"]
        assert {"key": "enable-guest-attributes", "value": "TRUE"} in vm["metadata"]["items"]
    image = images(emulator)["my-image"]
    first, second, _ = image["description"].splitlines()
    assert (first, second) == ("Web servers", f"Derivative of {result.source_image}.")
    source = connect().images.get(project="cos-cloud", image=result.source_image.rpartition("/")[2])
    features = [feature.type_ for feature in source.guest_os_features]
    assert features
    assert [feature["type"] for feature in image["guestOsFeatures"]] == [*features, "IDPF"], "the source's are kept"


def test_the_image_bears_uefi_keys_of_the_build_context(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    keys = {"pk.der": b"\x30\x82\x01\x00" + bytes(256), "dbx.bin": b"\x26\x16\xc4\xc1"}
    for name, content in keys.items():
        (tmp_path / "context" / name).write_bytes(content)
    play(emulator, *PASSES)
    build_image(make_spec(output={"uefi_platform_key": "pk.der", "uefi_forbidden_database": ["dbx.bin"]}))
    kept = connect().images.get(project="my-project", image="my-image").shielded_instance_initial_state
    assert (kept.pk.file_type, b64decode(kept.pk.content)) == ("X509", keys["pk.der"])
    assert [(key.file_type, b64decode(key.content)) for key in kept.dbxs] == [("BIN", keys["dbx.bin"])]


def test_a_key_that_firmware_does_not_take_costs_no_vm(
    emulator: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    (tmp_path / "context" / "pk.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    failing(make_spec(output={"uefi_platform_key": "pk.pem"}), UsageError, "output.uefi_platform_key: pk.pem")
    failing(make_spec(output={"uefi_key_exchange_keys": ["no.der"]}), UsageError, "there is no 'no.der'")
    assert emulator.calls.list(path=r"/instances$") == []


def test_an_image_that_fails_never_appears_in_its_family(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("old", family="my-family")
    play(emulator, *FAILS)
    error, result = failing(make_spec(output=OUTPUT, verify=VERIFIED), BuildFailedError, "is not released")
    assert "run-script first.sh exit" in error.message
    assert error.output == ("no docker here",)
    assert newest_of_family() == "old"
    assert set(images(emulator)) == {"old"}
    assert "deprecated" not in images(emulator)["old"]
    assert [step.state for step in result.steps] == ["succeeded", "succeeded"]
    assert [step.state for step in result.verification] == ["failed"]
    assert result.verification_log.endswith("/verify-serial.log")
    assert leftovers(emulator) == []


def test_an_image_that_fails_is_kept_if_that_was_asked_for(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator, *FAILS)
    spec = make_spec(output=OUTPUT, verify={**VERIFIED, "keep_failed_image": True})
    _, result = failing(spec, BuildFailedError, "it is kept in no family, labelled cos-customizer-state=failed")
    image = images(emulator)["my-image"]
    assert "family" not in image
    assert image["labels"] == {
        "team": "web",
        "cos-customizer-state": "failed",
        "cos-customizer-build": result.build_id,
    }
    assert newest_of_family() == ""
    failing(spec, CustomizerError, "has failed its verification and was kept")
    assert leftovers(emulator) == []


def test_with_verify_boot_alone_the_image_has_only_to_boot(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator, *succeeded())
    result = build_image(make_spec(output=OUTPUT, verify={"boot": True}))
    assert (result.outcome, newest_of_family()) == ("built", "my-image")


def test_an_image_that_does_not_boot_fails(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cos_customizer.gcp.guest_console.BOOT_PATIENCE", 0.2)
    monkeypatch.setattr("cos_customizer.gcp.guest_console._STATUS_INTERVAL", 0.1)
    play(emulator)
    failing(make_spec(output=OUTPUT, verify={"boot": True}), BuildFailedError, "the image does not boot")
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_a_build_whose_time_is_up_while_the_image_is_verified_leaves_no_image(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    play(emulator, PASSES[0])

    spec = make_spec(output=OUTPUT, verify=VERIFIED, timeout="5m")
    with time_is_up(lambda event: isinstance(event, StepChange) and event.stage == "verify"):
        failing(spec, BuildTimeoutError, r"while verifying the image, during step 1/1 \(run-script first.sh\)")
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_the_builder_vm_is_gone_before_the_test_vm_is_made(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator, *PASSES)
    there: list[list[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, StepChange) and event.stage == "verify":
            there.append([vm["name"] for vm in emulator.list("projects/my-project/zones/-/instances")])

    with listening(look):
        result = build_image(make_spec(verify=VERIFIED))
    assert there[0] == [f"cos-customizer-{result.build_id}-test"]
    assert images(emulator)["my-image"].get("labels", {}) == {}


def set_labels(labels: dict[str, str]) -> None:
    """What another build does with the image."""
    image = connect().images.get(project="my-project", image="my-image")
    request = compute_v1.GlobalSetLabelsRequest(label_fingerprint=image.label_fingerprint, labels=labels)
    operation = connect().images.set_labels_unary(
        project="my-project", resource="my-image", global_set_labels_request_resource=request
    )
    connect().global_operations.wait(project="my-project", operation=operation.name)


def unreleased(emulator: Emulator, spec: BuildSpec, expires: float) -> dict[str, Any]:
    """An image that a killed build has left: the one it would have verified."""
    kept = spec.model_copy(update={"verify": spec.verify.model_copy(update={"keep_failed_image": True})})
    play(emulator, *FAILS)
    failing(kept, BuildFailedError, "is kept")
    set_labels({"cos-customizer-state": "unreleased", "cos-customizer-expires": str(int(expires))})
    emulator.scripts.clear()
    left: dict[str, Any] = images(emulator)["my-image"]
    return left


def test_an_image_that_was_never_released_is_not_taken_for_done_but_verified(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    left = unreleased(emulator, spec, time.time() - 1)
    play(emulator, *PASSES)
    expires: list[float] = []

    def look(event: Event) -> None:
        if isinstance(event, StepChange):
            expires.append(float(images(emulator)["my-image"]["labels"]["cos-customizer-expires"]))

    with listening(look):
        result = build_image(spec)
    assert min(expires) > time.time(), "no sweep may take it meanwhile"
    assert result.outcome == "built"
    assert result.image_id == left["id"]
    assert newest_of_family() == "my-image"
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}


def test_one_past_its_expiry_by_another_recipe_is_made_anew(emulator: Emulator, make_spec: SpecMaker) -> None:
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    left = unreleased(emulator, spec, time.time() - 1)
    other = make_spec(output=OUTPUT, verify=VERIFIED, builder={"disk_size_gb": 20})
    play(emulator, *PASSES)
    result = build_image(other)
    assert result.image_id != left["id"]
    assert newest_of_family() == "my-image"


def test_one_that_another_recipe_may_still_be_verifying_is_left_alone(emulator: Emulator, make_spec: SpecMaker) -> None:
    left = unreleased(emulator, make_spec(output=OUTPUT, verify=VERIFIED), time.time() + 3600)
    other = make_spec(output=OUTPUT, verify=VERIFIED, builder={"disk_size_gb": 20})
    failing(other, ConflictError, "was never released, and was not made by this recipe")
    assert images(emulator)["my-image"] == left


def test_of_two_builds_that_race_the_later_image_stays(emulator: Emulator, make_spec: SpecMaker) -> None:
    """Another build's image appears in the family after ours was made, and before ours is released."""
    make_image("old", family="my-family")
    play(emulator, *PASSES)

    def race(event: Event) -> None:
        if isinstance(event, StepChange) and event.stage == "verify" and event.state == "started":
            time.sleep(0.01)  # the emulator's clock counts milliseconds
            make_image("newer", family="my-family")

    with listening(race):
        result = build_image(make_spec(output=OUTPUT, verify=VERIFIED))
    assert result.deprecated == ("old",)
    assert "deprecated" not in images(emulator)["newer"]
    assert newest_of_family() == "newer"


def test_an_image_that_was_taken_up_and_fails_is_deleted(emulator: Emulator, make_spec: SpecMaker) -> None:
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    unreleased(emulator, spec, time.time() + 3600)
    play(emulator, *FAILS)
    failing(spec, BuildFailedError, "is not released, it is deleted")
    assert images(emulator) == {}


def test_an_image_that_was_taken_up_and_could_not_be_tried_is_left(emulator: Emulator, make_spec: SpecMaker) -> None:
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    unreleased(emulator, spec, time.time() + 3600)
    emulator.faults.add("http", method="POST", path="/instances", status=403, reason="forbidden", count=9)
    failing(spec, CustomizerError, "could not create")
    assert images(emulator)["my-image"]["labels"]["cos-customizer-state"] == "unreleased"


def test_an_image_that_another_build_has_taken_up_meanwhile_is_released(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    play(emulator, *PASSES)

    def take_up(event: Event) -> None:
        if isinstance(event, StepChange) and event.stage == "verify" and event.state == "started":
            labels = images(emulator)["my-image"]["labels"]
            set_labels({**labels, "cos-customizer-expires": str(int(time.time()) + 7200)})

    with listening(take_up):
        result = build_image(make_spec(output=OUTPUT, verify=VERIFIED))
    assert (result.outcome, newest_of_family()) == ("built", "my-image")
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}


@pytest.mark.parametrize("status", [403, 412])
def test_an_image_that_is_in_its_family_stays_whatever_happens_then(
    emulator: Emulator, make_spec: SpecMaker, status: int
) -> None:
    """Somebody may have got it already, and another build have deprecated what was before it."""
    play(emulator, *PASSES)
    emulator.faults.add("http", method="POST", path="/setLabels", status=status, count=99)
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    told: list[str] = []
    with listening(lambda event: told.append(event.text) if isinstance(event, Note) else None):
        failing(spec, CustomizerError, "image my-image is verified, but its release is not complete")
    assert "projects/my-project/global/images/my-image stays, it is in family my-family" in told
    assert newest_of_family() == "my-image"
    emulator.faults.clear()
    assert build_image(spec).outcome == "built"
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}


@pytest.mark.parametrize(("meanwhile", "outcome"), [("released", "exists"), ("deleted", "built")])
def test_one_whose_own_build_ends_before_it_is_taken_up(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, meanwhile: str, outcome: str
) -> None:
    spec = make_spec(output=OUTPUT, verify=VERIFIED)
    unreleased(emulator, spec, time.time() + 3600)
    play(emulator, *PASSES)

    def archive(*arguments: Any) -> Archive:
        if meanwhile == "deleted":
            operation = connect().images.delete_unary(project="my-project", image="my-image")
            connect().global_operations.wait(project="my-project", operation=operation.name)
        else:
            set_labels({"team": "web"})
        return archive_context(*arguments)

    monkeypatch.setattr("cos_customizer.tasks.scratch.archive_context", archive)
    assert build_image(spec).outcome == outcome
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}
    assert leftovers(emulator) == []


def test_one_that_is_in_its_family_by_another_recipe_is_done_and_stays_there(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_image("old", family="my-family")
    unreleased(emulator, make_spec(output={**OUTPUT, "family": "other"}, verify=VERIFIED), time.time() + 3600)
    patch = compute_v1.Image(family="other")
    operation = connect().images.patch_unary(project="my-project", image="my-image", image_resource=patch)
    connect().global_operations.wait(project="my-project", operation=operation.name)
    assert build_image(make_spec(output=OUTPUT, verify=VERIFIED)).outcome == "exists"
    there = images(emulator)
    assert there["my-image"]["family"] == "other"
    assert there["my-image"].get("labels", {}) == {}
    assert "deprecated" not in there["old"]


def test_labels_whose_answer_was_lost_are_set(emulator: Emulator, make_spec: SpecMaker) -> None:
    """The API takes no request id there, and refuses the second try for its fingerprint."""
    play(emulator, *PASSES)
    emulator.faults.add("drop", method="POST", path="/setLabels", when="after")
    assert build_image(make_spec(output=OUTPUT, verify=VERIFIED)).outcome == "built"
    assert images(emulator)["my-image"]["labels"] == {"team": "web"}


def test_an_old_image_that_cannot_be_deprecated_keeps_no_other_from_it(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    for name in ("old-1", "old-2", "old-3"):
        make_image(name, family="my-family")
    play(emulator, *PASSES)
    emulator.faults.add(
        "http",
        method="POST",
        path=f"/{images(emulator)['old-2']['id']}/deprecate",
        status=403,
        reason="forbidden",
        count=9,
    )
    failing(make_spec(output=OUTPUT, verify=VERIFIED), CustomizerError, "old-2")
    there = images(emulator)
    assert [there[name].get("deprecated", {}).get("state") for name in ("old-1", "old-2", "old-3")] == [
        "DEPRECATED",
        None,
        "DEPRECATED",
    ]
    assert newest_of_family() == "my-image"


def test_an_old_image_that_is_gone_meanwhile_is_no_fault(emulator: Emulator, make_spec: SpecMaker) -> None:
    for name in ("old-1", "old-2"):
        make_image(name, family="my-family")
    play(emulator, *PASSES)
    emulator.faults.add(
        "http", method="POST", path=f"/{images(emulator)['old-1']['id']}/deprecate", status=404, count=9
    )
    result = build_image(make_spec(output=OUTPUT, verify=VERIFIED))
    assert result.deprecated == ("old-2",)
