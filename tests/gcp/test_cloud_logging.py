"""The writer of log entries: bounded memory, what is left out, how requests are cut."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.waiting import PATIENCE, wait_for

from cos_customizer.customizer.reporting.log_entries import LONGEST, BuildFacts, LogEntry
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import cloud_logging
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.cloud_logging import LogWriter

FACTS = BuildFacts("ab12cd34ef", "flow-1")


def entry(number: int, text: str = "", is_output: bool = True) -> LogEntry:
    payload = {"message": text or f"line {number}", "number": number}
    return LogEntry("INFO", datetime.now(UTC), f"{number:09d}", payload, is_output)


def client() -> Any:
    return connect().logging("my-project")


def numbers(emulator: Emulator) -> list[int]:
    return [found["jsonPayload"]["number"] for found in emulator.logs.entries("my-project")]


def writes(emulator: Emulator) -> int:
    return emulator.calls.count(service="logging", path="entries:write")


@pytest.fixture
def blocked() -> tuple[Callable[[], Any], threading.Event]:
    """A client that is long in coming."""
    go = threading.Event()

    def connect_late() -> Any:
        go.wait(PATIENCE)
        return client()

    return connect_late, go


def test_many_entries_go_in_few_requests_and_in_order(
    emulator: Emulator, blocked: tuple[Callable[[], Any], threading.Event]
) -> None:
    late, go = blocked
    writer = LogWriter(late, FACTS)
    for number in range(2500):
        writer.write(entry(number))
    go.set()
    assert writer.close(PATIENCE) == 0
    assert numbers(emulator) == list(range(2500))
    assert writes(emulator) == 3


def test_a_request_is_no_larger_than_the_api_takes(emulator: Emulator) -> None:
    writer = LogWriter(client, FACTS)
    for number in range(120):
        writer.write(entry(number, "\N{SYMBOL FOR NULL}" * LONGEST))  # six bytes each in JSON: 14 MB in all
    assert writer.close(PATIENCE) == 0
    assert numbers(emulator) == list(range(120))
    assert writes(emulator) > 3


def test_entries_wait_for_company_but_not_for_long(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, blocked: tuple[Callable[[], Any], threading.Event]
) -> None:
    monkeypatch.setattr(cloud_logging, "INTERVAL", 0.2)
    late, go = blocked
    writer = LogWriter(late, FACTS)
    writer.write(entry(1))
    writer.write(entry(2))
    go.set()
    wait_for(lambda: numbers(emulator) == [1, 2])
    assert writes(emulator) == 1
    assert writer.close(PATIENCE) == 0


def test_lines_that_find_no_room_are_left_out_and_events_never(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    blocked: tuple[Callable[[], Any], threading.Event],
) -> None:
    monkeypatch.setattr(cloud_logging, "MOST_PENDING", 10_000)
    late, go = blocked
    writer = LogWriter(late, FACTS)
    for number in range(50):
        writer.write(entry(number))
    writer.write(entry(100, is_output=False))
    assert 0 < writer.left_out < 50
    go.set()
    assert writer.close(PATIENCE) == 0
    kept = numbers(emulator)
    assert kept == [*range(50 - writer.left_out), 100]


def test_what_was_not_sent_in_time_is_counted_and_not_waited_for(
    emulator: Emulator, blocked: tuple[Callable[[], Any], threading.Event]
) -> None:
    late, go = blocked
    writer = LogWriter(late, FACTS)
    writer.write(entry(1))
    assert writer.close(0.2) == 1
    go.set()
    writer.write(entry(2))
    writer._thread.join(PATIENCE)
    assert not writer._thread.is_alive()  # it lingers for nobody
    assert numbers(emulator) == []


def test_an_entry_that_is_refused_costs_the_others_nothing(emulator: Emulator) -> None:
    writer = LogWriter(client, FACTS)
    for number, text in enumerate(("good", "x" * 300_000, "good")):
        writer.write(entry(number, text))
    assert writer.close(PATIENCE) == 1
    assert numbers(emulator) == [0, 2]
    assert writer.trouble is not None
    assert "exceeds maximum size" in writer.trouble.message


def test_a_client_that_cannot_be_had_is_trouble_and_no_exception() -> None:
    def refuse() -> Any:
        raise OSError("no credentials")

    writer = LogWriter(refuse, FACTS)
    writer.close(PATIENCE)
    writer.write(entry(1))
    assert writer.trouble is not None
    assert "no credentials" in writer.trouble.message
