"""Waiting for what must come; how long a machine takes for it is no test of ours."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 600.0
"""Seconds after which what has not come comes no more: only so that no test hangs."""


def wait_for(condition: Callable[[], T | None], instead: Callable[[], object] = lambda: "waited in vain") -> T:
    """The first true value of a condition.

    Args:
        condition: asked again and again, less often with time: who is asked is often who has the work to do.
        instead: what there is to say when it stays false.
    """
    end, pause = time.monotonic() + PATIENCE, 0.02
    while not (value := condition()):
        assert time.monotonic() < end, instead()
        time.sleep(pause)
        pause = min(1.2 * pause, 0.3)
    return value
