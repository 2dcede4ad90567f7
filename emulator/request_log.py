"""A record of the requests that were answered: what a client really asked for, and how often."""

import re
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 20_000


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        service: `compute`, `storage` or `logging`.
        path: with the query.
        status: HTTP status; 0 when the connection was cut.
        time: when it was answered, in seconds since the epoch (real time).
        seconds: how long the answer took.
    """

    service: str
    method: str
    path: str
    status: int
    time: float
    seconds: float


class Calls:
    """The last 20,000 calls, without those to the emulator's own API. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def record(self, service: str, method: str, path: str, status: int, seconds: float) -> None:
        """Note a call."""
        if not path.startswith(("/emulator/", "/batch/")):
            with self._lock:
                self._calls.append(Call(service, method, path, status, time.time(), seconds))

    def list(self, service: str = "", method: str = "", path: str = "") -> list[Call]:
        """The calls that match, the oldest first.

        Args:
            service: `compute`, `storage`, `logging` or empty.
            method: HTTP method, or empty.
            path: regular expression searched in path and query, or empty.
        """
        with self._lock:
            calls = list(self._calls)
        return [
            call
            for call in calls
            if service in ("", call.service) and method in ("", call.method) and re.search(path, call.path)
        ]

    def count(self, service: str = "", method: str = "", path: str = "") -> int:
        """How many calls match; see `list`."""
        return len(self.list(service, method, path))

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._calls.clear()

    def report(self, service: str = "", method: str = "", path: str = "") -> dict[str, Any]:
        """The calls that match in JSON form, with counts by service and method."""
        calls = self.list(service, method, path)
        counts: dict[str, int] = {}
        for call in calls:
            key = f"{call.service} {call.method}"
            counts[key] = counts.get(key, 0) + 1
        return {"count": len(calls), "counts": counts, "calls": [asdict(call) for call in calls]}
