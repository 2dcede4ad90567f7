"""Requests pass one by one, all at once; while the state is taken away and another put in its place, they wait."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cos_customizer.emulator.errors import ApiError, EmulatorError

_PATIENCE = 300.0
"""Seconds that a request waits at most."""
_LEAVE = 10.0
"""Seconds that requests have to end in before it closes."""
_NEAR = 0.5


class Turnstile:
    """Where the requests to all services of one emulator pass. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}
        self._closer: int | None = None
        self._is_shut = False

    def shut(self) -> None:
        """Let nobody pass any more: what requests ask for is about to be closed. Those that are inside end."""
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Answer a request in the block, once the way is open.

        Raises:
            ApiError: 503, it does not open.
            ConnectionAbortedError: it is shut for good; the connection is to be cut without an answer.
        """
        me = threading.get_ident()
        with self._changed:
            is_open = self._changed.wait_for(lambda: self._is_shut or self._closer in (None, me), _PATIENCE)
            if self._is_shut:
                raise ConnectionAbortedError("the local cloud has stopped")
            if not is_open:
                raise ApiError(503, "backendError", "The local cloud takes up another state. Try again.")
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    @contextmanager
    def closed(self, end_waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Let nobody pass during the block, and begin it when all others are through.

        Args:
            end_waiting: makes requests end that wait for something; called if they do not end by themselves soon. None
                leaves them alone.

        Raises:
            EmulatorError: requests do not end, or somebody else has closed it.
        """
        me = threading.get_ident()
        with self._changed:
            if self._closer is not None:
                raise EmulatorError("the state is being saved or replaced already", "try again when that is done")
            self._closer = me
        try:
            self._await_others(me, end_waiting)
            yield
        finally:
            with self._changed:
                self._closer = None
                self._changed.notify_all()

    def _await_others(self, me: int, end_waiting: Callable[[], None] | None) -> None:
        with self._changed:
            if self._changed.wait_for(lambda: not self._inside.keys() - {me}, _NEAR):
                return
        if end_waiting is not None:
            end_waiting()
        deadline = time.monotonic() + _LEAVE
        with self._changed:
            self._changed.wait_for(lambda: not self._inside.keys() - {me}, deadline - time.monotonic())
            if left := len(self._inside.keys() - {me}):
                raise EmulatorError(f"{left} requests do not end", "end the clients that wait or send, and try again")
