"""Builds as deployments, with a Prefect server and a worker: run, cancelled, killed, retried, scheduled.

The worker is of the type `cos-customizer`: Prefect's process worker, but that runs are forks of a warm process. A run
whose environment asks for a new interpreter is one, and so is what it is with a process worker.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.schemas.events import Event, RelatedResource, Resource
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelling, Crashed, Pending, Running, Scheduled
from support.compute_clients import Compute
from support.event_feed import fed
from support.family_images import add_images
from support.flow_runs import ended, log_of, start, state_of
from support.guest_scripts import marker, script, succeeded, succeeding
from support.leftovers import leftovers
from support.paths import ROOT
from support.prefect_place import POOL, PrefectPlace
from support.waiting import wait_for

from cos_customizer.customizer.names import BuildNames
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.automations import apply_automations
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.output_limit import limit_name
from cos_customizer.flows.watch_sources import watch_sources
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.slow

LABEL = "run-script preload.sh"
STARTED = marker(f"BuildStep: 1 started {LABEL}")
FAILS = (STARTED, marker("BuildStep: 1 failed exit 3"), marker("BuildFailed: step 1 exit 3"))
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
    """From an empty Prefect server to a worker, as the documentation says; with an odd flow beside the repository's.

    The deployments `cold` set a variable that is read by an interpreter that starts.
    """
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("ODD", str(said))
        patch.setenv("PYTHONPATH", str(imported.parent), prepend=os.pathsep)
        place = stack.enter_context(PrefectPlace(tmp_path_factory.mktemp("place"), prefect_template))
        (place.checkout / "odd.py").write_text(ODD)
        file = place.checkout / "prefect.yaml"
        content = yaml.safe_load(file.read_text())
        (build,) = (each for each in content["deployments"] if each["name"] == "build-image")
        seed = {"job_variables": {"env": {"PYTHONHASHSEED": "7"}}}
        odd = {"name": "odd", "entrypoint": "odd.py:odd", "work_pool": {"name": POOL}}
        content["deployments"] += [
            {**build, "name": "cold", "work_pool": build["work_pool"] | seed},
            {**odd, "work_pool": {"name": POOL, "job_variables": {"env": {"VARIABLE": "value"}}}},
            {**odd, "name": "cold", "work_pool": {"name": POOL} | seed},
        ]
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        place.prefect("work-pool", "create", "--type", "cos-customizer", POOL)
        place.prefect("--no-prompt", "deploy", "--all")
        place.start_worker()
        stack.enter_context(temporary_settings({PREFECT_API_URL: place.api}))
        yield place


@pytest.fixture(autouse=True)
def clean_slate(emulator: Emulator, place: PrefectPlace, said: Path) -> Iterator[None]:
    """Each test finds a worker and an empty cloud, whatever others have left."""
    emulator.scripts.clear()
    emulator.calls.clear()
    for file in said.iterdir():
        file.unlink()
    place.have_worker()
    yield
    compute = Compute(emulator)
    for name in compute.names("instances"):
        compute.delete(name)
    for name in compute.names("images"):
        compute.ok(compute.images.delete_unary(project="my-project", image=name))
    for blob in connect().storage.list_blobs("my-project_cloudbuild"):
        blob.delete()


@pytest.fixture(scope="module")
def client(place: PrefectPlace) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def spec(image: str, **output: Any) -> dict[str, Any]:
    """A recipe; its build context is a path inside the deployed repository."""
    return {
        "source": {"project": "cos-cloud", "family": "cos-125-lts"},
        "context": {"path": "examples/minimal"},
        "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
        "steps": [{"type": "run-script", "script": "preload.sh"}],
        "builder": {"project": "my-project", "zones": ["us-west1-b"]},
        "output": {"project": "my-project", "name": image, **output},
        "timeout": "5m",
    }


def script_runs(emulator: Emulator) -> bool:
    return emulator.calls.count(path="serialPort") > 0


def images(emulator: Emulator) -> list[str]:
    return [image["name"] for image in emulator.list("projects/my-project/global/images")]


def test_deployments_check_their_parameters_and_wait_for_their_owner(client: SyncPrefectClient) -> None:
    for name in ("build-recipe", "build-image", "rebuild-images", "expire-images", "sweep", "watch-sources"):
        deployment = client.read_deployment_by_name(f"{name}/{name}")
        assert deployment.enforce_parameter_schema
        assert "cos-customizer" in deployment.tags
        assert deployment.work_pool_name == POOL
        is_build = name.startswith("build-")
        assert deployment.work_queue_name == ("builds" if is_build else "upkeep")
        # #19403 of Prefect's: workers do not see past runs that wait for a deployment's limit.
        assert (deployment.concurrency_options is None) == is_build
        for schedule in deployment.schedules:
            assert isinstance(schedule.schedule, CronSchedule)
            assert schedule.schedule.timezone
            assert not schedule.active


def test_upkeep_comes_before_builds_that_have_waited_longer_and_builds_keep_to_their_queues_limit(
    client: SyncPrefectClient,
) -> None:
    now = datetime.now(UTC)

    def waiting(name: str, days: int) -> UUID:
        deployment = client.read_deployment_by_name(f"{name}/{name}")
        state: State[Any] = Scheduled(scheduled_time=now + timedelta(days=days))  # no worker takes it yet
        parameters = {"project": "my-project"} if name == "sweep" else {"spec": spec("x")}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters, state=state).id

    def served(limit: int) -> list[UUID]:
        """What a worker gets that asks in a week, and is given so many at most."""
        asked = {"scheduled_before": (now + timedelta(days=7)).isoformat(), "limit": limit}
        answer = client._client.post(f"/work_pools/{POOL}/get_scheduled_flow_runs", json=asked)
        return [UUID(each["flow_run"]["id"]) for each in answer.raise_for_status().json()]

    builds = [waiting("build-image", days=1) for _ in range(3)]
    sweep_run = waiting("sweep", days=2)
    queue = f"/work_pools/{POOL}/queues/builds"
    try:
        assert served(limit=1) == [sweep_run]
        assert served(limit=200) == [sweep_run, *builds]
        client._client.patch(queue, json={"concurrency_limit": 2}).raise_for_status()
        assert served(limit=200) == [sweep_run, *builds[:2]]
    finally:
        client._client.patch(queue, json={"concurrency_limit": None}).raise_for_status()
        for run_id in (sweep_run, *builds):
            client.delete_flow_run(run_id)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"spec": {**spec("x"), "colour": "red"}},
        {"spec": {**spec("x"), "steps": [{"type": "run-script"}]}},
        {"spec": {**spec("x"), "output": {"project": "my-project", "name": "x", "old_image_ttl": -1}}},
    ],
    ids=["none", "unknown-field", "no-script", "out-of-bounds"],
)
def test_parameters_that_do_not_fit_make_no_run(client: SyncPrefectClient, parameters: dict[str, Any]) -> None:
    with pytest.raises(PrefectHTTPStatusError, match="409"):
        start(client, "build-image/build-image", **parameters)


def test_a_run_makes_an_image_shows_what_it_did_and_its_graph_is_the_order_of_the_build_clean_up_included(
    client: SyncPrefectClient, emulator: Emulator
) -> None:
    emulator.scripts.add({**script(*succeeded()), "match": {"name": "cos-customizer-[0-9a-f]{10}-test"}})
    emulator.scripts.add({**succeeding(LABEL), "match": {"name": "cos-customizer-[0-9a-f]{10}"}})
    parameters = {**spec("made", family="mine", deprecate_old_images=True), "verify": {"boot": True}}
    run = ended(client, start(client, "build-image/build-image", spec=parameters))
    assert state_of(run) == "COMPLETED", log_of(client, run.id)
    assert run.name == "build made"
    assert {"family: mine", "source: cos-125-lts", "build"} <= set(run.tags)
    assert images(emulator) == ["made"]
    assert leftovers(emulator) == []
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    )
    assert {artifact.key for artifact in artifacts} == {"image-mine", "image-mine-changes", "image-mine-progress"}
    wait_for(lambda: "output of step 1" in log_of(client, run.id))  # logs are sent every few seconds

    graph = graph_of(client, run.id, "store the serial log of the test VM")
    order = [
        "resolve source image",
        "look for my-project/made",
        "look for n1-standard-1",
        "upload build context",
        "begin the upload of the contents",
        "create builder VM in us-west1-b",
        "boot builder VM",
        LABEL,
        "finish on the builder VM",
        "wait until the builder VM has halted",
        "read the contents",
        "create image made",
        "delete the builder VM in us-west1-b",
        "create test VM in us-west1-b",
        "boot test VM",
        "finish on the test VM",
        "compare made",
        "write the bills of materials",
        "write the provenance",
        "release made",
        "deprecate old images of mine",
        "delete the test VM in us-west1-b",
        "delete build context",
        "store the serial log of the builder VM",
        "store the serial log of the test VM",
    ]
    for beside in ("archive build context", "look for bucket my-project_cloudbuild"):
        assert graph.pop(beside) == graph["look for n1-standard-1"]
        graph["upload build context"].remove(beside)
    assert list(graph) == order
    assert graph == {name: {before} if before else set() for before, name in zip(["", *order], order, strict=False)}


def test_a_run_is_a_fork_of_a_process_that_has_imported_everything_and_leaves_nothing_if_it_is_cancelled_in_the_middle(
    client: SyncPrefectClient, emulator: Emulator
) -> None:
    emulator.scripts.add(script(STARTED))
    run_id = start(client, "build-image/build-image", spec=spec("cancelled"))
    wait_for(lambda: script_runs(emulator))
    pid = process_of(client, run_id)
    warm = Path(f"/proc/{parent_of(pid)}")
    assert b"fork_server" in (warm / "cmdline").read_bytes()
    assert len(list((warm / "task").iterdir())) == 1
    opened = [str(link.readlink()) for link in (warm / "fd").iterdir()]
    assert len([name for name in opened if name.startswith("socket:")]) == 1, opened
    assert Path(f"/proc/{pid}/comm").read_text().strip() == f"run-{run_id}"[:15]
    client.set_flow_run_state(run_id, Cancelling())  # what the UI's button does
    run = ended(client, run_id)
    assert state_of(run) == "CANCELLED", log_of(client, run_id)
    assert "cancelled" not in images(emulator)
    assert leftovers(emulator) == []


@pytest.mark.parametrize("deployment", ["build-image/cold", "build-recipe/build-recipe"])
def test_a_run_whose_process_is_killed_is_undone_by_its_worker_and_its_family_is_free_after_two_minutes(
    deployment: str, client: SyncPrefectClient, emulator: Emulator, place: PrefectPlace
) -> None:
    """As a new interpreter, and as a fork; its hook is the same."""
    emulator.scripts.add(script(STARTED))
    recipe = spec("killed", family="killed")
    parameters: dict[str, Any] = {"spec": recipe}
    if deployment.startswith("build-recipe"):  # which the worker finds where it was deployed, wherever it was started
        (place.checkout / "killed.yaml").write_text(yaml.safe_dump(recipe))
        parameters = {"recipe": "killed.yaml", "settings": ["builder.labels.team=web"]}
    run_id = start(client, deployment, **parameters)
    wait_for(lambda: script_runs(emulator))
    for pid in place.processes_of(run_id) or [process_of(client, run_id)]:  # a fork's variables are not to be seen
        os.kill(pid, signal.SIGKILL)
    run = ended(client, run_id)
    assert state_of(run) == "CRASHED", log_of(client, run_id)
    wait_for(lambda: not leftovers(emulator))
    wait_for(lambda: "cleaned up after Crashed: 1 VM, 1 disk, 1 object" in log_of(client, run_id))

    name = limit_name("my-project", "killed")
    limit = client.read_global_concurrency_limit_by_name(name)
    assert limit.active_slots == 1
    (left,) = place.let_leases_expire(limit.id)
    assert left <= 120
    wait_for(lambda: client.read_global_concurrency_limit_by_name(name).active_slots == 0)


def test_a_failed_run_leads_from_the_step_that_failed_to_the_clean_up_and_can_be_retried(
    client: SyncPrefectClient, emulator: Emulator
) -> None:
    emulator.scripts.add(script(*FAILS))
    run_id = start(client, "build-image/build-image", spec=spec("retried"))
    assert state_of(ended(client, run_id)) == "FAILED", log_of(client, run_id)
    graph = graph_of(client, run_id, "store the serial log of the builder VM")
    assert graph["delete the builder VM in us-west1-b"] == {LABEL}
    assert graph["delete build context"] == {"delete the builder VM in us-west1-b"}
    assert graph["store the serial log of the builder VM"] == {"delete build context"}
    assert [name for name, before in graph.items() if not before] == ["resolve source image"]

    emulator.scripts.add(succeeding(LABEL))
    client.set_flow_run_state(run_id, AwaitingRetry(), force=True)  # what the UI's button does
    run = ended(client, run_id)
    assert state_of(run) == "COMPLETED", log_of(client, run_id)
    assert run.run_count == 2
    (image,) = [image for image in emulator.list("projects/my-project/global/images") if image["name"] == "retried"]
    assert f"build={BuildNames.of(str(run_id), 2).id}" in image["description"]
    assert leftovers(emulator) == []


def test_two_runs_of_one_family_are_one_after_the_other(client: SyncPrefectClient, emulator: Emulator) -> None:
    emulator.scripts.add(succeeding(LABEL, seconds=60))
    runs = [start(client, "build-image/build-image", spec=spec(name, family="shared")) for name in ("one", "two")]

    def waiting() -> list[UUID]:
        return [run_id for run_id in runs if "waiting for another build of shared" in log_of(client, run_id)]

    (second,) = wait_for(waiting)
    assert len(emulator.list("projects/my-project/zones/-/instances")) <= 1
    emulator.scripts.add(succeeding(LABEL))
    emulator.clock.advance(60)  # of the first
    for run_id in runs:
        assert state_of(ended(client, run_id)) == "COMPLETED", log_of(client, run_id)
    assert waiting() == [second]
    assert {"one", "two"} <= set(images(emulator))


def test_recipes_are_rebuilt_in_runs_of_their_own_and_a_broken_one_fails_alone(
    client: SyncPrefectClient, emulator: Emulator, place: PrefectPlace
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    recipes = place.checkout / "recipes"
    recipes.mkdir()
    recipe = spec("fresh", family="fresh") | {"context": {"path": "../examples/minimal"}}
    (recipes / "fresh.yaml").write_text(yaml.safe_dump(recipe))
    (recipes / "broken.yaml").write_text(yaml.safe_dump(recipe | {"colour": "red"}))
    run = ended(client, start(client, "rebuild-images/rebuild-images", recipes=["recipes/*.yaml"]))
    assert state_of(run) == "FAILED", log_of(client, run.id)
    (image,) = [image for image in images(emulator) if image.startswith("fresh")]
    deployment = client.read_deployment_by_name("build-image/build-image")
    of_rebuild = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]), name=FlowRunFilterName(any_=[f"build {image}"])
    )
    (build,) = client.read_flow_runs(flow_run_filter=of_rebuild)
    assert state_of(build) == "COMPLETED"
    wait_for(lambda: "broken.yaml" in log_of(client, run.id))
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), key=ArtifactFilterKey(any_=["rebuild-images-report"])
    )
    (page,) = client.read_artifacts(artifact_filter=wanted)
    assert "**1 built, 1 failed**, of 2 recipes" in str(page.data)
    if "no count of calls in Prefect's UI" not in log_of(client, build.id):  # a busy server, which costs no build
        assert "reads of serial consoles" in str(page.data), "which the build's own process has made"


@pytest.fixture
def notified() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a web hook, and what it was told."""
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", told
    server.shutdown()
    server.server_close()


