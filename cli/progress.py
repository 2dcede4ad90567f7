"""A build's progress on standard output: a live view on a terminal, elsewhere a plain line for each event."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cos_customizer.cli.messages import printable, silence_standard_output
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, Note, StepChange, listening

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from cos_customizer.customizer.spec.model import BuildSpec

_WAITING, _RUNNING, _DONE, _FAILED = "waiting", "started", "succeeded", "failed"


@contextmanager
def show_progress(spec: "BuildSpec", started: float) -> Iterator[None]:
    """Show the events of this process while the context lasts.

    Args:
        spec: of the build.
        started: value of `time.monotonic()` when the command began.
    """
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    with _LiveView(spec, started) if on_terminal else PlainLines() as view, listening(view.show):
        yield


def event_lines(event: Event) -> list[str]:
    """An event as lines for people, without the time of day."""
    if isinstance(event, ConsoleOutput):
        return [f"  | {line}" for line in event.lines]
    if isinstance(event, Note):
        mark = "" if event.level == "info" else f"{event.level}: "
        return [f"{event.topic:<13}{mark}{event.text}"]
    if not isinstance(event, StepChange):
        return []
    topic = f"{'step' if event.stage == 'build' else event.stage} {event.number}/{event.total}"
    took = f" in {human_duration(event.seconds)}" if event.seconds is not None else ""
    what = {
        "started": event.label,
        "succeeded": f"done{took}",
        "failed": f"failed{took}{': ' if event.reason else ''}{event.reason}",
    }[event.state]
    return [f"{topic:<13}{what}"]


class PlainLines:
    """Lines for logs: the time of day and the event, no colour."""

    def __init__(self) -> None:
        self._broken = False

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def show(self, event: Event) -> None:
        """Print an event. Nobody reading any more is no reason for a build to fail."""
        if self._broken or not event_lines(event):
            return
        now = time.strftime("%H:%M:%S")
        try:
            self.write([f"{now}  {printable(line)}" for line in event_lines(event)], event)
        except (OSError, ValueError):
            self._broken = True
            silence_standard_output()

    def write(self, lines: list[str], event: Event) -> None:  # noqa: ARG002
        """Print the lines of an event."""
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()


class _LiveView(PlainLines):
    """Below the lines, for as long as the build runs: the steps, the time they have taken, the last serial line."""

    def __init__(self, spec: "BuildSpec", started: float) -> None:
        super().__init__()
        self._started = started
        self._labels = [printable(step.label) for step in spec.steps]
        self._states = [_WAITING] * len(self._labels)
        self._begun: dict[int, float] = {}
        self._took: dict[int, float] = {}
        self._doing = "getting ready"
        self._last_line = ""
        self._live: Live | None = None

    def __enter__(self) -> "_LiveView":
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def write(self, lines: list[str], event: Event) -> None:
        """Print the lines above the view, and change the view."""
        from rich.text import Text

        if isinstance(event, StepChange):
            self._change(event)
        elif isinstance(event, ConsoleOutput):
            self._last_line = printable(event.lines[-1]) if event.lines else self._last_line
        elif isinstance(event, Note):
            self._doing = printable(f"{event.topic}: {event.text}")
        style = "dim" if isinstance(event, ConsoleOutput) else _style(event)
        assert self._live is not None
        self._live.console.print(Text("\n".join(lines), style=style), soft_wrap=True)

    def _change(self, event: StepChange) -> None:
        index = event.number - 1
        if event.stage != "build":
            self._doing = printable(f"verifying: {event.label}")
            return
        if not 0 <= index < len(self._states):
            return
        self._states[index] = event.state
        if event.state == _RUNNING:
            self._begun[index] = time.monotonic()
            self._doing = printable(event.label)
        else:
            self._took[index] = event.seconds or time.monotonic() - self._begun.get(index, time.monotonic())
            self._doing = "finishing" if index == len(self._states) - 1 else self._doing

    def _render(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        signs = {_WAITING: ("·", "dim"), _RUNNING: (">", "bold"), _DONE: ("✓", "green"), _FAILED: ("✗", "red")}
        rows = [Text("")]
        for index, (label, state) in enumerate(zip(self._labels, self._states, strict=True)):
            sign, style = signs[state]
            running = time.monotonic() - self._begun[index] if state == _RUNNING else None
            seconds = self._took.get(index, running)
            took = f"  {human_duration(seconds)}" if seconds is not None else ""
            rows.append(Text(f" {sign} {label}{took}", style=style, no_wrap=True, overflow="ellipsis"))
        elapsed = human_duration(time.monotonic() - self._started)
        tail = f"  | {self._last_line}" if self._last_line and _RUNNING in self._states else ""
        rows.append(Text(f" {elapsed}  {self._doing}{tail}", no_wrap=True, overflow="ellipsis"))
        return Group(*rows)


def _style(event: Event) -> str:
    if isinstance(event, StepChange):
        return "red" if event.state == _FAILED else ""
    level = event.level if isinstance(event, Note) else "info"
    return {"info": "", "warning": "yellow", "error": "red"}[level]
