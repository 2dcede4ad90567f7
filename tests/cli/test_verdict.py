"""What a build has come to is its verdict, though Prefect's server goes away or a signal comes too late."""

import json
import logging
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.builds import images
from support.command_line import run
from support.fault_place import Gateway
from support.guest_scripts import succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.cli import prefect_api
from cos_customizer.cli.prefect_check import check_api
from cos_customizer.customizer.reporting.events import Event, Note, StepChange, listening
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.interrupts import SIGNALS, Interrupts, ignore_signals
from cos_customizer.flows.undoing import Undoing

BUILD = ("build", "-recipe=recipe.yaml", "-output-file=out.json")
LABELS = ("run-script first.sh", "run-script second.sh")


@pytest.fixture
def recipe(tmp_path: Path, emulator: Emulator, make_spec: SpecMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe in the working directory, and a cloud in which its build succeeds."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump(make_spec().model_dump(mode="json", exclude_defaults=True)))
    emulator.scripts.add(succeeding(*LABELS))


@pytest.fixture
def gateway(session_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Leads to the session's Prefect server, which is configured by way of it. Nobody waits between two tries."""
    gateway = Gateway(urlsplit(session_server["PREFECT_API_URL"]).port or 80)
    through = {**session_server, "PREFECT_API_URL": f"http://127.0.0.1:{gateway.port}/api"}
    for name, value in through.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("prefect.client.base.time", SimpleNamespace(sleep=lambda _: None))
    with temporary_settings({PREFECT_API_URL: through["PREFECT_API_URL"]}):
        yield gateway


def tries(caplog: pytest.LogCaptureFixture) -> set[int]:
    """How often Prefect's client would try what it has tried in vain."""
    found = [re.search(r"This is attempt \d+/(\d+)", record.getMessage()) for record in caplog.records]
    caplog.clear()
    return {int(each[1]) for each in found if each}


@pytest.mark.usefixtures("recipe")
def test_a_server_is_waited_for_before_the_run_has_begun_and_hardly_afterwards(
    gateway: Gateway, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[set[int]] = []

    def go_then() -> None:
        check_api()
        gateway.close()

    monkeypatch.setattr("cos_customizer.cli.prefect_api.check_api", go_then)

    def hear(event: Event) -> None:
        if isinstance(event, Note) and event.topic == "Prefect":  # it waits for its server
            gateway.open()
        elif isinstance(event, StepChange) and not begun:
            begun.append(tries(caplog))
            gateway.close()

    with caplog.at_level(logging.DEBUG, "prefect.client"), listening(hear):
        ran = run(*BUILD)
    assert ran.code == 0, ran.err
    assert begun == [{1 + prefect_api._TRIES_TO_BEGIN}]
    assert tries(caplog) == {2, 1 + prefect_api._TRIES_LATER}  # for what only the UI shows, and for the rest
    assert ran.out.count("no progress in Prefect's UI: ") == 1  # and then no more of it
    assert ran.out.count("its server does not answer as it should; waiting for it") == 1
    assert EventsWorker.instance().client_options == (("reconnection_attempts", prefect_api._TRIES_OF_EVENTS),)


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(
    ("number", "code", "outcome", "left"),
    [(None, 0, "built", ["my-image"]), (signal.SIGTERM, 143, "interrupted", [])],
    ids=["undisturbed", "terminated"],
)
def test_what_a_build_has_come_to_is_its_verdict_though_the_server_has_gone(
    gateway: Gateway, emulator: Emulator, number: signal.Signals | None, code: int, outcome: str, left: list[str]
) -> None:
    def go(event: Event) -> None:
        if isinstance(event, StepChange) and gateway.is_open:
            gateway.close()
            if number is not None:
                signal.raise_signal(number)

    with listening(go):
        ran = run(*BUILD)
    assert ran.code == code, ran.err
    assert json.loads(Path("out.json").read_text())["outcome"] == outcome
    assert list(images(emulator)) == left
    assert leftovers(emulator) == []
    assert "what the build has come to is not recorded there" in ran.err
    assert "Traceback" not in ran.err


def signal_after(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: signal.Signals) -> list[str]:
    """This process gets a signal when a method has returned for the first time; afterwards its name is in the list."""
    method, came = getattr(owner, name), list[str]()

    def then_signal(*arguments: object) -> None:
        method(*arguments)
        if not came:
            came.append(name)
            signal.raise_signal(number)

    monkeypatch.setattr(owner, name, then_signal)
    return came


@pytest.mark.usefixtures("recipe", "prefect_server")
def test_signals_that_come_when_the_image_is_made_and_all_is_undone_change_nothing(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = signal_after(monkeypatch, Undoing, "run", signal.SIGTERM)
    told = signal_after(monkeypatch, Interrupts, "__exit__", signal.SIGTERM)
    heard: list[str] = []

    def at_last() -> None:
        heard.append("at last")
        for number in SIGNALS:
            signal.raise_signal(number)
        ignore_signals()

    monkeypatch.setattr("cos_customizer.cli.run_build.ignore_signals", at_last)
    ran = run(*BUILD)
    assert (undone, told, len(heard)) == (["run"], ["__exit__"], 1)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(Path("out.json").read_text())["outcome"] == "built"
    assert list(images(emulator)) == ["my-image"]
