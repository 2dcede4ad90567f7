"""A build's progress on standard output: a live view on a terminal, elsewhere a plain line for each event."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from cos_customizer.cli.colours import is_capable
from cos_customizer.cli.messages import printable, silence_standard_output
from cos_customizer.cli.naming import in_flags
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting.events import (
    BuildBegan,
    BuildEnded,
    ConsoleOutput,
    Event,
    Note,
    StepChange,
    listening,
)

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec


TOPIC = 13
"""Characters before what an event's line says of its topic."""


@contextmanager
def show_progress(started: float, spec: "BuildSpec | None" = None) -> Iterator[None]:
    """Show the events of this process while the context lasts.

    Args:
        started: value of `time.monotonic()` when the command began.
        spec: of the build, if the command is for one.
    """
    with _view(started, spec) as view, listening(view.show):
        yield


def _view(started: float, spec: "BuildSpec | None") -> "PlainLines":
    # The error that ends a command for one build names the log itself.
    if not is_capable(sys.stdout):
        return PlainLines(log_with_success_only=spec is not None)
    from cos_customizer.cli.live_view import LiveView

    return LiveView(started, spec)


def event_lines(event: Event) -> list[str]:
    """An event as lines for people, without the time of day."""
    if isinstance(event, ConsoleOutput):
        return [f"  | {line}" for line in event.lines]
    if isinstance(event, Note):
        mark = "" if event.level == "info" else f"{event.level}: "
        return [f"{event.topic:<{TOPIC}}{mark}{in_flags(event.whole)}"]
    if isinstance(event, BuildBegan):
        return [f"{'recipe':<{TOPIC}}{event.number} of {event.total}  {event.recipe}"]
    if not isinstance(event, StepChange):
        return []
    topic = f"{'step' if event.stage == 'build' else event.stage} {event.number}/{event.total}"
    took = f" in {human_duration(event.seconds)}" if event.seconds is not None else ""
    what = {
        "started": event.label,
        "succeeded": f"done{took}",
        "failed": f"failed{took}{': ' if event.reason else ''}{event.reason}",
    }[event.state]
    return [f"{topic:<{TOPIC}}{what}"]


def event_is_log(event: Event) -> bool:
    """Whether an event only says where a serial log is."""
    return isinstance(event, Note) and event.topic == "serial log" and event.level == "info"


class PlainLines:
    """Lines for logs: the time of day and the event, no colour.

    Args:
        log_with_success_only: where the serial logs are is told only of a build that succeeds.
    """

    def __init__(self, log_with_success_only: bool = False) -> None:
        self._broken = False
        self._holds_back = log_with_success_only
        self._held_back: list[Event] = []

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print an event. Nobody reading any more is no reason for a build to fail."""
        if self._holds_back and event_is_log(event):
            self._held_back.append(event)
            return
        told = self._held_back if isinstance(event, BuildEnded) and event.error is None else []
        for each in (*told, event):
            if not self._broken:
                self._show(each)

    def _show(self, event: Event) -> None:
        try:
            self.take_note(event)
            if lines := event_lines(event):
                now = time.strftime("%H:%M:%S")
                self.write([f"{now}  {printable(line)}" for line in lines], event)
        except (OSError, ValueError):
            self._broken = True
            silence_standard_output()

    def take_note(self, event: Event) -> None:
        """Take note of an event, whether or not it is printed."""

    def write(self, lines: list[str], event: Event) -> None:  # noqa: ARG002
        """Print the lines of an event."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
