"""The emulator's clock: the real time, plus what tests have added to it."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

_LOOK = 0.02
"""Seconds after which whoever sleeps sees that the clock was turned."""
_PACIFIC = timezone(timedelta(hours=-8))


class Clock:
    """Real time that can be turned forward, so that what takes hours in the cloud takes a moment here."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> float:
        """Turn the clock forward; all that falls due has happened when this returns.

        Args:
            seconds: how far, at least 0.

        Returns:
            The new time in seconds since the epoch.

        Raises:
            ValueError: the clock cannot be turned back.
        """
        if seconds < 0:
            raise ValueError("the clock cannot be turned back")
        with self._lock:
            self._ahead += seconds
        for listener in self._listeners:
            listener()
        return self.now()

    def sleep(self, seconds: float, awake: threading.Event) -> None:
        """Wait until so much time has passed on this clock, or the event is set.

        Args:
            seconds: how long.
            awake: ends the waiting.
        """
        end = self.now() + seconds
        while (left := end - self.now()) > 0 and not awake.wait(min(left, _LOOK)):
            pass

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call `listener` each time the clock has been turned forward."""
        self._listeners.append(listener)

    def forget_listeners(self) -> None:
        """Call nobody any more: those who listened are no more."""
        self._listeners.clear()

    def timestamp(self) -> str:
        """Return the time as the API writes it: RFC 3339 with milliseconds, in Pacific time."""
        return rfc3339(self.now())


def rfc3339(seconds: float) -> str:
    """Return a time in seconds since the epoch as the API writes it."""
    return datetime.fromtimestamp(seconds, _PACIFIC).isoformat(timespec="milliseconds")


def from_rfc3339(text: str) -> float:
    """Return the seconds since the epoch of an RFC 3339 time.

    Raises:
        ValueError: not an RFC 3339 time.
    """
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
