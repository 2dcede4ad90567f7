"""A build that logs to Cloud Logging: what arrives there through Google's client, its trouble is never ours."""

import contextvars
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.builds import signalled, time_is_up
from support.guest_scripts import marker, said, script, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker
from support.waiting import PATIENCE

from cos_customizer.customizer.errors import BuildFailedError, BuildTimeoutError, UsageError
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, Note, StepChange, listening, publish
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.endpoints import LOGGING_OVERRIDE

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
STARTED = marker(f"BuildStep: 1 started {LABELS[0]}")
WRITE = r"/v2/entries:write"


def logged(filter_: str = "") -> list[Any]:
    """The entries of all builds, as Google's client reads them."""
    client = connect().logging("my-project")
    return list(client.logger("cos-customizer").list_entries(filter_=filter_ or None))


def messages(filter_: str = "") -> list[str]:
    return [entry.payload["message"] for entry in logged(filter_)]


def warnings_of(spec: BuildSpec) -> tuple[Any, list[Note]]:
    """Run a build: what it returns, and what it says of Cloud Logging."""
    told: list[Event] = []
    with listening(told.append):
        result = build_image(spec)
    return result, [event for event in told if isinstance(event, Note) and event.topic == "log entries"]


def test_all_of_a_build_is_there_with_all_fields(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS, seconds=0.2))
    began = datetime.now(UTC) - timedelta(seconds=1)
    result, warnings = warnings_of(make_spec(cloud_logging=True))
    assert warnings == []
    entries = logged()
    assert [entry.payload["message"] for entry in entries if entry.payload["event"] != "note"] == [
        "step 1/2: run-script first.sh started",
        "output of step 1",
        "step 1/2: run-script first.sh succeeded in 0.4 s",
        "step 2/2: run-script second.sh started",
        "output of step 2",
        "step 2/2: run-script second.sh succeeded in 0.4 s",
        "my-image is built",
    ]
    topics = [entry.payload["topic"] for entry in entries if entry.payload["event"] == "note"]
    assert topics == ["builder VM", "builder VM", "image", "cleaned up", "serial log"]
    for entry in entries:
        assert entry.log_name == "projects/my-project/logs/cos-customizer"
        assert entry.severity == "INFO"
        assert entry.labels["build_id"] == entry.payload["build_id"] == result.build_id
        assert len(entry.labels["flow_run_id"]) == len(entry.payload["flow_run_id"]) == 36
        assert entry.payload["output_image"] == "projects/my-project/global/images/my-image"
        assert entry.payload["source_image"] == "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
        assert (entry.resource.type, entry.resource.labels["task_id"]) == ("generic_task", result.build_id)
        assert began <= entry.timestamp <= entry.received_timestamp
    # The zone is known once the builder VM is there.
    assert {entry.payload["zone"] for entry in entries[1:]} == {"us-west1-b"}
    line = next(entry for entry in entries if entry.payload["message"] == "output of step 2").payload
    assert (line["serial_port"], line["step"], line["steps"], line["step_label"]) == (3, 2, 2, LABELS[1])
    assert entries[-1].payload["result"]["image_self_link"] == result.image_self_link
    # In order, and in few requests.
    ids = [entry.insert_id for entry in entries]
    assert ids == sorted(ids)
    assert emulator.calls.count(service="logging", path=WRITE) < 6 < len(entries)


def test_a_failed_script_is_an_error_there(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(
        script(
            STARTED,
            said("BuildStatus: out of luck\n"),
            marker("BuildStep: 1 failed exit 3"),
            marker("BuildFailed: step 1 exit 3"),
        )
    )
    with pytest.raises(BuildFailedError):
        build_image(make_spec(cloud_logging=True))
    failed, ended = logged("severity>=ERROR")
    assert failed.payload["message"] == "step 1/2: run-script first.sh failed: exited with 3"
    assert (failed.payload["step"], failed.payload["step_state"], failed.payload["exit_code"]) == (1, "failed", 3)
    assert ended.payload["message"].startswith("the build of my-image failed: step 1/2 failed: run-script first.sh")
    assert ended.payload["outcome"] == "failed"
    assert messages('jsonPayload.result.failure.cause="step-failed"') == [ended.payload["message"]]
    assert messages('jsonPayload.serial_port=3 AND jsonPayload.step_label:"first.sh"') == ["out of luck"]


def test_a_timeout_is_there(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED, said("BuildStatus: the last words\n", 0.3)))
    last_words = time_is_up(lambda event: isinstance(event, ConsoleOutput))
    with last_words, pytest.raises(BuildTimeoutError):
        build_image(make_spec(cloud_logging=True))
    assert "the last words" in messages()
    (ended,) = logged("severity=ERROR")
    assert ended.payload["outcome"] == "timed-out"


