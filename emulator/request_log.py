"""A log of the requests that were answered: what clients really asked for, and how often."""

import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from cos_customizer.emulator.patterns import Pattern

INTERNAL = ("/emulator/", "/batch/", "/ui", "/healthz")
"""How paths begin that are not logged: the emulator's own, and batches, whose parts are requests of their own."""
_KEPT = 20_000


@dataclass(frozen=True)
class LoggedRequest:
    """One request.

    Attributes:
        service: `compute`, `storage`, `logging`, `secretmanager` or `kms`.
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


class RequestLog:
    """The last 20,000 requests, except the internal ones. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._requests: deque[LoggedRequest] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def record(self, service: str, method: str, path: str, status: int, seconds: float) -> None:
        """Add a request."""
        if not path.startswith(INTERNAL):
            with self._lock:
                self._requests.append(LoggedRequest(service, method, path, status, time.time(), seconds))

    def list(self, service: str = "", method: str = "", path: str = "") -> list[LoggedRequest]:
        """Return the requests that match, the oldest first.

        Args:
            service: `compute`, `storage`, `logging`, `secretmanager`, `kms` or empty.
            method: HTTP method, or empty.
            path: regular expression searched in path and query, or empty.

        Raises:
            ValueError: it is none.
        """
        pattern = Pattern(path)
        with self._lock:
            requests = list(self._requests)
        return [
            each
            for each in requests
            if service in ("", each.service) and method in ("", each.method) and pattern.search(each.path)
        ]

    def count(self, service: str = "", method: str = "", path: str = "") -> int:
        """Return how many requests match; see `list`."""
        return len(self.list(service, method, path))

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._requests.clear()

    def report(self, service: str = "", method: str = "", path: str = "", last: int = 0) -> dict[str, Any]:
        """Return the requests that match in JSON form, with counts by service and method.

        Args:
            service: see `list`.
            method: see `list`.
            path: see `list`.
            last: only so many requests, the last ones, of all that are counted; 0 for all.

        Raises:
            ValueError: the path is no regular expression.
        """
        requests = self.list(service, method, path)
        counts = Counter(f"{each.service} {each.method}" for each in requests)
        return {"count": len(requests), "counts": counts, "calls": [asdict(each) for each in requests[-last:]]}
