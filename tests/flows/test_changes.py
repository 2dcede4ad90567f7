"""What has changed is told at release, and keeps an image from it where the recipe says what may change."""

import json
from dataclasses import replace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from support.builds import failing, images, make_image
from support.guest_scripts import marker, script, succeeded, succeeding
from support.inventories import contents, inventory, with_file
from support.leftovers import leftovers
from support.recorded_contents import archive, make_recorded_image
from support.specifications import SpecMaker
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.contents.inventory import Contents, Inventory
from cos_customizer.customizer.errors import BuildFailedError
from cos_customizer.customizer.reporting.announcements import ImageReleased
from cos_customizer.customizer.reporting.events import Event, Note, PhaseChange, listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import local_server
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.dry_run import dry_run
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
OLD = inventory(verity={})
NEW = with_file(OLD, "/var/lib/app/data", "two")
FAMILY = {"family": "web"}
STEPS = [
    marker(f"BuildStep: {number} {what}")
    for number, label in enumerate(LABELS, start=1)
    for what in (f"started {label}", "succeeded 0.4")
]
HALTED = {"port": 1, "text": "[   20.1] reboot: System halted\r\n"}


def play(emulator: Emulator, after: Inventory, before: Inventory = OLD) -> None:
    """The builder VM succeeds, and says what its disk held before, and holds in the end."""
    emulator.scripts.add(script(*STEPS, *succeeded(contents=archive(Contents(before, after)))))


def given_by(family: str) -> str:
    return str(connect().images.get_from_family(project="my-project", family=family).name)


def left(emulator: Emulator) -> list[str]:
    """What is left of a build, apart from the contents that are recorded of other images."""
    return [each for each in leftovers(emulator) if not each.startswith("recorded/")]


def build(spec: BuildSpec) -> tuple[BuildResult, list[Event]]:
    heard: list[Event] = []
    with listening(heard.append):
        return build_image(spec), heard


def phases(events: list[Event]) -> list[str]:
    return [event.phase for event in events if isinstance(event, PhaseChange) and event.state == "started"]


