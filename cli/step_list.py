"""What a live view shows below the lines: the steps of a build, its tests included, and what it does now."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cos_customizer.cli.messages import printable
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, Note, PhaseChange, StepChange
from cos_customizer.customizer.reporting.failure import Phase

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

State = Literal["waiting", "started", "succeeded", "failed"]
_NOTEWORTHY = 1.0
"""Seconds: what took less last time is not waited for."""
_ROWS: dict[Phase, str] = {
    "boot": "boot builder VM",
    "disk": "lay out its disk",
    "image": "create image",
    "test boot": "boot test VM",
}
"""Phases that are shown as steps."""
_DOING: dict[Phase, str] = {
    "prepare": "getting ready",
    "builder VM": "waiting for Compute Engine to create the builder VM",
    "boot": "waiting for the builder VM to boot",
    "disk": "waiting for the builder VM to lay out its disk",
    "steps": "waiting for the builder VM to clean up",
    "halt": "waiting for the builder VM to halt",
    "contents": "reading what is recorded of the image",
    "image": "waiting for Compute Engine to make the image",
    "test VM": "waiting for Compute Engine to create the test VM",
    "test boot": "waiting for the test VM to boot",
    "verify": "waiting for the test VM to finish",
    "changes": "looking at what has changed",
    "documents": "writing the image's documents",
    "approval": "waiting for a person to approve the image",
    "release": "releasing the image",
    "clean-up": "cleaning up",
}
"""What a build does in a phase, when no step runs."""


@dataclass
class Row:
    """A step as it is shown.

    Attributes:
        label: what it is called.
        state: how far it is.
        seconds: how long it took, or takes by now; None before it begins.
    """

    label: str
    state: State = "waiting"
    seconds: float | None = None


class StepList:
    """The steps of one build.

    Args:
        spec: of the build; None: nothing is known of it yet.
        usual: seconds that its phases took last time.
        clock: seconds.
    """

    def __init__(
        self,
        spec: "BuildSpec | None" = None,
        usual: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._usual = usual or {}
        self._rows: dict[object, Row] = {}
        self._begun: dict[object, float] = {}
        self._phase: Phase | None = None
        self._note = "getting ready"
        self._step: StepChange | None = None
        self._last_line = ""
        if spec is not None:
            self._add(spec)

    def _add(self, spec: "BuildSpec") -> None:
        self._rows["boot"] = Row(_ROWS["boot"])
        if spec.lays_out_disk:
            self._rows["disk"] = Row(_ROWS["disk"])
        for number, step in enumerate(spec.steps, start=1):
            self._rows["build", number] = Row(printable(step.label))
        self._rows["image"] = Row(_ROWS["image"])
        if spec.verify.asked_for:
            self._rows["test boot"] = Row(_ROWS["test boot"])
        for number, script in enumerate(spec.verify.scripts, start=1):
            self._rows["verify", number] = Row(f"verify: {printable(script.label)}")

    def on_event(self, event: Event) -> None:
        """Take note of what has happened."""
        if isinstance(event, PhaseChange):
            self._change_phase(event)
        elif isinstance(event, StepChange):
            self._change((event.stage, event.number), event.state, event.seconds)
            self._step = event if event.state == "started" else None
            self._last_line = ""
        elif isinstance(event, ConsoleOutput) and event.lines:
            self._last_line = printable(event.lines[-1])
        elif isinstance(event, Note) and event.topic != "Prefect":
            self._note = printable(f"{event.topic}: {event.text}")

    def _change_phase(self, event: PhaseChange) -> None:
        if event.state == "started":
            self._phase, self._note, self._step, self._last_line = event.phase, "", None, ""
        self._change(event.phase, event.state, event.seconds)

    def _change(self, key: object, state: State, seconds: float | None) -> None:
        row = self._rows.get(key)
        if row is None:
            return
        now = self._clock()
        if state == "started":
            self._begun[key] = now
        row.state = state
        row.seconds = seconds if seconds is not None else now - self._begun.get(key, now)

    def rows(self, room: int) -> list[Row]:
        """The steps, with their times by now.

        Args:
            room: how many may be shown; of more, those around the one that runs, or ran last, are.
        """
        now = self._clock()
        for key, row in self._rows.items():
            if row.state == "started":
                row.seconds = now - self._begun[key]
        return _around([*self._rows.values()], max(room, 3))

    def doing(self) -> str:
        """What the build does now: the step that runs, or what is waited for."""
        if self._step is not None:
            what = "step" if self._step.stage == "build" else "verification"
            tail = f"  | {self._last_line}" if self._last_line else ""
            return f"{what} {self._step.number} of {self._step.total}  {printable(self._step.label)}{tail}"
        if self._phase is None or (self._phase == "prepare" and self._note):
            return self._note
        last = self._usual.get(self._phase, 0.0)
        usually = f" (last time {human_duration(last)})" if last >= _NOTEWORTHY and self._phase != "steps" else ""
        return f"{_DOING[self._phase]}{usually}"


def _around(rows: Sequence[Row], room: int) -> list[Row]:
    if len(rows) <= room:
        return list(rows)
    at = next((index for index in reversed(range(len(rows))) if rows[index].state != "waiting"), 0)
    shown = room - 2  # a line above and one below say how many are not
    first = min(max(0, at - shown // 2), len(rows) - shown)
    before, after = first, len(rows) - first - shown
    return [
        *([Row(f"… {before} before", "succeeded")] if before else []),
        *rows[first : first + shown],
        *([Row(f"… {after} more")] if after else []),
    ]
