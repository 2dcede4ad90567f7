"""Requests that create something, and what is known of those that were given up.

A request that nobody waits for any more may still be carried out. So each is sent from a thread of its own: an
interruption ends the waiting at once, the request goes on, and whoever undoes it waits for its outcome first.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cos_customizer.customizer import deadline
from cos_customizer.customizer.families.removal import Removal

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds for which something is looked for whose request was never answered. Google answers within one."""
_INTERVAL = 1.0


class AbandonedError(Exception):
    """Nobody waits for a request any more: it is not sent again."""


@dataclass
class Request(Generic[T]):
    """A request that is under way, or whose outcome nobody knows.

    Attributes:
        thing: What it creates: a `VmRef`, an `ImageRef`, an `ObjectRef`.
        abandoned: Nobody waits for it any more.
        ended: It is over.
        whole: Enough of it was sent to make the thing; `work` says no of a transfer until its last byte.
        unanswered: It has ended without an answer; the thing may come, or not.
    """

    thing: object
    abandoned: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    whole: bool = True
    unanswered: bool = False
    result: T | None = None
    error: BaseException | None = None

    def check(self) -> None:
        """Go on only if somebody waits.

        Raises:
            AbandonedError: Nobody does.
        """
        if self.abandoned.is_set():
            raise AbandonedError


class _Requests:
    def __init__(self) -> None:
        self._known: dict[object, Request[Any]] = {}

    def carry_out(self, thing: object, work: Callable[[Request[T]], T], unanswered: Callable[[Exception], bool]) -> T:
        request = Request[T](thing)

        def run() -> None:
            try:
                request.result = work(request)
            except BaseException as error:
                request.unanswered = request.whole and isinstance(error, Exception) and unanswered(error)
                request.error = error
            finally:
                request.ended.set()

        thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="request", daemon=True)
        self._known[thing] = request
        try:
            thread.start()
            request.ended.wait()
        except BaseException:
            request.abandoned.set()
            raise
        if not request.unanswered:
            self._known.pop(thing, None)
        if request.error is not None:
            raise request.error
        return request.result  # type: ignore[return-value] # it has ended without an error

    def settle(self, thing: object) -> bool:
        """Wait until it is known what has become of a thing's request; says whether it is."""
        request = self._known.get(thing)
        if request is None:
            return True
        return request.ended.wait(deadline.left(_PATIENCE)) and not request.unanswered


_requests: ContextVar[_Requests | None] = ContextVar("requests", default=None)
_elsewhere = _Requests()


@contextmanager
def remembered() -> Iterator[None]:
    """Remember what was given up in this context, until it ends."""
    token = _requests.set(_Requests())
    try:
        yield
    finally:
        _requests.reset(token)


def carry_out(thing: object, work: Callable[[Request[T]], T], unanswered: Callable[[Exception], bool]) -> T:
    """Do what creates a thing, in a thread of its own; whoever interrupts this waits for nothing.

    Args:
        thing: What is created, as it will be known when it is to be taken back.
        work: Sends the request. It asks `Request.check` before it tries again.
        unanswered: Whether an error of `work` leaves open what has become of the request.

    Returns:
        What `work` returns.
    """
    return (_requests.get() or _elsewhere).carry_out(thing, work, unanswered)


def take_back(thing: object, removal: Removal, delete: Callable[[], list[Removal]]) -> list[Removal]:
    """Delete what a request was to create, also if it is created late.

    Args:
        thing: As for `carry_out`.
        removal: Of the thing.
        delete: Deletes it, if it is there.

    Returns:
        What came of it. `failed` if nobody knows whether the thing is still to come.
    """
    is_known = (_requests.get() or _elsewhere).settle(thing)
    end = time.monotonic() + deadline.left(_PATIENCE)
    while True:
        removals = delete()
        if is_known or any(each.action != "gone" for each in removals):
            return removals
        if time.monotonic() + _INTERVAL >= end:
            return [removal.ended("failed", "the request to create it was never answered: it may still come")]
        time.sleep(_INTERVAL)
