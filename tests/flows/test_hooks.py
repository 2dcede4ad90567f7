"""Hooks undo a build from its flow run alone, whatever has become of the process that it ran in."""

import logging
import signal
import threading
import uuid
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed
from support.guest_scripts import marker, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker
from support.waiting import wait_for

from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.reporting.events import BuildEnded, Event, Note, StepChange, listening
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import hooks
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
STARTED = marker(f"BuildStep: 1 started {LABELS[0]}")


def images(emulator: Emulator) -> list[str]:
    return [image["name"] for image in emulator.list("projects/my-project/global/images")]


def killed(spec: BuildSpec, moment: Any, monkeypatch: pytest.MonkeyPatch) -> FlowRun:
    """A build that has ended at the first event of which `moment` is true, and has undone nothing; its flow run."""

    def end(event: Event) -> None:
        if not isinstance(event, BuildEnded) and moment(event):
            raise RuntimeError("killed")

    with monkeypatch.context() as patch, listening(end):
        patch.setattr("cos_customizer.flows.build._undo", lambda *_: None)
        patch.setattr(hooks, "_register", lambda *_: None)
        state = build_image(spec, return_state=True)
    assert state.is_failed(), state
    assert state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        return client.read_flow_run(state.state_details.flow_run_id)


def run_hook(flow_run: FlowRun) -> None:
    """As a worker does: by name, with the flow run as the API gives it."""
    hooks.undo_build(flow=build_image, flow_run=flow_run, state=Crashed())


def told(topic: str) -> Any:
    return lambda event: isinstance(event, Note) and event.topic == topic


MOMENTS = [
    pytest.param({}, told("builder VM"), id="builder-vm-made"),
    pytest.param({}, lambda event: isinstance(event, StepChange), id="script-runs"),
    pytest.param(
        {"verify": {"scripts": ["first.sh"]}},
        lambda event: isinstance(event, StepChange) and event.stage == "verify",
        id="image-is-verified",
    ),
    pytest.param(
        {"verify": {"boot": True}, "output": {"name": None, "suffix": "-mine"}}, told("image"), id="name-not-given"
    ),
]


@pytest.mark.parametrize(("parts", "moment"), MOMENTS)
def test_what_a_killed_build_has_left_is_found_and_deleted(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, parts: dict[str, Any], moment: Any
) -> None:
    emulator.scripts.add({**script(STARTED), "match": {"name": ".*-test"}})
    emulator.scripts.add({**succeeding(*LABELS), "match": {"name": "cos-customizer-[0-9a-f]{10}"}})
    emulator.stock_out("us-west1-a")
    spec = make_spec(**{"builder": {"zones": ["us-west1-a", "us-west1-b"]}, **parts})
    flow_run = killed(spec, moment, monkeypatch)
    assert leftovers(emulator) != []
    run_hook(flow_run)
    assert leftovers(emulator) == []
    assert images(emulator) == []


