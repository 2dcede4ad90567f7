"""Doing one thing to many, some at a time, in threads that nobody has to wait for."""

import contextvars
import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeVar

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.reporting.events import Event, held_back, publish

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int) -> dict[T, R | CustomizerError]:
    """Call a function with each of some items; one that fails, fails alone.

    What the calls publish is heard in this thread, once each of them has ended: listeners know no other. Whoever
    interrupts this waits for none of them; no further one is begun then.

    Args:
        function: keeps to the time that is left in this context.
        items: each once.
        threads: how many are at work at a time.

    Returns:
        By item, what the function has returned, or the error of ours that it has raised.
    """
    todo: SimpleQueue[T] = SimpleQueue()
    ended: SimpleQueue[tuple[T, R | BaseException, list[Event]]] = SimpleQueue()
    wanted = list(dict.fromkeys(items))
    for item in wanted:
        todo.put(item)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            try:
                item = todo.get_nowait()
            except Empty:
                return
            with held_back() as events:
                try:
                    outcome: R | BaseException = function(item)
                except BaseException as error:  # which the other thread raises
                    outcome = error
            ended.put((item, outcome, events))

    for _ in range(min(threads, len(wanted))):
        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    found: dict[T, R | CustomizerError] = {}
    try:
        while len(found) < len(wanted):
            item, outcome, events = ended.get()
            for event in events:
                publish(event)
            if isinstance(outcome, BaseException) and not isinstance(outcome, CustomizerError):
                raise outcome
            found[item] = outcome
    finally:
        stopped.set()
    return {item: found[item] for item in wanted}
