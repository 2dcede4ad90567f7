"""Calls side by side, in threads that keep to the caller's time limit, and begin nothing once it is interrupted."""

import contextvars
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8
"""Calls at a time: Google's clients keep ten connections each."""

Job = Callable[[threading.Event], None]
"""Works until it is done, or the event is set."""


def work_off(jobs: Sequence[Job]) -> None:
    """Do jobs side by side, each in a thread with a copy of this context.

    Whoever interrupts this waits for nothing: jobs begin nothing any more, and what they have begun goes on.

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
    except BaseException:
        stop.set()
        raise
    if errors:
        raise errors[0]


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do the same with several things, a few at a time.

    Args:
        work: What to do with one; begins calls of its own.
        items: The things.

    Returns:
        What came of each, in the same order.

    Raises:
        BaseException: As `work_off`.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    results: dict[int, R] = {}
    waiting = iter(enumerate(items))
    lock = threading.Lock()

    def job(stop: threading.Event) -> None:
        while not stop.is_set():
            with lock:
                number, item = next(waiting, (None, None))
            if number is None:
                return
            results[number] = work(item)  # type: ignore[arg-type] # there is an item for each number

    work_off([job] * min(AT_ONCE, len(items)))
    return [results[number] for number in range(len(items))]
