"""Ways out of a build that come from outside: its deadline and the signals that end a process."""

import signal
import threading
import time
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any

command_started: ContextVar[float | None] = ContextVar("command_started", default=None)
"""Value of `time.monotonic()` when the command began whose time the build's timeout limits; None: when the flow did."""

_SIGNALS = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DeadlinePassed(BaseException):
    """The build's time is up. No Exception, so that no library takes it for a fault of its own and retries."""


def time_left(timeout: float) -> float:
    """Seconds that a build may still work, of its timeout: a share of it is kept back for undoing.

    Args:
        timeout: the build's time limit in seconds, from `command_started` on.
    """
    started = command_started.get()
    elapsed = time.monotonic() - started if started is not None else 0.0
    return timeout - min(90.0, timeout * 0.1) - elapsed


class Interrupts:
    """While this context lasts, the first of deadline and signals interrupts it, and nothing after that does.

    One interruption only: a second Ctrl-C or SIGTERM must not cut the undoing short that the first one has begun.
    SIGINT, SIGTERM and SIGHUP do what their handlers did before (a default action that ends the process becomes
    SystemExit, so that `finally` is reached). Works in the main thread, where Prefect runs a sync flow; elsewhere the
    builder VM's own `maxRunDuration` is what bounds a build.

    Args:
        seconds: until DeadlinePassed is raised, even while a call blocks.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
            signal.setitimer(signal.ITIMER_REAL, max(0.001, self._seconds))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def shield(self) -> None:
        """From here on nothing interrupts any more."""
        self._over = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        self._over = True
        if number == signal.SIGALRM:
            raise DeadlinePassed
        handler = self._before[number]
        if callable(handler):
            handler(number, frame)
        elif handler is not signal.SIG_IGN:
            raise SystemExit(128 + number)
