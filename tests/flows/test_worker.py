"""The worker type `cos-customizer`: runs are forks of a warm process, all else is as with a process worker."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from support.flow_runs import ended, log_of, start, state_of
from support.guest_scripts import marker, script, succeeding
from support.leftovers import leftovers
from support.prefect_place import POOL, PrefectPlace
from support.waiting import wait_for

from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.slow

LABEL = "run-script preload.sh"
STARTED = marker(f"BuildStep: 1 started {LABEL}")

ODD = """
import json, os, sys, threading, time
from pathlib import Path
from prefect import flow, get_run_logger

def undone(flow, flow_run, state):
    Path(os.environ["ODD"], f"{state.type.value}-{flow_run.id}").write_text(str(os.getpid()))

@flow(on_cancellation=[undone], on_crashed=[undone])
def odd(what: str):
    found = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "directory": os.getcwd(),
             "variable": os.environ.get("VARIABLE"), "python": os.environ.get("PYTHONHASHSEED"),
             "warm": "cos_customizer.flows.build_image" in sys.modules,
             "main": threading.current_thread() is threading.main_thread()}
    get_run_logger().warning("I am odd")
    Path(os.environ["ODD"], what).write_text(json.dumps(found))
    if what == "dies":
        os._exit(3)
    while what == "waits":
        time.sleep(1)
