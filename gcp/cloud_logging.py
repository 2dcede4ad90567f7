"""Writing log entries to Cloud Logging beside a build: batched, in a thread of its own, never in the build's way."""

import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from google.api_core import exceptions

from cos_customizer.customizer.errors import CustomizerError, PermissionDeniedError
from cos_customizer.customizer.reporting.log_entries import LOG, BuildFacts, LogEntry
from cos_customizer.gcp.calls import is_transient, translated

INTERVAL = 1.0
"""Seconds between two requests: a project may make 120,000 a minute (https://cloud.google.com/logging/quotas)."""
MOST_PENDING = 16 << 20
"""Bytes of entries that wait to be sent; serial lines beyond that are left out."""
_MOST_IN_REQUEST = 1000
_LARGEST_REQUEST = 4 << 20  # the API takes 10 MB
_OVERHEAD = 1024
"""Bytes that an entry takes beside its message."""
_LONGEST_PAUSE = 30.0
_PATIENCE = 3
"""Failures in a row after which there is trouble to tell; and tries at the end, when nothing has failed before."""


class LogWriter:
    """Takes entries without waiting, and sends them from a thread of its own.

    The queue between the two is one that a signal's exception cannot leave locked, and each counter is written by one
    thread only.

    Args:
        connect: gives google-cloud-logging's client; called in the thread.
        facts: of the build: labels and resource of all entries.

    Attributes:
        trouble: why entries are not taken; set when a refusal is final, when failures last, or when the end comes
            before all are delivered.
        left_out: serial lines that found no room.
    """

    def __init__(self, connect: Callable[[], Any], facts: BuildFacts) -> None:
        self._connect = connect
        self._facts = facts
        self._queue: SimpleQueue[LogEntry | None] = SimpleQueue()
        self._written = self._written_bytes = 0  # by the build's thread
        self._done = self._done_bytes = 0  # by ours
        self._given_up = False
        self.trouble: CustomizerError | None = None
        self._failure: CustomizerError | None = None  # of the last try
        self.left_out = 0
        self._thread = threading.Thread(target=self._work, name="cloud-logging", daemon=True)
        self._thread.start()

    def write(self, entry: LogEntry) -> None:
        """Take an entry. Nothing is raised, whatever becomes of it."""
        if self._given_up:
            return
        size = _weight(entry)
        if entry.is_output and self._written_bytes - self._done_bytes + size > MOST_PENDING:
            self.left_out += 1
            return
        self._written += 1
        self._written_bytes += size
        self._queue.put(entry)

    def close(self, patience: float) -> int:
        """Send what is left.

        Args:
            patience: seconds that this may take.

        Returns:
            How many of the entries taken were not delivered, as far as is known.
        """
        self._queue.put(None)
        self._thread.join(patience)
        self._given_up = True  # the thread ends with the request that it is in
        undelivered = self._written - self._done
        if undelivered and self.trouble is None:
            late = CustomizerError(f"Cloud Logging has not taken all entries within {patience:.0f} s")
            self.trouble = self._failure or late
        return undelivered

    def _work(self) -> None:
        try:
            self._send_all(self._connect())
        except Exception as error:
            self.trouble = _explained(error)
        self._given_up = True

    def _send_all(self, client: Any) -> None:
        """Send what comes, until the end or a final refusal (which is raised)."""
        waiting: deque[LogEntry] = deque()
        due, failures, ended = 0.0, 0, False
        while not self._given_up and (waiting or not ended):
            ended = ended or self._collect(waiting, due, eager=not failures)
            batch = _request(waiting)
            if not batch:
                continue
            try:
                self._send(client, batch)
            except exceptions.BadRequest as error:
                self.trouble = _explained(error)
                self._done += len(batch) - _refused(error, batch)
            except Exception as error:
                if not is_transient(error):
                    raise
                failures += 1
                self._failure = _explained(error)
                if failures >= _PATIENCE:
                    self.trouble = self._failure
                    if ended:
                        return
                due = time.monotonic() + min(2.0 ** (failures - 1), _LONGEST_PAUSE)
                if ended:
                    time.sleep(0.5)
                continue
            else:
                self._done += len(batch)
            for _ in batch:
                self._done_bytes += _weight(waiting.popleft())
            failures, due, self._failure = 0, time.monotonic() + INTERVAL, None

    def _collect(self, waiting: "deque[LogEntry]", due: float, eager: bool) -> bool:
        """Move entries from the queue until it is time to send them; says whether there will be no more.

        Args:
            waiting: entries to send.
            due: value of `time.monotonic()` before which nothing is sent.
            eager: send earlier, once a request is full.
        """
        while not (eager and len(waiting) >= _MOST_IN_REQUEST):
            try:
                entry = self._queue.get(timeout=max(0.0, due - time.monotonic()) if waiting else None)
            except Empty:
                return False
            if entry is None:
                return True
            if not waiting:
                due = max(due, time.monotonic() + INTERVAL)
            waiting.append(entry)
        return False

    def _send(self, client: Any, entries: list[LogEntry]) -> None:
        from google.cloud.logging import Resource  # few builds use it

        kind, labels = self._facts.resource
        logger = client.logger(LOG, labels=self._facts.labels, resource=Resource(kind, labels))
        batch = logger.batch()
        batch.resource = logger.default_resource
        for entry in entries:
            batch.log_struct(
                entry.payload,
                severity=entry.severity,
                timestamp=entry.timestamp,
                insert_id=entry.insert_id,
                resource=None,  # the batch's
            )
        batch.commit()


def _weight(entry: LogEntry) -> int:
    return len(entry.payload["message"]) + _OVERHEAD


def _request(waiting: "deque[LogEntry]") -> list[LogEntry]:
    """As many of the entries that wait as a request may hold."""
    batch: list[LogEntry] = []
    size = 0
    for entry in itertools.islice(waiting, _MOST_IN_REQUEST):
        size += len(json.dumps(entry.payload)) + _OVERHEAD
        if batch and size > _LARGEST_REQUEST:
            break
        batch.append(entry)
    return batch


def _refused(error: exceptions.BadRequest, batch: list[LogEntry]) -> int:
    """How many of a batch's entries were not taken: the good ones are, and the answer names the others."""
    named = [detail["logEntryErrors"] for detail in error.details if "logEntryErrors" in detail]
    return sum(map(len, named)) if named else len(batch)


def _explained(error: Exception) -> CustomizerError:
    told = translated(error, "write to Cloud Logging")
    if isinstance(told, PermissionDeniedError):
        hint = "it takes the API logging.googleapis.com, and the role roles/logging.logWriter in the builder's project."
        return PermissionDeniedError(told.message, hint)
    return told