def runs_of(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    """Runs of a deployment that an automation has started."""
    deployment = client.read_deployment_by_name(name)
    runs = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
    found = client.read_flow_runs(flow_run_filter=runs)
    return [run for run in found if run.created_by is not None and run.created_by.type == "AUTOMATION"]


def test_automations_tell_of_a_failed_build_sweep_after_a_crash_and_rebuild_for_a_new_source(
    client: SyncPrefectClient,
    emulator: Emulator,
    place: PrefectPlace,
    notified: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
) -> None:
    hook, told = notified
    body = {"text": "{{subject}}: {{body}}"}
    CustomWebhookNotificationBlock(name="image-builds", url=hook, json_data=body).save("image-builds")
    zombie = client.create_flow_run(build_image, parameters={"spec": spec("zombie")})
    client.set_flow_run_state(zombie.id, Running(), force=True)
    resource = {"prefect.resource.id": f"prefect.flow-run.{zombie.id}"}
    for file in (ROOT / "automations").glob("*.yaml"):
        text = file.read_text().replace("slack-webhook/", "custom-webhook/").replace("# parameters", "parameters")
        if file.stem == "zombie-runs":  # no test waits for long, and no other run of this server is in such a hurry
            text = text.replace("within: 600", "within: 10").replace(
                "prefect.flow-run.*", resource["prefect.resource.id"]
            )
        if file.stem == "new-source":  # that it is begun is what counts: its builds would be in other tests' way
            text += "  schedule_after: 9000\n"
        (tmp_path / file.name).write_text(text)
    applied = apply_automations([f"{tmp_path}/*.yaml"])
    assert {each.outcome for each in applied} == {"created"}, applied
    assert {each.outcome for each in apply_automations([f"{tmp_path}/*.yaml"])} == {"unchanged"}

    # A worker's run fails: who is notified learns why.
    emulator.scripts.add(script(*FAILS))
    failed = start(client, "build-image/build-image", spec=spec("failing", family="failing"))
    # A run that has given a sign of life, and then no more, has crashed; that is swept up after, in time.
    flow = {"prefect.resource.id": f"prefect.flow.{zombie.flow_id}", "prefect.resource.role": "flow"}
    event = Event(
        event="prefect.flow-run.heartbeat",
        resource=Resource(resource),
        related=[RelatedResource({**flow, "prefect.resource.name": "build-image"})],
    )
    client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()

    # Somebody puts a new image into a family that a recipe starts from.
    compute = Compute(emulator)
    recipe = spec("renewed", family="renewed") | {"source": {"project": "my-project", "family": "base"}}
    (place.checkout / "renewed.yaml").write_text(yaml.safe_dump(recipe))
    add_images(compute, {"base-1": {}}, family="base")
    with chdir(place.checkout), fed():  # a worker of this process, to this server
        watch_sources(["renewed.yaml"])
        add_images(compute, {"base-2": {}}, family="base")
        watch_sources(["renewed.yaml"])
    (rebuild,) = wait_for(lambda: runs_of(client, "rebuild-images/rebuild-images"))
    assert rebuild.parameters["recipes"] == ["renewed.yaml"]

    assert state_of(ended(client, failed)) == "FAILED"
    (notice,) = wait_for(lambda: told)
    assert notice["text"].startswith(f"failing: build failed: step 1/1 failed: {LABEL} exited with 3\n")
    assert "In my-project, for family failing, stage steps." in notice["text"]
    assert str(failed) in notice["text"]  # the address of the run

    crashed = ended(client, zombie.id)
    assert state_of(crashed) == "CRASHED"
    assert crashed.state is not None
    assert crashed.state.message == "It has not given a sign of life for ten minutes."
    (sweep_run,) = wait_for(lambda: runs_of(client, "sweep/sweep"))
    assert sweep_run.expected_start_time is not None
    assert sweep_run.expected_start_time - datetime.now(UTC) > timedelta(hours=2)


def test_a_schedule_fires(client: SyncPrefectClient, emulator: Emulator) -> None:
    deployment = client.read_deployment_by_name("sweep/sweep")
    path = f"/deployments/{deployment.id}"
    client._client.patch(path, json={"parameters": {"project": "my-project"}}).raise_for_status()
    schedule = IntervalSchedule(interval=timedelta(seconds=8))
    answer = client._client.post(
        f"{path}/schedules", json=[{"schedule": schedule.model_dump(mode="json"), "active": True}]
    )
    answer.raise_for_status()
    runs = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))

    def swept() -> FlowRun | None:
        found = client.read_flow_runs(flow_run_filter=runs)
        return next((run for run in found if run.state is not None and run.state.is_completed()), None)

    run = wait_for(swept)
    client._client.delete(f"{path}/schedules/{answer.json()[0]['id']}").raise_for_status()
    assert run.auto_scheduled
    assert run.name == "sweep my-project"


