"""An image that a person must approve: the run pauses in Prefect, and goes on as it is told to."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import Abort
from prefect.runtime import flow_run
from prefect.states import Cancelled
from support.builds import failing, images, signalled
from support.guest_scripts import NONCE, succeeded, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker
from support.waiting import PATIENCE

from cos_customizer.customizer.errors import BuildFailedError, UsageError
from cos_customizer.customizer.reporting.announcements import ImageReleased
from cos_customizer.customizer.reporting.events import BuildEnded, Event, Note, PhaseChange, listening
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import approval, local_server
from cos_customizer.flows.build_image import build_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
ASKS = {"require_approval": True}


@pytest.fixture
def shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's server, as if others could see it."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    monkeypatch.setattr(approval, "_POLL", 0.2)


def is_asked(event: Event) -> bool:
    return isinstance(event, Note) and event.topic == "approval" and "to be approved" in event.text


@contextmanager
def when_asked(do: Callable[[UUID], object]) -> Iterator[list[Event]]:
    """Somebody does something with the run, from elsewhere, once it waits; all events."""
    heard: list[Event] = []
    others: list[threading.Thread] = []

    def listen(event: Event) -> None:
        heard.append(event)
        if is_asked(event):
            others.append(threading.Thread(target=do, args=(UUID(str(flow_run.id)),)))
            others[0].start()

    with listening(listen):
        yield heard
    for other in others:
        other.join(PATIENCE)


def answering(**answer: str) -> Callable[[UUID], object]:
    """What the run's page does when somebody resumes the run with a form."""

    def resume(run: UUID) -> None:
        with get_client(sync_client=True) as client:
            client.resume_flow_run(run, run_input=answer)

    return resume


@pytest.mark.usefixtures("shared_server")
def test_an_approved_image_is_released_and_no_vm_has_run_while_somebody_looked(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    emulator.scripts.add({**succeeding(*LABELS), "match": {"name": "cos-customizer-[0-9a-f]{10}"}})
    emulator.scripts.add({"match": {"name": ".*-test"}, "variables": NONCE, "events": [*succeeded()]})
    seen: dict[str, Any] = {}

    def look_and_approve(run: UUID) -> None:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
        assert state is not None
        seen["state"] = state.name
        seen["vms"] = emulator.list("projects/my-project/zones/-/instances")
        seen["labels"] = images(emulator)["my-image"]["labels"]
        answering(decision="release", comment="looks good")(run)

    with when_asked(look_and_approve) as heard:
        result = build_image(
            make_spec(output={"family": "web"}, verify={**ASKS, "boot": True, "approval_timeout": "2d"})
        )
    assert result.outcome == "built"
    assert (seen["state"], seen["vms"]) == ("Paused", [])
    assert seen["labels"]["cos-customizer-state"] == "unreleased"
    assert int(seen["labels"]["cos-customizer-expires"]) > time.time() + 2 * 24 * 3600
    assert images(emulator)["my-image"]["family"] == "web"
    assert "my-image may be released: looks good" in [event.text for event in heard if isinstance(event, Note)]
    (released,) = [event for event in heard if isinstance(event, ImageReleased)]
    assert released.verified == ("boot", "approval")
    assert result.durations["approval"] > 0
    assert leftovers(emulator) == []


@pytest.mark.usefixtures("shared_server")
def test_a_refused_image_stays_unreleased_and_goes(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    with when_asked(answering(decision="refuse", comment="not on a Friday")):
        error, result = failing(make_spec(verify=ASKS), BuildFailedError)

    assert error.message == "image my-image is not released, it is deleted: it was refused: not on a Friday"
    assert result.outcome == "failed"
    assert images(emulator) == {}
    assert leftovers(emulator) == []


@pytest.mark.usefixtures("shared_server")
def test_an_image_that_nobody_approves_in_time_goes_too(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    monkeypatch.setattr(approval, "OVERTIME", 0.2)
    error, _ = failing(make_spec(verify={**ASKS, "approval_timeout": 1, "keep_failed_image": True}), BuildFailedError)

    assert "it is kept in no family" in error.message
    assert "nobody has approved it within 1.0 s" in error.message
    assert images(emulator)["my-image"]["labels"]["cos-customizer-state"] == "failed"


@pytest.mark.usefixtures("shared_server")
def test_an_answer_that_is_none_leaves_the_run_paused(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    refused: list[str] = []

    def answer_badly_first(run: UUID) -> None:
        with get_client(sync_client=True) as client:
            for answer in (None, {}, {"decision": "perhaps"}, {"decision": "release", "more": 1}):
                told = client.resume_flow_run(run, run_input=answer)
                refused.append(told.status.value)
            state = client.read_flow_run(run).state
            assert state is not None
            refused.append(str(state.name))
        answering(decision="release")(run)

    with when_asked(answer_badly_first):
        assert build_image(make_spec(verify=ASKS)).outcome == "built"
    assert refused == ["REJECT", "REJECT", "REJECT", "REJECT", "Paused"]


@pytest.mark.usefixtures("shared_server")
def test_a_run_that_is_cancelled_while_it_waits_releases_nothing(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))

    def cancel(run: UUID) -> None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, Cancelled(), force=True)

    with when_asked(cancel) as heard, pytest.raises((BuildFailedError, Abort)):
        build_image(make_spec(verify=ASKS))
    (ended,) = [event for event in heard if isinstance(event, BuildEnded)]
    assert "the run was cancelled while it waited for an approval" in ended.result.error
    assert images(emulator) == {}


@pytest.mark.usefixtures("shared_server")
def test_a_signal_while_it_waits_undoes_the_build_at_once(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    with signalled(signal.SIGINT, is_asked):
        _, result = failing(make_spec(verify=ASKS), KeyboardInterrupt)
    assert result.outcome == "interrupted"
    assert images(emulator) == {}
    assert leftovers(emulator) == []


@pytest.mark.usefixtures("shared_server")
def test_waiting_does_not_count_against_the_time_limit(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    left: list[float] = []

    def note_alarm(event: Event) -> None:
        begun = event.phase if isinstance(event, PhaseChange) and event.state == "started" else ""
        if begun in ("approval", "release") or is_asked(event):
            left.append(signal.getitimer(signal.ITIMER_REAL)[0])

    with listening(note_alarm), when_asked(answering(decision="release")):
        build_image(make_spec("10m", verify={**ASKS, "approval_timeout": "1h"}))
    before, meanwhile, after = left
    assert before < 600
    assert 3600 < meanwhile < 3600 + 600 + approval.OVERTIME
    assert before - 5 < after + 5 < 605  # what the wait has taken is there again


def test_where_there_is_nobody_to_ask_nothing_is_made(emulator: Emulator, make_spec: SpecMaker) -> None:
    error, result = failing(make_spec(verify=ASKS), UsageError)

    assert error.message.startswith("verify.require_approval: there is nobody to ask")
    assert "PREFECT_API_URL" in error.hint
    assert result.zone == ""
    assert emulator.list("projects/my-project/global/images") == []
