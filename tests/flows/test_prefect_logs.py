"""What Prefect logs of a build: an expected error in words, once; a real one with its traceback; else little."""

import io
import logging
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.logging.handlers import PrefectConsoleHandler
from support.guest_scripts import marker, script, succeeding
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import BuildFailedError, UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import build, prefect_logs
from cos_customizer.flows.build_image import build_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
FAILS = (marker(f"BuildStep: 1 started {LABELS[0]}"), marker("BuildFailed: step 1 exit 3"))
MESSAGE = "step 1/2 failed: run-script first.sh exited with 3"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What Prefect prints for who calls a flow in Python and has configured nothing."""
    for name in prefect_logs.ASKED_BY:
        monkeypatch.delenv(name, raising=False)
    stream = io.StringIO()
    handler = PrefectConsoleHandler(stream)
    logging.getLogger("prefect").addHandler(handler)
    prefect_logs.tidy_logs()
    yield stream
    logging.getLogger("prefect").removeHandler(handler)


def lines_of(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == f"prefect.{name}"]


def test_an_expected_error_is_logged_in_words_and_once(
    emulator: Emulator, make_spec: SpecMaker, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(script(*FAILS))
    with pytest.raises(BuildFailedError):
        build_image(make_spec())
    assert "Traceback" not in caplog.text
    assert lines_of(caplog, "flow_runs").count(MESSAGE) == 1
    assert not [line for line in lines_of(caplog, "task_runs") if "exhausted" in line]
    with pytest.raises(UsageError):
        build_image(make_spec(scripts=("frist.sh",)))
    assert "could not find script frist.sh in build context" in caplog.text
    assert "(did you mean first.sh?)" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_flow_of_ones_own_that_fails_by_it_is_no_other(
    emulator: Emulator, make_spec: SpecMaker, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(script(*FAILS))
    spec = make_spec()

    @flow
    def nightly() -> None:
        build_image(spec)

    with pytest.raises(BuildFailedError):
        nightly()
    assert "Traceback" not in caplog.text


def test_any_other_error_keeps_its_traceback(
    emulator: Emulator, make_spec: SpecMaker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    emulator.scripts.add(succeeding(*LABELS))
    monkeypatch.setattr(build, "_make", fail)
    with pytest.raises(ZeroDivisionError):
        build_image(make_spec())
    assert "Traceback" in caplog.text


def test_that_a_task_has_completed_is_a_matter_of_debugging(
    emulator: Emulator, make_spec: SpecMaker, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    build_image(make_spec())
    assert not [line for line in lines_of(caplog, "task_runs") if line.startswith("Finished in state")]
    assert "step 1/2: run-script first.sh succeeded in 0.4 s" in lines_of(caplog, "task_runs")
    assert "Finished in state Completed()" in lines_of(caplog, "flow_runs")


def test_who_calls_a_build_in_python_reads_nothing_unless_asked_for(
    emulator: Emulator, make_spec: SpecMaker, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    assert build_image(make_spec()).outcome == "built"
    with pytest.raises(UsageError):
        build_image(make_spec(scripts=("frist.sh",), output={"name": "another"}))
    assert terminal.getvalue() == ""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "INFO")
    build_image(make_spec())
    assert "Beginning flow run" in terminal.getvalue()


def test_the_logs_of_others_are_left_alone(terminal: io.StringIO) -> None:
    @flow(name="somebody-elses")
    def other() -> None:
        raise ValueError("theirs")

    with pytest.raises(ValueError, match="theirs"):
        other()
    assert "Beginning flow run" in terminal.getvalue()
    assert "Traceback" in terminal.getvalue()
