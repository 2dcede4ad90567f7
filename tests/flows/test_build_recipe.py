"""A build that is started from a recipe: the run, its name, its artifact and its result are those of any build."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.utilities.callables import parameter_schema
from support.guest_scripts import marker, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import BuildFailedError, UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import hooks, local_server
from cos_customizer.flows.build_recipe import build_recipe

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")


@pytest.fixture(autouse=True)
def shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's server, as if others could see it."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)


@pytest.fixture
def recipe(make_spec: SpecMaker, tmp_path: Path) -> str:
    data = make_spec().model_dump(mode="json", exclude_none=True)
    data["context"] = {"path": "context"}
    (tmp_path / "web.yaml").write_text(yaml.safe_dump(data))
    return str(tmp_path / "web.yaml")


def run(recipe: str, **parameters: Any) -> tuple[Any, Any, dict[str, str]]:
    """The flow run, its final state, its artifacts."""
    state = build_recipe(recipe, return_state=True, **parameters)
    run_id = UUID(str(state.state_details.flow_run_id))
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        found = {str(artifact.key): str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)}
        return client.read_flow_run(run_id), state, found


def images(emulator: Emulator) -> list[str]:
    return [image["name"] for image in emulator.list("projects/my-project/global/images")]


def test_a_recipe_s_run_is_named_for_its_image_and_gives_the_result_and_the_summary_of_a_build(
    recipe: str, emulator: Emulator
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    flow_run, state, artifacts = run(recipe, settings=["output.name=other-image", "output.family=web"])
    result = state.result()
    assert (result.outcome, result.image) == ("built", "other-image")
    assert flow_run.name == "build other-image"
    assert "family: web" in flow_run.tags
    assert {"image-web", "image-web-changes", "image-web-progress"} == set(artifacts)
    assert images(emulator) == ["other-image"]
    assert leftovers(emulator) == []


def test_a_dry_run_creates_nothing_and_leaves_a_page_of_what_it_would(recipe: str, emulator: Emulator) -> None:
    flow_run, state, artifacts = run(recipe, settings=["steps.0.env.TOKEN=s3cr3t"], dry_run=True)
    assert state.type is StateType.COMPLETED
    assert state.result() is None
    assert flow_run.name == "dry run of my-image"
    (page,) = artifacts.values()
    assert "POST compute/v1/projects/my-project/zones/us-west1-b/instances" in page
    assert "script: first.sh" in page
    assert "s3cr3t" not in page
    assert images(emulator) == leftovers(emulator) == []


@pytest.mark.parametrize(
    ("parameters", "name", "said"),
    [
        ({"recipe": "none.yaml"}, "build none.yaml", "cannot read recipe 'none.yaml'"),
        ({"settings": ["output.colour=red"]}, "build ", "output.colour"),
        ({"settings": ["output"]}, "build ", "key=value"),
    ],
    ids=["no file", "no such field", "no setting"],
)
def test_a_recipe_that_cannot_be_built_fails_by_what_is_wrong_under_the_name_of_its_file(
    parameters: dict[str, Any], name: str, said: str, recipe: str, emulator: Emulator
) -> None:
    flow_run, state, _ = run(**{"recipe": recipe, **parameters})
    assert flow_run.name.startswith(name)
    assert parameters.get("recipe", recipe) in flow_run.name
    with pytest.raises(UsageError, match=said):
        state.result()


def test_a_failed_run_undoes_its_work_and_a_worker_s_hook_finds_what_it_made_by_the_recipe(
    recipe: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = (marker("BuildStep: 1 failed exit 3"), marker("BuildFailed: step 1 exit 3"))
    emulator.scripts.add(script(marker(f"BuildStep: 1 started {LABELS[0]}"), *fails))
    with monkeypatch.context() as patch:  # as if the process had been killed before it came to that
        patch.setattr("cos_customizer.flows.undoing.Undoing.run", lambda _self: None)
        flow_run, state, _ = run(recipe)
    with pytest.raises(BuildFailedError):
        state.result()
    assert leftovers(emulator) != []
    hooks._undone.clear()
    hooks.undo_build(build_recipe, flow_run, state)
    assert leftovers(emulator) == []


def test_the_form_has_three_fields_of_which_one_must_be_filled_in() -> None:
    schema = parameter_schema(build_recipe.fn)
    assert list(schema.properties) == ["recipe", "settings", "dry_run"]
    assert schema.required == ["recipe"]
    assert all(field["description"] for field in schema.properties.values())
