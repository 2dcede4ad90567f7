"""`apply-automations` on a real server: made once, changed where they differ, each failing for itself."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import Automation
from support.command_line import Ran, run

NOTHING = [{"type": "do-nothing"}]


@pytest.fixture
def name() -> str:
    """Of an automation that no other test has."""
    return f"automation {uuid4()}"


def automation(name: str, **fields: Any) -> dict[str, Any]:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["cos-customizer.image.failed"]}
    return {"name": name, "trigger": trigger, "actions": NOTHING, **fields}


def write(file: Path, content: Any) -> Path:
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def there(name: str) -> list[Automation]:
    with get_client(sync_client=True) as client:
        return client.read_automations_by_name(name)


def outcomes(ran: Ran) -> list[str]:
    return [line.split()[0] for line in ran.out.splitlines()[1:]]


@pytest.mark.usefixtures("prefect_server")
def test_an_automation_is_made_once_and_changed_where_its_file_has_changed(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "one.yaml", automation(name))
    assert outcomes(run("apply-automations", f"-file={file}", "-dry-run")) == ["to-create"]
    assert there(name) == []
    ran = run("apply-automations", f"-file={file}")
    assert (ran.code, ran.err, outcomes(ran)) == (0, "", ["created"])
    (first,) = there(name)
    assert outcomes(run("apply-automations", f"-file={tmp_path}/*.yaml")) == ["unchanged"]
    write(file, automation(name, description="Now with words.", enabled=False))
    assert outcomes(run("apply-automations", f"-file={file}", "-dry-run")) == ["to-update"]
    assert there(name) == [first]
    assert outcomes(run("apply-automations", f"-file={file}")) == ["updated"]
    (second,) = there(name)
    assert (second.id, second.description, second.enabled) == (first.id, "Now with words.", False)
    write(file, automation(name))
    assert outcomes(run("apply-automations", f"-file={file}")) == ["updated"]
    assert there(name) == [first]


NOT_THERE = [
    ({"type": "run-deployment", "deployment": "sweep/none"}, "there is no deployment 'sweep/none' (`prefect"),
    ({"type": "run-deployment", "deployment": "sweep"}, "'sweep' is no deployment's name (write it as FLOW/NAME.)"),
    (
        {"type": "send-notification", "block": "slack-webhook/none", "body": "x"},
        "there is no block 'slack-webhook/none'",
    ),
    ({"type": "pause-work-pool", "work_pool": "none"}, "there is no work_pool 'none'"),
    ({"type": "run-deployment"}, "deployment_id is required"),
    ({"type": "make-tea"}, "the server refuses it: "),
]


@pytest.mark.usefixtures("prefect_server")
def test_what_cannot_be_applied_fails_alone(tmp_path: Path, name: str) -> None:
    wrong = [automation(f"{name} {number}", actions=[action]) for number, (action, _) in enumerate(NOT_THERE)]
    file = write(tmp_path / "all.yaml", {"automations": [*wrong, automation(name)]})
    ran = run("apply-automations", f"-file={file}")
    assert ran.code == 1
    assert outcomes(ran) == ["failed"] * len(wrong) + ["created"]
    for (_, why), line in zip(NOT_THERE, ran.out.splitlines()[1:], strict=False):
        assert why in line
    assert f"{len(wrong)} of {len(wrong) + 1} automations could not be applied" in ran.err
    assert len(there(name)) == 1


@pytest.mark.usefixtures("prefect_server")
def test_a_deployment_that_would_not_run_for_want_of_parameters_is_told_now(tmp_path: Path, name: str) -> None:
    schema = {"type": "object", "properties": {"project": {"type": "string"}}, "required": ["project"]}
    with get_client(sync_client=True) as client:
        flow = client.create_flow_from_name(name.replace(" ", "-"))
        client.create_deployment(flow, "needy", parameter_openapi_schema=schema)
    action: dict[str, Any] = {"type": "run-deployment", "deployment": f"{name.replace(' ', '-')}/needy"}
    file = write(tmp_path / "needy.yaml", automation(name, actions=[action]))
    ran = run("apply-automations", f"-file={file}")
    assert ran.code == 1
    assert "needs project (parameters of the deployment, or of this action, give it.)" in ran.err
    write(file, automation(name, actions=[action | {"parameters": {"project": "my-project"}}]))
    assert outcomes(run("apply-automations", f"-file={file}")) == ["created"]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("content", "why"),
    [("name: [", "cannot read "), ("just text", "holds something else than automations"), ("- trigger: {}", "holds")],
)
def test_a_file_that_is_none_of_automations_changes_nothing(tmp_path: Path, name: str, content: str, why: str) -> None:
    good = write(tmp_path / "good.yaml", automation(name))
    ran = run("apply-automations", f"-file={good},{write(tmp_path / 'bad.yaml', content)}")
    assert ran.code == 2
    assert why in ran.err
    assert there(name) == []


def test_without_files_or_a_server_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    ran = run("apply-automations", "-file=automations/*.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "no Prefect server is configured" in ran.err