def test_a_run_that_is_stranded_before_its_process_holds_its_deployment_for_five_minutes(
    client: SyncPrefectClient, place: PrefectPlace
) -> None:
    """As docs/prefect.md tells: a worker takes a run, and dies before it starts it."""
    deployment = client.read_deployment_by_name("expire-images/expire-images")
    limit = deployment.global_concurrency_limit
    assert limit is not None
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(days=1))  # no worker is to take it
    which = {"project": "my-project", "image_families": ["my-family"]}
    runs = [client.create_flow_run_from_deployment(deployment.id, parameters=which, state=later).id for _ in range(3)]

    def taken(run_id: UUID) -> str:
        client.set_flow_run_state(run_id, Pending())
        return state_of(client.read_flow_run(run_id))

    assert [taken(run_id) for run_id in runs[:2]] == ["PENDING", "CANCELLED"]
    (left,) = place.let_leases_expire(limit.id)
    assert 200 < left <= 300
    wait_for(lambda: client.read_global_concurrency_limit_by_name(limit.name).active_slots == 0)
    assert taken(runs[2]) == "PENDING"
    for run_id in runs:
        client.delete_flow_run(run_id)


def test_what_a_killed_worker_leaves_is_swept_up_and_nothing_else(
    client: SyncPrefectClient, emulator: Emulator, place: PrefectPlace
) -> None:
    Compute(emulator).create("bystander")
    emulator.scripts.add(script(STARTED))
    run_id = start(client, "build-image/build-image", spec=spec("lost"))
    wait_for(lambda: script_runs(emulator))
    place.kill_everything_but_the_server()
    assert {name for name in leftovers(emulator) if "cos-customizer" in name}

    now = 0.0
    for machine in emulator.list("projects/my-project/zones/-/instances"):
        now = max(now, float(machine.get("labels", {}).get("cos-customizer-expires", "0")))
    scope = sweep.SweepScope("my-project")
    sweep.apply(connect(), "my-project", sweep.plan(connect(), scope, now - 60), now - 60)
    assert {name for name in leftovers(emulator) if "cos-customizer" in name}, "its time was not up"
    sweep.apply(connect(), "my-project", sweep.plan(connect(), scope, now + 60), now + 60)
    assert set(leftovers(emulator)) == {"bystander"}
    assert images(emulator) == []
    client.set_flow_run_state(run_id, Crashed(), force=True)  # what nobody is left to say


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