def test_at_release_it_is_told_what_has_changed_against_the_familys_current_image(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    play(emulator, NEW)
    result, heard = build(make_spec(output=FAMILY))

    assert (result.changes, result.compared_with) == ("1 file changed in /var/lib/app", "my-project/web-1")
    told = [event.text for event in heard if isinstance(event, Note) and event.topic == "changes"]
    assert told == ["1 file changed in /var/lib/app against my-project/web-1, the current image of family web"]
    assert phases(heard).index("image") < phases(heard).index("changes") < phases(heard).index("release")
    name = result.difference.removeprefix("gs://my-project_cloudbuild/")
    assert name == f"work/cos-customizer/{result.build_id}/difference.json"
    kept = json.loads(anonymous_bucket().blob(name).download_as_text())
    assert [each["path"] for each in kept["files"]] == ["/var/lib/app/data"]
    assert given_by("web") == "my-image"
    assert left(emulator) == []


def test_it_is_a_page_of_the_run_in_prefect_too(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)  # as if others could see it
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    play(emulator, NEW)
    state = build_image(make_spec(output=FAMILY), return_state=True)
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        found = {each.key: each for each in client.read_artifacts(artifact_filter=of_run)}

    page = found["image-web-changes"]
    assert page.description == "1 file changed in /var/lib/app"
    assert str(page.data).startswith(
        "# What is different in my-image\n\nCompared with my-project/web-1, the current image"
    )
    assert "| changed | /var/lib/app/data | content |" in str(page.data)
    assert "| Changes | 1 file changed in /var/lib/app (against my-project/web-1) |" in str(found["image-web"].data)


def test_the_same_recipe_again_has_changed_nothing(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_recorded_image("web-1", contents(OLD, with_file(NEW, "/etc/machine-id", "one")), family="web")
    play(emulator, with_file(NEW, "/etc/machine-id", "another"))
    result, _ = build(make_spec(output=FAMILY, verify={"changes": {}}))

    assert result.changes == "no difference"


@pytest.mark.parametrize("output", [FAMILY, {"record_contents": True}])
def test_the_first_image_of_a_family_and_one_of_none_are_compared_with_their_source(
    emulator: Emulator, make_spec: SpecMaker, output: dict[str, Any]
) -> None:
    play(emulator, NEW)
    result, _ = build(make_spec(output=output))

    assert result.changes == "1 file changed in /var/lib/app"
    assert result.compared_with == "cos-cloud/cos-stable-68-10718-86-0"


def test_a_current_image_without_recorded_contents_is_told_of_and_fails_nothing(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_image("web-1", family="web")
    play(emulator, NEW)
    result, heard = build(make_spec(output=FAMILY))

    assert (result.outcome, result.changes, result.difference) == ("built", "", "")
    (note,) = [event for event in heard if isinstance(event, Note) and event.topic == "changes"]
    assert note.level == "warning"
    assert "image my-project/web-1 has no recorded contents" in note.text


def test_without_recorded_contents_nothing_is_looked_for(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    result, heard = build(make_spec(output={**FAMILY, "record_contents": False}))

    assert "changes" not in phases(heard)
    assert result.changes == ""


def test_changes_that_may_be_let_the_image_pass(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    play(emulator, replace(NEW, units={**OLD.units, "app.service": "enabled"}))
    changes = {"paths": ["/var/lib/app/**"], "units": ["app.service"]}
    _, heard = build(make_spec(output=FAMILY, verify={"changes": changes}))

    assert given_by("web") == "my-image"
    (released,) = [event for event in heard if isinstance(event, ImageReleased)]
    assert released.verified == ("changes",)


def test_any_other_change_keeps_the_image_unreleased_and_names_the_path(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    play(emulator, with_file(NEW, "/etc/passwd", "root::0:0"))
    spec = make_spec(
        output={**FAMILY, "deprecate_old_images": True}, verify={"changes": {"paths": ["/var/lib/app/**"]}}
    )
    error, result = failing(spec, BuildFailedError)

    assert error.message == (
        "image my-image is not released, it is deleted: against my-project/web-1, the current image of family web, "
        "more has changed than may: /etc/passwd added: 9 bytes"
    )
    assert "verify.changes.paths" in error.hint
    assert result.difference in error.hint
    assert (result.outcome, result.changes) == ("failed", "1 file added in /etc, 1 file changed in /var/lib/app")
    assert list(images(emulator)) == ["web-1"]
    assert given_by("web") == "web-1"
    assert left(emulator) == []


def test_a_refused_image_is_kept_and_labelled_if_that_is_asked_for(emulator: Emulator, make_spec: SpecMaker) -> None:
    play(emulator, NEW)
    error, _ = failing(make_spec(output=FAMILY, verify={"changes": {}, "keep_failed_image": True}), BuildFailedError)

    assert "it is kept in no family, labelled cos-customizer-state=failed" in error.message
    assert "/var/lib/app/data changed: content" in error.message
    kept = images(emulator)["my-image"]
    assert (kept["labels"]["cos-customizer-state"], kept.get("family", "")) == ("failed", "")


def test_where_there_is_nothing_to_judge_by_no_vm_is_made(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("web-1", family="web")
    error, result = failing(make_spec(output=FAMILY, verify={"changes": {}}), BuildFailedError)

    assert "my-project/web-1, the current image of family web, has no recorded contents" in error.message
    assert "release an image with output.record_contents: true and without verify.changes first" in error.hint
    assert result.zone == ""
    assert left(emulator) == []


def test_an_image_whose_contents_could_not_be_recorded_is_not_released_unjudged(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    emulator.scripts.add(script(*STEPS, marker("BuildSucceeded:"), HALTED))  # and has sent nothing
    error, _ = failing(make_spec(output=FAMILY, verify={"changes": {}}), BuildFailedError)

    assert "what has changed cannot be judged: image my-project/my-image has no recorded contents" in error.message
    assert images(emulator) == {}


def test_a_dry_run_judges_nothing(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_recorded_image("web-1", contents(OLD, OLD), family="web")
    spec = make_spec(output=FAMILY, verify={"changes": {}, "require_approval": True})

    assert dry_run(spec).result.outcome == "built"
    assert list(images(emulator)) == ["web-1"]
