"""What happens in a build, as it happens: for the terminal, the run's log and whoever else listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cos_customizer.customizer.contents.compared import Compared
from cos_customizer.customizer.durations import human_duration
from cos_customizer.customizer.reporting.announcements import Announcement
from cos_customizer.customizer.reporting.failure import Phase
from cos_customizer.customizer.reporting.result import BuildResult

if TYPE_CHECKING:
    from cos_customizer.customizer.spec.model import BuildSpec

Stage = Literal["build", "verify"]


@dataclass(frozen=True)
class Note:
    """Something worth a line.

    Attributes:
        topic: a word or two on what it is about: `builder VM`, `image`, `cleaned up`.
        text: the rest of the line.
        level: `info`, `warning` or `error`.
        aside: what the text goes on with, and can do without where a line has no more room.
    """

    topic: str
    text: str
    level: Literal["info", "warning", "error"] = "info"
    aside: str = ""

    @property
    def whole(self) -> str:
        """Text and aside."""
        return self.text + self.aside if self.aside else self.text  # which may name fields


@dataclass(frozen=True)
class BuildBegan:
    """One of several builds is about to begin.

    Attributes:
        spec: of the build.
        recipe: the file that describes it.
        number: from 1, of those that are built.
        total: how many are built.
    """

    spec: "BuildSpec"
    recipe: str
    number: int
    total: int


@dataclass(frozen=True)
class PhaseChange:
    """A part of the build has begun or ended.

    Attributes:
        phase: which.
        state: what became of it.
        seconds: how long it took, once it has ended.
    """

    phase: Phase
    state: Literal["started", "succeeded", "failed"]
    seconds: float | None = None


@dataclass(frozen=True)
class ScriptPlace:
    """Where a script has failed, as far as its bash could tell.

    Attributes:
        file: the script, or a file that it sources; relative to the build context.
        line: of the file; None if it may be one of several, or is not known.
        command: on that line; may be empty.
    """

    file: str
    line: int | None = None
    command: str = ""


@dataclass(frozen=True)
class StepChange:
    """A customization step has started or ended.

    Attributes:
        number: from 1.
        total: how many steps the build has.
        label: `run-script preload.sh`.
        state: what became of it.
        seconds: how long it took, once it has ended and where that is known.
        reason: why it failed.
        stage: `build`: it customizes the builder VM; `verify`: it tries the image on the test VM.
        exit_code: of its script, if that has failed and has exited.
        place: where its script has failed, if that is known.
    """

    number: int
    total: int
    label: str
    state: Literal["started", "succeeded", "failed"]
    seconds: float | None = None
    reason: str = ""
    stage: Stage = "build"
    exit_code: int | None = None
    place: ScriptPlace | None = None

    @property
    def summary(self) -> str:
        """For people: `step 1/2: run-script preload.sh succeeded in 0.4 s`."""
        topic = "step" if self.stage == "build" else self.stage
        took = f" in {human_duration(self.seconds)}" if self.seconds is not None else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{topic} {self.number}/{self.total}: {self.label} {self.state}{took}{why}"


@dataclass(frozen=True)
class ConsoleOutput:
    """Lines from a VM's serial console, without line ends.

    Attributes:
        lines: what was printed.
        stage: `build`: on the builder VM; `verify`: on the test VM.
        port: the serial port, 1 to 4; a guest of ours speaks on its third.
    """

    lines: tuple[str, ...]
    stage: Stage = "build"
    port: int = 3


@dataclass(frozen=True)
class ContentsCompared:
    """It is known what has changed in an image that is to be released.

    Attributes:
        compared: It, and what it was compared with.
        difference: Where the whole difference is, as a gs:// URL; empty if it could not be stored.
    """

    compared: Compared
    difference: str = ""


@dataclass(frozen=True)
class BuildEnded:
    """The build is over and undone; for those who do not get the flow's return value (a signal has ended it, say).

    Attributes:
        result: What became of it.
        error: What it ends with; None: it has succeeded. Whatever goes wrong after this is not the build's.
    """

    result: BuildResult
    error: BaseException | None = None


Event = Note | BuildBegan | PhaseChange | StepChange | ConsoleOutput | ContentsCompared | BuildEnded | Announcement
Listener = Callable[[Event], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass every event that is published in this context to a listener, while it lasts.

    So two builds in one process do not hear each other, and a build within a flow is heard by whoever listens to that.

    Args:
        listener: Called with each event, after those that listen already; one of these is not called twice.
    """
    before = _listeners.get()
    token = _listeners.set(before if listener in before else (*before, listener))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def held_back() -> Iterator[list[Event]]:
    """Keep the events of this context, while it lasts, in place of passing them on: a thread's, for another thread.

    Returns:
        What is published, in its order.
    """
    events: list[Event] = []
    token = _listeners.set((events.append,))
    try:
        yield events
    finally:
        _listeners.reset(token)


def publish(event: Event) -> None:
    """Pass an event to all listeners."""
    for listener in _listeners.get():
        listener(event)
