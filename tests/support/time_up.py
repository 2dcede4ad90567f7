"""Making the time of a command be up at a moment of one's choice, so that no test has to wait for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.waiting import wait_for

from cos_customizer.customizer import deadline
from cos_customizer.emulator.compute import operations
from cos_customizer.emulator.server import Emulator


class CommandClock:
    """`time` for `customizer.deadline`: the real one, until it is turned forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        self.sleep = time.sleep
        monkeypatch.setattr(deadline, "time", self)
        monkeypatch.setattr(operations, "WAIT_SECONDS", 0.05)  # the API's two minutes are no time of ours

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def end_all(self) -> None:
        """Let the time of everything be up."""
        self._ahead = 1e9

    def start_anew(self) -> None:
        """Let there be time again."""
        self._ahead = 0.0


@contextmanager
def time_up_during(
    emulator: Emulator,
    clock: CommandClock,
    path: str,
    *,
    method: str = "",
    skip: int = 0,
) -> Iterator[None]:
    """Hold a request until the time is up.

    Args:
        emulator: that gets the request.
        clock: of the command.
        path: regular expression for the request.
        method: of the request; empty for any.
        skip: how many such requests pass before.
    """
    fault = emulator.faults.add("hold", method=method, path=path, skip=skip)
    over = threading.Event()

    def end() -> None:
        wait_for(lambda: over.is_set() or any(each["held"] for each in emulator.faults.list() if each["id"] == fault))
        clock.end_all()
        emulator.faults.clear(fault)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
