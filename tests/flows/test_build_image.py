"""The build flow on scripted machines: what it makes, what it says when it fails, and that it leaves nothing."""

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.builds import failing, images, make_image, signalled, time_is_up
from support.guest_scripts import marker, said, script, succeeded, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker
from support.waiting import wait_for

from cos_customizer.customizer.errors import (
    BuildFailedError,
    BuildTimeoutError,
    CustomizerError,
    NotFoundError,
    QuotaError,
    StockOutError,
    UsageError,
)
from cos_customizer.customizer.reporting.events import (
    BuildEnded,
    ConsoleOutput,
    Event,
    Note,
    PhaseChange,
    StepChange,
    listening,
)
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.interrupts import SIGNALS, EndOnce
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
STARTED = marker(f"BuildStep: 1 started {LABELS[0]}")
HALTED = {"port": 1, "text": "reboot: System halted\r\n"}


def script_runs(event: Event) -> bool:
    return isinstance(event, StepChange)


def test_a_build_makes_the_image_it_was_asked_for(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    spec = make_spec(
        output={
            "family": "my-family",
            "labels": {"team": "web"},
            "inherit_labels": True,
            "licenses": ["https://www.googleapis.com/compute/v1/projects/cos-cloud/global/licenses/cos", ""],
        }
    )
    result = build_image(spec)
    image = images(emulator)["my-image"]
    assert image["family"] == "my-family"
    assert image["labels"]["team"] == "web"
    assert "projects/cos-cloud/global/images/cos-stable-68-10718-86-0" in image["description"]
    assert result.outcome == "built"
    assert result.image_self_link == image["selfLink"]
    assert result.image_id == image["id"]
    assert [step.state for step in result.steps] == ["succeeded", "succeeded"]
    assert leftovers(emulator) == []


def test_the_whole_serial_log_is_kept_with_an_expiry(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    result = build_image(make_spec())
    assert result.serial_log == f"gs://my-project_cloudbuild/work/cos-customizer/{result.build_id}/serial.log"
    (blob,) = connect().storage.list_blobs("my-project_cloudbuild")
    text = blob.download_as_text()
    assert "BuildStatus: output of step 2" in text
    assert "BuildSucceeded" in text
    assert blob.metadata["cos-customizer-build"] == result.build_id
    assert int(blob.metadata["cos-customizer-expires"]) > time.time() + 86400


def test_steps_and_console_are_told_as_they_happen(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    told: list[Event] = []
    with listening(told.append):
        build_image(make_spec())
    changes = [(event.number, event.state) for event in told if isinstance(event, StepChange)]
    assert changes == [(1, "started"), (1, "succeeded"), (2, "started"), (2, "succeeded")]
    lines = [line for event in told if isinstance(event, ConsoleOutput) for line in event.lines]
    assert lines == ["output of step 1", "output of step 2"]
    assert [event.topic for event in told if isinstance(event, Note)] == [
        *("builder VM", "builder VM", "image", "cleaned up", "serial log")
    ]


def phases(told: list[Event]) -> list[str]:
    """The phases that have begun, each followed by what was heard in it of steps and console."""
    heard: list[str] = []
    for event in told:
        if isinstance(event, PhaseChange) and event.state == "started":
            heard.append(event.phase)
        elif isinstance(event, StepChange | ConsoleOutput):
            heard.append(f"  {event.state if isinstance(event, StepChange) else event.lines[0]}")
    return heard


def test_a_vm_boots_until_it_begins_its_first_step(emulator: Emulator, make_spec: SpecMaker) -> None:
    fetched = said("BuildStatus: fetched the build context\n")
    emulator.scripts.add(script(fetched, STARTED, marker("BuildStep: 1 succeeded 0.4", 60), *succeeded()))
    told: list[Event] = []

    def go_on(event: Event) -> None:
        told.append(event)
        if event == PhaseChange("steps", "started"):
            emulator.clock.advance(60)

    with listening(go_on):
        result = build_image(make_spec(scripts=("first.sh",)))
    assert phases(told)[:7] == [
        *("prepare", "builder VM", "boot", "  fetched the build context"),
        *("steps", "  started", "  succeeded"),
    ]
    assert phases(told)[7:] == ["halt", "image", "release", "clean-up"]
    ended = [event.phase for event in told if isinstance(event, PhaseChange) and event.state == "succeeded"]
    assert [*ended, "total"] == list(result.durations)


def test_a_vm_that_fails_before_its_first_step_fails_in_its_boot(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(marker("BuildFailed: cannot fetch the build context")))
    told: list[Event] = []
    with listening(told.append):
        error, _ = failing(make_spec(), BuildFailedError)
    assert error.message == "the build failed on the builder VM: cannot fetch the build context"
    assert phases(told) == ["prepare", "builder VM", "boot", "clean-up"]


def test_a_failed_script_shows_its_exit_code_and_its_last_40_lines(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(
        script(
            STARTED,
            *(said(f"BuildStatus: line {number}\n") for number in range(60)),
            said("BuildStatus: curl: (6) Could not resolve host: internal.example\n"),
            marker("BuildStep: 1 failed exit 3"),
            marker("BuildFailed: step 1 exit 3"),
        )
    )
    error, result = failing(make_spec(), BuildFailedError)
    assert error.message == "step 1/2 failed: run-script first.sh exited with 3"
    assert len(error.output) == 40
    assert error.output[-2:] == ("line 59", "curl: (6) Could not resolve host: internal.example")
    assert "builder.network and builder.subnet choose another" in error.hint
    assert result.outcome == "failed"
    assert [step.state for step in result.steps] == ["failed", "not-run"]
    assert result.serial_log
    assert images(emulator) == {}
    assert leftovers(emulator) == []


@pytest.mark.parametrize(
    ("events", "message"),
    [
        pytest.param([marker("BuildFailed: the archive has another digest")], "another digest", id="before-steps"),
        pytest.param([STARTED, {"after": 0.1, "power_off": True}], "stopped by itself", id="power-off"),
        pytest.param([STARTED, {"after": 0.1, "crash": True}], "stopped by itself", id="crash"),
        pytest.param(
            [
                *(STARTED, marker("BuildStep: 1 succeeded 1"), marker("BuildStep: 2 succeeded 1")),
                *(marker("BuildSucceeded:"), STARTED),
            ],
            "restarted",
            id="restarted-after-the-end",
        ),
        pytest.param(
            [STARTED, marker("BuildStep: 1 succeeded 1"), marker("BuildSucceeded:"), HALTED],
            r"step 2/2 failed: run-script second\.sh never reported",
            id="success-without-a-step",
        ),
        pytest.param(
            [STARTED, marker("BuildSucceeded:"), HALTED],
            r"step 1/2 failed: run-script first\.sh has not reported its end",
            id="success-in-the-middle-of-a-step",
        ),
    ],
)
def test_a_vm_that_ends_otherwise_fails_the_build(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    events: list[dict[str, Any]],
    message: str,
) -> None:
    monkeypatch.setattr("cos_customizer.gcp.guest_console._STATUS_INTERVAL", 0.5)
    emulator.scripts.add(script(*events))
    with pytest.raises(BuildFailedError, match=message):
        build_image(make_spec())
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_a_vm_that_somebody_deletes_before_it_has_halted_is_said_to_be_deleted(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    *work, halted = succeeding(*LABELS)["events"]
    emulator.scripts.add(script(*work, {**halted, "after": 3600}))

    def delete(event: Event) -> None:
        if event == PhaseChange("halt", "started"):
            (vm,) = emulator.list("projects/my-project/zones/-/instances")
            names = {"project": "my-project", "zone": "us-west1-b", "instance": vm["name"]}
            operation = connect().instances.delete_unary(**names)
            connect().zone_operations.wait(project="my-project", zone="us-west1-b", operation=operation.name)

    with listening(delete):
        error, result = failing(make_spec(), BuildFailedError)
    assert error.message == "the builder VM was deleted after its last step"
    assert result.outcome == "failed"
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_a_spot_vm_that_is_taken_back_says_so(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED))
    names: dict[str, Any] = {"project": "my-project", "zone": "us-west1-b"}

    def preempt(event: Event) -> None:
        if isinstance(event, StepChange):
            (vm,) = emulator.list("projects/my-project/zones/-/instances")
            assert vm["scheduling"]["provisioningModel"] == "SPOT"
            operation = connect().instances.simulate_maintenance_event_unary(**names, instance=vm["name"])
            connect().zone_operations.wait(**names, operation=operation.name)

    with listening(preempt):
        error, result = failing(make_spec(builder={"spot": True}), BuildFailedError)
    assert error.message == (
        "the builder VM was preempted during step 1/2 (run-script first.sh): Compute Engine has taken the spot VM back"
    )
    assert error.hint == "build again; without builder.spot: true, it keeps its VM."
    assert (result.outcome, leftovers(emulator), images(emulator)) == ("failed", [], {})


def test_a_script_cannot_pass_its_output_for_the_guests_word(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(
        script(
            STARTED,
            said("BuildStatus: BuildSucceeded[${nonce}]:\n"),
            said("\nBuildSucceeded[0123456789abcdef]:\n"),
            marker("BuildStep: 1 failed exit 1"),
            marker("BuildFailed: step 1 exit 1"),
        )
    )
    with pytest.raises(BuildFailedError, match="exited with 1"):
        build_image(make_spec())


def test_lost_output_is_reported_and_a_later_marker_tells_the_rest(emulator: Emulator, make_spec: SpecMaker) -> None:
    events = succeeding(*LABELS)
    emulator.scripts.add(events)
    emulator.faults.add("serial-loss", bytes=150)
    told: list[Event] = []
    with listening(told.append):
        result = build_image(make_spec())
    assert any("lost" in event.text for event in told if isinstance(event, Note))
    assert [step.state for step in result.steps] == ["succeeded", "succeeded"]


def test_a_timeout_says_so_and_leaves_only_the_log(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED))
    with time_is_up(script_runs):
        error, result = failing(make_spec(), BuildTimeoutError, "did not complete within the specified timeout")
    assert "step 1/2" in error.message
    assert result.outcome == "timed-out"
    assert result.serial_log
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_an_image_that_is_never_done_does_not_keep_a_build_beyond_its_time(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("operation", method="insert", path="/images/", seconds=3600)
    calls: list[int] = []

    def count(event: Event) -> None:
        if isinstance(event, BuildEnded):
            calls.append(emulator.calls.count())

    def is_over() -> None:
        wait_for(lambda: emulator.calls.count(method="POST", path="/global/images"))
        os.kill(os.getpid(), signal.SIGALRM)

    waiting = threading.Thread(target=is_over)
    waiting.start()
    with listening(count):
        _, result = failing(make_spec(timeout="30s"), BuildTimeoutError, "did not complete within the specified")
    waiting.join()
    assert result.outcome == "timed-out"
    assert [left for left in result.leftovers if "my-project/my-image" in left and "sweep" in left], result.leftovers
    assert calls == [emulator.calls.count()]  # no hook goes on where the build had no more time


def test_where_the_api_is_down_a_build_ends_in_its_time_and_says_what_it_leaves(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cos_customizer.flows.time_limit._MOST_UNDOING", 3.0)
    emulator.scripts.add(script(STARTED))
    told: list[Event] = []

    def break_down(event: Event) -> None:
        told.append(event)
        if script_runs(event):
            emulator.faults.add("http", status=503, path="", count=0)
            emulator.calls.clear()

    with listening(break_down), time_is_up(script_runs):
        _, result = failing(make_spec(), BuildTimeoutError, "did not complete within the specified")
    tried = [call.path for call in emulator.calls.list() if "serialPort" not in call.path]
    assert "/instances/cos-customizer-" in tried[0], tried  # what costs money first, what only informs last
    for left in ("VM cos-customizer-", "context.tar.gz"):
        assert [each for each in result.leftovers if left in each], result.leftovers
    assert [event.text for event in told if isinstance(event, Note) and event.topic == "left behind"] == [
        *result.leftovers
    ]


def test_time_that_is_up_before_the_build_begins_is_a_timeout_too(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = signal.setitimer

    def arm_too_late(which: int, seconds: float, interval: float = 0.0) -> tuple[float, float]:
        before = arm(which, seconds, interval)
        if interval:  # the deadline, which goes off before anybody can catch it
            signal.raise_signal(signal.SIGALRM)
        return before

    monkeypatch.setattr(signal, "setitimer", arm_too_late)
    _, result = failing(make_spec(), BuildTimeoutError, "did not complete within the specified timeout")
    assert result.outcome == "timed-out"


@pytest.mark.parametrize(
    ("number", "error", "outcome"),
    [(signal.SIGALRM, BuildTimeoutError, "timed-out"), (signal.SIGINT, KeyboardInterrupt, "interrupted")],
)
def test_an_interruption_is_told_though_a_library_makes_another_error_of_it(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    error: type[BaseException],
    outcome: str,
) -> None:
    def resolve(_source: object) -> None:
        try:
            signal.raise_signal(number)
        except BaseException:
            raise ValueError("Task run is not set") from None  # in Prefect's words

    monkeypatch.setattr("cos_customizer.flows.build.image_tasks.resolve_source", resolve)
    _, result = failing(make_spec(), error)
    assert result.outcome == outcome


def test_a_serial_log_that_could_not_be_stored_once_is_whole_the_next_time(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cos_customizer.gcp.guest_console._STORE_INTERVAL", 0.0)
    lines = [f"line {number}" for number in range(5)]
    emulator.scripts.add(
        script(STARTED, *(said(f"BuildStatus: {line}\n", 0.2) for line in lines), marker("BuildFailed: step 1 exit 1"))
    )

    def refuse(event: Event) -> None:
        if isinstance(event, ConsoleOutput) and event.lines[-1] == lines[1]:
            emulator.faults.add("http", status=403, reason="forbidden", path="/upload/")

    with listening(refuse):
        failing(make_spec(), BuildFailedError)
    (blob,) = connect().storage.list_blobs("my-project_cloudbuild")
    kept = [line.removeprefix("BuildStatus: ") for line in blob.download_as_text().splitlines()]
    assert [line for line in kept if line.startswith(("line", "BuildStep"))][1:] == lines


def test_a_serial_log_that_cannot_be_kept_is_no_leftover(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    told: list[Event] = []

    def refuse(event: Event) -> None:
        told.append(event)
        if isinstance(event, StepChange):  # the build context is there by now
            emulator.faults.add("http", status=403, reason="forbidden", path="/upload/", count=0)

    with listening(refuse):
        result = build_image(make_spec())
    assert (result.outcome, result.serial_log, result.leftovers) == ("built", "", ())
    (note,) = [event for event in told if isinstance(event, Note) and event.topic == "serial log"]
    assert note.level == "warning"
    assert "could not store" in note.text


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_undoes_the_build(
    emulator: Emulator, make_spec: SpecMaker, number: signal.Signals, error: type[BaseException], times: int
) -> None:
    emulator.scripts.add(script(STARTED))
    ended: list[int] = []

    def end(number: int, _frame: object) -> None:  # as the command does: once
        ended.append(number)
        if len(ended) == 1:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with signalled(number, script_runs, times):
            _, result = failing(make_spec(), error)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert result.outcome == "interrupted"
    assert result.error == ("interrupted" if number == signal.SIGINT else "terminated")
    assert leftovers(emulator) == []


def test_a_third_signal_ends_the_undoing_and_what_is_left_is_said(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED))
    emulator.faults.add("operation", method="delete", path="/instances/", seconds=3600, count=0)
    calls: list[int] = []

    def insist() -> None:
        wait_for(lambda: emulator.calls.count(method="DELETE", path="/instances/"))
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)

    insisting = threading.Thread(target=insist)

    def interrupt(event: Event) -> None:
        if isinstance(event, StepChange):
            emulator.calls.clear()
            insisting.start()
            signal.raise_signal(signal.SIGTERM)
        elif isinstance(event, BuildEnded):
            calls.append(emulator.calls.count())

    end = EndOnce()
    before = {each: signal.signal(each, end) for each in SIGNALS}
    try:
        with listening(interrupt):
            _, result = failing(make_spec(), BaseException)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    insisting.join()
    assert (result.outcome, result.error) == ("interrupted", "terminated")
    left = [each for each in result.leftovers if "VM cos-customizer-" in each]
    assert "Compute Engine deletes it" in left[0], result.leftovers
    assert calls == [emulator.calls.count()]  # no hook begins again


def test_an_output_image_that_exists_is_left_alone(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image")
    before = images(emulator)["my-image"]["id"]
    emulator.calls.clear()
    result = build_image(make_spec())
    assert result.outcome == "exists"
    assert result.image_id == before
    assert emulator.calls.count(method="POST") == 0


def test_an_output_image_that_is_being_made_is_waited_for(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.faults.add("operation", path="images/my-image", seconds=3600)
    maker = threading.Thread(target=make_image, args=("my-image",))
    maker.start()
    wait_for(lambda: images(emulator))
    emulator.calls.clear()

    def finish_it() -> None:
        wait_for(lambda: emulator.calls.count(path="/images/my-image"))
        emulator.clock.advance(3600)

    finisher = threading.Thread(target=finish_it)
    finisher.start()
    result = build_image(make_spec())
    finisher.join()
    maker.join()
    assert result.outcome == "exists"
    assert images(emulator)["my-image"]["status"] == "READY"


def test_a_failed_output_image_is_an_error(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.faults.add("operation", path="images/my-image", code="INTERNAL_ERROR", leave=True)
    make_image("my-image")
    with pytest.raises(CustomizerError, match="status FAILED"):
        build_image(make_spec())


def test_a_stock_out_goes_on_to_the_next_zone(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.stock_out("us-west1-a")
    result = build_image(make_spec(builder={"zones": ["us-west1-a", "us-west1-b"]}))
    assert result.zone == "us-west1-b"
    assert leftovers(emulator) == []


def test_a_quota_that_is_used_up_in_the_first_zone_is_the_error(emulator: Emulator, make_spec: SpecMaker) -> None:
    """As documented: it is capacity that another zone may have, and zones of one region share a quota."""
    emulator.faults.add("operation", code="QUOTA_EXCEEDED", method="insert", path="us-west1-a/instances/")
    spec = make_spec(builder={"zones": ["us-west1-a", "us-west1-b"]})
    error, _ = failing(spec, QuotaError, "QUOTA_EXCEEDED")
    assert "in us-west1-a: " in error.message
    assert emulator.calls.count(method="POST", path="us-west1-b/instances") == 0
    assert leftovers(emulator) == []


def test_stock_outs_in_all_zones_are_the_error(emulator: Emulator, make_spec: SpecMaker) -> None:
    for zone in ("us-west1-a", "us-west1-b"):
        emulator.stock_out(zone)
    with pytest.raises(StockOutError, match="us-west1-b"):
        build_image(make_spec(builder={"zones": ["us-west1-a", "us-west1-b"]}))
    assert leftovers(emulator) == []


@pytest.mark.parametrize(("ttl", "dated"), [(0, False), (3600, True)], ids=["for-good", "with-ttl"])
def test_old_images_of_the_family_are_deprecated(
    emulator: Emulator, make_spec: SpecMaker, ttl: int, dated: bool
) -> None:
    for name, family in (("old-1", "my-family"), ("old-2", "my-family"), ("other", "another-family"), ("none", "")):
        make_image(name, family=family)
    emulator.scripts.add(succeeding(*LABELS))
    result = build_image(make_spec(output={"family": "my-family", "deprecate_old_images": True, "old_image_ttl": ttl}))
    found = images(emulator)
    assert sorted(result.deprecated) == ["old-1", "old-2"]
    for name in ("old-1", "old-2"):
        status = found[name]["deprecated"]
        assert status["state"] == "DEPRECATED"
        assert status["replacement"].endswith("/my-image")
        assert ("deleted" in status) == dated
        if dated:
            left = datetime.fromisoformat(status["deleted"]) - datetime.now(UTC)
            assert 3500 < left.total_seconds() <= 3601
    assert not any("deprecated" in found[name] for name in ("my-image", "other", "none"))


@pytest.mark.parametrize(
    "order",
    [
        pytest.param(lambda e: e.faults.add("http", status=503, count=2), id="unavailable"),
        pytest.param(
            lambda e: e.faults.add("http", status=403, reason="rateLimitExceeded", count=2), id="too-many-calls"
        ),
        pytest.param(
            lambda e: e.faults.add("drop", path=r"/instances\?", method="POST", when="after"), id="vm-dropped"
        ),
        pytest.param(
            lambda e: e.faults.add("drop", path=r"/images\?", method="POST", when="after"), id="image-dropped"
        ),
        pytest.param(
            lambda e: e.faults.add("http", status=400, reason="resourceNotReady", path="serialPort", count=2),
            id="console-not-ready",  # what a VM that stops, or is being repaired, answers
        ),
        pytest.param(
            lambda e: e.faults.add("http", status=400, reason="resourceNotReady", method="DELETE", path="/instances/"),
            id="vm-busy",
        ),
        pytest.param(lambda e: e.faults.add("drop", path="serialPort", count=2), id="console-dropped"),
        pytest.param(
            lambda e: e.faults.add("operation", method="delete", path="/instances/", code="INTERNAL_ERROR"),
            id="vm-s-deletion-errs",
        ),
    ],
)
def test_passing_faults_of_the_api_do_not_fail_a_build(
    emulator: Emulator, make_spec: SpecMaker, order: Callable[[Emulator], object]
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    order(emulator)
    assert build_image(make_spec()).outcome == "built"
    assert list(images(emulator)) == ["my-image"]
    assert leftovers(emulator) == []


@pytest.mark.parametrize(
    ("order", "kind", "message"),
    [
        pytest.param(
            lambda e: e.faults.add("http", status=403, reason="forbidden", path=r"/instances\?", method="POST"),
            *(CustomizerError, "could not create VM cos-customizer-"),
            id="forbidden",
        ),
        pytest.param(
            lambda e: e.faults.add("operation", code="QUOTA_EXCEEDED", path="instances/", leave=True),
            *(CustomizerError, "QUOTA_EXCEEDED"),
            id="quota",
        ),
        pytest.param(
            lambda e: e.faults.add("operation", code="INTERNAL_ERROR", path="images/", leave=True),
            *(CustomizerError, "could not create image my-project/my-image"),
            id="image-fails",
        ),
    ],
)
def test_lasting_faults_of_the_api_are_explained_and_undone(
    emulator: Emulator,
    make_spec: SpecMaker,
    order: Callable[[Emulator], object],
    kind: type[CustomizerError],
    message: str,
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    order(emulator)
    with pytest.raises(kind, match=message):
        build_image(make_spec())
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_an_image_whose_family_cannot_be_tidied_is_made_and_the_rest_is_said(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    make_image("old-1", family="my-family")
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("http", status=403, reason="forbidden", path="/deprecate")
    error, result = failing(
        make_spec(output={"family": "my-family", "deprecate_old_images": True}),
        CustomizerError,
        "my-image is made, but",
    )
    assert "--replacement=my-image" in error.hint
    assert result.image_id == images(emulator)["my-image"]["id"]
    assert leftovers(emulator) == []


@pytest.mark.parametrize(
    ("parts", "kind", "message"),
    [
        ({"source": {"name": "cos-none"}}, NotFoundError, "could not find source image cos-none"),
        ({"source": {"name": None, "family": "none"}}, NotFoundError, "family none"),
        ({"source": {"name": None, "milestone": 7}}, NotFoundError, "milestone 7"),
        ({"scratch": {"bucket": "no-such-bucket"}}, UsageError, "scratch.bucket: there is no bucket no-such-bucket"),
        ({"scripts": ("missing.sh",)}, UsageError, "could not find script missing.sh"),
        ({"output": {"name": None, "suffix": "_A"}}, UsageError, "output.suffix"),
        ({"builder": {"zones": ["us-west1"]}}, UsageError, "builder.zones: us-west1 is a region, not a zone$"),
        ({"builder": {"zones": ["us-west1-b", "mars-a"]}}, UsageError, "builder.zones: there is no zone mars-a$"),
        ({"builder": {"machine_type": "n1-huge-1"}}, UsageError, "builder.machine_type: n1-huge-1: there is none in"),
        ({"builder": {"disk_size_gb": 9}}, UsageError, "builder.disk_size_gb: 9: the source image .* needs 10 GB"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_not_there_is_named(
    emulator: Emulator, make_spec: SpecMaker, parts: dict[str, Any], kind: type[CustomizerError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        build_image(make_spec(**parts))
    assert leftovers(emulator) == []
    assert [call for call in emulator.calls.list(path="^/upload/") if call.status < 400] == []


def test_the_builder_vm_is_temporary_by_label_and_lifetime(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED))
    seen: list[dict[str, Any]] = []

    def look(event: Event) -> None:
        if isinstance(event, StepChange):
            seen.extend(emulator.list("projects/my-project/zones/-/instances"))
            seen.extend(emulator.list("projects/my-project/zones/-/disks"))

    with listening(look), time_is_up(script_runs):
        _, result = failing(make_spec(), BuildTimeoutError)
    build_id = result.build_id
    vm, disk = seen
    for resource in (vm, disk):
        assert resource["name"] == f"cos-customizer-{build_id}"
        assert resource["labels"]["cos-customizer-build"] == build_id
        assert int(resource["labels"]["cos-customizer-expires"]) > time.time()
    assert vm["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert int(vm["scheduling"]["maxRunDuration"]["seconds"]) >= 30
    assert vm["disks"][0]["autoDelete"] is True


def test_a_vm_that_nobody_deletes_is_deleted_by_compute_engine(emulator: Emulator, make_spec: SpecMaker) -> None:
    """The second net: an orchestrator that is killed outright cannot undo anything."""
    emulator.scripts.add(script(STARTED))
    found: list[int] = []

    def hurry(event: Event) -> None:
        if isinstance(event, StepChange):
            emulator.clock.advance(3600 + 301)
            found.append(len(emulator.list("projects/my-project/zones/-/instances")))
            found.append(len(emulator.list("projects/my-project/zones/-/disks")))

    with listening(hurry), pytest.raises(BuildFailedError, match="was deleted"):
        build_image(make_spec())
    assert found == [0, 0]


def test_a_family_or_milestone_is_resolved_by_the_flow_too(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding())
    result = build_image(make_spec(scripts=(), source={"name": None, "family": "cos-125-lts"}))
    assert result.source_image.endswith("/cos-125-19216-532-62")