def found_by(said: Path, what: str) -> dict[str, Any]:
    """What the odd flow has said."""

    def content() -> dict[str, Any] | None:
        file = said / what
        text = file.read_text() if file.exists() else ""
        return json.loads(text) if text else None

    return wait_for(content)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def process_of(client: SyncPrefectClient, run_id: UUID) -> int:
    """The process that runs a flow run, as the server was told."""
    return int(wait_for(lambda: client.read_flow_run(run_id).infrastructure_pid) or 0)


def graph_of(client: SyncPrefectClient, run_id: UUID, last: str) -> dict[str, set[str]]:
    """The task runs of a flow run in the order in which they began until `last`, with those that lines lead from."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))

    def recorded() -> list[TaskRun] | None:
        # They travel as events, which the server writes down in its own time.
        runs = client.read_task_runs(flow_run_filter=wanted)
        over = all(run.end_time for run in runs) and any(run.name == last for run in runs)
        return sorted(runs, key=lambda run: (run.start_time is None, run.start_time)) if over else None

    runs = wait_for(recorded)
    names = {run.id: run.name for run in runs}

    def before(run: TaskRun) -> set[str]:
        inputs = [each for every in run.task_inputs.values() for each in every]
        return {names[each.id] for each in inputs if each.input_type == "task_run"}

    return {run.name: before(run) for run in runs}