"""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One for the module, since the worker's environment names it."""
    directory = tmp_path_factory.mktemp("emulator")
    with Emulator(directory, "scripted", projects=("my-project",)) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment().items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the odd flow says what it finds."""
    return tmp_path_factory.mktemp("said")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that every interpreter imports."""
    file = tmp_path_factory.mktemp("imported") / "sitecustomize.py"
    file.touch()
    return file


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, said: Path, imported: Path, prefect_template: Path
) -> Iterator[PrefectPlace]:
    """A server, and a pool of our type with the builds of the repository and an odd flow."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("ODD", str(said))
        patch.setenv("PYTHONPATH", str(imported.parent), prepend=os.pathsep)
        place = stack.enter_context(PrefectPlace(tmp_path_factory.mktemp("place"), prefect_template))
        (place.checkout / "odd.py").write_text(ODD)
        file = place.checkout / "prefect.yaml"
        content = yaml.safe_load(file.read_text())
        odd = {"entrypoint": "odd.py:odd", "work_pool": {"name": POOL, "job_variables": {"env": {"VARIABLE": "value"}}}}
        seed = {"name": POOL, "job_variables": {"env": {"PYTHONHASHSEED": "7"}}}
        builds = [each for each in content["deployments"] if each["name"] == "build-image"]
        content["deployments"] = [*builds, {"name": "odd", **odd}, {"name": "cold", **odd, "work_pool": seed}]
        file.write_text(yaml.safe_dump(content))
        place.prefect("work-pool", "create", "--type", "cos-customizer", POOL)
        place.prefect("--no-prompt", "deploy", "--all")
        place.start_worker()
        stack.enter_context(temporary_settings({PREFECT_API_URL: place.api}))
        yield place


@pytest.fixture(autouse=True)
def clean_slate(emulator: Emulator, place: PrefectPlace, said: Path) -> None:
    emulator.scripts.clear()
    emulator.calls.clear()
    place.have_worker()
    for file in said.iterdir():
        file.unlink()


@pytest.fixture(scope="module")
def client(place: PrefectPlace) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def start_build(client: SyncPrefectClient, image: str) -> UUID:
    spec = {
        "source": {"project": "cos-cloud", "family": "cos-125-lts"},
        "context": {"path": "examples/minimal"},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
        "steps": [{"type": "run-script", "script": "preload.sh"}],
        "builder": {"project": "my-project", "zones": ["us-west1-b"]},
        "output": {"project": "my-project", "name": image},
        "timeout": "5m",
    }
    return start(client, "build-image/build-image", spec=spec)


def found_by(said: Path, what: str) -> dict[str, Any]:
    """What the odd flow has said."""

    def content() -> dict[str, Any] | None:
        file = said / what
        text = file.read_text() if file.exists() else ""
        return json.loads(text) if text else None

    return wait_for(content)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_build_makes_an_image_and_its_process_is_a_fork_of_one_that_has_imported_everything(
    client: SyncPrefectClient, emulator: Emulator
) -> None:
    emulator.scripts.add(script(STARTED))
    run_id = start_build(client, "made")
    wait_for(lambda: emulator.calls.count(path="serialPort"))
    pid = int(wait_for(lambda: client.read_flow_run(run_id).infrastructure_pid) or 0)
    warm = Path(f"/proc/{parent_of(pid)}")
    assert b"fork_server" in (warm / "cmdline").read_bytes()
    assert len(list((warm / "task").iterdir())) == 1
    opened = [str(link.readlink()) for link in (warm / "fd").iterdir()]
    assert len([name for name in opened if name.startswith("socket:")]) == 1, opened
    assert Path(f"/proc/{pid}/comm").read_text().strip() == f"run-{run_id}"[:15]
    emulator.scripts.clear()
    client.set_flow_run_state(run_id, Cancelling())
    assert state_of(ended(client, run_id)) == "CANCELLED", log_of(client, run_id)
    assert leftovers(emulator) == []

    emulator.scripts.add(succeeding(LABEL))
    run_id = start_build(client, "made")
    assert state_of(ended(client, run_id)) == "COMPLETED", log_of(client, run_id)
    assert [image["name"] for image in emulator.list("projects/my-project/global/images")] == ["made"]
    assert leftovers(emulator) == []
    wait_for(lambda: "output of step 1" in log_of(client, run_id))


def test_a_build_whose_process_is_killed_has_crashed_and_is_undone_by_its_hook(
    client: SyncPrefectClient, emulator: Emulator
) -> None:
    emulator.scripts.add(script(STARTED))
    run_id = start_build(client, "killed")
    wait_for(lambda: emulator.calls.count(path="serialPort"))
    os.kill(int(wait_for(lambda: client.read_flow_run(run_id).infrastructure_pid) or 0), signal.SIGKILL)
    assert state_of(ended(client, run_id)) == "CRASHED", log_of(client, run_id)
    wait_for(lambda: not leftovers(emulator))
    wait_for(lambda: "cleaned up after Crashed: 1 VM, 1 disk, 1 object" in log_of(client, run_id))


def test_a_run_has_its_own_environment_directory_session_and_main_thread(
    client: SyncPrefectClient, place: PrefectPlace, said: Path
) -> None:
    run_id = start(client, "odd/odd", what="looks")
    assert state_of(ended(client, run_id)) == "COMPLETED", log_of(client, run_id)
    found = found_by(said, "looks")
    assert found["variable"] == "value"
    assert found["directory"] == str(place.checkout)
    assert found["session"] == found["pid"]
    assert found["main"]
    assert found["warm"]
    assert "I am odd" in place.log("worker")


def test_a_run_whose_environment_is_read_by_a_new_interpreter_is_one(client: SyncPrefectClient, said: Path) -> None:
    run_id = start(client, "odd/cold", what="cold")
    assert state_of(ended(client, run_id)) == "COMPLETED", log_of(client, run_id)
    found = found_by(said, "cold")
    assert found["python"] == "7"
    assert not found["warm"]


def test_an_exit_code_is_a_crash_that_names_it_and_the_hook_has_a_fork_of_its_own(
    client: SyncPrefectClient, said: Path
) -> None:
    run_id = start(client, "odd/odd", what="dies")
    run = ended(client, run_id)
    assert state_of(run) == "CRASHED"
    assert run.state is not None
    assert "status code: 3" in (run.state.message or "")
    hook = found_by(said, f"CRASHED-{run_id}")
    assert hook != found_by(said, "dies")["pid"]


def test_a_warm_process_that_dies_leaves_its_runs_alone_and_the_next_run_has_a_new_one(
    client: SyncPrefectClient, said: Path
) -> None:
    first = start(client, "odd/odd", what="waits")
    found = found_by(said, "waits")
    os.kill(found["parent"], signal.SIGKILL)
    second = start(client, "odd/odd", what="after")
    assert state_of(ended(client, second)) == "COMPLETED", log_of(client, second)
    assert found_by(said, "after")["parent"] != found["parent"]
    assert client.read_flow_run(first).state.is_running()  # type: ignore[union-attr]
    client.set_flow_run_state(first, Cancelling())
    assert state_of(ended(client, first)) == "CANCELLED", log_of(client, first)
    with pytest.raises(ProcessLookupError):
        os.kill(found["pid"], 0)


def test_a_module_that_has_changed_is_imported_anew(client: SyncPrefectClient, said: Path, imported: Path) -> None:
    assert state_of(ended(client, start(client, "odd/odd", what="before"))) == "COMPLETED"
    imported.write_text("CHANGED = True\n")
    assert state_of(ended(client, start(client, "odd/odd", what="after"))) == "COMPLETED"
    assert found_by(said, "before")["parent"] != found_by(said, "after")["parent"]


def test_a_worker_that_is_ended_takes_its_runs_and_its_warm_process_along(
    client: SyncPrefectClient, place: PrefectPlace, said: Path
) -> None:
    start(client, "odd/odd", what="waits")
    found = found_by(said, "waits")
    worker = parent_of(found["parent"])
    os.kill(worker, signal.SIGTERM)

    def gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() for pid in (found["pid"], found["parent"]))

    wait_for(gone)