def test_a_signal_in_the_middle_loses_nothing(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(script(STARTED, said("BuildStatus: the last words\n", 0.3)))

    def end(_number: int, _frame: object) -> None:
        raise SystemExit(143)

    last_words = signalled(signal.SIGTERM, lambda event: isinstance(event, ConsoleOutput))
    before = signal.signal(signal.SIGTERM, end)
    try:
        with last_words, pytest.raises(SystemExit):
            build_image(make_spec(cloud_logging=True))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "the last words" in messages()
    assert logged("severity=WARNING")[-1].payload["outcome"] == "interrupted"
    assert leftovers(emulator) == []


def nowhere(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(LOGGING_OVERRIDE, f"http://127.0.0.1:{free.getsockname()[1]}/")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(nowhere, "no answer from the API (connection refused)", id="dead"),
        pytest.param(
            lambda emulator, _: emulator.faults.add("http", path=WRITE, status=403, reason="forbidden", count=0),
            "roles/logging.logWriter",
            id="forbidden",
        ),
        pytest.param(
            lambda emulator, _: emulator.faults.add("http", path=WRITE, status=404, reason="notFound", count=0),
            "could not write to Cloud Logging",
            id="no-such-project",
        ),
        pytest.param(
            lambda emulator, _: emulator.faults.add(
                "http", path=WRITE, status=429, reason="RESOURCE_EXHAUSTED", count=0
            ),
            "entries are missing there",
            id="no-quota",
        ),
        pytest.param(
            lambda emulator, _: emulator.faults.add("delay", path=WRITE, seconds=8, count=0),
            "has not taken all entries within 5 s; ",
            id="slow",
        ),
        pytest.param(
            lambda emulator, _: emulator.faults.add("drop", path=WRITE, count=0), "no answer from the API", id="cut"
        ),
    ],
)
def test_its_trouble_is_one_warning_and_costs_no_build(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Emulator, pytest.MonkeyPatch], object],
    words: str,
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    spoil(emulator, monkeypatch)
    result, (warning,) = warnings_of(make_spec(cloud_logging=True))
    assert result.outcome == "built"
    assert warning.level == "warning"
    assert words in warning.text


def test_what_fails_for_a_moment_is_sent_again_and_is_there_once(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    emulator.faults.add("http", path=WRITE, status=503)
    emulator.faults.add("drop", path=WRITE, when="after")  # it is taken, and we do not know
    result, warnings = warnings_of(make_spec(cloud_logging=True))
    assert (result.outcome, warnings) == ("built", [])
    assert messages('jsonPayload.event="console"') == ["output of step 1", "output of step 2"]
    assert emulator.calls.count(service="logging", path=WRITE) >= 3


def test_without_it_nothing_is_sent(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    before = set(threading.enumerate())  # a writer whose server never answers is left behind, with its test
    build_image(make_spec())
    assert emulator.calls.count(service="logging") == 0
    assert [thread for thread in set(threading.enumerate()) - before if thread.name == "cloud-logging"] == []


def test_entries_of_a_build_on_this_machine_never_go_to_google(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LOGGING_OVERRIDE)
    emulator.calls.clear()
    with pytest.raises(UsageError, match=LOGGING_OVERRIDE):
        build_image(make_spec(cloud_logging=True))
    assert emulator.calls.count(method="POST") == 0


def test_what_others_in_the_process_tell_is_not_logged(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))

    def tell(event: Event) -> None:
        if isinstance(event, StepChange):
            contextvars.Context().run(publish, Note("another build", "speaks"))

    with listening(tell):
        build_image(make_spec(cloud_logging=True))
    assert messages('"another build"') == []
    assert messages('"my-image is built"')


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_reads_a_build(emulator: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    build_id = build_image(make_spec(cloud_logging=True)).build_id
    query = f'log_id("cos-customizer") AND labels.build_id="{build_id}" AND jsonPayload.serial_port=3'
    # As docs/build-steps.md has it.
    command = ["gcloud", "logging", "read", query, "--order=asc", "--format=value(jsonPayload.message)"]
    (tmp_path / "token").write_text("any")
    environment = {
        **os.environ,
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": "my-project",
    }
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stdout) == (0, "output of step 1\noutput of step 2\n"), ran.stderr
