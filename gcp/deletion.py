"""Deleting things side by side: each is judged, begun and waited for; one that fails does not stop the others."""

import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud import compute_v1

from cos_customizer.customizer import deadline
from cos_customizer.customizer.errors import CustomizerError, NotFoundError, PermissionDeniedError
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.references import ImageRef, VmRef
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients
from cos_customizer.gcp.pace import Pace
from cos_customizer.gcp.rate_quotas import IMAGE_CHANGES, calls_a_minute
from cos_customizer.gcp.side_by_side import AT_ONCE, work_off

BUSY_PATIENCE = 180.0
"""Seconds for which a build tries again to delete what is busy: still being made, or something is still made of it."""
_SHARE = 0.5
"""Of a project's quota, what deletions take: the rest is for builds, which make and label images within the same."""
_FEW = 50
"""Deletions for which nobody asks for the quota."""
_FINAL = (NotFoundError, PermissionDeniedError, deadline.TimeUpError)
"""Errors that another try does not get past."""

Judge = Callable[[], Removal]
"""Reads again whatever speaks for a deletion, and decides anew: `delete`, or what becomes of the thing instead."""


@dataclass(frozen=True)
class Deletion:
    """How to delete one thing.

    Attributes:
        removal: What is deleted, and why.
        method: Of a Google client; deletes.
        request: The method's request message, without a request id.
        judge: Reads again whatever speaks for the deletion, and decides anew; called right before each request. None:
            the thing is the caller's own, and its to delete.
    """

    removal: Removal
    method: Callable[..., compute_v1.Operation]
    request: Any
    judge: Judge | None = None

    @property
    def doing(self) -> str:
        """What is being done, for error messages."""
        return f"delete {self.removal.kind} {self.removal.name}"


