"""One build at a time for each image family: who waits, for how long, and what ends the waiting."""

import re
import signal
import time
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from support.builds import signalled
from support.guest_scripts import succeeding
from support.leftovers import leftovers
from support.output_limits import held
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import BuildTimeoutError
from cos_customizer.customizer.reporting.announcements import ImageFailed
from cos_customizer.customizer.reporting.events import Event, Note, StepChange, listening
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import local_server, output_limit
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.output_limit import limit_name
from cos_customizer.flows.time_limit import command_started

pytestmark = pytest.mark.usefixtures("prefect_server")

IS_THROW_AWAY = local_server.is_throw_away
LABELS = ("run-script first.sh", "run-script second.sh")


@pytest.fixture(autouse=True)
def shared_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's server, as if others could see it."""
    monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
    monkeypatch.setattr(output_limit, "_INTERVAL", 0.2)


def occupied(family: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit_name("my-project", family)).active_slots


def notes(told: list[Event]) -> list[str]:
    return [event.text for event in told if isinstance(event, Note) and event.topic == "family"]


def test_a_build_holds_its_family_while_it_lasts(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    seen: list[int] = []
    told: list[Event] = []

    def look(event: Event) -> None:
        told.append(event)
        if isinstance(event, Note) and event.topic == "builder VM" and "booted" in event.text:
            seen.append(occupied("held"))

    with listening(look):
        assert build_image(make_spec(output={"family": "held"})).outcome == "built"
    assert seen == [1]
    assert occupied("held") == 0
    assert notes(told) == []


def test_the_second_build_waits_for_the_first_and_says_so(emulator: Emulator, make_spec: SpecMaker) -> None:
    """Waiting is not building: the clock of the time limit starts so much later."""
    emulator.scripts.add(succeeding(*LABELS))
    told: list[Event] = []
    began: list[float] = []

    started = time.monotonic()
    token = command_started.set(started)
    try:
        with held("busy") as let_go:

            def look(event: Event) -> None:
                told.append(event)
                if isinstance(event, StepChange):
                    began.append(command_started.get() or 0.0)
                if isinstance(event, Note) and event.topic == "family" and "waiting" in event.text:
                    let_go()

            with listening(look):
                result = build_image(make_spec(output={"family": "busy"}))
    finally:
        command_started.reset(token)
    assert result.outcome == "built"
    waiting, waited = notes(told)
    assert waiting.startswith("waiting for another build of busy")
    seconds = re.match(r"waited ([\d.]+) s for other builds of busy", waited)
    assert seconds
    assert min(began) - started == pytest.approx(float(seconds[1]), abs=0.1)


def test_a_build_waits_no_longer_than_it_may_take(emulator: Emulator, make_spec: SpecMaker) -> None:
    told: list[Event] = []
    with (
        held("lasting"),
        listening(told.append),
        pytest.raises(BuildTimeoutError, match="did not begin within the specified timeout") as raised,
    ):
        build_image(make_spec(output={"family": "lasting"}, timeout="1s"))
    assert "another build of family lasting was at work" in raised.value.message
    (failed,) = [event for event in told if isinstance(event, ImageFailed)]
    assert (failed.outcome, failed.stage, failed.cause) == ("timed-out", "waiting", raised.value.message)
    assert emulator.calls.count(method="POST") == 0


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_ends_the_waiting_at_once(
    emulator: Emulator,
    make_spec: SpecMaker,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    error: type[BaseException],
) -> None:
    monkeypatch.setattr(output_limit, "_INTERVAL", 3600.0)

    def end(number: int, _frame: object) -> None:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(143)

    waiting = signalled(number, lambda event: isinstance(event, Note) and event.topic == "family")
    before = signal.signal(number, end)
    try:
        with held("signalled"), waiting, pytest.raises(error):
            build_image(make_spec(output={"family": "signalled"}))
    finally:
        signal.signal(number, before)
    assert occupied("signalled") == 0
    assert leftovers(emulator) == []
    assert emulator.calls.count(method="POST") == 0


def test_a_failed_build_lets_its_family_go(emulator: Emulator, make_spec: SpecMaker) -> None:
    state = build_image(make_spec(output={"family": "failing"}, source={"name": "none"}), return_state=True)
    assert state.is_failed()
    assert occupied("failing") == 0


def test_a_limit_that_somebody_has_changed_is_left_so(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS))
    with held("wide"):
        with get_client(sync_client=True) as client:
            client.update_global_concurrency_limit(
                limit_name("my-project", "wide"), GlobalConcurrencyLimitUpdate(limit=2)
            )
        assert build_image(make_spec(output={"family": "wide"})).outcome == "built"


def test_a_build_without_a_family_does_not_ask(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_limit, "_make", lambda _: pytest.fail("it asks"))
    emulator.scripts.add(succeeding(*LABELS))
    assert build_image(make_spec()).outcome == "built"


def test_a_build_with_a_server_of_its_own_does_not_ask(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_server, "is_throw_away", IS_THROW_AWAY)
    monkeypatch.setattr(output_limit, "_make", lambda _: pytest.fail("it asks"))
    emulator.scripts.add(succeeding(*LABELS))
    assert local_server.is_throw_away()
    assert build_image(make_spec(output={"family": "mine"})).outcome == "built"


def test_no_build_fails_for_want_of_a_limit(
    emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("403 Forbidden")

    monkeypatch.setattr("prefect.client.orchestration.SyncPrefectClient.create_global_concurrency_limit", refuse)
    emulator.scripts.add(succeeding(*LABELS))
    told: list[Event] = []
    with listening(told.append):
        assert build_image(make_spec(output={"family": "forbidden"})).outcome == "built"
    (note,) = notes(told)
    assert note == "other builds of forbidden are not kept waiting: 403 Forbidden"
