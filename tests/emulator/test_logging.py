"""The emulator's Cloud Logging: entries written and read with Google's client, refused where the real API refuses."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, TooManyRequests
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging
from support.compute_clients import PROJECT, call

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.logging import entries
from cos_customizer.emulator.logging.filters import parse
from cos_customizer.emulator.server import Emulator

LOG = f"projects/{PROJECT}/logs/my-log"
RESOURCE = {"type": "global"}
GLOBAL = logging.Resource("global", {})


def client(emulator: Emulator) -> Any:
    return logging.Client(  # type: ignore[no-untyped-call]
        project=PROJECT,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=f"http://127.0.0.1:{emulator.port}"),
        _use_grpc=False,
    )


def write(emulator: Emulator, *entries: dict[str, Any], **fields: Any) -> tuple[int, Any]:
    body = {"logName": LOG, "resource": RESOURCE, "entries": list(entries), **fields}
    return call(emulator, "POST", "/v2/entries:write", body)


def read(emulator: Emulator, **fields: Any) -> Any:
    status, answer = call(emulator, "POST", "/v2/entries:list", {"resourceNames": [f"projects/{PROJECT}"], **fields})
    assert status == 200, answer
    return answer


def test_googles_client_writes_a_batch_and_reads_it_back(emulator: Emulator) -> None:
    logger = client(emulator).logger("my-log", labels={"run": "1"}, resource=GLOBAL)
    when = datetime.now(UTC) - timedelta(minutes=5)
    with logger.batch() as batch:
        payload = {"message": "hi", "step": 2, "ratio": 0.5}
        batch.log_struct(payload, severity="ERROR", timestamp=when, labels={"run": "2", "more": "x"}, insert_id="a")
        batch.log_text("second")
    first, second = client(emulator).list_entries(filter_='log_id("my-log")')
    assert first.payload == payload
    assert (first.severity, first.timestamp, first.insert_id) == ("ERROR", when, "a")
    assert (first.labels, second.labels) == ({"run": "2", "more": "x"}, {"run": "1"})
    assert first.resource == logging.Resource("global", {"project_id": PROJECT})
    assert second.payload == "second"
    assert second.timestamp == second.received_timestamp


def test_an_entry_that_is_sent_twice_is_there_once(emulator: Emulator) -> None:
    entry = {"textPayload": "x", "insertId": "1", "timestamp": "2026-01-02T03:04:05.6Z"}
    assert write(emulator, entry) == write(emulator, entry) == (200, {})
    write(emulator, {**entry, "insertId": "2"})
    assert [found["insertId"] for found in emulator.logs.entries(PROJECT)] == ["1", "2"]


def test_entries_outlive_a_restart_and_logs_can_be_deleted(tmp_path: Path) -> None:
    with Emulator(tmp_path) as first:
        write(first, {"textPayload": "kept"})
        write(first, {"textPayload": "other", "logName": f"projects/{PROJECT}/logs/a%2Fb"})
    with Emulator(tmp_path) as second:
        assert [entry["textPayload"] for entry in second.logs.entries(PROJECT)] == ["kept", "other"]
        names = call(second, "GET", f"/v2/projects/{PROJECT}/logs")[1]
        assert names == {"logNames": [f"projects/{PROJECT}/logs/a%2Fb", LOG]}
        client(second).logger("a%2Fb", resource=GLOBAL).delete()
        with pytest.raises(NotFound):
            client(second).logger("a%2Fb", resource=GLOBAL).delete()
        assert second.logs.names(PROJECT) == [LOG]
        assert second.logs.entries("another-project") == []


def test_the_oldest_entries_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MOST_ENTRIES", 3)
    kept = entries.LogEntries(tmp_path, Clock())
    for number in range(5):
        kept.write({"logName": LOG, "resource": RESOURCE, "entries": [{"textPayload": f"{number}"}]}, 100)
    assert [entry["textPayload"] for entry in kept.entries(PROJECT)] == ["2", "3", "4"]
    kept.close()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"colour": 1}, "Unknown name \"colour\" at 'entries[0]'"),
        ({"severity": "LOUD"}, "Invalid enum value LOUD"),
        ({"severity": 3}, "Invalid value at 'severity'"),
        ({"timestamp": "yesterday"}, "Failed to parse timestamp"),
        ({"timestamp": "2999-01-01T00:00:00Z"}, "more than 24 hours in the future"),
        ({"jsonPayload": "text"}, "Struct must be in a dict"),
        ({"jsonPayload": {}, "textPayload": ""}, "should not have multiple"),
        ({"labels": {"a": 1}}, "expected string"),
        ({"labels": {f"k{n}": "" for n in range(65)}}, "at most 64 labels"),
        ({"textPayload": "x" * 300_000}, "Log entry with size 293.1K exceeds maximum size of 256.0K"),
        ({"logName": "projects/my-project/logs/a b"}, "Log name is not valid"),
        ({"logName": "my-log"}, "Log name is not valid"),
        ({"resource": {"type": ""}}, "monitored resource must be specified"),
    ],
)
def test_a_wrong_entry_is_refused_and_nothing_is_written(emulator: Emulator, entry: dict[str, Any], words: str) -> None:
    status, answer = write(emulator, entry, {"textPayload": "good"})
    assert status == 400
    assert words in answer["error"]["message"]
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert emulator.logs.entries(PROJECT) == []


def test_with_partial_success_the_good_entries_are_kept_and_the_bad_ones_named(emulator: Emulator) -> None:
    bad = {"textPayload": "x" * 300_000}
    forbidden = {"textPayload": "x", "logName": "projects/cos-cloud/logs/x"}
    status, answer = write(emulator, bad, {"textPayload": "good"}, forbidden, partialSuccess=True)
    (detail,) = answer["error"]["details"]
    assert (status, {index: error["code"] for index, error in detail["logEntryErrors"].items()}) == (
        400,
        {"0": 3, "2": 7},
    )
    assert [entry["textPayload"] for entry in emulator.logs.entries(PROJECT)] == ["good"]
    assert write(emulator, {"textPayload": "dry"}, dryRun=True) == (200, {})
    assert len(emulator.logs.entries(PROJECT)) == 1


def test_a_request_that_is_too_large_is_refused(emulator: Emulator) -> None:
    status, answer = write(emulator, *[{"textPayload": "x" * 200_000}] * 51)
    assert status == 400
    assert "payload size exceeds the limit" in answer["error"]["message"]


def test_faults_reach_cloud_logging_too(emulator: Emulator) -> None:
    logger = client(emulator).logger("my-log", resource=GLOBAL)
    emulator.faults.add("http", path="/v2/entries:write", status=429, reason="rateLimitExceeded")
    emulator.faults.add("http", path="/v2/entries:write", status=403, reason="forbidden")
    with pytest.raises(TooManyRequests):
        logger.log_text("one")
    with pytest.raises(Forbidden):
        logger.log_text("two")
    logger.log_text("three")
    assert [call.status for call in emulator.calls.list(service="logging")] == [429, 403, 200]


def test_pages_in_both_orders(emulator: Emulator) -> None:
    times = [f"2026-01-01T00:00:0{second}Z" for second in (0, 1, 1, 2)]
    write(emulator, *({"textPayload": f"{n}", "timestamp": at, "insertId": f"{n}"} for n, at in enumerate(times)))
    for order, wanted in (("timestamp asc", "0123"), ("timestamp desc", "3210")):
        token, seen = "", ""
        for _ in range(4):
            page = read(emulator, orderBy=order, pageSize=1, pageToken=token)
            seen += page["entries"][0]["textPayload"]
            token = page.get("nextPageToken", "")
        assert (seen, token) == (wanted, "")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resourceNames": []}, "resource_names must name projects"),
        ({"resourceNames": ["folders/1"]}, "resource_names must name projects"),
        ({"orderBy": "severity"}, "order_by"),
        ({"pageSize": 1001}, "page_size"),
        ({"pageToken": "x"}, "page_token"),
        ({"filter": "severity>=LOUD"}, "unexpected 'LOUD'"),
        ({"colour": 1}, 'Unknown name "colour"'),
    ],
)
def test_a_wrong_question_is_refused(emulator: Emulator, fields: dict[str, Any], words: str) -> None:
    body = {"resourceNames": [f"projects/{PROJECT}"], **fields}
    status, answer = call(emulator, "POST", "/v2/entries:list", body)
    assert status == 400
    assert words in answer["error"]["message"]


ENTRY = {
    "logName": LOG,
    "resource": {"type": "generic_task", "labels": {"task_id": "ab12"}},
    "timestamp": "2026-05-01T10:00:00.250Z",
    "severity": "WARNING",
    "labels": {"build_id": "ab12", "k8s.io/name": "x"},
    "jsonPayload": {"message": "Disk is full", "step": 2, "ok": True, "list": [{"a": 1}, {"a": 2}]},
}


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ("  \n-- only a comment", True),
        ('log_id("my-log")', True),
        ('log_id("another")', False),
        (f'logName="{LOG}" resource.type=generic_task', True),
        ('labels.build_id="AB12"', True),  # = does not mind case
        ('labels."k8s.io/name"=x', True),
        ("labels.build_id:*", True),
        ("labels.none:*", False),
        ("labels.none!=x", False),  # no comparison is true of what is not there
        ("NOT labels.none=x", True),
        ("labels:build_id", True),
        ("severity>=WARNING severity<ERROR", True),
        ("severity=(INFO OR WARNING)", True),
        ("severity=(INFO OR ERROR)", False),
        ("severity=(NOT INFO)", True),
        ("severity>warning", False),
        ("jsonPayload.step=2", True),
        ("jsonPayload.step>1.5 AND jsonPayload.step<=2", True),
        ("jsonPayload.step>10", False),  # a number is not compared as text
        ("jsonPayload.ok=true", True),
        ("jsonPayload.list.a=2", True),
        ('jsonPayload.message:"is FULL"', True),
        ('jsonPayload.message="Disk"', False),
        ('jsonPayload.message=~"^Disk.*l$"', True),
        ('jsonPayload.message!~"^Disk"', False),
        ('"disk is"', True),
        ("disk full", True),
        ("-disk", False),
        ("-severity=ERROR", True),
        ('timestamp>="2026-05-01T12:00:00+02:00"', True),
        ("timestamp>=2026-05-01T10:00:01Z", False),
        ('timestamp<"2026-05-02"', True),
        ('timestamp>"2026-05-01T10:00:00.0+0000"', True),  # as Google's own client writes it
        # OR binds closer than AND
        ("severity=ERROR OR severity=WARNING AND jsonPayload.step=3", False),
        ("(severity=ERROR AND jsonPayload.step=3) OR severity=WARNING", True),
        ("NOT (severity=ERROR OR severity=WARNING)", False),
        ('severity=WARNING -- a comment with "quotes\nlabels.build_id=ab12', True),
    ],
)
def test_filters(expression: str, matches: bool) -> None:
    assert parse(expression)(ENTRY) is matches


@pytest.mark.parametrize(
    "expression",
    [
        "a=",
        "=b",
        "(a=b",
        "a=b)",
        "a!=(",
        "a=()",
        "NOT",
        "a=b OR",
        "AND a=b",
        '"',
        "a=~'('",
        "timestamp>soon",
        "sample(x)",
    ],
)
def test_a_filter_that_is_none_is_refused(expression: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(expression)
    assert caught.value.code == 400
    with pytest.raises(ApiError):
        parse("x" * 20_001)


@pytest.mark.parametrize("body", [[], "text"])
def test_a_body_that_is_no_json_object_is_refused(emulator: Emulator, body: object) -> None:
    assert call(emulator, "POST", "/v2/entries:write", body)[0] == 400


def test_the_real_client_raises_what_is_refused(emulator: Emulator) -> None:
    with pytest.raises(BadRequest, match="exceeds maximum size"):
        client(emulator).logger("my-log", resource=GLOBAL).log_text("x" * 300_000)
