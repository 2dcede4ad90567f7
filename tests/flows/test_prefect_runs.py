"""A build as others see it in Prefect: tags, progress, artifacts; as a subflow; on a retry from the UI."""

import json
from typing import Any
from uuid import UUID

import pytest
from google.cloud import compute_v1
from prefect import flow, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from prefect.flow_engine import run_flow
from prefect.runtime import flow_run
from prefect.states import AwaitingRetry
from support.guest_scripts import marker, said, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import Event, Note, PhaseChange, StepChange, listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import artifacts, local_server
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
FAILS = (
    marker(f"BuildStep: 1 started {LABELS[0]}"),
    said("BuildStatus: no such host\n"),
    marker("BuildStep: 1 failed exit 3"),
    marker("BuildFailed: step 1 exit 3"),
)


@pytest.fixture
def shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's server, as if others could see it."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    monkeypatch.setattr(artifacts, "_UPDATE_INTERVAL", 0.0)


def run(spec: BuildSpec) -> tuple[UUID, Any]:
    """A build's flow run and final state."""
    state = build_image(spec, return_state=True)
    assert state.state_details.flow_run_id
    return state.state_details.flow_run_id, state


def artifacts_of(run_id: UUID) -> dict[str, Any]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
    return {str(artifact.key): artifact for artifact in found}


def make_image(name: str, family: str) -> None:
    source = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
    image = compute_v1.Image(name=name, family=family, source_image=source)
    operation = connect().images.insert_unary(project="my-project", image_resource=image)
    connect().global_operations.wait(project="my-project", operation=operation.name)


@pytest.mark.usefixtures("shared_server")
def test_a_build_leaves_a_summary_its_progress_and_what_it_has_deprecated(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    make_image("old-image", "my-family")
    percents: list[float] = []

    def look(event: Event) -> None:  # which the artifacts' own listener hears after this one
        if isinstance(event, StepChange) and (shown := artifacts_of(UUID(str(flow_run.id)))):
            percents.append(float(shown["image-my-family-progress"].data))

    output = {"family": "my-family", "deprecate_old_images": True, "old_image_ttl": 3600}
    with listening(look):
        run_id, _ = run(make_spec(output=output))
    assert percents == [0.0, 0.0, 50.0, 50.0]
    found = artifacts_of(run_id)
    assert sorted(found) == ["image-my-family", "image-my-family-deprecated", "image-my-family-progress"]
    page = found["image-my-family"].data
    assert page.startswith("# my-image\n\n**Built** in ")
    assert "| 2 | run-script second.sh | succeeded | 0.4 s |" in page
    assert "| Serial log | gs://my-project_cloudbuild/work/cos-customizer/" in page
    (row,) = json.loads(found["image-my-family-deprecated"].data)
    assert (row["image"], row["replaced by"]) == ("old-image", "my-image")
    assert row["counts as deleted"] != "never"
    assert float(found["image-my-family-progress"].data) == 100


@pytest.mark.usefixtures("shared_server")
def test_a_failed_build_leaves_a_summary_of_its_failure(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(*FAILS))
    run_id, state = run(make_spec())
    assert state.is_failed()
    found = artifacts_of(run_id)
    assert "**Failed** in " in found["image-my-image"].data
    assert "> step 1/2 failed: run-script first.sh exited with 3" in found["image-my-image"].data
    assert "## Last lines\n\n```text\nno such host\n```\n" in found["image-my-image"].data
    assert float(found["image-my-image-progress"].data) == 0


@pytest.mark.usefixtures("shared_server")
def test_a_run_is_tagged_by_family_and_source_and_keeps_its_tags(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    with tags("mine"):
        run_id, _ = run(make_spec(source={"name": None, "family": "cos-125-lts"}, output={"family": "tagged"}))
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(run_id).tags
    assert sorted(found) == ["family: tagged", "mine", "source: cos-125-19216-532-62", "source: cos-125-lts"]


@pytest.mark.usefixtures("shared_server")
def test_a_run_is_called_by_its_image_as_soon_as_that_has_a_name(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    names: dict[str, str] = {}

    def look(event: Event) -> None:
        if isinstance(event, PhaseChange):
            with get_client(sync_client=True) as client:
                names[event.phase] = client.read_flow_run(UUID(str(flow_run.id))).name

    with listening(look):
        run(make_spec(output={"name": None, "suffix": "-app"}))
    assert names["prepare"] == "build *-app"
    assert names["boot"] == names["clean-up"] == "build cos-stable-68-10718-86-0-app"


@pytest.mark.usefixtures("shared_server")
def test_a_build_does_not_fail_for_want_of_what_the_ui_shows(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **others: Any) -> None:
        raise RuntimeError("503 Service Unavailable")

    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.create_artifact", refuse)
    monkeypatch.setattr(artifacts, "_add_tags", refuse)
    emulator.scripts.add(succeeding(*LABELS))
    told: list[Event] = []
    with listening(told.append):
        assert build_image(make_spec()).outcome == "built"
    notes = [event.text for event in told if isinstance(event, Note) and event.topic == "prefect"]
    assert notes == [
        "no tags in Prefect's UI: 503 Service Unavailable",
        "no progress in Prefect's UI: 503 Service Unavailable",
    ]


def test_a_server_that_nobody_sees_is_spared_all_that(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    run_id, _ = run(make_spec(output={"family": "my-family"}))
    assert artifacts_of(run_id) == {}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run_id).tags == []


def test_a_build_is_a_subflow_of_a_flow_of_ones_own(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    spec = make_spec()

    @flow
    def nightly() -> BuildResult:
        return build_image(spec)

    state = nightly(return_state=True)
    result = state.result()
    assert isinstance(result, BuildResult)
    assert result.outcome == "built"
    assert [step.state for step in result.steps] == ["succeeded", "succeeded"]
    with get_client(sync_client=True) as client:
        parent = FlowRunFilterParentFlowRunId(any_=[state.state_details.flow_run_id])
        (child,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
    assert child.name == "build my-image"
    assert result.build_id == BuildNames.of(str(child.id), 1).id
    assert leftovers(emulator) == []


def test_a_failing_subflow_is_an_error_that_its_parent_can_handle(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(*FAILS))
    spec = make_spec()

    @flow
    def careful() -> str:
        try:
            build_image(spec)
        except Exception as error:
            return str(error)
        return ""

    assert careful() == "step 1/2 failed: run-script first.sh exited with 3"
    assert leftovers(emulator) == []


def test_a_retry_from_the_ui_is_a_build_of_its_own(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(*FAILS))
    run_id, state = run(make_spec())
    assert state.is_failed()
    emulator.scripts.clear()
    emulator.scripts.add(succeeding(*LABELS))
    with get_client(sync_client=True) as client:  # what the UI's button does; a worker then does the rest
        client.set_flow_run_state(run_id, AwaitingRetry(), force=True)
        again = client.read_flow_run(run_id)
    result = run_flow(build_image, flow_run=again)
    assert isinstance(result, BuildResult)
    assert result.outcome == "built"
    assert result.build_id == BuildNames.of(str(run_id), 2).id
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run_id).run_count == 2
    assert leftovers(emulator) == []
