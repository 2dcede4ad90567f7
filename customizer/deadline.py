"""The time that is left: one moment that every call, wait, retry and transfer in a context keeps to."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.fields import FieldPath, Message

_end: ContextVar[float] = ContextVar("deadline", default=math.inf)


class TimeUpError(CustomizerError):
    """There was no time left for something, or to see it end."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Message("{} gives it more time.", FieldPath("timeout")))


@contextmanager
def until(end: float) -> Iterator[None]:
    """Let what is done in this context end by a moment, or by an earlier one that holds already.

    Args:
        end: Value of `time.monotonic()`.
    """
    token = _end.set(min(end, _end.get()))
    try:
        yield
    finally:
        _end.reset(token)


def left(at_most: float = math.inf) -> float:
    """Seconds that something may take: as many as it has patience for, and no more than there are.

    Args:
        at_most: Its patience, in seconds.
    """
    return max(0.0, min(at_most, _end.get() - time.monotonic()))


def check(doing: str) -> None:
    """Begin nothing that there is no time for.

    Args:
        doing: What would be done, for the error message: `read image p/i`.

    Raises:
        TimeUpError: The time is up.
    """
    if left() == 0:
        raise TimeUpError(f"could not {doing}: the time was up")


@contextmanager
def before_changes() -> Iterator[None]:
    """While this context lasts, nothing is changed yet: an error that the time was up says so.

    Raises:
        TimeUpError: See above.
    """
    try:
        yield
    except TimeUpError as error:
        raise TimeUpError(f"{error.message}; nothing was changed") from error


def pause(seconds: float) -> None:
    """Sleep, but not past the end.

    Args:
        seconds: To sleep.
    """
    time.sleep(left(seconds))
