"""A build's events as log entries: pure data."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cos_customizer.customizer.reporting.events import (
    BuildEnded,
    ConsoleOutput,
    Event,
    Note,
    ScriptPlace,
    StepChange,
)
from cos_customizer.customizer.reporting.log_entries import LONGEST, BuildFacts, EventEntries, LogEntry, source_path
from cos_customizer.customizer.reporting.result import BuildResult, StepResult
from cos_customizer.customizer.spec.model import SourceImage

WHEN = datetime(2026, 5, 1, 10, tzinfo=UTC)
OUTPUT = "projects/my-project/global/images/my-image"
SOURCE = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
FACTS = BuildFacts("ab12cd34ef", "flow-1", OUTPUT, SOURCE, "us-west1-b")
ABOUT = {
    "build_id": "ab12cd34ef",
    "flow_run_id": "flow-1",
    "output_image": OUTPUT,
    "source_image": SOURCE,
    "zone": "us-west1-b",
}
STEP = {"stage": "build", "step": 1, "steps": 2, "step_label": "run-script a.sh"}


def entries(*events: Event, facts: BuildFacts = FACTS) -> list[LogEntry]:
    turn = EventEntries(facts.build_id)
    return [entry for event in events for entry in turn.entries(event, facts, WHEN)]


def change(state: Any, **more: Any) -> StepChange:
    return StepChange(1, 2, "run-script a.sh", state, **more)


@pytest.mark.parametrize(
    ("event", "severity", "payload"),
    [
        (
            Note("zones", "us-west1-a left out", "warning"),
            "WARNING",
            {"event": "note", "message": "zones: us-west1-a left out", "topic": "zones"},
        ),
        (Note("image", "x"), "INFO", {"event": "note", "message": "image: x", "topic": "image"}),
        (
            Note("left behind", "VM", "error"),
            "ERROR",
            {"event": "note", "message": "left behind: VM", "topic": "left behind"},
        ),
        (
            change("started"),
            "INFO",
            {"event": "step", "message": "step 1/2: run-script a.sh started", "step_state": "started", **STEP},
        ),
        (
            change("succeeded", seconds=0.4),
            "INFO",
            {
                "event": "step",
                "message": "step 1/2: run-script a.sh succeeded in 0.4 s",
                "step_state": "succeeded",
                "seconds": 0.4,
                **STEP,
            },
        ),
        (
            change("failed", reason="exited with 3", stage="verify"),
            "ERROR",
            {
                "event": "step",
                "message": "verify 1/2: run-script a.sh failed: exited with 3",
                "step_state": "failed",
                "reason": "exited with 3",
                **STEP,
                "stage": "verify",
            },
        ),
        (
            change("failed", reason="exited with 3", exit_code=3, place=ScriptPlace("lib/b.sh", 12, "cp a b")),
            "ERROR",
            {
                "event": "step",
                "message": "step 1/2: run-script a.sh failed: exited with 3",
                "step_state": "failed",
                "reason": "exited with 3",
                "exit_code": 3,
                "file": "lib/b.sh",
                "line": 12,
                "command": "cp a b",
                **STEP,
            },
        ),
        (
            ConsoleOutput(("hello",)),
            "INFO",
            {"event": "console", "message": "hello", "serial_port": 3, "stage": "build"},
        ),
        (
            ConsoleOutput(("halted",), "verify", 1),
            "INFO",
            {"event": "console", "message": "halted", "serial_port": 1, "stage": "verify"},
        ),
    ],
    ids=lambda value: f"{type(value).__name__} {value.message}" if hasattr(value, "message") else "",
)
def test_an_event_makes_an_entry(event: Event, severity: str, payload: dict[str, Any]) -> None:
    (entry,) = entries(event)
    assert (entry.severity, entry.timestamp) == (severity, WHEN)
    assert entry.payload == {**payload, **ABOUT}


def test_each_line_of_output_is_an_entry_of_the_step_that_runs() -> None:
    verify = StepChange(1, 1, "run-script test.sh", "started", stage="verify")
    told = entries(
        change("started"),
        ConsoleOutput(("one", "two")),
        verify,
        ConsoleOutput(("three",), "verify"),
        change("succeeded"),
        ConsoleOutput(("four",)),
    )
    lines = [entry for entry in told if entry.is_output]
    assert [(entry.payload["message"], entry.payload.get("step_label")) for entry in lines] == [
        ("one", "run-script a.sh"),
        ("two", "run-script a.sh"),
        ("three", "run-script test.sh"),
        ("four", None),
    ]
    assert {entry.payload["step"] for entry in lines[:3]} == {1}


def test_entries_are_in_order_and_told_apart_though_their_time_is_the_same() -> None:
    ids = [entry.insert_id for entry in entries(ConsoleOutput(tuple(str(n) for n in range(12))))]
    assert ids == sorted(set(ids))
    assert all(each.startswith("ab12cd34ef-") for each in ids)


@pytest.mark.parametrize(
    ("outcome", "severity", "message"),
    [
        ("built", "INFO", "my-image is built"),
        ("exists", "INFO", "my-image was there already, nothing was built"),
        ("failed", "ERROR", "the build of my-image failed: why"),
        ("timed-out", "ERROR", "the build of my-image timed out: why"),
        ("interrupted", "WARNING", "the build of my-image was interrupted: why"),
    ],
)
def test_the_end_of_a_build(outcome: Any, severity: str, message: str) -> None:
    steps = (StepResult(number=1, label="x", state="succeeded"),)
    result = BuildResult(outcome=outcome, build_id="ab12cd34ef", image="my-image", error="why", steps=steps)
    (entry,) = entries(BuildEnded(result))
    assert (entry.severity, entry.payload["message"]) == (severity, message)
    assert (entry.payload["event"], entry.payload["outcome"]) == ("end", outcome)
    assert entry.payload["result"]["error"] == "why"
    assert "steps" not in entry.payload["result"]


def test_what_is_not_known_yet_is_left_out() -> None:
    (entry,) = entries(Note("a", "b"), facts=BuildFacts("ab12cd34ef", "flow-1"))
    assert set(entry.payload) == {"message", "event", "topic", "build_id", "flow_run_id"}


def test_long_texts_are_cut_wherever_they_stand() -> None:
    result = BuildResult(outcome="failed", error="é" * 300_000, leftovers=("x" * 300_000,))
    (note,), (end,) = entries(Note("a", "b" * 300_000)), entries(BuildEnded(result))
    texts = [note.payload["message"], end.payload["message"], end.payload["result"]["leftovers"][0]]
    assert [len(text) for text in texts] == [LONGEST] * 3
    assert all(text.endswith("(cut)") for text in texts)
    assert len(str(end.payload).encode()) < 256 * 1024


def test_labels_and_resource_name_the_build() -> None:
    assert FACTS.labels == {"build_id": "ab12cd34ef", "flow_run_id": "flow-1"}
    kind, labels = FACTS.resource
    assert (kind, labels["task_id"]) == ("generic_task", "ab12cd34ef")


@pytest.mark.parametrize(
    ("way", "path"),
    [
        ({"name": "x"}, "projects/cos-cloud/global/images/x"),
        ({"family": "cos-stable"}, "projects/cos-cloud/global/images/family/cos-stable"),
        ({"milestone": 125}, "projects/cos-cloud, milestone 125"),
    ],
)
def test_a_source_image_that_is_not_resolved_yet_is_named_as_it_was_asked_for(way: dict[str, Any], path: str) -> None:
    assert source_path(SourceImage(project="cos-cloud", **way)) == path
