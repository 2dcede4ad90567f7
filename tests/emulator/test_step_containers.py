"""Steps as containers: what docker and podman are asked to do, by a program in their place that writes it down."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cos_customizer.emulator.cloud_build.containers import Containers
from cos_customizer.emulator.cloud_build.runner import Outcome, build_directories, run_workflow
from cos_customizer.emulator.cloud_build.workflow import parse_workflow

STAND_IN = """\
#!{python}
import json, os, sys, time
with open({calls!r}, "a") as file:
    file.write(json.dumps([*sys.argv[1:], *filter(None, [os.environ.get("TOKEN")])]) + "\\n")
if sys.argv[1] == "run":
    print("running", flush=True)
    while "forever" in sys.argv and '"kill"' not in open({calls!r}).read():
        time.sleep(0.05)
    sys.exit(143 if "forever" in sys.argv else 0)
"""


@pytest.fixture(params=["docker", "podman"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    program = tmp_path / "bin" / request.param
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, calls=str(tmp_path / "calls")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / "source").mkdir()
    return str(request.param)


def run(
    tool: str, directory: Path, step: dict[str, Any], image: str = "", **fields: Any
) -> tuple[Outcome, list[list[str]]]:
    """Run a workflow of one step; what came of it, and the tool's arguments, with the directories' names replaced."""
    workflow = parse_workflow(yaml.safe_dump({"steps": [step], **fields}), "w", {}, {})
    with build_directories(directory / "source") as place:
        executor = Containers(tool, image, {"EMULATOR": "here"}, place, {"TOKEN": "s3cret"})
        outcome = run_workflow(workflow, executor, "1", lambda _: True, lambda _: None)
        calls = (directory / "calls").read_text() if (directory / "calls").exists() else ""
        for path, name in ((place.home, "HOME"), (place.workspace, "WORKSPACE"), (place.temporary, "TMP")):
            calls = calls.replace(str(path), name)
    return outcome, [json.loads(line) for line in calls.splitlines()]


def test_a_step_is_a_container_with_the_shared_directories_and_this_machine_s_network(
    tool: str, tmp_path: Path
) -> None:
    step = {"name": "gcr.io/p/cos-customizer", "args": ["help", "-x"], "env": ["A=1=2"], "dir": "sub"}
    outcome, (run_call, remove_call) = run(tool, tmp_path, step)
    assert outcome.status == "SUCCESS"
    assert run_call[0] == "run"
    assert run_call[-3:] == ["gcr.io/p/cos-customizer", "help", "-x"]
    assert set(run_call[1:-3]) == {
        *("--volume=HOME:/builder/home", "--volume=WORKSPACE:/workspace", "--workdir=/workspace/sub"),
        *("--env=EMULATOR=here", "--env=HOME=/builder/home", "--env=A=1=2"),
        *("--name=cloud-build-1-0", "--rm", "--network=host", "--security-opt=label=disable"),
    }
    assert remove_call == ["rm", "--force", "cloud-build-1-0"]


def test_another_image_may_stand_for_the_one_that_is_named_and_another_program_for_its_own(
    tool: str, tmp_path: Path
) -> None:
    step = {"name": "gcr.io/p/cos-customizer", "entrypoint": "bash", "args": ["x.sh"], "dir": "/elsewhere"}
    _, (run_call, _) = run(tool, tmp_path, step, image="cos-customizer:test")
    assert run_call[-2:] == ["cos-customizer:test", "x.sh"]
    assert {"--entrypoint=bash", "--workdir=/elsewhere"} <= set(run_call)


def test_a_step_has_its_script_its_volumes_and_its_secrets_which_no_command_line_shows(
    tool: str, tmp_path: Path
) -> None:
    step = {"name": "x", "script": "date", "volumes": [{"name": "v", "path": "/v"}], "secretEnv": ["TOKEN"]}
    secrets = {"secretManager": [{"versionName": "projects/p/secrets/s/versions/1", "env": "TOKEN"}]}
    _, (run_call, _) = run(tool, tmp_path, step, availableSecrets=secrets)
    assert run_call.pop() == "s3cret", "it is in the environment of the tool"
    assert "s3cret" not in " ".join(run_call)
    assert {
        *("--volume=TMP/volumes/v:/v", "--volume=TMP/cloud-build-1-0.script:/builder/script"),
        *("--entrypoint=/builder/script", "--env=TOKEN"),
    } <= set(run_call)


def test_a_container_is_ended_by_its_tool(tool: str, tmp_path: Path) -> None:
    for limit in (1, 10, 100):  # long enough for the tool to be called, however slow this machine is
        (tmp_path / "calls").unlink(missing_ok=True)
        outcome, calls = run(tool, tmp_path, {"name": "x", "args": ["forever"]}, timeout=f"{limit}s")
        assert outcome.status == "TIMEOUT"
        if len(calls) == 3:
            break
    assert calls[1:] == [["kill", "--signal=SIGKILL", "cloud-build-1-0"], ["rm", "--force", "cloud-build-1-0"]]


def test_a_tool_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "source").mkdir()
    for tool in ("docker", "buildah"):
        outcome, calls = run(tool, tmp_path, {"name": "x"})
        assert outcome.detail.endswith("127")
        assert calls == []