def test_an_image_that_is_still_being_made_goes_with_its_build(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("operation", method="insert", path="/images/", seconds=600)

    wait = calls.wait

    def made(clients: Clients, operation: Any, doing: str) -> Any:
        if doing.startswith("create image"):
            raise RuntimeError("killed")
        return wait(clients, operation, doing)

    with monkeypatch.context() as patch:
        patch.setattr("cos_customizer.gcp.calls.wait", made)
        flow_run = killed(make_spec(output={"family": "my-family"}), lambda _: False, monkeypatch)
    (image,) = emulator.list("projects/my-project/global/images")
    assert image["status"] == "PENDING"
    emulator.calls.clear()

    def finish_it() -> None:
        wait_for(lambda: emulator.calls.count(method="DELETE", path="/images/") or emulator.calls.count(path="/wait"))
        emulator.clock.advance(600)

    finisher = threading.Thread(target=finish_it)
    finisher.start()
    run_hook(flow_run)
    finisher.join()
    assert images(emulator) == []
    assert leftovers(emulator) == []


@pytest.mark.parametrize(("moment", "left"), [("image", []), ("released", ["my-image"])])
def test_an_image_that_is_released_stays_and_one_that_is_not_goes(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, moment: str, left: list[str]
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    flow_run = killed(make_spec(output={"family": "my-family"}), told(moment), monkeypatch)
    run_hook(flow_run)
    assert images(emulator) == left
    assert leftovers(emulator) == []


def test_the_flow_runs_its_hooks_itself_when_it_fails(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add(script(STARTED, marker("BuildStep: 1 failed exit 1"), marker("BuildFailed: step 1 exit 1")))
    monkeypatch.setattr("cos_customizer.flows.build._undo", lambda *_: None)
    assert build_image(make_spec(), return_state=True).is_failed()
    assert leftovers(emulator) == []


def test_a_flow_that_crashes_runs_its_hooks_too(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add(script(STARTED))

    def interrupt(event: Event) -> None:
        if isinstance(event, StepChange):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("cos_customizer.flows.build._undo", lambda *_: None)
    with listening(interrupt), pytest.raises(KeyboardInterrupt):
        build_image(make_spec())
    assert leftovers(emulator) == []


def test_what_a_build_has_undone_itself_is_not_looked_for_again(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED, marker("BuildStep: 1 failed exit 1"), marker("BuildFailed: step 1 exit 1")))
    calls: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, BuildEnded):
            calls.append(emulator.calls.count())

    with listening(count):
        assert build_image(make_spec(), return_state=True).is_failed()
    assert calls == [emulator.calls.count()]


def flow_run_of(spec: Any, run_count: int = 1) -> FlowRun:
    return FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), parameters={"spec": spec}, run_count=run_count)


def test_a_hook_with_nothing_to_undo_is_quick(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.calls.clear()
    run_hook(flow_run_of(make_spec().model_dump(mode="json")))
    assert emulator.calls.count() < 10  # two VMs and disks, an object, a list of images


def test_all_attempts_at_a_flow_run_are_undone(emulator: Emulator, make_spec: SpecMaker) -> None:
    flow_run = flow_run_of(make_spec().model_dump(mode="json"), run_count=3)
    run_hook(flow_run)
    asked = " ".join(call.path for call in emulator.calls.list(method="DELETE"))
    for attempt in (1, 2, 3):
        build = BuildNames.of(str(flow_run.id), attempt)
        assert f"instances/{build.builder_vm}?" in asked
        assert f"instances/{build.test_vm}?" in asked


@pytest.mark.parametrize(
    ("spec", "said"),
    [(None, "could not be looked for"), ({"source": 1}, "could not be looked for")],
    ids=["none", "not-a-spec"],
)
def test_parameters_that_are_no_specification_are_no_error(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, spec: Any, said: str
) -> None:
    with caplog.at_level(logging.WARNING, "prefect.flow_runs"):
        run_hook(flow_run_of(spec))
    assert said in caplog.text


def test_what_cannot_be_removed_is_said(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    flow_run = killed(make_spec(), told("builder VM"), monkeypatch)
    emulator.faults.add("http", status=403, reason="forbidden", method="DELETE", path="/instances/", count=0)
    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        run_hook(flow_run)
    assert "left behind: VM cos-customizer-" in caplog.text
    assert "cleaned up after Crashed: 1 object" in caplog.text


def test_what_never_ends_is_given_up_and_said(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    flow_run = killed(make_spec(), told("builder VM"), monkeypatch)
    emulator.faults.add("operation", method="delete", path="instances/cos-customizer", seconds=3600, count=0)
    monkeypatch.setattr("cos_customizer.flows.hooks._PATIENCE", 3.0)
    with caplog.at_level(logging.INFO, "prefect.flow_runs"):
        run_hook(flow_run)
    assert "left behind: VM cos-customizer-" in caplog.text
    assert "no time left to see it end" in caplog.text