def image(clients: Clients, image: ImageRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete an image.

    If it is named by its id, as the API takes it in a name's place, another image which has got the name meanwhile is
    not deleted in its stead (the discovery document has the pattern `[a-z]…|[1-9][0-9]{0,19}`:
    https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest).

    Args:
        clients: Google's clients.
        image: Named by its name or its id.
        removal: What is deleted, and why.
        judge: Decides anew right before the deletion; see `Deletion`.
    """
    request = compute_v1.DeleteImageRequest(project=image.project, image=image.name)
    return Deletion(removal, clients.images.delete_unary, request, judge)


def vm(clients: Clients, vm: VmRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete a VM; arguments as for `image`."""
    request = compute_v1.DeleteInstanceRequest(project=vm.project, zone=vm.zone, instance=vm.name)
    return Deletion(removal, clients.instances.delete_unary, request, judge)


def disk(clients: Clients, disk: VmRef, removal: Removal, judge: Judge | None = None) -> Deletion:
    """How to delete a VM's boot disk, or another disk; arguments as for `image`."""
    request = compute_v1.DeleteDiskRequest(project=disk.project, zone=disk.zone, disk=disk.name)
    return Deletion(removal, clients.disks.delete_unary, request, judge)


def delete_all(clients: Clients, deletions: Sequence[Deletion], patience: float = 0.0) -> list[Removal]:
    """Delete things of one kind, side by side; images no faster than at half of their project's quota.

    Args:
        clients: Google's clients.
        deletions: What to delete.
        patience: Seconds for which what is busy, or could not be deleted for another reason, is tried again.

    Returns:
        What came of each: `deleted`, `gone` if it was not there, `failed` with the reason, or what its judge has said.
    """
    end, pause = time.monotonic() + deadline.left(patience), 1.0
    ended: dict[int, Removal] = {}
    pace = _pace_of(clients, deletions)
    while left := [number for number in range(len(deletions)) if number not in ended]:
        refused = _Attempt(clients, {number: deletions[number] for number in left}, ended, pace).make()
        for number, error in refused.items():
            if isinstance(error, _FINAL) or time.monotonic() + pause >= end:
                ended[number] = _failure(deletions[number].removal, error)
        if len(ended) < len(deletions):
            time.sleep(pause)
            pause = min(1.5 * pause, 10.0)
    return [ended[number] for number in range(len(deletions))]


def _pace_of(clients: Clients, deletions: Sequence[Deletion]) -> Pace | None:
    """The pace of many deletions of images: builds make theirs within the same quota."""
    requests = [each.request for each in deletions if isinstance(each.request, compute_v1.DeleteImageRequest)]
    if len(requests) <= _FEW:
        return None
    limit = calls_a_minute(clients, requests[0].project, IMAGE_CHANGES)
    return Pace(_SHARE * limit) if limit and math.isfinite(limit) else None


class _Attempt:
    """One attempt to delete things: threads that judge and begin, and as many that wait for what was begun.

    Args:
        clients: Google's clients.
        deletions: What to delete, by number.
        ended: Gets what has come to its end.
        pace: Of the beginnings.
    """

    def __init__(
        self, clients: Clients, deletions: dict[int, Deletion], ended: dict[int, Removal], pace: Pace | None
    ) -> None:
        self._clients, self._deletions, self._ended, self._pace = clients, deletions, ended, pace
        self._refused: dict[int, CustomizerError] = {}
        self._waiting = iter(deletions.items())
        self._begun: dict[int, float] = {}
        self._operations: queue.SimpleQueue[tuple[int, compute_v1.Operation] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def make(self) -> dict[int, CustomizerError]:
        """Make it; why things are not deleted that it has not brought to their end."""
        if len(self._deletions) == 1:  # nothing to do beside it
            self._begin_all(threading.Event())
            self._await_all(threading.Event())
            return self._refused
        threads = min(AT_ONCE, len(self._deletions))
        try:
            work_off([self._begin_all] * threads + [self._await_all] * threads)
        except deadline.TimeUpError as error:  # a call has not kept to the time: what is known is told all the same
            with self._lock:
                return self._unfinished(error)
        return self._refused

    def _unfinished(self, error: deadline.TimeUpError) -> dict[int, CustomizerError]:
        refused = dict(self._refused)
        for number, deletion in self._deletions.items():
            if number in self._begun and number not in self._ended and number not in refused:
                what = f"could not {deletion.doing}: it was begun, and there was no time left to see it end"
                refused[number] = deadline.TimeUpError(what)
            elif number not in self._ended and number not in refused:
                refused[number] = deadline.TimeUpError(f"could not {deletion.doing}: {error.message}")
        self._ended, self._refused = {}, {}  # a thread that is late changes nothing any more
        return refused

    def _begin_all(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                with self._lock:
                    number, deletion = next(self._waiting, (None, None))
                if number is None or deletion is None:
                    return
                try:
                    self._begin(number, deletion, stop)
                except CustomizerError as error:
                    with self._lock:
                        self._refused[number] = error
        finally:
            self._operations.put(None)

    def _begin(self, number: int, deletion: Deletion, stop: threading.Event) -> None:
        if self._pace is not None:
            self._pace.wait()
        deletion.request.request_id = str(uuid.uuid4())  # a new one for each try: a refusal is remembered with its id
        deadline.check(deletion.doing)
        if deletion.judge is not None and (verdict := deletion.judge()).action != "delete":
            with self._lock:
                self._ended[number] = verdict
            return
        if stop.is_set():
            return
        self._begun[number] = time.monotonic()
        try:
            operation = calls.call(deletion.method, deletion.request, deletion.doing)
        except BaseException:
            del self._begun[number]
            raise
        self._operations.put((number, operation))

    def _await_all(self, stop: threading.Event) -> None:
        while (next_one := self._operations.get()) is not None and not stop.is_set():
            number, operation = next_one
            deletion = self._deletions[number]
            try:
                # Where nothing else limits the time: so long for each, from its own beginning.
                with calls.at_most(self._begun[number] + calls.OPERATION_PATIENCE - time.monotonic()):
                    calls.wait(self._clients, operation, deletion.doing)
            except CustomizerError as error:
                with self._lock:
                    self._refused[number] = error
            else:
                with self._lock:
                    self._ended[number] = deletion.removal.ended("deleted")


def _failure(removal: Removal, error: CustomizerError) -> Removal:
    if isinstance(error, NotFoundError):
        return removal.ended("gone", "somebody else has deleted it")
    return removal.ended("failed", error.message, error.hint)
