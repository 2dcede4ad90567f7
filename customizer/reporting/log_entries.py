"""A build's events as structured log entries: one for each event, and one for each line of a serial console.

Pure data in the terms of https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry. What is the same in all
entries of a build stands in their labels and their resource; the payload says what happened, to which image, where.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cos_customizer.customizer.reporting.events import BuildEnded, ConsoleOutput, Event, Note, Stage, StepChange
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import SourceImage

LOG = "cos-customizer"
"""Name of the log."""
LONGEST = 20_000
"""Characters of a text in an entry: an entry holds 256 KiB (https://cloud.google.com/logging/quotas)."""

Severity = Literal["INFO", "WARNING", "ERROR"]
_OF_LEVEL: dict[str, Severity] = {"info": "INFO", "warning": "WARNING", "error": "ERROR"}
_OF_OUTCOME: dict[str, Severity] = {"built": "INFO", "exists": "INFO", "interrupted": "WARNING"}
_CUT = " … (cut)"


@dataclass(frozen=True)
class LogEntry:
    """One entry.

    Attributes:
        severity: of the event.
        timestamp: when it happened.
        insert_id: tells entries of the same time apart, and puts them in order; an entry that is sent twice is kept
            once.
        payload: JSON.
        is_output: it is a line of a serial console, of which there may be very many.
    """

    severity: Severity
    timestamp: datetime
    insert_id: str
    payload: dict[str, Any]
    is_output: bool = False


@dataclass(frozen=True)
class BuildFacts:
    """What is known of a build by the time of an event; what is not known yet is empty, and left out of entries.

    Attributes:
        build_id: ten hexadecimal digits.
        flow_run_id: Prefect's.
        output_image: projects/{project}/global/images/{image}.
        source_image: the same of the source image; see `source_path` for one that is not resolved yet.
        zone: of the builder VM.
    """

    build_id: str
    flow_run_id: str
    output_image: str = ""
    source_image: str = ""
    zone: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all entries of the build."""
        return {"build_id": self.build_id, "flow_run_id": self.flow_run_id}

    @property
    def resource(self) -> tuple[str, dict[str, str]]:
        """The monitored resource that the entries are of: its type and labels.

        A build is a task of an orchestrator, for which there is `generic_task`: what a build says begins before there
        is a VM, and goes on when it is gone, so it is no `gce_instance`; and `global` would tell no build from another.
        Source: https://cloud.google.com/logging/docs/api/v2/resource-list.
        """
        labels = {"location": "global", "namespace": LOG, "job": "build-image", "task_id": self.build_id}
        return "generic_task", labels


class EventEntries:
    """Turns the events of one build into entries, in order.

    Args:
        build_id: part of the entries' insert ids.
    """

    def __init__(self, build_id: str) -> None:
        self._build_id = build_id
        self._count = 0
        self._running: dict[Stage, StepChange] = {}

    def entries(self, event: Event, facts: BuildFacts, when: datetime) -> Iterator[LogEntry]:
        """The entries that an event makes.

        Args:
            event: what has happened.
            facts: what is known of the build by now.
            when: it has happened.
        """
        if isinstance(event, StepChange):
            yield self._entry("ERROR" if event.state == "failed" else "INFO", when, facts, _step_change(event))
            if event.state == "started":
                self._running[event.stage] = event
            else:
                self._running.pop(event.stage, None)
        elif isinstance(event, ConsoleOutput):
            step = _step(self._running[event.stage]) if event.stage in self._running else {"stage": event.stage}
            for line in event.lines:
                payload = {"message": line, "event": "console", "serial_port": event.port, **step}
                yield self._entry("INFO", when, facts, payload, is_output=True)
        elif isinstance(event, Note):
            payload = {"message": f"{event.topic}: {event.whole}", "event": "note", "topic": event.topic}
            yield self._entry(_OF_LEVEL[event.level], when, facts, payload)
        elif isinstance(event, BuildEnded):
            severity = _OF_OUTCOME.get(event.result.outcome, "ERROR")
            yield self._entry(severity, when, facts, _ending(event.result))

    def _entry(
        self, severity: Severity, when: datetime, facts: BuildFacts, payload: dict[str, Any], is_output: bool = False
    ) -> LogEntry:
        self._count += 1
        about = {
            "build_id": facts.build_id,
            "flow_run_id": facts.flow_run_id,
            "output_image": facts.output_image,
            "source_image": facts.source_image,
            "zone": facts.zone,
        }
        whole = {**payload, **{name: value for name, value in about.items() if value}}
        cut = {name: _shortened(value) for name, value in whole.items()}
        return LogEntry(severity, when, f"{self._build_id}-{self._count:09d}", cut, is_output)


def _step(event: StepChange) -> dict[str, Any]:
    return {"stage": event.stage, "step": event.number, "steps": event.total, "step_label": event.label}


def _step_change(event: StepChange) -> dict[str, Any]:
    more: dict[str, Any] = {"seconds": event.seconds, "reason": event.reason or None, "exit_code": event.exit_code}
    if event.place is not None:
        more |= {"file": event.place.file, "line": event.place.line, "command": event.place.command or None}
    return {
        "message": event.summary,
        "event": "step",
        **_step(event),
        "step_state": event.state,
        **{name: value for name, value in more.items() if value is not None},
    }


def _ending(result: BuildResult) -> dict[str, Any]:
    image = result.image or "the image"
    maker = "" if result.made_by in (None, "this-recipe") else f" ({result.made_by.replace('-', ' ')})"
    said = {
        "built": f"{image} is built",
        "exists": f"{image} was there already{maker}, nothing was built",
        "failed": f"the build of {image} failed: {result.error}",
        "timed-out": f"the build of {image} timed out: {result.error}",
        "interrupted": f"the build of {image} was interrupted: {result.error}",
    }
    return {
        "message": said[result.outcome],
        "event": "end",
        "outcome": result.outcome,
        # Each step has entries of its own.
        "result": result.model_dump(mode="json", exclude={"outcome", "build_id", "steps", "verification"}),
    }


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value[: LONGEST - len(_CUT)] + _CUT if isinstance(value, str) and len(value) > LONGEST else value


def source_path(source: SourceImage) -> str:
    """A source image as its specification names it: by name, by family, or in words by milestone."""
    if source.milestone is not None:
        return f"projects/{source.project}, milestone {source.milestone}"
    image = source.name or f"family/{source.family}"
    return f"projects/{source.project}/global/images/{image}"
