"""What happens in a build, as it happens: for the terminal, the run's log and whoever else listens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from cos_customizer.customizer.result import BuildResult

Stage = Literal["build", "verify"]


@dataclass(frozen=True)
class Note:
    """Something worth a line.

    Attributes:
        topic: a word or two on what it is about: `builder VM`, `image`, `cleaned up`.
        text: the rest of the line.
        level: `info`, `warning` or `error`.
    """

    topic: str
    text: str
    level: Literal["info", "warning", "error"] = "info"


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
    """

    number: int
    total: int
    label: str
    state: Literal["started", "succeeded", "failed"]
    seconds: float | None = None
    reason: str = ""
    stage: Stage = "build"


@dataclass(frozen=True)
class ConsoleOutput:
    """Lines from the builder VM's serial console, without line ends."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class BuildEnded:
    """The build is over and undone; for those who do not get the flow's return value (a signal has ended it, say)."""

    result: BuildResult


Event = Note | StepChange | ConsoleOutput | BuildEnded
Listener = Callable[[Event], None]

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass every event of this process to `listener` while the context lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def publish(event: Event) -> None:
    """Tell all listeners."""
    for listener in _listeners:
        listener(event)
