"""A build on a terminal: below the lines that stay, its steps, the time they have taken, what it does now."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cos_customizer.cli.line_breaks import broken
from cos_customizer.cli.messages import printable
from cos_customizer.cli.progress import TOPIC, PlainLines
from cos_customizer.cli.step_list import Row, State, StepList
from cos_customizer.cli.usual_durations import UsualDurations
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting.events import (
    BuildBegan,
    ConsoleOutput,
    Event,
    Note,
    StepChange,
)

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

_SIGNS: dict[State, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "started": (">", "bold"),
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
}
_INDENT = len("00:00:00  ") + TOPIC
_OTHER_ROWS = 4
"""Lines of the view besides the steps: an empty one, the heading, what the build does, the cursor's."""


class LiveView(PlainLines):
    """The view of a command, which runs one build or several, one after the other.

    Args:
        started: value of `time.monotonic()` when the command began.
        spec: of the build, if the command is for one.
    """

    def __init__(self, started: float, spec: "BuildSpec | None") -> None:
        super().__init__(log_with_success_only=spec is not None)
        self._started = started
        self._heading = ""
        self._usual: UsualDurations | None = None
        self._steps = StepList()
        if spec is not None:
            self._begin(spec)
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def _begin(self, spec: "BuildSpec") -> None:
        self._usual = UsualDurations(spec)
        self._steps = StepList(spec, self._usual.last)

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def take_note(self, event: Event) -> None:
        """Change the view."""
        if isinstance(event, BuildBegan):
            self._begin(event.spec)
            self._heading = printable(f"{event.number} of {event.total}  {event.recipe}")
        self._steps.on_event(event)
        if self._usual is not None:
            self._usual.on_event(event)

    def write(self, lines: list[str], event: Event) -> None:
        """Print the lines of an event above the view."""
        width = self._console.width
        if isinstance(event, Note) and event.aside and len(lines[0]) > width:
            lines = [lines[0].removesuffix(printable(event.aside))]
        if not isinstance(event, ConsoleOutput):  # what others have printed stays as it is
            lines = [part for line in lines for part in broken(line, width, _INDENT)]
        self._console.print(Text("\n".join(lines), style=_style(event)), soft_wrap=True)

    def _render(self) -> Group:
        rows = [_line(row) for row in self._steps.rows(self._console.height - _OTHER_ROWS)]
        heading = [Text(f" {self._heading}", style="bold", **_ONE_LINE)] if self._heading else []
        elapsed = human_duration(time.monotonic() - self._started)
        return Group(Text(""), *heading, *rows, Text(f" {elapsed}  {self._steps.doing()}", **_ONE_LINE))


_ONE_LINE: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}


def _line(row: Row) -> Text:
    sign, style = _SIGNS[row.state]
    took = f"  {human_duration(row.seconds)}" if row.seconds is not None else ""
    return Text(f" {sign} {row.label}{took}", style=style, **_ONE_LINE)


def _style(event: Event) -> str:
    if isinstance(event, ConsoleOutput):
        return "dim"
    if isinstance(event, BuildBegan):
        return "bold"
    if isinstance(event, StepChange):
        return "red" if event.state == "failed" else ""
    level = event.level if isinstance(event, Note) else "info"
    return {"info": "", "warning": "yellow", "error": "red"}[level]
