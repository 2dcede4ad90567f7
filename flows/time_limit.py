"""How long something may take, from when on: a build with its undoing, and commands that build nothing."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType

from cos_customizer.customizer import deadline
from cos_customizer.customizer.durations import parse_duration

command_started: ContextVar[float | None] = ContextVar("command_started", default=None)
"""Value of `time.monotonic()` when the command began whose time the build's timeout limits; None: when the flow did."""

_MOST_UNDOING = 90.0
"""Seconds that undoing takes at most. Compute Engine deletes a VM in one, as a rule."""
_GRACE = 5.0
"""Seconds after which a call is cut off that has not kept to the time that was left."""


@dataclass
class TimeLimit:
    """What a build may take: its work so long, and all of it, undoing included, so long.

    Attributes:
        work: value of `time.monotonic()` by which the work ends.
        end: the same for the undoing.
    """

    work: float
    end: float

    @classmethod
    def of(cls, timeout: float) -> "TimeLimit":
        """The limit of a build that begins now, or began with its command, inside the time that there is around it.

        Args:
            timeout: the build's time limit in seconds, from `command_started` on.
        """
        started = command_started.get()
        end = (started if started is not None else time.monotonic()) + timeout
        around = deadline.left()
        end = min(end, time.monotonic() + around)
        return cls(end - min(_MOST_UNDOING, 0.1 * min(timeout, around)), end)

    @contextmanager
    def waiting(self, at_most: float) -> Iterator[None]:
        """Let what is done in this context not count: both moments come later by what it takes.

        Args:
            at_most: seconds that it takes, by which both come later while the context lasts.
        """
        began = time.monotonic()
        self._put_off(at_most)
        try:
            yield
        finally:
            self._put_off(time.monotonic() - began - at_most)

    def _put_off(self, seconds: float) -> None:
        self.work += seconds
        self.end += seconds

    def end_of_undoing(self) -> float:
        """Value of `time.monotonic()` by which an undoing ends that begins now."""
        return min(time.monotonic() + _MOST_UNDOING, self.end)


@contextmanager
def counting_from(started: float) -> Iterator[None]:
    """Let the timeout of a build in this context limit a command, from its start on.

    Args:
        started: value of `time.monotonic()` when the command began.
    """
    token = command_started.set(started)
    try:
        yield
    finally:
        command_started.reset(token)


@contextmanager
def in_time(timeout: str, started: float | None = None) -> Iterator[None]:
    """Let what is done in this context end within a time limit, by `deadline.TimeUpError`.

    Calls, retries and waits keep to the time that is left. What does not, because a library has a patience of its own
    (for a token, say), is cut off some seconds later, in the main thread.

    Args:
        timeout: Go duration.
        started: value of `time.monotonic()` when the command began; by default now.
    """
    now = time.monotonic()
    end = (now if started is None else started) + parse_duration(timeout)
    with deadline.until(end), _cut_off_after(end - now + _GRACE):
        yield


@contextmanager
def _cut_off_after(seconds: float) -> Iterator[None]:
    """Raise `TimeUpError` in whatever is being done when the time is over, and every second from then on."""

    def cut_off(_number: int, _frame: FrameType | None) -> None:
        raise deadline.TimeUpError("the time was up, and there was no answer")

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getitimer(signal.ITIMER_REAL)[0]:  # somebody else limits the time already
        yield
        return
    before = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
