"""A reading of the cloud that several judgements share while it is fresh."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from cos_customizer.gcp.side_by_side import AT_ONCE

T = TypeVar("T")
R = TypeVar("R")

FRESH = 2.0
"""Seconds for which a reading counts as what is there now: about what it takes to make one."""
_TOGETHER = 100
"""Things that one reading is for, beside those before them that other threads may be about to ask about."""


class FreshReading(Generic[T, R]):
    """Reads for the next things of a list whenever the last reading is old, or not for the one that is asked about.

    Any thread may use it; the others wait while one reads.

    Args:
        things: In the order in which they will be asked about.
        read: Reads all that matters for some of them.
    """

    def __init__(self, things: Sequence[T], read: Callable[[Sequence[T]], R]) -> None:
        self._things, self._read = things, read
        self._lock = threading.Lock()
        self._covered = range(0)
        self._found: R | None = None
        self._made = 0.0

    def about(self, number: int) -> R:
        """A reading for a thing that is no older than `FRESH`.

        Args:
            number: Of the thing in the list.

        Raises:
            CustomizerError: As `read`; the next one who asks reads again.
        """
        with self._lock:
            found = self._found
            if found is None or number not in self._covered or time.monotonic() >= self._made + FRESH:
                self._found = None
                covered = range(max(0, number - AT_ONCE), min(number + _TOGETHER, len(self._things)))
                self._found = found = self._read(self._things[covered.start : covered.stop])
                self._covered, self._made = covered, time.monotonic()
            return found
