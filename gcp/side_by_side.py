"""Calls side by side, in threads that keep to the caller's time limit, and begin nothing once it is interrupted."""

import contextvars
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.events import Event, held_back, publish

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8
"""Calls at a time: Google's clients keep ten connections each."""

Job = Callable[[threading.Event], None]
"""Works until it is done, or the event is set."""


def work_off(jobs: Sequence[Job]) -> None:
    """Do jobs side by side, each in a thread with a copy of this context.

    Whoever interrupts this waits for nothing, nor does a job's error: jobs begin nothing any more, and what they have
    begun goes on.

    Args:
        jobs: To do.

    Raises:
        BaseException: The first that a job has raised; the others were told to stop.
    """
    stop, ended, errors = threading.Event(), threading.Semaphore(0), list[BaseException]()

    def run(job: Job) -> None:
        try:
            job(stop)
        except BaseException as error:
            errors.append(error)
            stop.set()
        finally:
            ended.release()

    try:
        for job in jobs:
            run_here = contextvars.copy_context().run
            threading.Thread(target=run_here, args=(run, job), name="side-by-side", daemon=True).start()
        for _ in jobs:
            ended.acquire()
            if errors:
                raise errors[0]
    except BaseException:
        stop.set()
        raise


def attempt_all(function: Callable[[T], R], items: Sequence[T], threads: int = AT_ONCE) -> list[R | CustomizerError]:
    """Call a function with each of some items; one that fails, fails alone.

    What the calls publish is heard in this thread, in the order of the items, once all have ended: listeners know no
    other.

    Args:
        function: Keeps to the time that is left in this context.
        items: One for each call.
        threads: How many are at work at a time.

    Returns:
        For each item, what the function has returned, or the error of ours that it has raised.
    """

    def attempt(item: T) -> R | CustomizerError:
        try:
            return function(item)
        except CustomizerError as error:
            return error

    return do_all(attempt, items, threads)


def do_all(function: Callable[[T], R], items: Sequence[T], threads: int = AT_ONCE) -> list[R]:
    """Call a function with each of some items, as `attempt_all` does, but no further one once a call has failed.

    Returns:
        For each item, what the function has returned.

    Raises:
        BaseException: The first that a call has raised.
    """
    ended: dict[int, tuple[R, list[Event]]] = {}
    waiting = iter(enumerate(items))
    lock = threading.Lock()

    def job(stop: threading.Event) -> None:
        while not stop.is_set():
            with lock:
                following = next(waiting, None)
            if following is None:
                return
            number, item = following
            with held_back() as events:
                outcome = function(item)
            ended[number] = (outcome, events)

    if len(items) == 1:  # nothing to do beside it
        job(threading.Event())
    else:
        work_off([job] * min(threads, len(items)))
    for number in range(len(items)):
        for event in ended[number][1]:
            publish(event)
    return [ended[number][0] for number in range(len(items))]


def side_by_side(
    function: Callable[[T], R], items: Iterable[T], threads: int = AT_ONCE
) -> dict[T, R | CustomizerError]:
    """Call a function with each of some items, each once; otherwise as `attempt_all`.

    Returns:
        By item, what the function has returned, or the error of ours that it has raised.
    """
    each = list(dict.fromkeys(items))
    return dict(zip(each, attempt_all(function, each, threads), strict=True))
