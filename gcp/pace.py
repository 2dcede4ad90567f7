"""Calls of a kind at a pace, whichever threads make them."""

import threading
import time

from cos_customizer.customizer import deadline

_AHEAD = 15.0
"""Seconds whose calls may be made at once, after a time without."""


class Pace:
    """Spaces calls.

    Args:
        a_minute: How many there may be.
    """

    def __init__(self, a_minute: float) -> None:
        self._interval = 60 / max(a_minute, 1.0)
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for the next call's turn, or for the end of the time that is left."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - _AHEAD)
            self._next = turn + self._interval
        deadline.pause(max(0.0, turn - now))
